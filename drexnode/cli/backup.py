"""`drexnode backup`: the chain in files that are extended, signed and proved by restoring them."""

from __future__ import annotations

from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, ExampleGroup, a_home, as_output
from drexnode.cli.output import CliError, show_json, show_pairs
from drexnode.cli.progress import show_progress
from drexnode.config import load_config
from primitives.errors import StorageFailure

_folder = click.argument("folder", type=click.Path(path_type=Path))
_signer = click.option(
    "--signer", metavar="HEX", help="Public key that signed it. [default: the home's own peer key]"
)


@click.group("backup", cls=ExampleGroup, example="drexnode backup create /var/backups/node --home node")
def command() -> None:
    """The chain, again and again, into one folder: create, verify, restore."""


@command.command("create", cls=ExampleCommand, example="drexnode backup create /var/backups/node --home node")
@_folder
@a_home
@click.option("--new-base", is_flag=True, help="Begin anew from the state of the tip: restores faster.")
@as_output
def create(folder: Path, home: Path, new_base: bool, as_json: bool) -> None:
    """Make a backup, or bring an existing one up to the tip: by the node itself while it runs."""
    from drexnode.backups import create_backup, open_backup
    from drexnode.cli.jobs import run_job

    config = load_config(home)
    with show_progress() as progress:
        try:
            contents = create_backup(config, folder, progress, new_base=new_base)
        except StorageFailure as error:
            if error.code != "STORAGE_LOCKED":
                raise
            run_job(config, "admin_backup", folder, progress, new_base)
            contents = open_backup(config, folder)
    _show(contents, folder, as_json, f"drexnode backup verify {folder} --home {home}")


@command.command("verify", cls=ExampleCommand, example="drexnode backup verify /var/backups/node --home node")
@_folder
@a_home
@_signer
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Where it is restored and thrown away. [default: the system's]",
)
@as_output
def verify(folder: Path, home: Path, signer: str | None, scratch: Path | None, as_json: bool) -> None:
    """Check the signature, restore into a temporary folder and compare the state root."""
    from drexnode.backups import verify_backup

    with show_progress() as progress:
        contents = verify_backup(load_config(home), folder, progress, signer=_key(signer), scratch=scratch)
    _show(contents, folder, as_json, f"drexnode backup restore {folder} --home DIR")


@command.command(
    "restore", cls=ExampleCommand, example="drexnode backup restore /var/backups/node --home node"
)
@_folder
@a_home
@_signer
@as_output
def restore(folder: Path, home: Path, signer: str | None, as_json: bool) -> None:
    """Give a stopped node without a chain that of a backup; it fetches the rest from its peers."""
    from drexnode.backups import restore_backup

    with show_progress() as progress:
        contents = restore_backup(load_config(home), folder, progress, signer=_key(signer))
    _show(contents, folder, as_json, f"drexnode start --home {home}")


def _key(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise CliError("KEY_INVALID", "a public key has 64 hex characters", next="drexnode backup create")
    return key


def _show(contents: object, folder: Path, as_json: bool, following: str) -> None:
    from storage.backup_format import BackupList

    assert isinstance(contents, BackupList)
    facts: dict[str, object] = {
        "folder": str(folder),
        "height": contents.height,
        "block_id": contents.block_id.hex(),
        "state_root": contents.state_root.hex(),
        "first_block": contents.first,
        "base_height": None if contents.base is None else contents.base.height,
        "segments": len(contents.segments),
        "size_bytes": contents.size_bytes,
        "signer": contents.signer.hex(),
        "next": following,
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))
