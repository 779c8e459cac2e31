"""What every act of the registry shares: its command's options, keys of a condition, and the transaction.

An act's command is a function from its own arguments to the act; `registry_act` adds who signs, for whom, and
how the transaction is delivered.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from drexnode.cli.acting import acting, actor_of
from drexnode.cli.options import ExampleCommand
from drexnode.cli.tx_session import Delivery, Session, sending
from drexnode.wallet_orders import acting_participant, registry_draft
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


def registry_act(
    group: click.Group | None, name: str, example: str, *, own: bool = False
) -> Callable[[Callable[..., Act]], click.Command]:
    """The command `name` (of `group`, or by itself) for the act that the decorated function makes.

    The function takes the session and its own arguments. With `own` the participant that is named, `ispb`,
    acts when no other is; an option `author` that is not given becomes who acts.
    """

    def decorate(make: Callable[..., Act]) -> click.Command:
        @functools.wraps(make)
        def run(by: str, actor: str | None, how: Delivery, **given: Any) -> None:
            session = Session(how)
            who = actor or (given["ispb"] if own else None)
            if "author" in given and given["author"] is None:
                given["author"] = who or acting_participant(session.wallet, session.account(by).address)
            act_by(session, by, who, make(session, **given))

        command = click.command if group is None else group.command
        return command(name, cls=ExampleCommand, example=example)(acting(sending(run)))

    return decorate


def lock_at(session: Session, text: str) -> bytes:
    """The lock of a wallet's name or an address. Raises `WalletError` WALLET_UNKNOWN."""
    return session.wallet.lock(session.account(text).address)


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
