"""What a transaction moves: its inputs read from the state, and the net change per lock and asset.

`read_flow` reads and sums; the `check_*` functions compare with policies; `write_flow` changes outputs and
balances. Sums are unbounded integers. Nothing here knows kinds, but that MOVE is exempt where rules say so.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from ledger import codes
from ledger.assets import WHOLESALE, AssetRecord, get_asset
from ledger.context import BlockContext
from ledger.locks import Condition, always_needs_key, key_lock, keys_of
from ledger.registry import Purpose, Standing, find_lock, standing
from ledger.state import BALANCE, FLOOR, OUTPUT, StateView
from ledger.supply import check_backing
from ledger.transaction import Body
from primitives.units import format_amount

FLOOR_HALF_BYTES = 16


class Place(NamedTuple):
    """A lock and an asset that the transaction touches."""

    lock: bytes
    asset: str


class Flow(NamedTuple):
    """Inputs as found, and net changes: > 0 gains, < 0 falls."""

    input_keys: list[bytes]
    input_places: dict[Place, int]  # sum of the inputs there
    net: dict[Place, int]
    delta: dict[str, int]  # per asset, outputs - inputs
    policies: dict[str, AssetRecord]


def read_flow(view: StateView, body: Body, context: BlockContext) -> Flow:
    """Read the inputs and sum. Refuses TX_UNKNOWN_OUTPUT, TX_DOUBLE_SPEND, TX_ASSET_UNKNOWN, TX_DUST."""
    input_keys: list[bytes] = []
    spent: dict[Place, int] = {}
    delta: dict[str, int] = {}
    get = view.get
    for number, point in enumerate(body.inputs):
        key = OUTPUT + point.txid + point.index.to_bytes(4, "big")
        value = get(key)
        if value is None:
            _refuse_missing_output(view, body, number, key, context)
        input_keys.append(key)
        amount = int.from_bytes(value[32:40], "big")
        place = Place(value[:32], value[40:].decode())
        spent[place] = spent.get(place, 0) + amount
        delta[place.asset] = delta.get(place.asset, 0) - amount
    net = {place: -amount for place, amount in spent.items()}
    policies = {asset: get_asset(view, asset) for asset in delta}
    for number, output in enumerate(body.outputs):
        asset, amount = output.asset, output.value
        policy = policies.get(asset)
        if policy is None:
            policy = policies[asset] = get_asset(view, asset)
        if amount < policy.min_value:
            _refuse_dust(number, amount, asset, policy)
        place = Place(output.lock, asset)
        net[place] = net.get(place, 0) + amount
        delta[asset] = delta.get(asset, 0) + amount
    return Flow(input_keys, spent, net, delta, policies)


def check_not_paused(flow: Flow) -> None:
    """Refuse (TX_PAUSED) when any asset of the transaction is paused."""
    for asset, policy in flow.policies.items():
        if policy.paused_by:
            codes.refuse(codes.PAUSED, f"{asset} is paused by {', '.join(policy.paused_by)}", asset=asset)


def check_inputs_enabled(
    view: StateView, flow: Flow, revealed: dict[bytes, Condition], signers: set[bytes]
) -> None:
    """Every input's lock may still hold its asset; for an unregistered condition lock, every key that signs
    for it may. Refuses TX_WALLET_NOT_ENABLED."""
    for lock, asset in flow.input_places:
        policy = flow.policies[asset]
        found = standing(view, policy, lock)
        if found is Standing.ENABLED:
            continue
        condition = revealed.get(lock)
        if found is Standing.DISABLED or condition is None:
            _refuse_not_enabled(lock, asset, found)
        for public_key in keys_of(condition):
            if public_key in signers:
                _check_key_may_hold(view, policy, asset, public_key)


def check_outputs_held(view: StateView, body: Body, flow: Flow, shown: dict[bytes, Condition]) -> None:
    """Every output goes to a lock that may hold its asset, or to one whose revealed condition always needs
    a key and holds only keys that may; and no frozen holder's key hides in another lock.

    `shown` maps locks to the conditions in the payload. Refuses TX_WALLET_NOT_ENABLED, TX_FROZEN.
    """
    checked: set[Place] = set()
    for output in body.outputs:
        place = Place(output.lock, output.asset)
        if place in checked:
            continue
        checked.add(place)
        policy = flow.policies[place.asset]
        condition = shown.get(place.lock)
        found = standing(view, policy, place.lock)
        if found is not Standing.ENABLED:
            if found is Standing.DISABLED or condition is None:
                _refuse_not_enabled(place.lock, place.asset, found)
            if not always_needs_key(condition):
                codes.refuse(
                    codes.WALLET_NOT_ENABLED,
                    f"lock {place.lock.hex()} may not hold {place.asset}: it can be satisfied without a key",
                    lock=place.lock.hex(),
                )
            for public_key in keys_of(condition):
                _check_key_may_hold(view, policy, place.asset, public_key)
        if condition is not None:
            _check_no_frozen_key(view, place, condition)


def write_flow(view: StateView, txid: bytes, body: Body, flow: Flow) -> None:
    """Delete the inputs, insert the outputs, and bring the balances along."""
    for key in flow.input_keys:
        view.replace(key, view.get(key), None)
    for index, output in enumerate(body.outputs):
        made = output.lock + output.value.to_bytes(8, "big") + output.asset.encode()
        view.replace(OUTPUT + txid + index.to_bytes(4, "big"), None, made)  # a new txid: nothing was there
    for (lock, asset), change in flow.net.items():
        if change:
            key = BALANCE + lock + asset.encode()
            value = view.get(key)
            balance = change + (0 if value is None else int.from_bytes(value, "big"))
            view.replace(key, value, balance.to_bytes(8, "big") if balance else None)


def check_floors(view: StateView, flow: Flow, *, forced: bool, by_bcb: bool) -> None:
    """After the write: what fell stays at or above what is frozen there. Refuses TX_FROZEN.

    A forced move is bound by BCB's freezes alone, and by none when BCB itself moves.
    """
    if forced and by_bcb:
        return
    for (lock, asset), change in flow.net.items():
        if change >= 0:
            continue
        tail = lock + asset.encode()
        floors = view.get(FLOOR + tail)
        if floors is None:
            continue
        floor = int.from_bytes(floors[FLOOR_HALF_BYTES:] if forced else floors[:FLOOR_HALF_BYTES], "big")
        value = view.get(BALANCE + tail)
        balance = 0 if value is None else int.from_bytes(value, "big")
        if balance < floor:
            _refuse_frozen(asset, flow.policies[asset], balance - change, floor)


def check_reserves(view: StateView, flow: Flow) -> None:
    """After the write: e-money whose supply changed or whose reserve fell is still backed (TX_NOT_BACKED)."""
    for asset, change in flow.delta.items():
        if change and flow.policies[asset].reserve_lock:
            check_backing(view, asset, flow.policies[asset])
    for (lock, asset), change in flow.net.items():
        if change < 0 and asset == WHOLESALE:
            record = find_lock(view, lock)
            if record is not None and record.purpose is Purpose.RESERVE:
                check_backing(view, record.asset, get_asset(view, record.asset))


def _check_key_may_hold(view: StateView, policy: AssetRecord, asset: str, public_key: bytes) -> None:
    lock = key_lock(public_key)
    found = standing(view, policy, lock)
    if found is not Standing.ENABLED:
        _refuse_not_enabled(lock, asset, found)


def _check_no_frozen_key(view: StateView, place: Place, condition: Condition) -> None:
    for public_key in keys_of(condition):
        own_lock = key_lock(public_key)
        if own_lock != place.lock and view.get(FLOOR + own_lock + place.asset.encode()) is not None:
            codes.refuse(
                codes.FROZEN,
                f"key {public_key.hex()} has frozen {place.asset}: none goes to another lock that holds it",
                asset=place.asset,
                lock=own_lock.hex(),
            )


def _refuse_missing_output(
    view: StateView, body: Body, number: int, key: bytes, context: BlockContext
) -> NoReturn:
    point = body.inputs[number]
    name = f"{point.txid.hex()}:{point.index}"
    spender = context.find_spender(point) if context.find_spender is not None else None
    if spender is not None:
        txid, height = spender
        codes.refuse(
            codes.DOUBLE_SPEND,
            f"input {number} was spent by {txid.hex()} at height {height}",
            input=number,
            outpoint=name,
            spent_by=txid.hex(),
            height=height,
        )
    if view.spent_here(key):
        codes.refuse(
            codes.DOUBLE_SPEND,
            f"input {number} was spent earlier in this block",
            input=number,
            outpoint=name,
        )
    codes.refuse(codes.UNKNOWN_OUTPUT, f"input {number}: {name} is not unspent", input=number, outpoint=name)


def _refuse_dust(number: int, amount: int, asset: str, policy: AssetRecord) -> NoReturn:
    codes.refuse(
        codes.DUST,
        f"output {number}: {format_amount(amount, policy.decimals)} of {asset}, "
        f"at least {format_amount(policy.min_value, policy.decimals)}",
        output=number,
    )


def _refuse_not_enabled(lock: bytes, asset: str, found: Standing) -> NoReturn:
    codes.refuse(
        codes.WALLET_NOT_ENABLED,
        f"lock {lock.hex()} may not hold {asset}: it is {found.value}",
        lock=lock.hex(),
        asset=asset,
    )


def _refuse_frozen(asset: str, policy: AssetRecord, before: int, floor: int) -> NoReturn:
    free = max(before - floor, 0)
    codes.refuse(
        codes.FROZEN,
        f"{asset}: free {format_amount(free, policy.decimals)} of {format_amount(before, policy.decimals)}",
        asset=asset,
        free=free,
        total=before,
    )
