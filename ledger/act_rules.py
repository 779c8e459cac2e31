"""What several acts of the registry share: giving locks a purpose, and their refusals."""

from __future__ import annotations

from typing import NoReturn

from ledger import codes
from ledger.registry import (
    LockRecord,
    Purpose,
    find_lock,
    find_wallet,
    put_lock,
)
from ledger.state import LOCK_BYTES, StateView


def claim_lock(view: StateView, ispb: str, lock: bytes, purpose: Purpose, asset: str) -> None:
    """Give a lock of `ispb` a purpose: a new one, or one registered without a purpose. Disabled stays so."""
    if len(lock) != LOCK_BYTES:
        refuse_rule(f"a lock has {LOCK_BYTES} bytes, not {len(lock)}")
    record = find_lock(view, lock)
    if record is None:
        if find_wallet(view, ispb, lock) is not None:
            refuse_registered(f"lock {lock.hex()} as a client's wallet of {ispb}")
        record = LockRecord(ispb, purpose, asset, 0)
    elif record.ispb != ispb or record.purpose is not Purpose.OTHER:
        refuse_registered(f"lock {lock.hex()} of {record.ispb} as {record.purpose.name.lower()}")
    put_lock(view, lock, LockRecord(ispb, purpose, asset, record.disabled))


def release_lock(view: StateView, lock: bytes) -> None:
    """A former settlement or reserve lock stays registered, without a purpose."""
    record = find_lock(view, lock) if lock else None
    if record is not None:
        put_lock(view, lock, LockRecord(record.ispb, Purpose.OTHER, "", record.disabled))


def refuse_registered(what: str) -> NoReturn:
    """Refuse (TX_ALREADY_REGISTERED): what an act registers stands already."""
    codes.refuse(codes.ALREADY_REGISTERED, f"{what} is registered already")


def refuse_unregistered(what: str) -> NoReturn:
    """Refuse (TX_NOT_REGISTERED): what an act changes does not stand."""
    codes.refuse(codes.NOT_REGISTERED, f"{what} is not registered")


def refuse_rule(rule: str) -> NoReturn:
    """Refuse (TX_REGISTRY_RULE): the act contradicts a rule."""
    codes.refuse(codes.REGISTRY_RULE, rule)
