"""The witness against what must be authorised: every lock, every requirement, and nothing superfluous.

Guarantees: each input lock is a signer's key lock or a revealed, satisfied condition; each requirement of the
registry is satisfied; each signature, condition and preimage carried is used (docs/ledger.md, "The witness").
Signatures themselves are verified elsewhere, once per wtxid.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NoReturn

from ledger import codes
from ledger.authority import Requirement
from ledger.context import BlockContext
from ledger.locks import (
    Condition,
    Evidence,
    describe_missing,
    digest_of,
    digests_of,
    key_lock,
    keys_of,
    lock_of,
    satisfied,
)
from ledger.transaction import Witness


def evidence_of(witness: Witness, context: BlockContext) -> Evidence:
    """What the witness and the block bring for conditions."""
    return Evidence(
        signers={public_key for public_key, _ in witness.signatures},
        digests={digest_of(preimage) for preimage in witness.preimages},
        height=context.height,
        timestamp_ms=context.timestamp_ms,
    )


def check_witness(
    witness: Witness,
    context: BlockContext,
    input_locks: Collection[bytes],
    requirements: Sequence[Requirement],
) -> dict[bytes, Condition]:
    """Check the whole witness; return the revealed conditions by their lock.

    Refuses TX_LOCK_UNSATISFIED, TX_NOT_AUTHORISED (somebody else signed, for an input or a requirement),
    TX_WITNESS_MISSING (nobody did for an input), TX_WITNESS_UNUSED (all is authorised, and more was carried).
    """
    if not witness.conditions and not witness.preimages and not requirements:
        _check_key_locks(witness, input_locks)
        return {}
    evidence = evidence_of(witness, context)
    revealed = {lock_of(condition): condition for condition in witness.conditions}
    own_locks = {key_lock(public_key): public_key for public_key in evidence.signers}
    useful_keys: set[bytes] = set()
    open_locks = set(revealed)
    for lock in sorted(input_locks):
        if lock in own_locks:
            useful_keys.add(own_locks[lock])
        elif lock in revealed:
            _check_condition_lock(lock, revealed[lock], evidence)
            open_locks.discard(lock)
        else:
            strangers = {own_locks[each] for each in own_locks.keys() - set(input_locks)}
            _refuse_missing(lock, strangers - _keys_in(witness, requirements))
    if open_locks:
        _refuse_unused("condition", min(open_locks))
    for requirement in requirements:
        _check_requirement(requirement, evidence)
    conditions = [*witness.conditions, *(requirement.condition for requirement in requirements)]
    _check_all_used(witness, conditions, useful_keys)
    return revealed


def _keys_in(witness: Witness, requirements: Sequence[Requirement]) -> set[bytes]:
    """Every key that a revealed condition or a requirement names."""
    conditions = [*witness.conditions, *(requirement.condition for requirement in requirements)]
    return {public_key for condition in conditions for public_key in keys_of(condition)}


def _check_key_locks(witness: Witness, input_locks: Collection[bytes]) -> None:
    """The plain case: every input lock is the key lock of a signer, every signer has an input."""
    needed, strangers = set(input_locks), set[bytes]()
    for public_key, _ in witness.signatures:
        lock = key_lock(public_key)
        if lock not in needed:
            strangers.add(public_key)
        needed.discard(lock)
    if needed:
        _refuse_missing(min(needed), strangers)
    if strangers:
        _refuse_unused("signature of key", min(strangers))


def _check_condition_lock(lock: bytes, condition: Condition, evidence: Evidence) -> None:
    if not satisfied(condition, evidence):
        codes.refuse(
            codes.LOCK_UNSATISFIED,
            f"lock {lock.hex()}: {describe_missing(condition, evidence)}",
            lock=lock.hex(),
        )


def _check_requirement(requirement: Requirement, evidence: Evidence) -> None:
    if not requirement.optional and not satisfied(requirement.condition, evidence):
        codes.refuse(
            codes.NOT_AUTHORISED,
            f"{requirement.who} did not authorise this: {describe_missing(requirement.condition, evidence)}",
            who=requirement.who,
        )


def _check_all_used(witness: Witness, conditions: list[Condition], useful_keys: set[bytes]) -> None:
    """Every signing key and every preimage has its leaf somewhere."""
    for condition in conditions:
        useful_keys.update(keys_of(condition))
    for public_key, _ in witness.signatures:
        if public_key not in useful_keys:
            _refuse_unused("signature of key", public_key)
    if witness.preimages:
        digests = {digest for condition in conditions for digest in digests_of(condition)}
        for preimage in witness.preimages:
            if digest_of(preimage) not in digests:
                _refuse_unused("preimage of", digest_of(preimage))


def _refuse_missing(lock: bytes, strangers: set[bytes]) -> NoReturn:
    """An input's lock stays shut. With a signature that opens nothing, somebody else signed for its owner."""
    if strangers:
        codes.refuse(
            codes.NOT_AUTHORISED,
            f"lock {lock.hex()} is opened by another key than {min(strangers).hex()}, which signed",
            lock=lock.hex(),
            signer=min(strangers).hex(),
        )
    codes.refuse(
        codes.WITNESS_MISSING,
        f"neither a signature by its key nor its condition was shown for lock {lock.hex()}",
        lock=lock.hex(),
    )


def _refuse_unused(what: str, value: bytes) -> NoReturn:
    codes.refuse(
        codes.WITNESS_UNUSED,
        f"the {what} {value.hex()} belongs to nothing that this needs",
        entry=value.hex(),
    )
