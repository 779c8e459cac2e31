"""`drexnode render`: files that run a home's node under systemd, in a container, or on Kubernetes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from drexnode.cli.options import ExampleCommand, ExampleGroup, a_home, as_output
from drexnode.cli.output import show_json

F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    "render", cls=ExampleGroup, example="drexnode render systemd --home /var/lib/drexnode --out units"
)
def command() -> None:
    """Files for systemd, compose or Kubernetes, made from a home's configuration."""


def _into_folder(command: F) -> F:
    return click.option(
        "--out",
        "folder",
        required=True,
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Folder for the files; nothing in it is overwritten.",
    )(command)


def _write(folder: Path, files: Mapping[str, str], as_json: bool) -> None:
    from drexnode.render.files import write_files

    paths = write_files(folder, files)
    if as_json:
        show_json({"files": [str(path) for path in paths]})
    else:
        for path in paths:
            click.echo(str(path))


@command.command(
    "systemd",
    cls=ExampleCommand,
    example="drexnode render systemd --home /var/lib/drexnode --user drexnode --out units",
)
@a_home
@_into_folder
@click.option("--user", default="drexnode", show_default=True, help="User and group that run the node.")
@click.option(
    "--program",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The installed command.  [default: this one]",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key's passphrase; systemd hands it over as a credential.",
)
@as_output
def systemd(
    home: Path, folder: Path, user: str, program: Path | None, passphrase_file: Path | None, as_json: bool
) -> None:
    """A hardened unit, and one for the signer where the home has its own. Then: systemctl link."""
    from drexnode.config import load_config
    from drexnode.render.systemd import systemd_units

    found = program or Path(shutil.which("drexnode") or sys.argv[0])
    config = load_config(home)
    units = systemd_units(config, user=user, program=found.absolute(), passphrase=passphrase_file)
    _write(folder, units, as_json)


@command.command(
    "compose",
    cls=ExampleCommand,
    example="drexnode render compose --home /srv/drexnode --source . --out container",
)
@a_home
@_into_folder
@click.option(
    "--source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("."),
    show_default=True,
    help="Checkout of the program that the image is built from.",
)
@click.option("--python-image", metavar="IMAGE", help="Base image, best with its digest.")
@as_output
def compose(home: Path, folder: Path, source: Path, python_image: str | None, as_json: bool) -> None:
    """A Dockerfile and a compose file: not root, read-only, health check, RPC on loopback alone."""
    from drexnode.config import load_config
    from drexnode.render.compose import PYTHON_IMAGE, compose_files

    image = python_image or PYTHON_IMAGE
    files = compose_files(load_config(home), source=source, folder=folder, python_image=image)
    _write(folder, files, as_json)


@command.command(
    "helm",
    cls=ExampleCommand,
    example="drexnode render helm --home node --image registry/drexnode:1 --out chart",
)
@a_home
@_into_folder
@click.option("--image", required=True, metavar="IMAGE", help="The node's image, best with its digest.")
@as_output
def helm(home: Path, folder: Path, image: str, as_json: bool) -> None:
    """A chart for one node: StatefulSet, probes, PDB, network policy, keys from a Secret."""
    from drexnode.config import load_config
    from drexnode.home import read_genesis
    from drexnode.render.helm import helm_chart

    config = load_config(home)
    read_genesis(config.genesis_path)
    chart = helm_chart(config, image=image, genesis=config.genesis_path.read_text("utf-8"))
    _write(folder, chart, as_json)
