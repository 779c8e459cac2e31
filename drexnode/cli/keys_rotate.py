"""`drexnode keys rotate`: let a new key take over from an old one, for money or for a role."""

from __future__ import annotations

import click

from drexnode.cli.acting import actor_of
from drexnode.cli.options import ExampleCommand
from drexnode.cli.registry_act import act_by, credential_of
from drexnode.cli.tx_session import Delivery, Session, sending
from drexnode.wallet_rotate import rotate_draft
from ledger.locks import KeyLeaf, key_lock
from ledger.payloads import Credential, RotateCondition
from primitives.units import format_amount

ROLES = [item.name.lower() for item in Credential]


@click.command(
    "rotate",
    cls=ExampleCommand,
    example="drexnode keys new alice-2\n"
    "drexnode keys rotate alice alice-2 --wait\n"
    "drexnode keys rotate bcb bcb-2 --role emission --wait",
)
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--role", type=click.Choice(ROLES), help="Replace the key of a role instead of moving money.")
@click.option("--as", "actor", metavar="ISPB", help="Whose role.  [default: whose lock OLD's is, else BCB]")
@sending
def rotate(old: str, new: str, role: str | None, actor: str | None, how: Delivery) -> None:
    """Let NEW take over from OLD, which signs: all free money in one transaction, or a role.

    NEW is a key's or wallet's name, an entry of the address book that has a key, or 64 hex characters. A
    client's new wallet must be enabled first (registry wallet enable); what is frozen stays where it is. The
    key file of OLD is left alone: what arrives there later can still be moved.
    """
    session = Session(how)
    public_key = session.public_key(new)
    if role is not None:
        _, who = actor_of(session, old, actor)
        act_by(session, old, who, RotateCondition(who, credential_of(role), KeyLeaf(public_key)))
        return
    if actor is not None:
        raise click.UsageError("--as goes with --role: money moves by its own key")
    wallet, owner = session.wallet, session.owner(old)
    target = wallet.address(key_lock(public_key))
    draft, moved = rotate_draft(wallet, owner.address, target)
    amounts = [
        f"{format_amount(amount, wallet.asset(name).decimals)} {name}" for name, amount in moved.items()
    ]
    facts = {"kind": "TRANSFER", "from": owner.address, "to": target, "moved": amounts}
    session.deliver(lambda avoid: draft, [owner], facts)
