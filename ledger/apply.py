"""How each kind changes the state: one validator, and one row per kind.

`apply_transaction` changes the view wholly or, when it refuses, not at all. It relies on two things done once
before: `check_stateless`, and the verification of every signature (cached by wtxid). Rows and rules follow
docs/ledger.md, "Kinds"; who must authorise is in `ledger/authority.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from ledger import authority, codes
from ledger.acts import apply_act
from ledger.assets import WHOLESALE, AssetRecord, parse_asset
from ledger.authority import Requirement
from ledger.context import BlockContext
from ledger.flows import (
    Flow,
    Place,
    check_floors,
    check_inputs_enabled,
    check_not_paused,
    check_outputs_held,
    check_reserves,
    read_flow,
    write_flow,
)
from ledger.freezes import add_freeze, lift_freeze
from ledger.locks import Condition, lock_of
from ledger.payloads import Freeze, Kind, Move, RegistryAct, Unfreeze, ValidatorVote
from ledger.plain_transfer import try_plain_transfer
from ledger.registry import cash_lock
from ledger.replay import check_validity, remember
from ledger.state import REFERENCE, StateView
from ledger.supply import post
from ledger.transaction import Transaction
from ledger.votes import cast_vote
from ledger.witness import check_witness
from primitives.units import format_amount

Apply = Callable[[StateView, Transaction, BlockContext], None]


def apply_transaction(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    """Apply one transaction to `view` as part of the block of `context`.

    Raises `InvalidTransaction` with a code of `ledger/codes.py` and leaves the view as it was.
    """
    view.savepoint()
    try:
        check_validity(transaction, context)
        _APPLY[transaction.body.kind](view, transaction, context)
    except BaseException:
        view.rollback()
        raise


# --- kinds that move money


def _apply_emission(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    """New money of one asset, by its issuer, under a reference that is unique for ever."""
    remember(view, transaction, context)
    flow = read_flow(view, transaction.body, context)
    check_not_paused(flow)
    ((asset, policy),) = flow.policies.items()
    _use_reference(view, asset, transaction)
    requirements = [authority.issuer(view, context, policy)]
    _settle(view, transaction, context, flow, requirements)


def _apply_transfer(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    """Any assets between any locks; nothing comes or goes."""
    if try_plain_transfer(view, transaction):
        return
    flow = read_flow(view, transaction.body, context)
    check_not_paused(flow)
    for asset, change in flow.delta.items():
        if change:
            _refuse_unbalanced(flow, asset, "they must be equal")
    _settle(view, transaction, context, flow, ())


def _apply_burn(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    """Exactly one asset falls, every other one is balanced."""
    flow = read_flow(view, transaction.body, context)
    check_not_paused(flow)
    burned = [asset for asset, change in flow.delta.items() if change < 0]
    for asset, change in flow.delta.items():
        if change > 0 or (change and len(burned) > 1):
            _refuse_unbalanced(flow, asset, "a burn lowers one asset and leaves the others equal")
    if not burned:
        _refuse_unbalanced(flow, min(flow.delta), "a burn lowers one asset")
    policy = flow.policies[burned[0]]
    requirements = [authority.issuer(view, context, policy)] if policy.burn_needs_issuer else ()
    _settle(view, transaction, context, flow, requirements)


def _apply_interbank(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    """A's retail money falls, B's rises, BRL goes from A's cash lock to B's: all by the same amount."""
    flow = read_flow(view, transaction.body, context)
    check_not_paused(flow)
    payer_asset, payee_asset = _interbank_assets(flow)
    payer, payee = flow.policies[payer_asset], flow.policies[payee_asset]
    amount = _interbank_amount(flow, payer_asset, payee_asset)
    _check_cash_leg(flow, cash_lock(view, payer), cash_lock(view, payee), amount)
    for output in transaction.body.outputs:
        if output.asset == payer_asset and Place(output.lock, payer_asset) not in flow.input_places:
            codes.refuse(
                codes.INTERBANK_SHAPE, f"outputs of {payer_asset} are change: they go to its input locks only"
            )
    requirements = authority.interbank(view, context, payer, payee)
    _settle(view, transaction, context, flow, requirements)


def _apply_move(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    """A forced transfer or burn, by the order authority of every input's asset or BCB."""
    payload = cast(Move, transaction.payload)
    flow = read_flow(view, transaction.body, context)
    for asset, change in flow.delta.items():
        if change > 0:
            _refuse_unbalanced(flow, asset, "a move creates nothing")
    assets = [flow.policies[asset] for asset in sorted(flow.policies)]
    requirements = authority.move(view, context, payload, assets)
    check_witness(transaction.witness, context, (), requirements)
    by_bcb = authority.is_bcb(context, payload.actor)
    _write_money(view, transaction, flow, payload.conditions, forced=True, by_bcb=by_bcb)


def _settle(
    view: StateView,
    transaction: Transaction,
    context: BlockContext,
    flow: Flow,
    requirements: Iterable[Requirement],
) -> None:
    """What kinds 1 to 4 share: the holders' locks, who may hold, then the write and its floors."""
    witness = transaction.witness
    input_locks = {place.lock for place in flow.input_places}
    revealed = check_witness(witness, context, input_locks, tuple(requirements))
    check_inputs_enabled(view, flow, revealed, {public_key for public_key, _ in witness.signatures})
    conditions = cast(tuple[Condition, ...], transaction.payload)
    _write_money(view, transaction, flow, conditions, forced=False, by_bcb=False)


