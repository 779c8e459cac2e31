"""`drexnode tx show|sign|join|send|wait`: transactions that go from hand to hand as files.

Nobody signs blindly: `sign` shows what the signature does, from hash-checked outputs, and asks; `--expect`
and `--offer` let a program say beforehand what is agreed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from drexnode import client as rpc
from drexnode.cli.locate import open_client
from drexnode.cli.options import ExampleCommand, as_output, at_node
from drexnode.cli.output import CliError, note, show_json, show_pairs
from drexnode.cli.tx_offline import sign_offline
from drexnode.cli.tx_session import TIMEOUT_S, Delivery, Session, final_view, sending, show
from drexnode.wallet import Wallet
from drexnode.wallet_accounts import key_of
from drexnode.wallet_draft import DRAFT, Draft, draft_of, read_document, read_draft
from drexnode.wallet_effect import check_terms, effect_of, read_sources
from drexnode.wallet_swap import confirm_swap, read_offer
from ledger.locks import key_lock
from primitives.units import format_amount

MAX_FILE_BYTES = 1 << 22
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def describe(wallet: Wallet, draft: Draft) -> dict[str, Any]:
    """What a draft does, who signed, and what the ledger would say to it now."""
    sources = read_sources(wallet.client, wallet.chain_id, draft.body)
    changes = [
        {
            "address": wallet.address(place.lock),
            "asset": place.asset,
            "change": _signed(wallet, place.asset, change),
        }
        for place, change in effect_of(draft.body, sources).items()
    ]
    verdict = wallet.client.run(rpc.simulate(draft.transaction.raw))
    body = draft.body
    return {
        "txid": draft.transaction.txid.hex(),
        "kind": draft.transaction.kind.name,
        "changes": changes,
        "payload": msgspec.to_builtins(draft.transaction.payload, builtin_types=(bytes,)),
        "valid_from": body.valid_from,
        "valid_until": body.valid_until,
        "reference": body.reference.hex(),
        "signed_by": [wallet.address(key_lock(key)) for key in draft.signers()],
        "would_be": "VALID" if verdict.valid else verdict.code,
    }


def _signed(wallet: Wallet, asset: str, change: int) -> str:
    decimals = wallet.asset(asset).decimals
    return ("+" if change > 0 else "-") + format_amount(abs(change), decimals)


def show_description(view: Mapping[str, Any], *, as_json: bool, to_stderr: bool = False) -> None:
    """Write a description to stdout, or for a person who is asked to stderr."""
    if as_json and not to_stderr:
        show_json(view)
        return
    pairs = [(name, value) for name, value in view.items() if name not in ("changes", "signed_by", "payload")]
    if to_stderr:
        for name, value in pairs:
            note(f"{name}: {value}")
    else:
        show_pairs(pairs)
    if view["payload"]:
        click.echo(f"  what {_plain(view['payload'])}", err=to_stderr)
    for item in view["changes"]:
        click.echo(f"  {item['change']:>16} {item['asset']} at {item['address']}", err=to_stderr)
    for address in view["signed_by"]:
        click.echo(f"  signed by {address}", err=to_stderr)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def ask(view: Mapping[str, Any], *, yes: bool) -> None:
    """Show what a signature does and ask. Raises `CliError` WALLET_CONFIRM_NEEDED without a terminal."""
    if yes:
        return
    show_description(view, as_json=False, to_stderr=True)
    if not sys.stdin.isatty():
        message = "not signed: say what you agreed to, or --yes after looking at it"
        raise CliError("WALLET_CONFIRM_NEEDED", message, next="drexnode tx show FILE")
    click.confirm("Sign this?", abort=True, err=True)


@click.command("show", cls=ExampleCommand, example="drexnode tx show half.tx")
@click.argument("file", type=FILE)
@at_node
@as_output
def show_file(file: Path, as_json: bool) -> None:
    """What a transaction file does: whose holdings change by how much, and who signed."""
    with open_client() as client:
        wallet = Wallet(client)
        view = describe(wallet, read_draft(file, wallet.chain_id))
    show_description(view, as_json=as_json)


@click.command("sign", cls=ExampleCommand, example="drexnode tx sign half.tx alice --out whole.tx")
@click.argument("file", type=FILE)
@click.argument("signer", metavar="WALLET")
@click.option("--offer", type=FILE, help="Sign only if it does exactly what this offer of yours asked for.")
@click.option(
    "--expect",
    multiple=True,
    metavar="'±AMOUNT ASSET'",
    help="Sign only if your holdings change by exactly this, such as --expect '-10.00 BRL'.",
)
@click.option("--yes", is_flag=True, help="Sign without being asked.")
@click.option(
    "--offline", is_flag=True, help="Ask no node: FILE comes from `tx pack`, the result goes to --out."
)
@sending
def sign(
    file: Path,
    signer: str,
    offer: Path | None,
    expect: tuple[str, ...],
    yes: bool,
    offline: bool,
    how: Delivery,
) -> None:
    """Check what a transaction file does, add a wallet's signature, and write it (--out) or send it."""
    if offline:
        if offer is not None:
            raise click.UsageError("--offer needs a node; without one say what you agreed to by --expect")
        sign_offline(file, signer, expect, yes, how)
        return
    session = Session(how)
    wallet, owner = session.wallet, session.owner(signer)
    draft = read_draft(file, wallet.chain_id)
    key = key_of(owner)
    if offer is not None:
        signed = confirm_swap(wallet, draft, read_offer(offer, wallet.chain_id), owner)
    elif expect:
        sources = read_sources(session.client, wallet.chain_id, draft.body)
        check_terms(draft, sources, key.public_key, _expected(session, expect))
        signed = draft.signed(key)
    else:
        ask({} if yes else describe(wallet, draft), yes=yes)
        signed = draft.signed(key)
    session.deliver(lambda avoid: signed, [], {"kind": signed.transaction.kind.name})


