"""`drexnode config`: what a node would run with, and from where each value comes."""

from __future__ import annotations

from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, ExampleGroup, a_home, as_output
from drexnode.cli.output import CliError, show_json, show_pairs, show_table
from drexnode.config import KEYS, SECTIONS, NodeConfig, load_config, render_file


def _values(config: NodeConfig) -> dict[str, object]:
    sections = {section: getattr(config, section) for section in SECTIONS}
    return {name: getattr(sections[spec.section], spec.key) for name, spec in KEYS.items()}


@click.group("config", cls=ExampleGroup, example="drexnode config show --home node --origin")
def command() -> None:
    """Show and check the configuration."""


@command.command("show", cls=ExampleCommand, example="drexnode config show --home node --origin")
@a_home
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@as_output
def show(home: Path, origin: bool, as_json: bool) -> None:
    """Every key with its value."""
    config = load_config(home)
    values = _values(config)
    if as_json:
        shown = {
            name: {"value": value, "origin": config.origins[name], "variable": KEYS[name].variable}
            for name, value in values.items()
        }
        show_json({"home": str(config.home), "keys": shown})
    elif origin:
        rows = [(name, config.origins[name], _text(value)) for name, value in values.items()]
        show_table(("KEY", "ORIGIN", "VALUE"), rows)
    else:
        show_pairs([(name, _text(value)) for name, value in values.items()])


def _text(value: object) -> str:
    return ", ".join(map(str, value)) or "-" if isinstance(value, tuple) else str(value)


@command.command("check", cls=ExampleCommand, example="drexnode config check --home node")
@a_home
@as_output
def check(home: Path, as_json: bool) -> None:
    """Check configuration, genesis and key files of a home without starting anything."""
    from drexnode.home import check_home

    config = load_config(home)
    facts = check_home(config)
    if as_json:
        show_json({"ok": True, **facts})
    else:
        show_pairs([("home", str(config.home)), *facts.items(), ("configuration", "ok")])


@command.command("init", cls=ExampleCommand, example="drexnode config init --home node")
@a_home
@as_output
def init(home: Path, as_json: bool) -> None:
    """Write a drexnode.toml with every key at its default, as comments."""
    path = home / "drexnode.toml"
    if path.exists():
        raise CliError("HOME_EXISTS", f"{path} exists and is not overwritten", path=str(path))
    home.mkdir(parents=True, exist_ok=True)
    path.write_text(render_file({}), "utf-8")
    if as_json:
        show_json({"file": str(path)})
    else:
        click.echo(str(path))
