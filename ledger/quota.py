"""Whose room a transaction takes in mempool and blocks: there are no fees, quotas are the brake.

The participant that acts (kinds 5 to 8), the issuer of what is emitted, the validators together for votes,
and otherwise whoever stands behind the first input: the owner of its lock, else the issuer of its asset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from ledger.assets import find_asset
from ledger.payloads import Freeze, Kind, Move, RegistryAct, Unfreeze
from ledger.registry import find_lock
from ledger.state import OUTPUT, StateReader, read_output
from ledger.transaction import OutPoint, Output, Transaction

VALIDATORS_SHARE = "validators"
UNKNOWN_SHARE = ""

FindOutput = Callable[[OutPoint], Output | None]


def charged_to(reader: StateReader, transaction: Transaction, find_unconfirmed: FindOutput) -> str:
    """The ispb whose share `transaction` takes. `find_unconfirmed` answers for outputs in the mempool."""
    body = transaction.body
    match transaction.kind:
        case Kind.FREEZE:
            return cast(Freeze, transaction.payload).author
        case Kind.UNFREEZE | Kind.MOVE | Kind.REGISTRY:
            return cast(Unfreeze | Move | RegistryAct, transaction.payload).actor
        case Kind.VALIDATOR_VOTE:
            return VALIDATORS_SHARE
        case Kind.EMISSION:
            return _issuer(reader, body.outputs[0].asset) if body.outputs else UNKNOWN_SHARE
    if not body.inputs:
        return UNKNOWN_SHARE
    place = _lock_and_asset(reader, body.inputs[0], find_unconfirmed)
    if place is None:
        return UNKNOWN_SHARE
    lock, asset = place
    record = find_lock(reader, lock)
    return record.ispb if record is not None else _issuer(reader, asset)


def _lock_and_asset(
    reader: StateReader, outpoint: OutPoint, find_unconfirmed: FindOutput
) -> tuple[bytes, str] | None:
    value = reader.get(OUTPUT + outpoint.txid + outpoint.index.to_bytes(4, "big"))
    if value is not None:
        output = read_output(value)
        return output.lock, output.asset
    unconfirmed = find_unconfirmed(outpoint)
    return None if unconfirmed is None else (unconfirmed.lock, unconfirmed.asset)


def _issuer(reader: StateReader, asset: str) -> str:
    record = find_asset(reader, asset)
    return UNKNOWN_SHARE if record is None else record.issuer
