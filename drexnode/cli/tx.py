"""`drexnode tx`: build, sign and send transactions, and wait until they are final.

Amounts are decimals in the asset's unit. Keys come from a devnet's wallets or from the encrypted keystore.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from drexnode import client as rpc
from drexnode.cli.locate import open_client, wallet_book
from drexnode.cli.options import ExampleCommand, ExampleGroup, as_output, at_node
from drexnode.cli.output import CliError, show_json, show_pairs
from primitives.units import format_amount, parse_amount

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT_S = 30.0
MAX_FILE_BYTES = 1 << 20


def sending(command: F) -> F:
    """Options of every command that sends: node, keystore, waiting, output."""
    from drexnode.cli.secrets import with_passphrase

    for option in (
        as_output,
        at_node,
        with_passphrase,
        click.option("--keystore", type=click.Path(path_type=Path), metavar="DIR", help="Encrypted keys."),
        click.option("--timeout", type=float, default=TIMEOUT_S, show_default=True, help="Seconds to wait."),
        click.option("--wait", is_flag=True, help="Return when it is FINAL, or say why it is not."),
    ):
        command = option(command)
    return command


@click.group("tx", cls=ExampleGroup, example="drexnode tx transfer alice bob 10.00 --wait")
def command() -> None:
    """Transfer, emit, burn, consolidate, send, wait."""


class _Session:
    """A client, a wallet, and the accounts a command names."""

    def __init__(
        self,
        keystore: Path | None = None,
        passphrase_file: Path | None = None,
        passphrase_fd: int | None = None,
    ) -> None:
        from drexnode.wallet import Wallet

        self.client = open_client(sends=True)
        self.wallet = Wallet(self.client)
        self.book = wallet_book()
        self._keystore = keystore
        self._secret = (passphrase_file, passphrase_fd)

    def account(self, text: str) -> Any:
        """An account by name or address; its key stays closed until it must sign."""
        from drexnode.wallet import find_account

        return self._from_keystore(text, False) or find_account(text, self.book, self.wallet.prefix)

    def owner(self, text: str) -> Any:
        """An account whose key can sign."""
        from drexnode.wallet import find_account

        return self._from_keystore(text, True) or find_account(text, self.book, self.wallet.prefix)

    def _from_keystore(self, name: str, unlock: bool) -> Any:
        from drexnode.cli.keys import default_folder
        from drexnode.cli.secrets import passphrase
        from drexnode.keystore import Keystore
        from drexnode.wallet import Account
        from ledger.locks import key_lock
        from primitives.address import encode_address

        if self.book is not None and self._keystore is None and name in self.book.accounts:
            return None
        store = Keystore(self._keystore or default_folder())
        if name not in store.names():
            return None
        public_key = store.show(name).public_key
        key = store.unlock(name, passphrase(*self._secret)) if unlock else None
        return Account(name, encode_address(self.wallet.prefix, key_lock(public_key)), key)

    def issuer(self, name: str | None, asset: rpc.Asset) -> Any:
        """The key of an asset's issuer: the one named, or a devnet's wallet at its settlement address."""
        if name is not None:
            return self.owner(name).key
        address = self.wallet.issuer_address(asset)
        found = None if self.book is None or address is None else self.book.find(address)
        if found is None:
            message = f"the issuer {asset.issuer} of {asset.asset} must sign; name its key with --issuer"
            raise CliError("WALLET_ISSUER_NEEDED", message)
        return found.key


def _asset(session: _Session, account: Any, name: str | None) -> rpc.Asset:
    return session.wallet.only_asset(account) if name is None else session.wallet.asset(name)


def _finish(
    session: _Session,
    transaction: Any,
    facts: dict[str, object],
    *,
    wait: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Say what was sent and, with --wait, where it became final."""
    view: dict[str, object] = {"txid": transaction.txid.hex(), **facts, "status": "PENDING"}
    if wait:
        view |= _wait(session.client, transaction.txid.hex(), timeout)
    session.client.close()
    _show(view, as_json)


def _wait(client: rpc.Client, txid: str, timeout: float, started: float | None = None) -> dict[str, object]:
    from drexnode.wallet import wait_final

    done = wait_final(client, txid, timeout, started)
    return {
        "status": "FINAL",
        "height": done.height,
        "round": done.round,
        "block_id": done.block_id,
        "signers": list(done.signers),
        "latency_ms": done.latency_ms,
    }


def _show(view: dict[str, object], as_json: bool) -> None:
    if as_json:
        show_json(view)
        return
    signers = view.get("signers")
    shown = dict(view) if not isinstance(signers, list) else {**view, "signers": len(signers)}
    show_pairs(list(shown.items()))


@command.command("transfer", cls=ExampleCommand, example="drexnode tx transfer alice bob 10.00 --wait")
@click.argument("sender", metavar="FROM")
@click.argument("to")
@click.argument("amount")
@click.option("--asset", help="The asset; not needed when the sender holds one alone.")
@click.option("--note", default="", help="Open text in the output, seen by every node.")
@click.option("--reference", default="", help="Your operation id, at most 64 bytes.")
@sending
def transfer(
    sender: str,
    to: str,
    amount: str,
    asset: str | None,
    note: str,
    reference: str,
    wait: bool,
    timeout: float,
    as_json: bool,
    **secret: Any,
) -> None:
    """Move money from one wallet to another; change goes back to the sender."""
    session = _Session(**secret)
    owner, target = session.owner(sender), session.account(to)
    policy = _asset(session, owner, asset)
    value = parse_amount(amount, policy.decimals)
    transaction = session.wallet.transfer(
        owner, target.address, policy, value, note=note.encode(), reference=reference.encode()
    )
    facts: dict[str, object] = {
        "kind": "TRANSFER",
        "asset": policy.asset,
        "amount": format_amount(value, policy.decimals),
    }
    facts |= {"from": owner.address, "to": target.address}
    _finish(session, transaction, facts, wait=wait, timeout=timeout, as_json=as_json)


