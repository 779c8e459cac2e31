"""`drexnode registry`: acts on participants, conditions and locks, wallets, assets, nodes, candidates.

Each act is a REGISTRY transaction of the participant that acts (`--as`), signed by `--by`; who may is the
ledger's to say (docs/ledger.md, "Assets and who may do what").
"""

from __future__ import annotations

import click

from drexnode.cli import registry_assets, registry_network
from drexnode.cli.acting import acting
from drexnode.cli.options import ExampleCommand, ExampleGroup
from drexnode.cli.registry_act import act_by, credential_of, with_keys
from drexnode.cli.tx_session import Delivery, Session, sending
from ledger.payloads import (
    CancelRecovery,
    Credential,
    RecoverCondition,
    RegisterLock,
    RegisterParticipant,
    RemoveLock,
    Role,
    RotateCondition,
    SetSettlementLock,
    UpdateParticipant,
)

ROLES = [role.name.lower() for role in Role if role is not Role.BCB]
WHOSE = [item.name.lower() for item in Credential]


@click.group(
    "registry", cls=ExampleGroup, example="drexnode registry wallet enable 99990001 carol --by bank-a"
)
def command() -> None:
    """Participants, conditions, locks, wallets, assets, pauses, nodes, candidates."""


@command.group(
    "participant",
    cls=ExampleGroup,
    example="drexnode registry participant update 99990001 'Banco A' --by bcb-registry",
)
def participant() -> None:
    """Register and rename participants."""


@participant.command(
    "add",
    cls=ExampleCommand,
    example="drexnode registry participant add 99990003 'Bank C' bank --key KEY --settlement ADDRESS "
    "--by bcb-registry",
)
@click.argument("ispb")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@with_keys
@click.option("--settlement", metavar="WALLET", help="Its settlement lock; none for an indirect one.")
@click.option("--sponsor", default="", metavar="ISPB", help="Through whom an indirect one settles.")
@acting
@sending
def add(
    ispb: str,
    name: str,
    role: str,
    keys: tuple[str, ...],
    needed: int | None,
    settlement: str | None,
    sponsor: str,
    by: str,
    actor: str | None,
    how: Delivery,
) -> None:
    """Register a participant with the keys that speak for it."""
    session = Session(how)
    lock = b"" if settlement is None else session.wallet.lock(session.account(settlement).address)
    condition = session.condition(keys, needed)
    act = RegisterParticipant(ispb, name, Role[role.upper()], condition, lock, sponsor)
    act_by(session, by, actor, act)


@participant.command(
    "update",
    cls=ExampleCommand,
    example="drexnode registry participant update 99990001 'Banco A' --by bcb-registry",
)
@click.argument("ispb")
@click.argument("name")
@click.option("--sponsor", default="", metavar="ISPB", help="Through whom it settles from now on.")
@acting
@sending
def update(ispb: str, name: str, sponsor: str, by: str, actor: str | None, how: Delivery) -> None:
    """Change a participant's name and sponsor."""
    act_by(Session(how), by, actor, UpdateParticipant(ispb, name, sponsor))


# --- conditions


@command.group(
    "key", cls=ExampleGroup, example="drexnode registry key rotate 99990001 own --key KEY --by bank-a"
)
def key() -> None:
    """Replace the condition that speaks for a participant, or for one of BCB's authorities."""


@key.command(
    "rotate",
    cls=ExampleCommand,
    example="drexnode registry key rotate 00038166 emission --key NEWKEY --by bcb --wait",
)
@click.argument("ispb")
@click.argument("whose", type=click.Choice(WHOSE))
@with_keys
@acting
@sending
def rotate(
    ispb: str,
    whose: str,
    keys: tuple[str, ...],
    needed: int | None,
    by: str,
    actor: str | None,
    how: Delivery,
) -> None:
    """Replace a condition at once; the condition itself signs."""
    session = Session(how)
    act = RotateCondition(ispb, credential_of(whose), session.condition(keys, needed))
    act_by(session, by, actor or ispb, act)


@key.command(
    "recover",
    cls=ExampleCommand,
    example="drexnode registry key recover 00038166 emission --key NEWKEY --by bcb-recovery",
)
@click.argument("ispb")
@click.argument("whose", type=click.Choice(WHOSE))
@with_keys
@acting
@sending
def recover(
    ispb: str,
    whose: str,
    keys: tuple[str, ...],
    needed: int | None,
    by: str,
    actor: str | None,
    how: Delivery,
) -> None:
    """Replace a lost condition after the network's delay; the recovery signs."""
    session = Session(how)
    act = RecoverCondition(ispb, credential_of(whose), session.condition(keys, needed))
    act_by(session, by, actor, act)


@key.command(
    "cancel", cls=ExampleCommand, example="drexnode registry key cancel 00038166 emission --by bcb --wait"
)
@click.argument("ispb")
@click.argument("whose", type=click.Choice(WHOSE))
@acting
@sending
def cancel(ispb: str, whose: str, by: str, actor: str | None, how: Delivery) -> None:
    """Cancel a recovery that is pending: the first attempt alone can be."""
    act_by(Session(how), by, actor or ispb, CancelRecovery(ispb, credential_of(whose)))


# --- a participant's own locks


@command.group("lock", cls=ExampleGroup, example="drexnode registry lock add 99990001 ADDRESS --by bank-a")
def lock() -> None:
    """A participant's own locks, which may hold wholesale money."""


@lock.command("add", cls=ExampleCommand, example="drexnode registry lock add 99990001 ADDRESS --by bank-a")
@click.argument("ispb")
@click.argument("address")
@acting
@sending
def lock_add(ispb: str, address: str, by: str, actor: str | None, how: Delivery) -> None:
    """Register a lock."""
    session = Session(how)
    act = RegisterLock(ispb, session.wallet.lock(session.account(address).address))
    act_by(session, by, actor, act)


@lock.command(
    "remove", cls=ExampleCommand, example="drexnode registry lock remove 99990001 ADDRESS --by bank-a"
)
@click.argument("ispb")
@click.argument("address")
@acting
@sending
def lock_remove(ispb: str, address: str, by: str, actor: str | None, how: Delivery) -> None:
    """Remove a lock that is neither settlement nor reserve nor disabled."""
    session = Session(how)
    act = RemoveLock(ispb, session.wallet.lock(session.account(address).address))
    act_by(session, by, actor, act)


@lock.command(
    "settle", cls=ExampleCommand, example="drexnode registry lock settle 99990001 ADDRESS --by bank-a"
)
@click.argument("ispb")
@click.argument("address")
@acting
@sending
def lock_settle(ispb: str, address: str, by: str, actor: str | None, how: Delivery) -> None:
    """Name the lock where a participant settles."""
    session = Session(how)
    act = SetSettlementLock(ispb, session.wallet.lock(session.account(address).address))
    act_by(session, by, actor, act)


for _subcommand in (
    registry_assets.wallet,
    registry_assets.asset,
    registry_assets.pause,
    registry_assets.resume,
    registry_network.node,
    registry_network.candidate,
    registry_network.protocol,
):
    command.add_command(_subcommand)
