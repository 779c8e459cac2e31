"""`drexnode tx transfer|emit|burn|interbank|consolidate`. Amounts are decimals in the asset's unit."""

from __future__ import annotations

import secrets

import click

from drexnode.cli.options import ExampleCommand
from drexnode.cli.output import CliError
from drexnode.cli.tx_notes import note_for, with_note
from drexnode.cli.tx_session import Delivery, Session, sending
from drexnode.wallet import Avoid
from drexnode.wallet_contracts import read_contract
from drexnode.wallet_draft import Draft
from drexnode.wallet_interbank import interbank_draft, payee_asset
from primitives.units import format_amount, parse_amount

REFERENCE_HELP = "Your operation id, at most 64 bytes."
ASSET_HELP = "The asset; not needed when the sender holds one alone."


@click.command("transfer", cls=ExampleCommand, example="drexnode tx transfer alice bob 10.00 --wait")
@click.argument("sender", metavar="FROM")
@click.argument("to")
@click.argument("amount")
@click.option("--asset", help=ASSET_HELP)
@with_note
@click.option("--reference", default="", help=REFERENCE_HELP)
@sending
def transfer(
    sender: str,
    to: str,
    amount: str,
    asset: str | None,
    note: str,
    open_note: str,
    reference: str,
    how: Delivery,
) -> None:
    """Move money from one wallet to another; change goes back to the sender."""
    session = Session(how)
    owner, target = session.owner(sender), session.account(to)
    policy = session.asset_of(owner, asset)
    value, written = parse_amount(amount, policy.decimals), note_for(target, note, open_note)

    def make(avoid: Avoid) -> Draft:
        return session.wallet.transfer_draft(
            owner.address,
            target.address,
            policy,
            value,
            note=written,
            reference=reference.encode(),
            avoid=avoid,
        )

    facts = {"kind": "TRANSFER", "asset": policy.asset, "amount": format_amount(value, policy.decimals)}
    session.deliver(make, [owner], facts | {"from": owner.address, "to": target.address})


@click.command("emit", cls=ExampleCommand, example="drexnode tx emit bcb bcb 1000.00 --asset BRL --wait")
@click.argument("issuer")
@click.argument("to")
@click.argument("amount")
@click.option("--asset", default="BRL", show_default=True)
@click.option("--reference", help="Operation id, unique per asset for ever.  [default: a random one]")
@sending
def emit(issuer: str, to: str, amount: str, asset: str, reference: str | None, how: Delivery) -> None:
    """Emit money of an asset; its issuer signs."""
    session = Session(how)
    target, policy = session.account(to), session.wallet.asset(asset)
    value = parse_amount(amount, policy.decimals)
    operation = secrets.token_bytes(16) if reference is None else reference.encode()

    def make(avoid: Avoid) -> Draft:
        return session.wallet.emit_draft(target.address, policy, value, operation)

    facts = {"kind": "EMISSION", "asset": asset, "amount": format_amount(value, policy.decimals)}
    facts |= {"to": target.address, "reference": operation.hex()}
    session.deliver(make, [session.issuer(issuer, policy)], facts)


@click.command("burn", cls=ExampleCommand, example="drexnode tx burn bcb 100.00 --asset BRL --wait")
@click.argument("holder", metavar="FROM")
@click.argument("amount")
@click.option("--asset", help="The asset; not needed when the holder holds one alone.")
@click.option(
    "--issuer", help="Wallet that signs for the issuer.  [default: a devnet's wallet of the issuer]"
)
@click.option("--reference", default="", help=REFERENCE_HELP)
@sending
def burn(
    holder: str, amount: str, asset: str | None, issuer: str | None, reference: str, how: Delivery
) -> None:
    """Take money out of circulation; holder and, where the policy says so, issuer sign."""
    session = Session(how)
    owner = session.owner(holder)
    policy = session.asset_of(owner, asset)
    value = parse_amount(amount, policy.decimals)
    party = session.issuer(issuer, policy) if policy.burn_needs_issuer else None

    def make(avoid: Avoid) -> Draft:
        return session.wallet.burn_draft(
            owner.address, policy, value, reference=reference.encode(), avoid=avoid
        )

    facts = {"kind": "BURN", "asset": policy.asset, "amount": format_amount(value, policy.decimals)}
    session.deliver(make, [owner, party], facts | {"from": owner.address})


@click.command("interbank", cls=ExampleCommand, example="drexnode tx interbank alice bob 10.00 --wait")
@click.argument("payer", metavar="FROM")
@click.argument("payee", metavar="TO")
@click.argument("amount")
@click.option("--asset", help="What the payer pays with; not needed when it holds one asset alone.")
@click.option("--to-asset", help="What the payee gets.  [default: the same form of its other institution]")
@click.option("--payer-bank", help="Wallet that signs for the payer's bank.  [default: a devnet's]")
@click.option("--payee-bank", help="Wallet that signs for the payee's bank, without standing consent.")
@click.option(
    "--contract",
    "contracts",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Condition of a cash lock that is no key's, such as the reserve of e-money.",
)
@with_note
@click.option("--reference", default="", help=REFERENCE_HELP)
@sending
def interbank(
    payer: str,
    payee: str,
    amount: str,
    asset: str | None,
    to_asset: str | None,
    payer_bank: str | None,
    payee_bank: str | None,
    contracts: tuple[str, ...],
    note: str,
    open_note: str,
    reference: str,
    how: Delivery,
) -> None:
    """Pay a client of another bank: both banks' money and BRL between them move together, or nothing does."""
    from pathlib import Path

    session = Session(how)
    owner, target = session.owner(payer), session.account(payee)
    given = session.asset_of(owner, asset)
    got = (
        payee_asset(session.wallet, target.address, given)
        if to_asset is None
        else session.wallet.asset(to_asset)
    )
    value, written = parse_amount(amount, given.decimals), note_for(target, note, open_note)
    revealed = [read_contract(Path(path)).condition for path in contracts]
    banks = [session.issuer(payer_bank, given)]
    if payee_bank is not None or not got.standing_consent:
        banks.append(session.issuer(payee_bank, got))

    def make(avoid: Avoid) -> Draft:
        return interbank_draft(
            session.wallet,
            owner.address,
            given,
            target.address,
            got,
            value,
            note=written,
            reference=reference.encode(),
            avoid=avoid,
            revealed=revealed,
        )

    facts = {"kind": "INTERBANK_TRANSFER", "asset": given.asset, "to_asset": got.asset}
    facts |= {"amount": format_amount(value, given.decimals), "from": owner.address, "to": target.address}
    session.deliver(make, [owner, *banks], facts)


@click.command("consolidate", cls=ExampleCommand, example="drexnode tx consolidate alice --wait")
@click.argument("owner", metavar="WALLET")
@click.option("--asset", help="The asset; not needed when the wallet holds one alone.")
@sending
def consolidate(owner: str, asset: str | None, how: Delivery) -> None:
    """Merge a wallet's smallest outputs of one asset into one."""
    session = Session(how)
    account = session.owner(owner)
    policy = session.asset_of(account, asset)
    draft = session.wallet.consolidate_draft(account.address, policy)
    if draft is None:
        raise CliError("WALLET_NOTHING_TO_MERGE", f"{owner} has fewer than two outputs of {policy.asset}")
    facts = {"kind": "TRANSFER", "asset": policy.asset, "merged": len(draft.body.inputs)}
    session.deliver(lambda avoid: draft, [account], facts)