def _expected(session: Session, texts: tuple[str, ...]) -> dict[str, int]:
    expected: dict[str, int] = {}
    for text in texts:
        sign_, rest = text.strip()[:1], text.strip()[1:]
        if sign_ not in ("+", "-"):
            raise click.UsageError(f"{text!r}: + or - is expected first, such as '-10.00 BRL'")
        asset, amount = session.amount_of(rest)
        expected[asset.asset] = expected.get(asset.asset, 0) + (amount if sign_ == "+" else -amount)
    return expected


@click.command("join", cls=ExampleCommand, example="drexnode tx join by-alice.tx by-bob.tx --out whole.tx")
@click.argument("files", type=FILE, nargs=-1, required=True)
@sending
def join(files: tuple[Path, ...], how: Delivery) -> None:
    """Join the signatures of several files of one transaction, and write it (--out) or send it."""
    session = Session(how)
    drafts = [read_draft(file, session.wallet.chain_id) for file in files]
    whole = drafts[0]
    for draft in drafts[1:]:
        whole = whole.joined(draft)
    session.deliver(lambda avoid: whole, [], {"kind": whole.transaction.kind.name})


@click.command("send", cls=ExampleCommand, example="drexnode tx send whole.tx --wait")
@click.argument("source", metavar="FILE|-|HEX")
@click.option("--wait", is_flag=True, help="Return when it is FINAL, or say why it is not.")
@click.option("--timeout", type=float, default=TIMEOUT_S, show_default=True, help="Seconds to wait.")
@at_node
@as_output
def send(source: str, wait: bool, timeout: float, as_json: bool) -> None:
    """Submit a transaction that is signed already: a file, or hex from a file, stdin or the argument."""
    text = _read_source(source)
    with open_client(sends=True) as client:
        started = time.monotonic()
        raw = _raw(client, source, text)
        view: dict[str, object] = {"txid": client.run(rpc.send(raw)), "status": "PENDING"}
        if wait:
            view |= final_view(client, str(view["txid"]), timeout, started)
    show(view, as_json)


def _raw(client: rpc.Client, source: str, text: str) -> bytes:
    if text.startswith("{"):
        path = Path(source)
        chain_id = bytes.fromhex(client.run(rpc.chain_id()))
        return draft_of(read_document(path, DRAFT), chain_id, path).transaction.raw
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise click.UsageError("a transaction is expected as a file or as hex") from None


def _read_source(source: str) -> str:
    if source == "-":
        return sys.stdin.read(MAX_FILE_BYTES).strip()
    if os.path.isfile(source):  # False for hex that is too long to be a name
        return Path(source).read_text("utf-8", "replace")[:MAX_FILE_BYTES].strip()
    return source.strip()


@click.command("wait", cls=ExampleCommand, example="drexnode tx wait TXID --timeout 60")
@click.argument("txid")
@click.option("--timeout", type=float, default=TIMEOUT_S, show_default=True, help="Seconds to wait.")
@at_node
@as_output
def wait(txid: str, timeout: float, as_json: bool) -> None:
    """Wait until a transaction is FINAL, or say why it is not."""
    with open_client() as client:
        view: dict[str, object] = {"txid": txid, **final_view(client, txid, timeout)}
    show(view, as_json)
