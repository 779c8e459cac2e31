"""The short way for the plain transfer: one key, one asset, nothing revealed, nothing frozen.

It only ever says yes. Every rule of a transfer is checked here for this shape; whatever is not plainly valid
is left, untouched, to the general way in `ledger/apply.py`, which accepts or refuses it with its code. A
property test holds both to the same verdict and the same changes. What a transfer finds out about an asset
and its holders is kept (`StateView.facts`) for the next ones, over blocks as well, until the rules of any
asset, holder or freeze change. What admission works out is kept with the transaction (`TransferPlan`) for the
block: it is carried out if all inputs still lie there and the rules are the same, else worked out again.
"""

from __future__ import annotations

from ledger.assets import WHOLESALE, decode_asset
from ledger.locks import key_lock
from ledger.payloads import Holders, Kind
from ledger.registry import Purpose, Standing, find_lock, standing
from ledger.state import ASSET, FLOOR, OUTPUT, WALLET, AssetFacts, StateView, TransferPlan
from ledger.transaction import Transaction, keep_plan
from primitives.limits import FACTS_ASSETS, FACTS_LOCKS

_ENABLED_WALLET = b"\x00"


def try_plain_transfer(view: StateView, transaction: Transaction) -> bool:
    """Apply a transfer whose inputs are all of one asset under its one signer's key lock.

    False, and no change, when it is of another shape or any rule needs a closer look.
    """
    plan = transaction.plan
    if plan is None or not view.fits(plan):
        plan = _plan(view, transaction)
        if plan is None:
            return False
    view.carry_out(plan, transaction)
    return True


def plain_share(view: StateView, transaction: Transaction, height: int) -> str | None:
    """Whose share a transfer takes (`ledger/quota.py`) that a block of `height` on this state would plainly
    take; None when that needs a closer look. Writes nothing; the transaction keeps the plan for the blocks to
    come."""
    body = transaction.body
    if body.kind != Kind.TRANSFER or body.valid_from > height or 0 < body.valid_until < height:
        return None
    plan = _plan(view, transaction)
    if plan is None:
        return None
    keep_plan(transaction, plan)
    facts = view.facts[plan.asset]
    share = facts.charged.get(plan.lock)
    if share is None:
        own = find_lock(view, plan.lock)
        share = own.ispb if own is not None else facts.policy.issuer
        facts.charged[plan.lock] = share
        view.facts.locks += 1
    return share


def _plan(view: StateView, transaction: Transaction) -> TransferPlan | None:
    witness = transaction.witness
    signatures = witness.signatures
    if len(signatures) != 1 or witness.conditions or witness.preimages or transaction.payload != ():
        return None
    lock = key_lock(signatures[0][0])
    peek = view.peek
    asset = b""
    spent: dict[bytes, bytes] = {}
    total = 0
    for point in transaction.body.inputs:
        key = OUTPUT + point.txid + point.index.to_bytes(4, "big")
        entry = peek(key)
        if entry is None or entry[:32] != lock or (asset and entry[40:] != asset):
            return None
        asset = entry[40:]
        total += int.from_bytes(entry[32:40], "big")
        spent[key] = entry
    facts = _facts_of_payer(view, lock, asset)
    if facts is None:
        return None
    name, min_value, holders, left = facts.name, facts.policy.min_value, facts.holders, total
    gains = {lock: -total}
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
    return TransferPlan(spent, gains, view.facts.era, lock, asset)


def _facts_of_payer(view: StateView, lock: bytes, asset: bytes) -> AssetFacts | None:
    """What is known of the asset, or None when what `lock` pays needs a closer look."""
    if view.facts.locks >= FACTS_LOCKS:
        view.facts.forget()
    facts = view.facts.get(asset) or _learn(view, asset)
    if facts is None or not (lock in facts.payers or _may_pay(view, facts, lock, asset)):
        return None
    return facts


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
