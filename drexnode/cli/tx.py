"""`drexnode tx`: build, sign and send transactions, and wait until they are final."""

from __future__ import annotations

import click

from drexnode.cli import tx_contracts, tx_files, tx_money, tx_notes, tx_offline, tx_orders, tx_swap
from drexnode.cli.options import ExampleGroup


@click.group("tx", cls=ExampleGroup, example="drexnode tx transfer alice bob 10.00 --wait")
def command() -> None:
    """Transfer, emit, burn, interbank, swap, htlc, vault, orders, votes; sign, send, wait."""


for _subcommand in (
    tx_money.transfer,
    tx_money.emit,
    tx_money.burn,
    tx_money.interbank,
    tx_swap.swap,
    tx_contracts.htlc,
    tx_contracts.vault,
    tx_money.consolidate,
    tx_orders.freeze,
    tx_orders.unfreeze,
    tx_orders.move,
    tx_orders.vote,
    tx_files.show_file,
    tx_offline.pack,
    tx_files.sign,
    tx_files.join,
    tx_files.send,
    tx_files.wait,
    tx_notes.note,
):
    command.add_command(_subcommand)
