"""What can be refused without the state: the shape each kind has, bounds, sums, order of the witness.

`check_stateless` runs once per transaction, before its signatures are verified and before it enters the
mempool; `ledger/apply.py` relies on it. The static checks of OpenCBDC are all here (docs/ledger.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from ledger import codes
from ledger.assets import parse_asset
from ledger.locks import Condition, KeyLeaf, always_needs_key, check_condition, lock_of
from ledger.payloads import (
    Kind,
    Move,
    RecoverCondition,
    RegisterParticipant,
    RegistryAct,
    RotateCondition,
)
from ledger.transaction import Body, Transaction, Witness, signature_checks
from primitives.limits import (
    MAX_AMOUNT,
    MAX_CONDITIONS,
    MAX_INPUTS,
    MAX_NOTE_BYTES,
    MAX_OUTPUTS,
    MAX_PREIMAGE_BYTES,
    MAX_PREIMAGES,
    MAX_REFERENCE_BYTES,
    MAX_SIGNATURES,
    MAX_TRANSACTION_BYTES,
)

VerifyMany = Callable[[list[tuple[bytes, bytes, bytes]]], list[bool]]


@dataclass(frozen=True, slots=True)
class TransactionLimits:
    """A network's bounds of one transaction; never above those of `primitives/limits.py`."""

    max_bytes: int = MAX_TRANSACTION_BYTES
    max_inputs: int = MAX_INPUTS
    max_outputs: int = MAX_OUTPUTS
    max_signatures: int = MAX_SIGNATURES


DEFAULT_LIMITS = TransactionLimits()


@dataclass(frozen=True, slots=True)
class Shape:
    """How many inputs and outputs a kind has, and whether it carries output conditions."""

    inputs: bool
    outputs: bool
    outputs_needed: bool = False


SHAPES: dict[int, Shape] = {
    Kind.EMISSION: Shape(inputs=False, outputs=True, outputs_needed=True),
    Kind.TRANSFER: Shape(inputs=True, outputs=True, outputs_needed=True),
    Kind.BURN: Shape(inputs=True, outputs=True),
    Kind.INTERBANK_TRANSFER: Shape(inputs=True, outputs=True, outputs_needed=True),
    Kind.FREEZE: Shape(inputs=False, outputs=False),
    Kind.UNFREEZE: Shape(inputs=False, outputs=False),
    Kind.MOVE: Shape(inputs=True, outputs=True),
    Kind.REGISTRY: Shape(inputs=False, outputs=False),
    Kind.VALIDATOR_VOTE: Shape(inputs=False, outputs=False),
}


def check_stateless(transaction: Transaction, limits: TransactionLimits = DEFAULT_LIMITS) -> None:
    """Refuse (`InvalidTransaction`) whatever no state could make valid. Signatures are not verified here."""
    body, witness = transaction.body, transaction.witness
    if len(transaction.raw) > limits.max_bytes:
        codes.refuse(codes.TOO_LARGE, f"{transaction.size} bytes, at most {limits.max_bytes}")
    shape = SHAPES[body.kind]
    _check_inputs(body, shape, limits)
    _check_outputs(body, shape, limits)
    _check_validity(body, shape)
    if len(body.reference) > MAX_REFERENCE_BYTES:
        codes.refuse(codes.REFERENCE_TOO_LONG, f"{len(body.reference)} bytes, at most {MAX_REFERENCE_BYTES}")
    if body.kind == Kind.EMISSION:
        _check_emission(body)
    _check_signature_list(witness, limits)
    if witness.conditions or witness.preimages:
        _check_revealed(body, witness)
    if transaction.payload != ():
        _check_payload(transaction)


def verify_signatures(transaction: Transaction, verify_many: VerifyMany) -> None:
    """Verify every signature carried; refuses TX_BAD_SIGNATURE and names the first key that failed."""
    checks = signature_checks(transaction)
    for (public_key, _, _), valid in zip(checks, verify_many(checks), strict=True):
        if not valid:
            codes.refuse(
                codes.BAD_SIGNATURE,
                f"the signature of key {public_key.hex()} does not verify",
                public_key=public_key.hex(),
            )


def _check_inputs(body: Body, shape: Shape, limits: TransactionLimits) -> None:
    inputs = body.inputs
    if not shape.inputs:
        if inputs:
            codes.refuse(codes.INPUTS_FORBIDDEN, f"{Kind(body.kind).name} has no inputs, here {len(inputs)}")
        return
    if not inputs:
        codes.refuse(codes.INPUTS_MISSING, f"{Kind(body.kind).name} has at least one input")
    if len(inputs) == 1:
        return
    if len(inputs) > limits.max_inputs:
        codes.refuse(codes.TOO_MANY_INPUTS, f"{len(inputs)} inputs, at most {limits.max_inputs}")
    seen = set()
    for place, point in enumerate(inputs):
        name = (point.txid, point.index)
        if name in seen:
            codes.refuse(codes.INPUT_DUPLICATE, f"input {place} repeats {point.txid.hex()}:{point.index}")
        seen.add(name)


