"""What every act of the registry shares: keys of a condition, and the transaction that carries the act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from drexnode.cli.acting import actor_of
from drexnode.cli.tx_session import Session
from drexnode.wallet_orders import registry_draft
from ledger.payloads import Act, Credential

F = TypeVar("F", bound=Callable[..., Any])


def with_keys(command: F) -> F:
    """`--key` (repeated) and `--needed`, passed as `keys` and `needed`."""
    for option in (
        click.option(
            "--needed", type=click.IntRange(1), help="How many of the keys must sign.  [default: all]"
        ),
        click.option(
            "--key", "keys", multiple=True, required=True, help="A public key in hex, or a wallet's name."
        ),
    ):
        command = option(command)
    return command


def credential_of(text: str) -> Credential:
    """A participant's own condition, or one of BCB's authorities."""
    return Credential[text.upper()]


def act_by(session: Session, by: str, actor: str | None, act: Act) -> None:
    """Sign one act and send it, or write it for others to sign."""
    signer, who = actor_of(session, by, actor)
    draft = registry_draft(session.wallet, who, act)
    fields: dict[str, object] = {"kind": "REGISTRY", "act": type(act).__name__, "actor": who}
    for name in act.__struct_fields__:
        value = getattr(act, name)
        if isinstance(value, str | bool | int | bytes):
            fields[name] = value.hex() if isinstance(value, bytes) else value
        else:
            fields[name] = msgspec.to_builtins(value, builtin_types=(bytes,))
    session.deliver(lambda avoid: draft, [signer], fields)
