"""Options that many commands share, and command classes whose help ends in an example."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
NODE_KEY = "drexnode.node"
STOPPED_KEY = "drexnode.stopped"  # a client of files instead of a node (inspect)


class ExampleCommand(click.Command):
    """A command that shows an example at the end of its help."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write_text(line)


class ExampleGroup(click.Group):
    """A group that shows an example at the end of its help."""

    command_class = ExampleCommand

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write_text(line)


class LazyGroup(ExampleGroup):
    """A group that imports a subcommand's module when it is called: `--help` names them without it.

    `later` is name -> ("module:attribute" below drexnode.cli, what it does); a test holds the latter against
    the subcommand's own help.
    """

    def __init__(self, *args: Any, later: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.later = later

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Those that are there, then those that come later."""
        return [*self.commands, *self.later]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand's module."""
        if cmd_name not in self.later:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.later[cmd_name][0].partition(":")
        found: click.Command = getattr(importlib.import_module(f"drexnode.cli.{module}"), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The subcommands in their order, without importing any."""
        here = [(name, found.get_short_help_str(200)) for name, found in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*here, *((name, what) for name, (_, what) in self.later.items())])


def as_output(command: F) -> F:
    """`-o table|json`, passed as `as_json`."""
    option = click.option(
        "-o",
        "--output",
        "as_json",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        callback=lambda ctx, param, value: value == "json",
        help="Form of the data on stdout.",
    )
    return option(command)


def at_node(command: F) -> F:
    """`--rpc`, `--home`, `--dir`: how a node is found; passed as `node`, a `NodeChoice`."""

    def collect(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        ctx.meta.setdefault(NODE_KEY, {})[param.name] = value
        return value

    options = [
        click.option(
            "--rpc", envvar="DREX_RPC", metavar="URL", expose_value=False, callback=collect,
            help="A node's RPC.",
        ),
        click.option(
            "--token-file", envvar="DREX_TOKEN_FILE", metavar="FILE", expose_value=False, callback=collect,
            type=click.Path(path_type=Path), help="A token or an API key; DREX_TOKEN may hold one too.",
        ),
        click.option(
            "--ca", envvar="DREX_CA_FILE", metavar="FILE", expose_value=False, callback=collect,
            type=click.Path(path_type=Path), help="Authorities (PEM) that an https RPC is trusted by.",
        ),
        click.option(
            "--cert", envvar="DREX_CLIENT_CERT", metavar="FILE", expose_value=False, callback=collect,
            type=click.Path(path_type=Path), help="Own certificate and key (PEM), where demanded.",
        ),
        click.option(
            "--home", envvar="DREX_HOME", metavar="DIR", expose_value=False, callback=collect,
            type=click.Path(path_type=Path), help="A node's home.",
        ),
        click.option(
            "--dir", envvar="DREX_DIR", metavar="DIR", expose_value=False, callback=collect,
            type=click.Path(path_type=Path), help="A devnet's folder, with its wallets. [default: devnet]",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def a_home(command: F) -> F:
    """`--home DIR`, default `.`, passed as `home`."""
    option = click.option(
        "--home",
        envvar="DREX_HOME",
        type=click.Path(path_type=Path),
        default=Path("."),
        show_default=True,
        metavar="DIR",
        help="The node's home.",
    )
    return option(command)