def _check_outputs(body: Body, shape: Shape, limits: TransactionLimits) -> None:
    outputs = body.outputs
    if not outputs:
        if shape.outputs_needed:
            codes.refuse(codes.OUTPUTS_MISSING, f"{Kind(body.kind).name} has at least one output")
        return
    if not shape.outputs:
        codes.refuse(codes.OUTPUTS_FORBIDDEN, f"{Kind(body.kind).name} has no outputs, here {len(outputs)}")
    if len(outputs) > limits.max_outputs:
        codes.refuse(codes.TOO_MANY_OUTPUTS, f"{len(outputs)} outputs, at most {limits.max_outputs}")
    sums: dict[str, int] = {}
    for place, output in enumerate(outputs):
        value, asset = output.value, output.asset
        if not 1 <= value <= MAX_AMOUNT:
            codes.refuse(codes.VALUE_RANGE, f"output {place}: {value} is not in 1 … 2^63-1", output=place)
        if len(output.note) > MAX_NOTE_BYTES:
            codes.refuse(
                codes.NOTE_TOO_LONG, f"output {place}: {len(output.note)} bytes, at most {MAX_NOTE_BYTES}"
            )
        if asset not in sums and parse_asset(asset) is None:
            codes.refuse(codes.ASSET_NAME, f"output {place}: {asset[:64]!r} is not an asset's name")
        sums[asset] = sums.get(asset, 0) + value
    for asset, total in sums.items():
        if total > MAX_AMOUNT:
            codes.refuse(codes.SUM_OVERFLOW, f"outputs of {asset} sum to {total}, at most 2^63-1")


def _check_validity(body: Body, shape: Shape) -> None:
    if body.valid_until == 0:
        if not shape.inputs:
            codes.refuse(codes.VALIDITY_MISSING, f"{Kind(body.kind).name} must say valid_until")
    elif body.valid_from > body.valid_until:
        codes.refuse(
            codes.VALIDITY_RANGE, f"valid_from {body.valid_from} is above valid_until {body.valid_until}"
        )


def _check_emission(body: Body) -> None:
    if not body.reference:
        codes.refuse(codes.REFERENCE_MISSING, "an emission carries a reference")
    if len({output.asset for output in body.outputs}) != 1:
        codes.refuse(codes.UNBALANCED, "an emission emits one asset")


def _check_signature_list(witness: Witness, limits: TransactionLimits) -> None:
    signatures = witness.signatures
    if len(signatures) == 1:
        return
    if not signatures:
        codes.refuse(codes.WITNESS_MISSING, "no signature is carried")
    if len(signatures) > limits.max_signatures:
        codes.refuse(codes.TOO_MANY_SIGNATURES, f"{len(signatures)}, at most {limits.max_signatures}")
    _check_ascending((public_key for public_key, _ in signatures), "signatures", "key")


def _check_revealed(body: Body, witness: Witness) -> None:
    """Conditions and preimages: bounded, sorted, and only where input locks can need them."""
    if len(witness.conditions) > MAX_CONDITIONS:
        codes.refuse(
            codes.CONDITION_INVALID, f"{len(witness.conditions)} conditions, at most {MAX_CONDITIONS}"
        )
    if witness.conditions and (body.kind == Kind.MOVE or not body.inputs):
        codes.refuse(codes.WITNESS_UNUSED, f"{Kind(body.kind).name} reveals no conditions of input locks")
    _check_conditions(witness.conditions, "the witness's conditions")
    if len(witness.preimages) > MAX_PREIMAGES:
        codes.refuse(codes.WITNESS_UNUSED, f"{len(witness.preimages)} preimages, at most {MAX_PREIMAGES}")
    for preimage in witness.preimages:
        if not 1 <= len(preimage) <= MAX_PREIMAGE_BYTES:
            codes.refuse(codes.PREIMAGE_LENGTH, f"{len(preimage)} bytes, 1 to {MAX_PREIMAGE_BYTES} expected")
    _check_ascending(witness.preimages, "preimages", "bytes")


def _check_payload(transaction: Transaction) -> None:
    """Conditions inside a payload obey the rules of locks; those of outputs each name one."""
    payload, body = transaction.payload, transaction.body
    if isinstance(payload, tuple):
        _check_output_conditions(payload, body)
    elif isinstance(payload, Move):
        _check_output_conditions(payload.conditions, body)
    elif isinstance(payload, RegistryAct) and isinstance(
        payload.act, RegisterParticipant | RotateCondition | RecoverCondition
    ):
        check_condition(payload.act.condition)
        if not always_needs_key(payload.act.condition):
            codes.refuse(
                codes.CONDITION_INVALID,
                "a condition of the registry needs a key, whatever way it is satisfied",
            )


def _check_output_conditions(conditions: tuple[Condition, ...], body: Body) -> None:
    _check_conditions(conditions, "the payload's conditions")
    locks = {output.lock for output in body.outputs}
    for condition in conditions:
        if lock_of(condition) not in locks:
            codes.refuse(codes.CONDITION_INVALID, "a condition in the payload is the lock of no output")


def _check_conditions(conditions: tuple[Condition, ...], what: str) -> None:
    for condition in conditions:
        check_condition(condition)
        if isinstance(condition, KeyLeaf):
            codes.refuse(codes.CONDITION_INVALID, "a key lock is never revealed: it follows from its key")
    if len(conditions) > 1:
        _check_ascending((lock_of(condition) for condition in conditions), what, "lock")


def _check_ascending(values: Iterable[bytes], what: str, by: str) -> None:
    if any(left >= right for left, right in pairwise(values)):
        codes.refuse(codes.WITNESS_ORDER, f"{what} are not distinct and ascending by {by}")
