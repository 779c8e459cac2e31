"""`drexnode recover`: the chain goes on after more than f validators are lost for good.

    statement   each stopped node says what it has
    propose     from all statements: after which block, which validators
    sign        the members of the genesis's recovery condition, one after another
    apply       on each stopped node; then start it

The handbook with every step is docs/recovery.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drexnode.cli.keys import default_folder
from drexnode.cli.options import ExampleCommand, ExampleGroup, a_home, as_output
from drexnode.cli.output import CliError, note, show_json, show_pairs
from drexnode.cli.secrets import passphrase, with_passphrase

if TYPE_CHECKING:
    from ledger.override import OverrideValidator
    from primitives.keys import SigningKey

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
NEW_FILE = click.Path(path_type=Path, dir_okay=False)

a_signer = click.option(
    "--signer-home",
    "signer",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The home of the node's signer process, if it has one of its own.",
)
a_genesis = click.option("--genesis", required=True, type=FILE, metavar="FILE", help="The network's genesis.")


@click.group("recover", cls=ExampleGroup, example="drexnode recover statement --home node --out node.json")
def command() -> None:
    """Go on after the loss of more than f validators: statement, propose, sign, show, apply."""


@command.command(
    "statement", cls=ExampleCommand, example="drexnode recover statement --home node --out node.json"
)
@a_home
@click.option("--out", required=True, type=NEW_FILE, metavar="FILE", help="New file for the statement.")
@a_signer
@click.option(
    "--memory-lost", is_flag=True, help="State the tip alone: what was signed is not known any more."
)
@as_output
def statement(home: Path, out: Path, signer: Path | None, memory_lost: bool, as_json: bool) -> None:
    """What a stopped node has: its last block with certificate, and a validator its lock."""
    from drexnode.config import load_config
    from drexnode.recover_files import statement_view, write_statement
    from drexnode.recover_statement import make_statement

    memory = None if signer is None else load_config(signer)
    made = make_statement(load_config(home), memory, memory_is_lost=memory_lost)
    write_statement(out, made)
    _show({**statement_view(made), "file": str(out)}, as_json)


@command.command(
    "propose",
    cls=ExampleCommand,
    example="drexnode recover propose a.json b.json --genesis g.json --validator KEY=PEER_ID --out o.json",
)
@click.argument("statements", type=FILE, nargs=-1, required=True)
@a_genesis
@click.option(
    "--validator",
    "validators",
    multiple=True,
    required=True,
    metavar="KEY=PEER_ID",
    help="A member of the new set: public key (hex) and the node that holds it; repeatable.",
)
@click.option("--out", required=True, type=NEW_FILE, metavar="FILE", help="New file for the override.")
@as_output
def propose(
    statements: tuple[Path, ...], genesis: Path, validators: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Make the override from all statements: it begins after the highest decided block or lock shown."""
    from drexnode.home import read_genesis
    from drexnode.recover_files import override_view, read_statement, write_override_file
    from drexnode.recover_order import propose_override
    from primitives.limits import MAX_STATEMENTS

    if len(statements) > MAX_STATEMENTS:
        raise click.UsageError(f"at most {MAX_STATEMENTS} statements are expected")
    document = read_genesis(genesis)
    members = [_member(text) for text in validators]
    override = propose_override(document, [read_statement(path) for path in statements], members)
    write_override_file(out, override, document)
    _warn_of_size(len(members))
    _show({**override_view(override, document), "file": str(out)}, as_json)


def _member(text: str) -> OverrideValidator:
    import base58

    from ledger.override import OverrideValidator
    from p2p.identity import parse_peer_id
    from primitives.errors import DecodeError

    key, _, peer = text.partition("=")
    try:
        public_key = bytes.fromhex(key)
        peer_id = bytes(base58.b58decode(parse_peer_id(peer)))
    except (ValueError, DecodeError) as error:
        raise click.UsageError(f"{text!r}: KEY=PEER_ID is expected ({error})") from None
    if len(public_key) != 32:
        raise click.UsageError(f"{key!r}: a public key has 64 hex characters")
    return OverrideValidator(public_key, peer_id)


def _warn_of_size(size: int) -> None:
    faulty = (size - 1) // 3
    if faulty == 0:
        note(f"a set of {size} bears no failure at all: vote more in as soon as blocks come again")


@command.command("show", cls=ExampleCommand, example="drexnode recover show o.json --genesis genesis.json")
@click.argument("file", type=FILE)
@a_genesis
@as_output
def show(file: Path, genesis: Path, as_json: bool) -> None:
    """What an override orders, who has signed it, and what is missing."""
    from drexnode.home import read_genesis
    from drexnode.recover_files import override_view, read_override_file

    document = read_genesis(genesis)
    _show(override_view(read_override_file(file), document), as_json)


