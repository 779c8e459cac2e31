"""`drexnode tx freeze|unfreeze|move|vote`: orders of authorities, and validators' votes."""

from __future__ import annotations

import click

from drexnode import client as rpc
from drexnode.cli.acting import acting, actor_of, with_asset, with_order
from drexnode.cli.locate import validator_home, validator_public_key
from drexnode.cli.options import ExampleCommand
from drexnode.cli.output import note
from drexnode.cli.tx_session import Delivery, Session, sending
from drexnode.config import load_config
from drexnode.keystore import read_plain_key
from drexnode.wallet import Avoid
from drexnode.wallet_accounts import Account
from drexnode.wallet_draft import Draft
from drexnode.wallet_orders import freeze_draft, move_draft, unfreeze_draft, vote_draft
from ledger.payloads import VoteOperation
from primitives.units import format_amount, parse_amount

VOTE_BLOCKS = 1_000
UNSEEN = (
    "warning: no node of this key is seen by the node that was asked: once in the set it must vote, and each "
    "validator that doesn't weakens the quorum; see drexnode peers list --all"
)


@click.command(
    "freeze",
    cls=ExampleCommand,
    example="drexnode tx freeze alice 100.00 --asset BRL@99990001/DVT --order court-7 --by bcb-orders",
)
@click.argument("holder", metavar="WALLET")
@click.argument("amount")
@with_asset
@with_order
@acting
@sending
def freeze(
    holder: str, amount: str, asset: str, order: str, by: str, actor: str | None, how: Delivery
) -> None:
    """Freeze an amount in a wallet: what its holder may not let it fall below."""
    session = Session(how)
    target, policy = session.account(holder), session.wallet.asset(asset)
    value = parse_amount(amount, policy.decimals)
    signer, who = actor_of(session, by, actor)
    draft = freeze_draft(session.wallet, who, target.address, asset, value, order.encode())
    facts = {"kind": "FREEZE", "asset": asset, "amount": format_amount(value, policy.decimals)}
    facts |= {"of": target.address, "author": who, "order": order}
    session.deliver(lambda avoid: draft, [signer], facts)


@click.command(
    "unfreeze",
    cls=ExampleCommand,
    example="drexnode tx unfreeze alice --asset BRL@99990001/DVT --order court-7 --by bcb-orders",
)
@click.argument("holder", metavar="WALLET")
@with_asset
@with_order
@click.option("--author", metavar="ISPB", help="Whose order it is.  [default: who acts]")
@acting
@sending
def unfreeze(
    holder: str, asset: str, order: str, author: str | None, by: str, actor: str | None, how: Delivery
) -> None:
    """Lift a whole order of freezing."""
    session = Session(how)
    target = session.account(holder)
    signer, who = actor_of(session, by, actor)
    draft = unfreeze_draft(session.wallet, who, target.address, asset, author or who, order.encode())
    facts = {"kind": "UNFREEZE", "asset": asset, "of": target.address, "author": author or who}
    session.deliver(lambda avoid: draft, [signer], facts | {"order": order})


@click.command(
    "move",
    cls=ExampleCommand,
    example="drexnode tx move alice 5.00 --to bob --asset BRL@99990001/DVT --order court-8 --by bcb-orders",
)
@click.argument("holder", metavar="FROM")
@click.argument("amount")
@click.option("--to", help="Who gets it.")
@click.option("--burn", is_flag=True, help="Take it out of circulation instead.")
@with_asset
@with_order
@acting
@sending
def move(
    holder: str,
    amount: str,
    to: str | None,
    burn: bool,
    asset: str,
    order: str,
    by: str,
    actor: str | None,
    how: Delivery,
) -> None:
    """Take money from a wallet by force, to another one or out of circulation."""
    if (to is None) != burn:
        raise click.UsageError("name either --to WALLET or --burn")
    session = Session(how)
    source, policy = session.account(holder), session.wallet.asset(asset)
    target = None if to is None else session.account(to).address
    value = parse_amount(amount, policy.decimals)
    signer, who = actor_of(session, by, actor)

    def make(avoid: Avoid) -> Draft:
        wallet, order_id = session.wallet, order.encode()
        return move_draft(wallet, who, source.address, target, policy, value, order_id, avoid=avoid)

    facts = {"kind": "MOVE", "asset": asset, "amount": format_amount(value, policy.decimals)}
    facts |= {"from": source.address, "to": target or "out of circulation", "actor": who, "order": order}
    session.deliver(make, [signer], facts)


@click.command("vote", cls=ExampleCommand, example="drexnode tx vote remove validator-3 --by validator-0")
@click.argument("operation", type=click.Choice([item.name.lower() for item in VoteOperation]))
@click.argument("subject")
@click.option("--by", required=True, metavar="NODE|HOME", help="The validator that votes: its home.")
@click.option("--blocks", type=click.IntRange(1), default=VOTE_BLOCKS, show_default=True, help="How long.")
@sending
def vote(operation: str, subject: str, by: str, blocks: int, how: Delivery) -> None:
    """Vote a validator in or out, or take a vote back. SUBJECT is a public key, or a devnet's node."""
    session = Session(how)
    key = read_plain_key(load_config(validator_home(by)).validator_key_path)
    public_key = validator_public_key(subject)
    what = VoteOperation[operation.upper()]
    draft = vote_draft(session.wallet, key.public_key, public_key, what, blocks)
    voter = Account(by, session.wallet.address_of(key), key, key.public_key)
    if what is VoteOperation.ADD and not is_seen(session.client, public_key):
        note(UNSEEN)
    facts = {"kind": "VALIDATOR_VOTE", "operation": operation, "subject": public_key.hex()}
    session.deliver(lambda avoid: draft, [voter], facts | {"voter": key.public_key.hex()})


def is_seen(client: rpc.Client, validator_key: bytes) -> bool:
    """Whether a registered node of a validator key is connected to the node asked, or is that node itself."""
    asked = client.run(rpc.network_info())["node"]["peer_id"]
    return any(
        node["validator_key"] == validator_key.hex() and (node["connected"] or node["peer_id"] == asked)
        for node in client.run(rpc.nodes())
    )
