"""`drexnode registry wallet|asset|pause|resume`: who may hold what, and policies of assets."""

from __future__ import annotations

import click

from drexnode.cli.acting import acting, with_order
from drexnode.cli.options import ExampleCommand, ExampleGroup
from drexnode.cli.registry_act import act_by
from drexnode.cli.tx_session import Delivery, Session, sending
from drexnode.wallet_orders import acting_participant
from ledger.payloads import (
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


def _author(session: Session, author: str | None, actor: str | None, by: str) -> str:
    return author or actor or acting_participant(session.wallet, session.account(by).address)


@click.group("wallet", cls=ExampleGroup, example="drexnode registry wallet enable 99990001 carol --by bank-a")
def wallet() -> None:
    """Clients' wallets: enable, disable, restore."""


@wallet.command(
    "enable",
    cls=ExampleCommand,
    example="drexnode registry wallet enable 99990001 ADDRESS --by bank-a --wait",
)
@click.argument("issuer")
@click.argument("wallets", nargs=-1, required=True)
@acting
@sending
def enable(issuer: str, wallets: tuple[str, ...], by: str, actor: str | None, how: Delivery) -> None:
    """Let wallets hold an institution's retail money."""
    session = Session(how)
    locks = sorted({session.wallet.lock(session.account(text).address) for text in wallets})
    act_by(session, by, actor, EnableWallets(issuer, tuple(locks)))


@wallet.command(
    "disable",
    cls=ExampleCommand,
    example="drexnode registry wallet disable 99990001 alice --order fraud-3 --by bank-a",
)
@click.argument("issuer")
@click.argument("wallet_", metavar="WALLET")
@with_order
@acting
@sending
def disable(issuer: str, wallet_: str, order: str, by: str, actor: str | None, how: Delivery) -> None:
    """Stop a wallet, or a participant's own lock, from paying and receiving."""
    session = Session(how)
    lock = session.wallet.lock(session.account(wallet_).address)
    act_by(session, by, actor, DisableWallet(issuer, lock, order.encode()))


@wallet.command(
    "restore",
    cls=ExampleCommand,
    example="drexnode registry wallet restore 99990001 alice --order fraud-3 --by bank-a",
)
@click.argument("issuer")
@click.argument("wallet_", metavar="WALLET")
@with_order
@with_author
@acting
@sending
def restore(
    issuer: str, wallet_: str, order: str, author: str | None, by: str, actor: str | None, how: Delivery
) -> None:
    """Lift what an author disabled."""
    session = Session(how)
    lock = session.wallet.lock(session.account(wallet_).address)
    whose = _author(session, author, actor, by)
    act_by(session, by, actor, RestoreWallet(issuer, lock, whose, order.encode()))


@click.group(
    "asset", cls=ExampleGroup, example="drexnode registry asset consent BRL@99990002/DVT off --by bank-b"
)
def asset() -> None:
    """Assets and their policies."""


@asset.command(
    "add",
    cls=ExampleCommand,
    example="drexnode registry asset add X:99990001/BOND 99990001 --holders participants --by bcb-registry",
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
@acting
@sending
def add(
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
    by: str,
    actor: str | None,
    how: Delivery,
) -> None:
    """Register an asset with its whole policy."""
    session = Session(how)
    act = RegisterAsset(
        asset=name,
        issuer=issuer,
        decimals=decimals,
        cap=None if cap is None else parse_amount(cap, decimals),
        min_value=parse_amount(min_value, decimals),
        holders=Holders[holders.upper()],
        order_authority=order_authority or issuer,
        burn_needs_issuer=burn_needs_issuer,
        standing_consent=consent,
        reserve_lock=b"" if reserve is None else session.wallet.lock(session.account(reserve).address),
    )
    act_by(session, by, actor, act)


@asset.command(
    "update",
    cls=ExampleCommand,
    example="drexnode registry asset update BRL@99990001/DVT --cap 1000000.00 --by bcb-registry",
)
@click.argument("name")
@click.option("--cap", metavar="AMOUNT", help="What may circulate at most.  [default: no cap]")
@click.option("--min-value", default="0.01", show_default=True, metavar="AMOUNT", help="Smallest output.")
@acting
@sending
def update(name: str, cap: str | None, min_value: str, by: str, actor: str | None, how: Delivery) -> None:
    """Change cap and smallest output of an asset that is not BRL."""
    session = Session(how)
    decimals = session.wallet.asset(name).decimals
    most = None if cap is None else parse_amount(cap, decimals)
    act_by(session, by, actor, UpdateAsset(name, most, parse_amount(min_value, decimals)))


@asset.command(
    "consent",
    cls=ExampleCommand,
    example="drexnode registry asset consent BRL@99990002/DVT off --by bank-b --wait",
)
@click.argument("name")
@click.argument("consent", type=click.Choice(["on", "off"]))
@acting
@sending
def consent_(name: str, consent: str, by: str, actor: str | None, how: Delivery) -> None:
    """Give or withdraw standing consent to receive interbank transfers."""
    act_by(Session(how), by, actor, SetConsent(name, consent == "on"))


@asset.command(
    "reserve",
    cls=ExampleCommand,
    example="drexnode registry asset reserve BRL@99990001/MET ADDRESS --by bank-a --wait",
)
@click.argument("name")
@click.argument("address")
@acting
@sending
def reserve_(name: str, address: str, by: str, actor: str | None, how: Delivery) -> None:
    """Point e-money to another reserve, which must back it already."""
    session = Session(how)
    lock = session.wallet.lock(session.account(address).address)
    act_by(session, by, actor, SetReserveLock(name, lock))


@click.command(
    "pause",
    cls=ExampleCommand,
    example="drexnode registry pause BRL@99990001/DVT --order incident-1 --by bank-a --wait",
)
@click.argument("name", metavar="ASSET")
@with_order
@acting
@sending
def pause(name: str, order: str, by: str, actor: str | None, how: Delivery) -> None:
    """Pause an asset: only orders and the registry go on."""
    act_by(Session(how), by, actor, Pause(name, order.encode()))


@click.command(
    "resume",
    cls=ExampleCommand,
    example="drexnode registry resume BRL@99990001/DVT --order incident-1 --by bank-a --wait",
)
@click.argument("name", metavar="ASSET")
@with_order
@with_author
@acting
@sending
def resume(name: str, order: str, author: str | None, by: str, actor: str | None, how: Delivery) -> None:
    """Lift the pause of an author."""
    session = Session(how)
    whose = _author(session, author, actor, by)
    act_by(session, by, actor, Resume(name, whose, order.encode()))