@command.command(
    "sign", cls=ExampleCommand, example="drexnode recover sign o.json bcb-recovery --genesis genesis.json"
)
@click.argument("file", type=FILE)
@click.argument("signer", metavar="KEY", required=False)
@a_genesis
@click.option("--key-file", type=FILE, help="The key's open seed, mode 0600, instead of KEY.")
@click.option(
    "--dir", "devnet", type=click.Path(path_type=Path), metavar="DIR", help="A devnet: its wallets."
)
@click.option("--keystore", type=click.Path(path_type=Path), metavar="DIR", help="Encrypted keys.")
@with_passphrase
@click.option("--yes", is_flag=True, help="Sign without being asked.")
@as_output
def sign(
    file: Path,
    signer: str | None,
    genesis: Path,
    key_file: Path | None,
    devnet: Path | None,
    keystore: Path | None,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Look at an override, and add a signature of the recovery condition to its file."""
    from drexnode.home import read_genesis
    from drexnode.recover_files import override_view, read_override_file, write_override_file
    from drexnode.recover_order import sign_override

    if (signer is None) == (key_file is None):
        raise click.UsageError("either KEY or --key-file is expected")
    document, override = read_genesis(genesis), read_override_file(file)
    _ask(_lines(override_view(override, document)), "Sign this?", "drexnode recover show FILE", yes=yes)
    if key_file is not None:
        from drexnode.keystore import read_plain_key

        key = read_plain_key(key_file)
    else:
        assert signer is not None
        key = _key(signer, devnet, keystore, passphrase_file, passphrase_fd)
    signed = sign_override(override, document, key)
    write_override_file(file, signed, document, replaces=True)
    _show({**override_view(signed, document), "file": str(file)}, as_json)


def _key(
    name: str, devnet: Path | None, keystore: Path | None, secret_file: Path | None, secret_fd: int | None
) -> SigningKey:
    """A key by name, from a devnet's wallets or the keystore. Raises `KeyFailure`, `CliError`."""
    from drexnode.keystore import Keystore

    if devnet is None:
        store = Keystore(keystore or default_folder())
        store.show(name)  # a wrong name is told before a passphrase is asked for
        return store.unlock(name, passphrase(secret_file, secret_fd))
    from drexnode.devnet import WALLETS_FILE
    from drexnode.wallet_accounts import WalletBook, key_of

    account = WalletBook.load(devnet / WALLETS_FILE).find(name)
    if account is None:
        raise CliError("WALLET_UNKNOWN", f"{devnet} has no wallet {name!r}")
    return key_of(account)


@command.command("apply", cls=ExampleCommand, example="drexnode recover apply o.json --home node")
@click.argument("file", type=FILE)
@a_home
@click.option(
    "--abandon-lock",
    is_flag=True,
    help="Give up a block this validator is locked on, though it may have been final: the last resort.",
)
@a_signer
@click.option("--yes", is_flag=True, help="Apply without being asked.")
@as_output
def apply(file: Path, home: Path, abandon_lock: bool, signer: Path | None, yes: bool, as_json: bool) -> None:
    """Check an override against a stopped node, say what it does there, and store it durably."""
    from drexnode.config import load_config
    from drexnode.recover_apply import StoppedNode
    from drexnode.recover_files import read_override_file
    from drexnode.telemetry import setup_logging

    setup_logging("warning")
    override = read_override_file(file)
    node = StoppedNode(load_config(home), None if signer is None else load_config(signer))
    try:
        plan = node.plan(override, abandon_lock=abandon_lock)
        if not plan.is_applied:
            _ask(plan.steps, "Apply this?", "the same command with --yes, or in a terminal", yes=yes)
            node.apply(override)
    finally:
        node.close()
    facts = {
        "applied": True,
        "was_applied_before": plan.is_applied,
        "head_height": plan.head_height,
        "head_id": plan.head_id.hex(),
        "height": override.height,
        "epoch": override.order.epoch,
        "steps": list(plan.steps),
        "next": f"drexnode start --home {home}",
    }
    _show(facts if as_json else {name: facts[name] for name in facts if name != "steps"}, as_json)


def _ask(lines: Sequence[str], question: str, following: str, *, yes: bool) -> None:
    """Show what is about to happen and ask. Raises `CliError` RECOVER_CONFIRM_NEEDED without a terminal."""
    for line in lines:
        note(f"- {line}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("RECOVER_CONFIRM_NEEDED", "nothing was changed: look at the above", next=following)
    click.confirm(question, abort=True, err=True)


def _lines(view: dict[str, Any]) -> list[str]:
    return [f"{name}: {_text(value)}" for name, value in view.items()]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "; ".join(_text(item) for item in value) or "-"
    return "-" if value is None else str(value)


def _show(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(view)
    else:
        show_pairs([(name, _text(value)) for name, value in view.items()])
