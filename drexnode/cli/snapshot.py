"""`drexnode snapshot`: the state at one height, in files that prove themselves."""

from __future__ import annotations

from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, ExampleGroup, a_home, as_output
from drexnode.cli.output import show_json, show_pairs
from drexnode.cli.progress import show_progress
from drexnode.config import load_config
from primitives.errors import StorageFailure

_folder = click.argument("folder", type=click.Path(path_type=Path))


@click.group("snapshot", cls=ExampleGroup, example="drexnode snapshot create state-1000 --home node")
def command() -> None:
    """The state at one height: create, verify, restore."""


@command.command("create", cls=ExampleCommand, example="drexnode snapshot create state-1000 --home node")
@_folder
@a_home
@as_output
def create(folder: Path, home: Path, as_json: bool) -> None:
    """Write the state of the tip to a new folder: by the node itself while it runs, else from its files."""
    from drexnode.cli.jobs import run_job
    from drexnode.snapshots import create_snapshot
    from storage.snapshot_format import read_manifest

    config = load_config(home)
    with show_progress() as progress:
        try:
            manifest = create_snapshot(config, folder, progress)
        except StorageFailure as error:
            if error.code != "STORAGE_LOCKED":
                raise
            run_job(config, "admin_snapshot", folder, progress)
            manifest = read_manifest(folder)
    _show(manifest, folder, as_json, f"drexnode snapshot verify {folder} --home {home}")


@command.command(
    "verify", cls=ExampleCommand, example="drexnode snapshot verify state-1000 --home node -o json"
)
@_folder
@a_home
@click.option("--genesis", type=click.Path(path_type=Path), metavar="FILE", help="[default: the home's]")
@click.option("--quick", is_flag=True, help="Certificate and chunks alone; the state root is not made.")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Where the state is made and thrown away. [default: the system's]",
)
@as_output
def verify(
    folder: Path, home: Path, genesis: Path | None, quick: bool, scratch: Path | None, as_json: bool
) -> None:
    """Check a snapshot against the genesis: certificate, every chunk, and the state root that they make."""
    from drexnode.snapshots import verify_snapshot

    path = load_config(home).genesis_path if genesis is None else genesis
    with show_progress() as progress:
        manifest = verify_snapshot(path, folder, progress, quick=quick, scratch=scratch)
    _show(manifest, folder, as_json, f"drexnode snapshot restore {folder} --home DIR")


@command.command("restore", cls=ExampleCommand, example="drexnode snapshot restore state-1000 --home node")
@_folder
@a_home
@as_output
def restore(folder: Path, home: Path, as_json: bool) -> None:
    """Give a stopped node without a chain the snapshot's state; blocks before it are not there."""
    from drexnode.snapshots import restore_home

    with show_progress() as progress:
        manifest = restore_home(load_config(home), folder, progress)
    _show(manifest, folder, as_json, f"drexnode start --home {home}")


def _show(manifest: object, folder: Path, as_json: bool, following: str) -> None:
    from primitives.block import block_id
    from storage.snapshot_format import Manifest

    assert isinstance(manifest, Manifest)
    facts: dict[str, object] = {
        "folder": str(folder),
        "height": manifest.height,
        "block_id": block_id(manifest.header).hex(),
        "state_root": manifest.header.state_root.hex(),
        "entries": manifest.entries,
        "chunks": len(manifest.chunks),
        "size_bytes": manifest.size_bytes,
        "next": following,
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))
