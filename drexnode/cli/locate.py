"""Which node a command talks to, and whose wallets it knows.

In this order: `--rpc URL`; `--home DIR`, a node's home; `--dir DIR`, a devnet; a devnet in ./devnet; and at
last the default port on this machine. Of a devnet the first node that answers is taken.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drexnode import client as rpc
from drexnode.cli.options import NODE_KEY, STOPPED_KEY
from drexnode.cli.output import CliError
from drexnode.client_tls import client_context
from drexnode.own_node import own_client

if TYPE_CHECKING:
    from drexnode.config import NodeConfig

DEFAULT_URL = "http://127.0.0.1:26650"
DEFAULT_DIR = Path("devnet")
MAX_TOKEN_CHARS = 8192
KEY_CHARS = 64  # a public key in hexadecimal


def _given() -> dict[str, Any]:
    """What the command line said about the node; nothing for a program that calls without one."""
    context = click.get_current_context(silent=True)
    given: dict[str, Any] = {} if context is None else context.meta.get(NODE_KEY, {})
    return given


def devnet_folder() -> Path | None:
    """The devnet that was named, or ./devnet if there is one."""
    from drexnode.devnet import Devnet

    named: Path | None = _given().get("dir")
    if named is not None:
        return named
    return DEFAULT_DIR if Devnet.exists(DEFAULT_DIR) else None


def open_client(*, sends: bool = False) -> rpc.Client:
    """A client of the chosen node, or of the files that `inspect` opened. `sends` leaves observers out.

    Raises `NodeUnreachable`, `ConfigError`.
    """
    stopped: rpc.Client | None = click.get_current_context().meta.get(STOPPED_KEY)
    if stopped is not None:
        return stopped
    given = _given()
    if given.get("rpc"):
        return rpc.Client(given["rpc"], token=given_token(), tls=_given_trust())
    if given.get("home") is not None:
        return _client_of_home(given["home"])
    folder = devnet_folder()
    return rpc.Client(DEFAULT_URL) if folder is None else _client_of_devnet(folder, sends)


def _client_of_home(home: Path) -> rpc.Client:
    from drexnode.config import load_config

    return client_of_home(load_config(home))


def client_of_home(config: NodeConfig) -> rpc.Client:
    """A client of a home's own node, with its admin credential where this user may read it."""
    return own_client(config, token=given_token(), tls=_given_trust(), cert_file=_given().get("cert"))


def given_token() -> str | None:
    """The token or API key of `--token-file`, or of DREX_TOKEN. Raises `CliError` TOKEN_UNREADABLE."""
    path: Path | None = _given().get("token_file")
    if path is None:
        return os.environ.get("DREX_TOKEN")
    try:
        token = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        message = f"{path}: {error}; make one with: drexnode rpc token create --out {path}"
        raise CliError("TOKEN_UNREADABLE", message, path=str(path)) from None
    if not token or len(token) > MAX_TOKEN_CHARS or not token.isprintable():
        raise CliError("TOKEN_UNREADABLE", f"{path} holds no token, one line of text", path=str(path))
    return token


def _given_trust() -> ssl.SSLContext | None:
    """`--ca`: whom to trust instead of the system's authorities; `--cert`: what to show."""
    ca_file, cert_file = _given().get("ca"), _given().get("cert")
    if ca_file is None and (cert_file is None or not _given().get("rpc")):
        return None
    return client_context(ca_file, cert_file)


def _client_of_devnet(folder: Path, sends: bool) -> rpc.Client:
    from drexnode.devnet import Devnet

    tried = []
    for node in Devnet(folder).nodes:
        if sends and node.role == "observer":
            continue
        client = _client_of_home(node.home)
        try:
            client.run(rpc.block_number())
            return client
        except rpc.NodeUnreachable:
            tried.append(f"{node.name} at {node.rpc_url}")
    hint = f"drexnode devnet up --dir {folder}"
    raise CliError("NODE_UNREACHABLE", f"no node of {folder} answers", tried=tried, next=hint)


def wallet_book() -> Any:
    """The devnet's `WalletBook` with the address book's names beside its own; None when there is neither."""
    from drexnode.address_book import AddressBook
    from drexnode.cli.address_book import default_path
    from drexnode.devnet import WALLETS_FILE
    from drexnode.wallet import WalletBook

    folder = devnet_folder()
    contacts = AddressBook(default_path()).contacts
    accounts = {name: contact.account() for name, contact in contacts.items()}
    if folder is not None:
        accounts |= WalletBook.load(folder / WALLETS_FILE).accounts
    return WalletBook(accounts) if accounts else None


def validator_home(text: str) -> Path:
    """A node's home: a node of the devnet, or a folder. Raises `CliError` WALLET_UNKNOWN."""
    from drexnode.config import CONFIG_FILE

    folder = devnet_folder()
    homes = [Path(text)] if folder is None else [folder / text, Path(text)]
    for home in homes:
        if (home / CONFIG_FILE).is_file():
            return home
    message = f"{text[:90]!r} is neither a node of this devnet nor the home of one"
    raise CliError("WALLET_UNKNOWN", message)


def validator_public_key(text: str) -> bytes:
    """A validator's public key: 64 hex characters, or the key of a node's home, encrypted or not.

    Raises `CliError` WALLET_UNKNOWN, `KeyFailure`, `ConfigError`."""
    from drexnode.config import load_config
    from drexnode.keystore import public_key_in

    if len(text) == KEY_CHARS:
        try:
            return bytes.fromhex(text)
        except ValueError:
            pass
    return public_key_in(load_config(validator_home(text)).validator_key_path)
