"""`drexnode registry wallet|asset|pause|resume`: who may hold what, and policies of assets."""

from __future__ import annotations

import click

from drexnode.cli.acting import with_order
from drexnode.cli.options import ExampleGroup
from drexnode.cli.registry_act import lock_at, registry_act
from drexnode.cli.tx_session import Session
from ledger.payloads import (
    Act,
    DisableWallet,
    EnableWallets,
    Holders,
    Pause,
    RegisterAsset,
    RestoreWallet,
    Resume,
    SetConsent,
    SetReserveLock,
    UpdateAsset,
)
from primitives.units import parse_amount

HOLDERS = [item.name.lower() for item in Holders]
with_author = click.option("--author", metavar="ISPB", help="Whose order it is.  [default: who acts]")


@click.group("wallet", cls=ExampleGroup, example="drexnode registry wallet enable 99990001 carol --by bank-a")
def wallet() -> None:
    """Clients' wallets: enable, disable, restore."""


@registry_act(wallet, "enable", "drexnode registry wallet enable 99990001 ADDRESS --by bank-a --wait")
@click.argument("issuer")
@click.argument("wallets", nargs=-1, required=True)
def enable(session: Session, issuer: str, wallets: tuple[str, ...]) -> Act:
    """Let wallets hold an institution's retail money."""
    locks = sorted({lock_at(session, text) for text in wallets})
    return EnableWallets(issuer, tuple(locks))


@registry_act(
    wallet, "disable", "drexnode registry wallet disable 99990001 alice --order fraud-3 --by bank-a"
)
@click.argument("issuer")
@click.argument("wallet_", metavar="WALLET")
@with_order
def disable(session: Session, issuer: str, wallet_: str, order: str) -> Act:
    """Stop a wallet, or a participant's own lock, from paying and receiving."""
    lock = lock_at(session, wallet_)
    return DisableWallet(issuer, lock, order.encode())


@registry_act(
    wallet, "restore", "drexnode registry wallet restore 99990001 alice --order fraud-3 --by bank-a"
)
@click.argument("issuer")
@click.argument("wallet_", metavar="WALLET")
@with_order
@with_author
def restore(session: Session, issuer: str, wallet_: str, order: str, author: str) -> Act:
    """Lift what an author disabled."""
    lock = lock_at(session, wallet_)
    return RestoreWallet(issuer, lock, author, order.encode())


@click.group(
    "asset", cls=ExampleGroup, example="drexnode registry asset consent BRL@99990002/DVT off --by bank-b"
)
def asset() -> None:
    """Assets and their policies."""


@registry_act(
    asset,
    "add",
    "drexnode registry asset add X:99990001/BOND 99990001 --holders participants --by bcb-registry",
)
@click.argument("name")
@click.argument("issuer")
@click.option("--decimals", type=click.IntRange(0, 18), default=2, show_default=True)
@click.option("--cap", metavar="AMOUNT", help="What may circulate at most.")
@click.option("--min-value", default="0.01", show_default=True, metavar="AMOUNT", help="Smallest output.")
@click.option("--holders", type=click.Choice(HOLDERS), default="clients", show_default=True)
@click.option("--order-authority", metavar="ISPB", help="[default: the issuer]")
@click.option("--burn-needs-issuer/--burn-freely", default=True, show_default=True)
@click.option("--consent/--no-consent", default=False, help="Receive interbank transfers without asking.")
@click.option("--reserve", metavar="ADDRESS", help="Where the BRL lies that backs e-money.")
def add(
    session: Session,
    name: str,
    issuer: str,
    decimals: int,
    cap: str | None,
    min_value: str,
    holders: str,
    order_authority: str | None,
    burn_needs_issuer: bool,
    consent: bool,
    reserve: str | None,
) -> Act:
    """Register an asset with its whole policy."""
    return RegisterAsset(
        asset=name,
        issuer=issuer,
        decimals=decimals,
        cap=None if cap is None else parse_amount(cap, decimals),
        min_value=parse_amount(min_value, decimals),
        holders=Holders[holders.upper()],
        order_authority=order_authority or issuer,
        burn_needs_issuer=burn_needs_issuer,
        standing_consent=consent,
        reserve_lock=b"" if reserve is None else lock_at(session, reserve),
    )


@registry_act(
    asset, "update", "drexnode registry asset update BRL@99990001/DVT --cap 1000000.00 --by bcb-registry"
)
@click.argument("name")
@click.option("--cap", metavar="AMOUNT", help="What may circulate at most.  [default: no cap]")
@click.option("--min-value", default="0.01", show_default=True, metavar="AMOUNT", help="Smallest output.")
def update(session: Session, name: str, cap: str | None, min_value: str) -> Act:
    """Change cap and smallest output of an asset that is not BRL."""
    decimals = session.wallet.asset(name).decimals
    most = None if cap is None else parse_amount(cap, decimals)
    return UpdateAsset(name, most, parse_amount(min_value, decimals))


@registry_act(asset, "consent", "drexnode registry asset consent BRL@99990002/DVT off --by bank-b --wait")
@click.argument("name")
@click.argument("consent", type=click.Choice(["on", "off"]))
def consent_(session: Session, name: str, consent: str) -> Act:
    """Give or withdraw standing consent to receive interbank transfers."""
    return SetConsent(name, consent == "on")


@registry_act(asset, "reserve", "drexnode registry asset reserve BRL@99990001/MET ADDRESS --by bank-a --wait")
@click.argument("name")
@click.argument("address")
def reserve_(session: Session, name: str, address: str) -> Act:
    """Point e-money to another reserve, which must back it already."""
    lock = lock_at(session, address)
    return SetReserveLock(name, lock)


@registry_act(None, "pause", "drexnode registry pause BRL@99990001/DVT --order incident-1 --by bank-a --wait")
@click.argument("name", metavar="ASSET")
@with_order
def pause(session: Session, name: str, order: str) -> Act:
    """Pause an asset: only orders and the registry go on."""
    return Pause(name, order.encode())


@registry_act(
    None, "resume", "drexnode registry resume BRL@99990001/DVT --order incident-1 --by bank-a --wait"
)
@click.argument("name", metavar="ASSET")
@with_order
@with_author
def resume(session: Session, name: str, order: str, author: str) -> Act:
    """Lift the pause of an author."""
    return Resume(name, author, order.encode())