def _write_money(
    view: StateView,
    transaction: Transaction,
    flow: Flow,
    conditions: tuple[Condition, ...],
    *,
    forced: bool,
    by_bcb: bool,
) -> None:
    body = transaction.body
    check_outputs_held(view, body, flow, {lock_of(condition): condition for condition in conditions})
    write_flow(view, transaction.txid, body, flow)
    for asset, change in flow.delta.items():
        if change:
            post(view, asset, flow.policies[asset], change)
    check_floors(view, flow, forced=forced, by_bcb=by_bcb)
    check_reserves(view, flow)


# --- kinds without inputs


def _apply_freeze(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    payload = cast(Freeze, transaction.payload)
    remember(view, transaction, context)
    _authorise(transaction, context, authority.freeze(view, context, payload))
    add_freeze(view, payload, by_bcb=authority.is_bcb(context, payload.author))


def _apply_unfreeze(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    payload = cast(Unfreeze, transaction.payload)
    remember(view, transaction, context)
    _authorise(transaction, context, authority.unfreeze(view, context, payload))
    lift_freeze(view, payload, by_bcb=authority.is_bcb(context, payload.author))


def _apply_registry(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    payload = cast(RegistryAct, transaction.payload)
    remember(view, transaction, context)
    _authorise(transaction, context, authority.registry(view, context, payload))
    apply_act(view, context, payload)


def _apply_vote(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    payload = cast(ValidatorVote, transaction.payload)
    remember(view, transaction, context)
    _authorise(transaction, context, authority.vote(context, payload))
    cast_vote(
        view,
        context.validators,
        payload.voter,
        payload.subject,
        payload.operation,
        payload.expiry,
        context.height,
    )


def _authorise(transaction: Transaction, context: BlockContext, requirement: Requirement) -> None:
    check_witness(transaction.witness, context, (), (requirement,))


_APPLY: dict[int, Apply] = {
    Kind.EMISSION: _apply_emission,
    Kind.TRANSFER: _apply_transfer,
    Kind.BURN: _apply_burn,
    Kind.INTERBANK_TRANSFER: _apply_interbank,
    Kind.FREEZE: _apply_freeze,
    Kind.UNFREEZE: _apply_unfreeze,
    Kind.MOVE: _apply_move,
    Kind.REGISTRY: _apply_registry,
    Kind.VALIDATOR_VOTE: _apply_vote,
}


# --- rules of single rows


def reference_key(asset: str, reference: bytes) -> bytes:
    """State key of an emission's reference: `r` + length(1) + asset name + reference."""
    name = asset.encode()
    return REFERENCE + bytes([len(name)]) + name + reference


def _use_reference(view: StateView, asset: str, transaction: Transaction) -> None:
    key = reference_key(asset, transaction.body.reference)
    former = view.get(key)
    if former is not None:
        codes.refuse(
            codes.REFERENCE_USED,
            f"{asset}: emission {former.hex()} carried this reference already",
            asset=asset,
            txid=former.hex(),
        )
    view.put(key, transaction.txid)


def _interbank_assets(flow: Flow) -> tuple[str, str]:
    """The paying and the receiving retail asset; nothing else but BRL occurs."""
    spent = {place.asset for place in flow.input_places} - {WHOLESALE}
    made = set(flow.delta) - spent - {WHOLESALE}
    if len(spent) != 1 or len(made) != 1:
        codes.refuse(
            codes.INTERBANK_SHAPE,
            f"one retail asset is spent and one other made, here {sorted(spent)} and {sorted(made)}",
        )
    (payer_asset,), (payee_asset,) = spent, made
    payer, payee = parse_asset(payer_asset), parse_asset(payee_asset)
    if payer is None or payee is None or not payer.is_retail or not payee.is_retail:
        codes.refuse(codes.INTERBANK_SHAPE, f"{payer_asset} and {payee_asset} must both be retail assets")
    if payer.issuer == payee.issuer:
        codes.refuse(
            codes.INTERBANK_SHAPE, f"both assets are of {payer.issuer}: that is no interbank transfer"
        )
    return payer_asset, payee_asset


def _interbank_amount(flow: Flow, payer_asset: str, payee_asset: str) -> int:
    amount = flow.delta[payee_asset]
    if flow.delta[payer_asset] != -amount:
        _refuse_unbalanced(flow, payer_asset, f"it must fall by what {payee_asset} rises, {amount}")
    if flow.delta.get(WHOLESALE, 0):
        _refuse_unbalanced(flow, WHOLESALE, "they must be equal")
    return amount


def _check_cash_leg(flow: Flow, payer_lock: bytes, payee_lock: bytes, amount: int) -> None:
    """BRL leaves the paying bank's cash lock for the receiving bank's. When both settle through one lock its
    net is zero, and it still shows its consent by an input."""
    expected = {payer_lock: -amount, payee_lock: amount} if payer_lock != payee_lock else {}
    for lock in {place.lock for place in flow.net if place.asset == WHOLESALE} | set(expected):
        change = flow.net.get(Place(lock, WHOLESALE), 0)
        if change != expected.get(lock, 0):
            codes.refuse(
                codes.INTERBANK_SHAPE,
                f"BRL of lock {lock.hex()} changes by {change}, expected {expected.get(lock, 0)}",
                lock=lock.hex(),
            )
    if Place(payer_lock, WHOLESALE) not in flow.input_places:
        codes.refuse(
            codes.INTERBANK_SHAPE, f"no BRL of the paying bank's cash lock {payer_lock.hex()} is spent"
        )


def _refuse_unbalanced(flow: Flow, asset: str, expected: str) -> None:
    policy: AssetRecord = flow.policies[asset]
    spent = sum(amount for place, amount in flow.input_places.items() if place.asset == asset)
    made = spent + flow.delta[asset]
    codes.refuse(
        codes.UNBALANCED,
        f"{asset}: in {format_amount(spent, policy.decimals)}, out {format_amount(made, policy.decimals)}; "
        f"{expected}",
        asset=asset,
        spent=spent,
        made=made,
    )
