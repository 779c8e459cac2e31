"""The short way for the plain transfer: one key, one asset, nothing revealed, nothing frozen.

It only ever says yes. Every rule of a transfer is checked here for this shape; whatever is not plainly valid
is left, untouched, to the general way in `ledger/apply.py`, which accepts or refuses it with its code. A
property test holds both to the same verdict and the same changes. What a transfer finds out about an asset
and its holders is kept (`StateView.facts`) for the next ones, over blocks as well, until the rules of any
asset, holder or freeze change.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.assets import WHOLESALE, decode_asset
from ledger.locks import key_lock
from ledger.payloads import Holders, Kind
from ledger.registry import Purpose, Standing, find_lock, standing
from ledger.state import ASSET, BALANCE, FLOOR, OUTPUT, WALLET, AssetFacts, StateView
from ledger.transaction import Transaction
from primitives.limits import FACTS_ASSETS, FACTS_LOCKS

_ENABLED_WALLET = b"\x00"


class _Plan(NamedTuple):
    """A plain transfer that may go ahead."""

    lock: bytes
    asset: bytes
    spent: list[tuple[bytes, bytes]]  # state key and entry of each input
    total: int
    gains: dict[bytes, int]  # what each lock receives


def try_plain_transfer(view: StateView, transaction: Transaction) -> bool:
    """Apply a transfer whose inputs are all of one asset under its one signer's key lock.

    False, and no change, when it is of another shape or any rule needs a closer look.
    """
    plan = _plan(view, transaction)
    if plan is None:
        return False
    lock, asset, spent, total, gains = plan
    replace = view.replace
    for key, value in spent:
        replace(key, value, None)
    head = OUTPUT + transaction.txid
    for index, output in enumerate(transaction.body.outputs):
        replace(head + index.to_bytes(4, "big"), None, output.lock + output.value.to_bytes(8, "big") + asset)
    gains[lock] = gains.get(lock, 0) - total
    for place, change in gains.items():
        if change:
            key = BALANCE + place + asset
            before = view.peek(key)
            balance = change if before is None else int.from_bytes(before, "big") + change
            replace(key, before, balance.to_bytes(8, "big") if balance else None)
    return True


def plain_share(view: StateView, transaction: Transaction, height: int) -> str | None:
    """Whose share a transfer takes (`ledger/quota.py`) that a block of `height` on this state would plainly
    take; None when that needs a closer look. Changes nothing."""
    body = transaction.body
    if body.kind != Kind.TRANSFER or body.valid_from > height or 0 < body.valid_until < height:
        return None
    plan = _plan(view, transaction)
    if plan is None:
        return None
    facts = view.facts[plan.asset]
    share = facts.charged.get(plan.lock)
    if share is None:
        own = find_lock(view, plan.lock)
        share = own.ispb if own is not None else facts.policy.issuer
        facts.charged[plan.lock] = share
        view.facts.locks += 1
    return share


def _plan(view: StateView, transaction: Transaction) -> _Plan | None:
    witness = transaction.witness
    signatures = witness.signatures
    if len(signatures) != 1 or witness.conditions or witness.preimages or transaction.payload != ():
        return None
    lock = key_lock(signatures[0][0])
    peek = view.peek
    asset = b""
    spent: list[tuple[bytes, bytes]] = []
    total = 0
    for point in transaction.body.inputs:
        key = OUTPUT + point.txid + point.index.to_bytes(4, "big")
        value = peek(key)
        if value is None or value[:32] != lock or (asset and value[40:] != asset):
            return None
        asset = value[40:]
        total += int.from_bytes(value[32:40], "big")
        spent.append((key, value))
    gains = _plain_gains(view, transaction, lock, asset, total)
    return None if gains is None else _Plan(lock, asset, spent, total, gains)


def _plain_gains(
    view: StateView, transaction: Transaction, lock: bytes, asset: bytes, total: int
) -> dict[bytes, int] | None:
    """What each lock receives, or None when a rule of assets, holders or freezes needs a closer look."""
    if view.facts.locks >= FACTS_LOCKS:
        view.facts.forget()
    facts = view.facts.get(asset) or _learn(view, asset)
    if facts is None or not (lock in facts.payers or _may_pay(view, facts, lock, asset)):
        return None
    name, min_value, holders, left = facts.name, facts.policy.min_value, facts.holders, total
    gains: dict[bytes, int] = {}
    for output in transaction.body.outputs:
        amount, place = output.value, output.lock
        if output.asset != name or amount < min_value:
            return None
        if place not in holders and not _may_hold(view, facts, place):
            return None
        left -= amount
        gains[place] = gains.get(place, 0) + amount
    if left:
        return None
    return gains


def _learn(view: StateView, asset: bytes) -> AssetFacts | None:
    """Begin to keep facts of an asset; None while it is unknown or paused."""
    record = view.get(ASSET + asset)
    if record is None:
        return None
    policy = decode_asset(record)
    if policy.paused_by:
        return None
    if len(view.facts) >= FACTS_ASSETS:
        view.facts.forget()
    facts = view.facts[asset] = AssetFacts(asset.decode(), policy)
    return facts


def _may_hold(view: StateView, facts: AssetFacts, lock: bytes) -> bool:
    """True, and kept, when `lock` is plainly enabled for the asset."""
    policy = facts.policy
    if policy.holders is Holders.CLIENTS:
        enabled = view.peek(WALLET + policy.issuer.encode() + lock) == _ENABLED_WALLET
    else:
        enabled = standing(view, policy, lock) is Standing.ENABLED
    if enabled:
        facts.holders.add(lock)
        view.facts.locks += 1
    return enabled


def _may_pay(view: StateView, facts: AssetFacts, lock: bytes, asset: bytes) -> bool:
    """True, and kept, when nothing under `lock` is frozen and no reserve is touched."""
    if view.peek(FLOOR + lock + asset) is not None:
        return False
    if lock not in facts.holders and not _may_hold(view, facts, lock):
        return False
    if facts.name == WHOLESALE:
        own = find_lock(view, lock)
        if own is None or own.purpose is Purpose.RESERVE:
            return False
    facts.payers.add(lock)
    view.facts.locks += 1
    return True
