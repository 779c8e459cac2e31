"""`drexnode tx`: build, sign and send transactions, and wait until they are final."""

from __future__ import annotations

import click

from drexnode.cli.options import LazyGroup

SUBCOMMANDS = {
    "transfer": (
        "tx_money:transfer",
        "Move money from one wallet to another; change goes back to the sender.",
    ),
    "emit": (
        "tx_money:emit",
        "Emit money of an asset; its issuer signs.",
    ),
    "burn": (
        "tx_money:burn",
        "Take money out of circulation; holder and, where the policy says so, issuer sign.",
    ),
    "interbank": (
        "tx_money:interbank",
        "Pay a client of another bank: both banks' money and BRL between them move together, "
        "or nothing does.",
    ),
    "swap": (
        "tx_swap:swap",
        "Exchange two assets in one transaction: delivery versus payment, payment versus payment.",
    ),
    "htlc": (
        "tx_contracts:htlc",
        "Hashed time locks: the payee claims with a secret, or the payer takes the money back after a time.",
    ),
    "vault": (
        "tx_contracts:vault",
        "Vaults: money that several of a number of keys open together.",
    ),
    "consolidate": (
        "tx_money:consolidate",
        "Merge a wallet's smallest outputs of one asset into one.",
    ),
    "freeze": (
        "tx_orders:freeze",
        "Freeze an amount in a wallet: what its holder may not let it fall below.",
    ),
    "unfreeze": (
        "tx_orders:unfreeze",
        "Lift a whole order of freezing.",
    ),
    "move": (
        "tx_orders:move",
        "Take money from a wallet by force, to another one or out of circulation.",
    ),
    "vote": (
        "tx_orders:vote",
        "Vote a validator in or out, or take a vote back.",
    ),
    "show": (
        "tx_files:show_file",
        "What a transaction file does: whose holdings change by how much, and who signed.",
    ),
    "pack": (
        "tx_offline:pack",
        "Add to a transaction file what a machine without a node needs, to see what it signs.",
    ),
    "sign": (
        "tx_files:sign",
        "Check what a transaction file does, add a wallet's signature, and write it (--out) or send it.",
    ),
    "join": (
        "tx_files:join",
        "Join the signatures of several files of one transaction, and write it (--out) or send it.",
    ),
    "send": (
        "tx_files:send",
        "Submit a transaction that is signed already: a file, or hex from a file, stdin or the argument.",
    ),
    "wait": (
        "tx_files:wait",
        "Wait until a transaction is FINAL, or say why it is not.",
    ),
    "note": (
        "tx_notes:note",
        "Read the notes of a transaction's outputs to a wallet, whose key opens what is sealed.",
    ),
}


@click.group("tx", cls=LazyGroup, later=SUBCOMMANDS, example="drexnode tx transfer alice bob 10.00 --wait")
def command() -> None:
    """Transfer, emit, burn, interbank, swap, htlc, vault, orders, votes; sign, send, wait."""
