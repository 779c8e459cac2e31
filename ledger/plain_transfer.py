"""The short way for the plain transfer: one key, one asset, nothing revealed, nothing frozen.

It only ever says yes. Every rule of a transfer is checked here for this shape; whatever is not plainly valid
is left, untouched, to the general way in `ledger/apply.py`, which accepts or refuses it with its code. A
property test holds both to the same verdict and the same changes.
"""

from __future__ import annotations

from ledger.assets import WHOLESALE, decode_asset
from ledger.locks import key_lock
from ledger.payloads import Holders
from ledger.registry import Purpose, Standing, find_lock, standing
from ledger.state import ASSET, BALANCE, FLOOR, OUTPUT, WALLET, StateView
from ledger.transaction import Transaction

_ENABLED_WALLET = b"\x00"


def try_plain_transfer(view: StateView, transaction: Transaction) -> bool:
    """Apply a transfer whose inputs are all of one asset under its one signer's key lock.

    False, and no change, when it is of another shape or any rule needs a closer look.
    """
    witness = transaction.witness
    signatures = witness.signatures
    if len(signatures) != 1 or witness.conditions or witness.preimages or transaction.payload != ():
        return False
    lock = key_lock(signatures[0][0])
    peek = view.peek
    asset = b""
    spent: list[tuple[bytes, bytes]] = []
    total = 0
    for point in transaction.body.inputs:
        key = OUTPUT + point.txid + point.index.to_bytes(4, "big")
        value = peek(key)
        if value is None or value[:32] != lock or (asset and value[40:] != asset):
            return False
        asset = value[40:]
        total += int.from_bytes(value[32:40], "big")
        spent.append((key, value))
    gains = _plain_gains(view, transaction, lock, asset, total)
    if gains is None:
        return False
    for key, value in spent:
        view.replace(key, value, None)
    head = OUTPUT + transaction.txid
    for index, output in enumerate(transaction.body.outputs):
        view.replace(
            head + index.to_bytes(4, "big"), None, output.lock + output.value.to_bytes(8, "big") + asset
        )
    gains[lock] = gains.get(lock, 0) - total
    for place, change in gains.items():
        if change:
            key = BALANCE + place + asset
            before = peek(key)
            balance = change if before is None else int.from_bytes(before, "big") + change
            view.replace(key, before, balance.to_bytes(8, "big") if balance else None)
    return True


def _plain_gains(
    view: StateView, transaction: Transaction, lock: bytes, asset: bytes, total: int
) -> dict[bytes, int] | None:
    """What each lock receives, or None when a rule of assets, holders or freezes needs a closer look."""
    peek = view.peek
    record = view.get(ASSET + asset)
    if record is None or peek(FLOOR + lock + asset) is not None:
        return None
    policy = decode_asset(record)
    if policy.paused_by:
        return None
    name, min_value, left = asset.decode(), policy.min_value, total
    gains: dict[bytes, int] = {}
    for output in transaction.body.outputs:
        amount = output.value
        if output.asset != name or amount < min_value:
            return None
        left -= amount
        gains[output.lock] = gains.get(output.lock, 0) + amount
    if left:
        return None
    if policy.holders is Holders.CLIENTS:
        head = WALLET + policy.issuer.encode()
        if peek(head + lock) != _ENABLED_WALLET:
            return None
        for place in gains:
            if place != lock and peek(head + place) != _ENABLED_WALLET:
                return None
        return gains
    if any(standing(view, policy, place) is not Standing.ENABLED for place in (lock, *gains)):
        return None
    if name == WHOLESALE:
        own = find_lock(view, lock)
        if own is None or own.purpose is Purpose.RESERVE:
            return None
    return gains
