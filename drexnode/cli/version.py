"""`drexnode version`."""

from __future__ import annotations

import importlib.metadata
import platform

import click

from drexnode.cli.options import ExampleCommand, as_output
from drexnode.cli.output import show_json, show_pairs
from drexnode.version import VERSION

PARTS = (
    "libp2p",
    "plyvel",
    "trio",
    "msgspec",
    "PyNaCl",
    "py-ed25519-zebra-bindings",
    "starlette",
    "Hypercorn",
)


def versions() -> dict[str, str]:
    """The program, Python and the parts; `absent` for one that is not installed."""
    found = {"drexnode": VERSION, "python": platform.python_version()}
    for part in PARTS:
        try:
            found[part.lower()] = importlib.metadata.version(part)
        except importlib.metadata.PackageNotFoundError:
            found[part.lower()] = "absent"
    return found


@click.command("version", cls=ExampleCommand, example="drexnode version -o json")
@as_output
def command(as_json: bool) -> None:
    """Version of the program and of what it rests on."""
    if as_json:
        show_json(versions())
    else:
        show_pairs(list(versions().items()))
