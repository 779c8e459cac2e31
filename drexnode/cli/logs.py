"""`drexnode logs`: a node's log as it reads well, and the level of a running one."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from drexnode.cli.options import ExampleCommand, a_home, as_output
from drexnode.cli.output import CliError, show_json

LEVELS = ("debug", "info", "warning", "error")
_ALWAYS = ("event", "level", "timestamp", "node", "room")
_POLL_S = 0.3


@click.command("logs", cls=ExampleCommand, example="drexnode logs --home node --least warning --follow")
@a_home
@click.option("--lines", type=click.IntRange(0, 100_000), default=20, show_default=True, help="Last lines.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--least", type=click.Choice(LEVELS), default="debug", show_default=True, help="Least level.")
@click.option(
    "--event", "prefix", default="", metavar="PREFIX", help="Events that begin so: block.final, peer."
)
@click.option("--set-level", type=click.Choice(LEVELS), help="Change a running node's level until it ends.")
@as_output
def command(
    home: Path, lines: int, follow: bool, least: str, prefix: str, set_level: str | None, as_json: bool
) -> None:
    """Show the log of a home (its node.log), or change the running node's level.

    With -o json lines are shown as they were written.
    """
    if set_level is not None:
        _set_level(home, set_level, as_json)
        return
    from drexnode.processes import LOG_FILE

    path = home / LOG_FILE
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except OSError as error:
        hint = "under systemd: journalctl -u drexnode-NAME -o cat"
        raise CliError("LOG_MISSING", f"{path}: {error.strerror}", path=str(path), next=hint) from None
    with file:
        wanted = (line for line in file if _is_wanted(line, least, prefix))
        for line in deque(wanted, maxlen=lines):
            click.echo(line.rstrip("\n") if as_json else _readable(line))
        if follow:
            try:
                for line in _coming(file):
                    if _is_wanted(line, least, prefix):
                        click.echo(line.rstrip("\n") if as_json else _readable(line))
            except KeyboardInterrupt:
                return


def _set_level(home: Path, level: str, as_json: bool) -> None:
    from drexnode import client as rpc
    from drexnode.cli.locate import client_of_home
    from drexnode.config import load_config

    with client_of_home(load_config(home)) as client:
        now = client.run(rpc.log_level(level))
    if as_json:
        show_json({"level": now})
    else:
        click.echo(f"{client.url} logs from {now} on, until it ends")


def _fields(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_wanted(line: str, least: str, prefix: str) -> bool:
    """Lines that are no JSON (a traceback) are shown unless events were asked for."""
    fields = _fields(line)
    if fields is None:
        return not prefix
    level = fields.get("level")
    heavy = level not in LEVELS or LEVELS.index(level) >= LEVELS.index(least)
    return heavy and str(fields.get("event", "")).startswith(prefix)


def _readable(line: str) -> str:
    fields = _fields(line)
    if fields is None:
        return line.rstrip("\n")
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if key not in _ALWAYS)
    moment = str(fields.get("timestamp", ""))[11:23]
    return f"{moment} {fields.get('level', ''):<7} {fields.get('event', '')}  {rest}".rstrip()


def _coming(file: TextIO) -> Iterator[str]:
    """Whole lines as they are written, for ever."""
    part = ""
    while True:
        part += file.readline()
        if part.endswith("\n"):
            yield part
            part = ""
        else:
            time.sleep(_POLL_S)
