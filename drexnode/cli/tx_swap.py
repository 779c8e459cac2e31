"""`drexnode tx swap offer|accept`: an exchange between two wallets that never share keys, through files.

maker$ drexnode tx swap offer bank-a --give '50.00 X:99990001/BOND' --get '45.00 BRL' --out f1
taker$ drexnode tx swap accept f1 bank-b --give '45.00 BRL' --get '50.00 X:99990001/BOND' --out f2
maker$ drexnode tx sign f2 bank-a --offer f1 --out f3
either$ drexnode tx send f3 --wait
"""

from __future__ import annotations

from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, ExampleGroup
from drexnode.cli.tx_files import FILE, ask
from drexnode.cli.tx_session import Delivery, Session, sending, show
from drexnode.wallet_swap import Terms, accept_offer, make_offer, read_offer, read_terms, write_offer
from primitives.units import format_amount


@click.group(
    "swap",
    cls=ExampleGroup,
    example="drexnode tx swap offer bank-a --give '50.00 X:99990001/BOND' --get '45.00 BRL' --out f1",
)
def swap() -> None:
    """Exchange two assets in one transaction: delivery versus payment, payment versus payment."""


@swap.command(
    "offer",
    cls=ExampleCommand,
    example="drexnode tx swap offer bank-a --give '50.00 X:99990001/BOND' --get '45.00 BRL' --out f1",
)
@click.argument("maker", metavar="WALLET")
@click.option("--give", required=True, metavar="'AMOUNT ASSET'", help="What you give.")
@click.option("--get", "got", required=True, metavar="'AMOUNT ASSET'", help="What you want for it.")
@click.option("--valid-for", type=click.IntRange(1), metavar="BLOCKS", help="Void after so many blocks.")
@click.option("--reference", default="", help="Your operation id, at most 64 bytes.")
@sending
def offer(maker: str, give: str, got: str, valid_for: int | None, reference: str, how: Delivery) -> None:
    """Write what you give and want to a file for the other side. It signs nothing: keep a copy to sign by."""
    if how.out is None:
        raise click.UsageError("--out FILE is needed: an offer goes to the other side as a file")
    session = Session(how)
    account = session.account(maker)
    given, amount = session.amount_of(give)
    wanted, price = session.amount_of(got)
    until = 0 if valid_for is None else session.wallet.until(valid_for)
    terms = Terms(given.asset, amount, wanted.asset, price)
    made = make_offer(session.wallet, account, terms, valid_until=until, reference=reference.encode())
    write_offer(how.out, made)
    show({**_view(session, terms), "valid_until": until, "file": str(how.out)}, how.as_json)


@swap.command(
    "accept",
    cls=ExampleCommand,
    example="drexnode tx swap accept f1 bank-b --give '45.00 BRL' --get '50.00 X:99990001/BOND' --out f2",
)
@click.argument("file", type=FILE)
@click.argument("taker", metavar="WALLET")
@click.option("--give", metavar="'AMOUNT ASSET'", help="What you agreed to give.")
@click.option("--get", "got", metavar="'AMOUNT ASSET'", help="What you agreed to get.")
@click.option("--yes", is_flag=True, help="Accept whatever the offer says.")
@sending
def accept(file: Path, taker: str, give: str | None, got: str | None, yes: bool, how: Delivery) -> None:
    """Check an offer against what you agreed to, add your half and sign; the maker signs next."""
    if how.out is None:
        raise click.UsageError("--out FILE is needed: the maker signs next")
    session = Session(how)
    wallet, owner = session.wallet, session.owner(taker)
    made = read_offer(file, wallet.chain_id)
    if give is not None and got is not None:
        (paid, price), (bought, amount) = session.amount_of(give), session.amount_of(got)
        agreed = Terms(bought.asset, amount, paid.asset, price)
    elif give is None and got is None:
        agreed = read_terms(session.client, made)
        ask({**_view(session, agreed), "payload": None, "changes": (), "signed_by": ()}, yes=yes)
    else:
        raise click.UsageError("name both --give and --get, or neither")
    session.write(accept_offer(wallet, made, owner, agreed), _view(session, agreed))


def _view(session: Session, terms: Terms) -> dict[str, object]:
    def text(asset: str, amount: int) -> str:
        return f"{format_amount(amount, session.wallet.asset(asset).decimals)} {asset}"

    return {
        "kind": "TRANSFER",
        "maker_gives": text(terms.gives, terms.gives_amount),
        "maker_gets": text(terms.gets, terms.gets_amount),
    }
