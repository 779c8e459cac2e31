"""`drexnode keys`: encrypted keys of people. A node's own keys are made by `init`."""

from __future__ import annotations

import secrets as entropy
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from drexnode.cli.keys_rotate import rotate
from drexnode.cli.options import ExampleCommand, ExampleGroup, as_output
from drexnode.cli.output import note, show_json, show_pairs, show_table
from drexnode.cli.secrets import default_folder as default_folder
from drexnode.cli.secrets import passphrase, read_seed, with_passphrase
from drexnode.keystore import Keystore, StoredKey, write_plain_key

F = TypeVar("F", bound=Callable[..., Any])


def with_keystore(command: F) -> F:
    """`--keystore DIR` and `--prefix`, how addresses are shown."""
    for option in (
        click.option("--prefix", default="drex", show_default=True, help="The network's address prefix."),
        click.option(
            "--keystore",
            envvar="DREX_KEYSTORE",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder of encrypted keys.  [default: ~/.drexnode/keys]",
        ),
    ):
        command = option(command)
    return command


def _view(key: StoredKey, prefix: str) -> dict[str, str]:
    from ledger.locks import key_lock
    from primitives.address import encode_address

    address = encode_address(prefix, key_lock(key.public_key))
    return {
        "name": key.name,
        "public_key": key.public_key.hex(),
        "address": address,
        "file": str(key.path),
    }


def _show(key: StoredKey, prefix: str, as_json: bool) -> None:
    view = _view(key, prefix)
    if as_json:
        show_json(view)
    else:
        show_pairs(list(view.items()))


@click.group("keys", cls=ExampleGroup, example="drexnode keys new alice\ndrexnode keys list")
def command() -> None:
    """Encrypted keys: new, list, show, import, export, rotate."""


command.add_command(rotate)


@command.command("new", cls=ExampleCommand, example="drexnode keys new alice")
@click.argument("name")
@with_keystore
@with_passphrase
@as_output
def new(
    name: str,
    keystore: Path | None,
    prefix: str,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Make a key and encrypt it with a passphrase."""
    store = Keystore(keystore or default_folder())
    secret = passphrase(passphrase_file, passphrase_fd, confirm=True)
    _show(store.add(name, entropy.token_bytes(32), secret), prefix, as_json)


@command.command("import", cls=ExampleCommand, example="drexnode keys import alice --seed-file seed.hex")
@click.argument("name")
@click.option("--seed-file", type=click.Path(path_type=Path), metavar="FILE", help="File of mode 0600.")
@click.option("--seed-fd", type=click.IntRange(0), metavar="N", help="Open descriptor to read the seed from.")
@with_keystore
@with_passphrase
@as_output
def import_(
    name: str,
    seed_file: Path | None,
    seed_fd: int | None,
    keystore: Path | None,
    prefix: str,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Encrypt a seed that exists already."""
    seed = read_seed(seed_file, seed_fd)
    store = Keystore(keystore or default_folder())
    secret = passphrase(passphrase_file, passphrase_fd, confirm=True)
    _show(store.add(name, seed, secret), prefix, as_json)


@command.command("list", cls=ExampleCommand, example="drexnode keys list -o json")
@with_keystore
@as_output
def list_(keystore: Path | None, prefix: str, as_json: bool) -> None:
    """Names, addresses and public keys of all keys."""
    store = Keystore(keystore or default_folder())
    keys = [_view(store.show(name), prefix) for name in store.names()]
    if as_json:
        show_json({"keys": keys})
    else:
        rows = [(key["name"], key["address"], key["public_key"]) for key in keys]
        show_table(("NAME", "ADDRESS", "PUBLIC KEY"), rows)


@command.command("show", cls=ExampleCommand, example="drexnode keys show alice --prefix drexdev")
@click.argument("name")
@with_keystore
@as_output
def show(name: str, keystore: Path | None, prefix: str, as_json: bool) -> None:
    """Address and public key of a key; no passphrase is needed."""
    _show(Keystore(keystore or default_folder()).show(name), prefix, as_json)


@command.command("export", cls=ExampleCommand, example="drexnode keys export alice --to alice.seed")
@click.argument("name")
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="New file, mode 0600, for the open seed.",
)
@with_keystore
@with_passphrase
@as_output
def export(
    name: str,
    target: Path,
    keystore: Path | None,
    prefix: str,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Write a key's open seed to a new file."""
    store = Keystore(keystore or default_folder())
    key = store.unlock(name, passphrase(passphrase_file, passphrase_fd))
    write_plain_key(target, key.seed)
    note(f"{target} holds the open seed of {name}: whoever reads it can spend")
    if as_json:
        show_json({"name": name, "file": str(target), "public_key": key.public_key.hex()})
