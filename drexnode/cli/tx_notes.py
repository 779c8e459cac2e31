"""Options of notes, and `drexnode tx note`: what was written to a payee."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from drexnode import client as rpc
from drexnode.cli.options import ExampleCommand
from drexnode.cli.output import CliError, show_json, show_table
from drexnode.cli.tx_session import Delivery, Session, sending
from drexnode.wallet_accounts import Account, key_of
from drexnode.wallet_notes import is_sealed, open_text, read_note, seal_note
from ledger.locks import key_lock
from ledger.transaction import decode_transaction

F = TypeVar("F", bound=Callable[..., Any])


def with_note(command: F) -> F:
    """`--note` and `--open-note`, passed as `note` and `open_note`."""
    for option in (
        click.option("--open-note", default="", metavar="TEXT", help="A note that every node reads."),
        click.option("--note", default="", metavar="TEXT", help="A note that the payee alone can read."),
    ):
        command = option(command)
    return command


def note_for(payee: Account, note: str, open_note: str) -> bytes:
    """The bytes of a payee's output. Raises `CliError` WALLET_NOTE_KEY_UNKNOWN, `WalletError`."""
    if note and open_note:
        raise click.UsageError("name either --note or --open-note")
    if not note:
        return open_text(open_note)
    if payee.public_key is None:
        message = f"a note is sealed for its payee, and the public key of {payee.name} is not here"
        hint = f"drexnode address-book add NAME {payee.address} --key KEY, or --open-note"
        raise CliError("WALLET_NOTE_KEY_UNKNOWN", message, address=payee.address, next=hint)
    return seal_note(note, payee.public_key)


@click.command("note", cls=ExampleCommand, example="drexnode tx note TXID bob")
@click.argument("txid")
@click.argument("payee", metavar="WALLET")
@sending
def note(txid: str, payee: str, how: Delivery) -> None:
    """Read the notes of a transaction's outputs to a wallet, whose key opens what is sealed."""
    session = Session(how)
    key = key_of(session.owner(payee))
    view = session.client.run(rpc.transaction(txid))
    if view is None:
        raise CliError("WALLET_TX_UNKNOWN", f"the node knows no transaction {txid[:64]}", txid=txid[:64])
    transaction = decode_transaction(bytes.fromhex(view["raw"]), session.wallet.chain_id)
    lock = key_lock(key.public_key)
    notes = [
        {"index": index, "sealed": is_sealed(output.note), "note": read_note(output.note, key)}
        for index, output in enumerate(transaction.body.outputs)
        if output.lock == lock and output.note
    ]
    if how.as_json:
        show_json({"txid": transaction.txid.hex(), "notes": notes})
    else:
        show_table(("OUTPUT", "SEALED", "NOTE"), [tuple(item.values()) for item in notes])
