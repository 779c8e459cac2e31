"""`drexnode registry`: acts on participants, conditions and locks, wallets, assets, nodes, candidates.

Each act is a REGISTRY transaction of the participant that acts (`--as`), signed by `--by`; who may is the
ledger's to say (docs/ledger.md, "Assets and who may do what").
"""

from __future__ import annotations

import click

from drexnode.cli.options import ExampleGroup, LazyGroup
from drexnode.cli.registry_act import credential_of, lock_at, registry_act, with_keys
from drexnode.cli.tx_session import Session
from ledger.payloads import (
    Act,
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


SUBCOMMANDS = {
    "wallet": (
        "registry_assets:wallet",
        "Clients' wallets: enable, disable, restore.",
    ),
    "asset": (
        "registry_assets:asset",
        "Assets and their policies.",
    ),
    "pause": (
        "registry_assets:pause",
        "Pause an asset: only orders and the registry go on.",
    ),
    "resume": (
        "registry_assets:resume",
        "Lift the pause of an author.",
    ),
    "node": (
        "registry_network:node",
        "Permitted peers.",
    ),
    "invite": (
        "registry_invite:invite",
        "Register a full node or observer, and write the file with which it joins: drexnode join FILE.",
    ),
    "candidate": (
        "registry_network:candidate",
        "Keys that validators may vote into the set.",
    ),
    "protocol": (
        "registry_network:protocol",
        "Set the protocol version that holds from a height on.",
    ),
}


@click.group(
    "registry",
    cls=LazyGroup,
    later=SUBCOMMANDS,
    example="drexnode registry wallet enable 99990001 carol --by bank-a",
)
def command() -> None:
    """Participants, conditions, locks, wallets, assets, pauses, nodes and their invitations, candidates."""


@command.group(
    "participant",
    cls=ExampleGroup,
    example="drexnode registry participant update 99990001 'Banco A' --by bcb-registry",
)
def participant() -> None:
    """Register and rename participants."""


@registry_act(
    participant,
    "add",
    "drexnode registry participant add 99990003 'Bank C' bank --key KEY --settlement ADDRESS "
    "--by bcb-registry",
)
@click.argument("ispb")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@with_keys
@click.option("--settlement", metavar="WALLET", help="Its settlement lock; none for an indirect one.")
@click.option("--sponsor", default="", metavar="ISPB", help="Through whom an indirect one settles.")
def add(
    session: Session,
    ispb: str,
    name: str,
    role: str,
    keys: tuple[str, ...],
    needed: int | None,
    settlement: str | None,
    sponsor: str,
) -> Act:
    """Register a participant with the keys that speak for it."""
    lock = b"" if settlement is None else lock_at(session, settlement)
    condition = session.condition(keys, needed)
    return RegisterParticipant(ispb, name, Role[role.upper()], condition, lock, sponsor)


@registry_act(
    participant, "update", "drexnode registry participant update 99990001 'Banco A' --by bcb-registry"
)
@click.argument("ispb")
@click.argument("name")
@click.option("--sponsor", default="", metavar="ISPB", help="Through whom it settles from now on.")
def update(session: Session, ispb: str, name: str, sponsor: str) -> Act:
    """Change a participant's name and sponsor."""
    return UpdateParticipant(ispb, name, sponsor)


# --- conditions


@command.group(
    "key", cls=ExampleGroup, example="drexnode registry key rotate 99990001 own --key KEY --by bank-a"
)
def key() -> None:
    """Replace the condition that speaks for a participant, or for one of BCB's authorities."""


@registry_act(
    key, "rotate", "drexnode registry key rotate 00038166 emission --key NEWKEY --by bcb --wait", own=True
)
@click.argument("ispb")
@click.argument("whose", type=click.Choice(WHOSE))
@with_keys
def rotate(session: Session, ispb: str, whose: str, keys: tuple[str, ...], needed: int | None) -> Act:
    """Replace a condition at once; the condition itself signs."""
    return RotateCondition(ispb, credential_of(whose), session.condition(keys, needed))


@registry_act(
    key, "recover", "drexnode registry key recover 00038166 emission --key NEWKEY --by bcb-recovery"
)
@click.argument("ispb")
@click.argument("whose", type=click.Choice(WHOSE))
@with_keys
def recover(session: Session, ispb: str, whose: str, keys: tuple[str, ...], needed: int | None) -> Act:
    """Replace a lost condition after the network's delay; the recovery signs."""
    return RecoverCondition(ispb, credential_of(whose), session.condition(keys, needed))


@registry_act(key, "cancel", "drexnode registry key cancel 00038166 emission --by bcb --wait", own=True)
@click.argument("ispb")
@click.argument("whose", type=click.Choice(WHOSE))
def cancel(session: Session, ispb: str, whose: str) -> Act:
    """Cancel a recovery that is pending: the first attempt alone can be."""
    return CancelRecovery(ispb, credential_of(whose))


# --- a participant's own locks


@command.group("lock", cls=ExampleGroup, example="drexnode registry lock add 99990001 ADDRESS --by bank-a")
def lock() -> None:
    """A participant's own locks, which may hold wholesale money."""


@registry_act(lock, "add", "drexnode registry lock add 99990001 ADDRESS --by bank-a")
@click.argument("ispb")
@click.argument("address")
def lock_add(session: Session, ispb: str, address: str) -> Act:
    """Register a lock."""
    return RegisterLock(ispb, lock_at(session, address))


@registry_act(lock, "remove", "drexnode registry lock remove 99990001 ADDRESS --by bank-a")
@click.argument("ispb")
@click.argument("address")
def lock_remove(session: Session, ispb: str, address: str) -> Act:
    """Remove a lock that is neither settlement nor reserve nor disabled."""
    return RemoveLock(ispb, lock_at(session, address))


@registry_act(lock, "settle", "drexnode registry lock settle 99990001 ADDRESS --by bank-a")
@click.argument("ispb")
@click.argument("address")
def lock_settle(session: Session, ispb: str, address: str) -> Act:
    """Name the lock where a participant settles."""
    return SetSettlementLock(ispb, lock_at(session, address))