@command.command("emit", cls=ExampleCommand, example="drexnode tx emit bcb bcb 1000.00 --asset BRL --wait")
@click.argument("issuer")
@click.argument("to")
@click.argument("amount")
@click.option("--asset", default="BRL", show_default=True)
@click.option("--reference", help="Operation id, unique per asset for ever.  [default: a random one]")
@sending
def emit(
    issuer: str,
    to: str,
    amount: str,
    asset: str,
    reference: str | None,
    wait: bool,
    timeout: float,
    as_json: bool,
    **secret: Any,
) -> None:
    """Emit money of an asset; its issuer signs."""
    session = _Session(**secret)
    target, policy = session.account(to), session.wallet.asset(asset)
    value = parse_amount(amount, policy.decimals)
    operation = secrets.token_bytes(16) if reference is None else reference.encode()
    transaction = session.wallet.emit(
        session.issuer(issuer, policy), target.address, policy, value, operation
    )
    facts: dict[str, object] = {
        "kind": "EMISSION",
        "asset": asset,
        "amount": format_amount(value, policy.decimals),
    }
    facts |= {"to": target.address, "reference": operation.hex()}
    _finish(session, transaction, facts, wait=wait, timeout=timeout, as_json=as_json)


@command.command("burn", cls=ExampleCommand, example="drexnode tx burn bcb 100.00 --asset BRL --wait")
@click.argument("holder", metavar="FROM")
@click.argument("amount")
@click.option("--asset", help="The asset; not needed when the holder holds one alone.")
@click.option(
    "--issuer", help="Wallet that signs for the issuer.  [default: a devnet's wallet of the issuer]"
)
@click.option("--reference", default="", help="Your operation id, at most 64 bytes.")
@sending
def burn(
    holder: str,
    amount: str,
    asset: str | None,
    issuer: str | None,
    reference: str,
    wait: bool,
    timeout: float,
    as_json: bool,
    **secret: Any,
) -> None:
    """Take money out of circulation; holder and, where the policy says so, issuer sign."""
    session = _Session(**secret)
    owner = session.owner(holder)
    policy = _asset(session, owner, asset)
    value = parse_amount(amount, policy.decimals)
    key = session.issuer(issuer, policy) if policy.burn_needs_issuer else None
    transaction = session.wallet.burn(owner, policy, value, key, reference=reference.encode())
    facts: dict[str, object] = {
        "kind": "BURN",
        "asset": policy.asset,
        "amount": format_amount(value, policy.decimals),
    }
    facts |= {"from": owner.address}
    _finish(session, transaction, facts, wait=wait, timeout=timeout, as_json=as_json)


@command.command("consolidate", cls=ExampleCommand, example="drexnode tx consolidate alice --wait")
@click.argument("owner", metavar="WALLET")
@click.option("--asset", help="The asset; not needed when the wallet holds one alone.")
@sending
def consolidate(
    owner: str, asset: str | None, wait: bool, timeout: float, as_json: bool, **secret: Any
) -> None:
    """Merge a wallet's smallest outputs of one asset into one."""
    session = _Session(**secret)
    account = session.owner(owner)
    policy = _asset(session, account, asset)
    transaction = session.wallet.consolidate(account, policy)
    if transaction is None:
        raise CliError("WALLET_NOTHING_TO_MERGE", f"{owner} has fewer than two outputs of {policy.asset}")
    facts: dict[str, object] = {
        "kind": "TRANSFER",
        "asset": policy.asset,
        "merged": len(transaction.body.inputs),
    }
    _finish(session, transaction, facts, wait=wait, timeout=timeout, as_json=as_json)


@command.command("send", cls=ExampleCommand, example="drexnode tx send transaction.hex --wait")
@click.argument("source", metavar="FILE|-|HEX")
@click.option("--wait", is_flag=True, help="Return when it is FINAL, or say why it is not.")
@click.option("--timeout", type=float, default=TIMEOUT_S, show_default=True, help="Seconds to wait.")
@at_node
@as_output
def send(source: str, wait: bool, timeout: float, as_json: bool) -> None:
    """Submit a transaction that is signed already: hex from a file, stdin or the argument."""
    text = _read_source(source)
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise click.UsageError("a transaction is expected as hex") from None
    with open_client(sends=True) as client:
        started = time.monotonic()
        view: dict[str, object] = {"txid": client.run(rpc.send(raw)), "status": "PENDING"}
        if wait:
            view |= _wait(client, str(view["txid"]), timeout, started)
    _show(view, as_json)


def _read_source(source: str) -> str:
    if source == "-":
        return sys.stdin.read(MAX_FILE_BYTES).strip()
    if os.path.isfile(source):  # False for hex that is too long to be a name
        return Path(source).read_text("ascii", "replace")[:MAX_FILE_BYTES].strip()
    return source.strip()


@command.command("wait", cls=ExampleCommand, example="drexnode tx wait TXID --timeout 60")
@click.argument("txid")
@click.option("--timeout", type=float, default=TIMEOUT_S, show_default=True, help="Seconds to wait.")
@at_node
@as_output
def wait(txid: str, timeout: float, as_json: bool) -> None:
    """Wait until a transaction is FINAL, or say why it is not."""
    with open_client() as client:
        view: dict[str, object] = {"txid": txid, **_wait(client, txid, timeout)}
    _show(view, as_json)
