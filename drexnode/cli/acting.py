"""Options of acts of authorities: who signs, for which participant, under which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from drexnode.cli.tx_session import Session
from drexnode.wallet_accounts import Account
from drexnode.wallet_orders import acting_participant
from primitives.limits import MAX_ORDER_ID_BYTES

F = TypeVar("F", bound=Callable[..., Any])

with_order = click.option(
    "--order", required=True, metavar="ID", help=f"The order's id, at most {MAX_ORDER_ID_BYTES} bytes."
)
with_asset = click.option("--asset", required=True, help="The asset.")


def acting(command: F) -> F:
    """`--by WALLET` and `--as ISPB`, passed as `by` and `actor`."""
    for option in (
        click.option(
            "--as",
            "actor",
            metavar="ISPB",
            help="The participant that acts.  [default: whose lock the signer's is, else BCB]",
        ),
        click.option("--by", required=True, metavar="WALLET", help="Who signs for it."),
    ):
        command = option(command)
    return command


def actor_of(session: Session, by: str, actor: str | None) -> tuple[Account, str]:
    """The signer and the acting participant."""
    signer = session.owner(by)
    return signer, actor or acting_participant(session.wallet, signer.address)
