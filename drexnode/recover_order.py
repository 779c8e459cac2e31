"""From statements to an override: what was shown, which block the new set begins after, and who has signed.

Promises: the override carries the highest decided block, or the lock of the highest round above it, of all
statements given; two statements that contradict each other stop it; a signature is added only to an order of
this chain by a key of the recovery condition. Pure. docs/consensus.md, "Loss of more than f for good".
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from drexnode.recover_statement import LockRecord, RecoveryRefused, Statement, check_statement
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument
from ledger.locks import keys_of
from ledger.override import (
    OVERRIDE_VERSION,
    Override,
    OverrideOrder,
    OverrideRefused,
    OverrideValidator,
    override_sighash,
    proof_hash,
)
from primitives.block import block_id
from primitives.keys import SigningKey


def propose_override(
    document: GenesisDocument, statements: Sequence[Statement], members: Sequence[OverrideValidator]
) -> Override:
    """The unsigned override that `statements` ask for, with `members` as the new set.

    Raises `RecoveryRefused`: STATEMENT_* of a statement that does not hold, RECOVER_NO_STATEMENTS,
    RECOVER_CONFLICT, RECOVER_BODIES_MISSING, RECOVER_SET_INVALID."""
    if not statements:
        raise RecoveryRefused("RECOVER_NO_STATEMENTS", "at least one statement is needed")
    for statement in statements:
        check_statement(statement, document)
    highest = max(statements, key=lambda statement: statement.height)
    at_tip = [statement for statement in statements if statement.height == highest.height]
    _check_agreement(at_tip)
    lock = _highest_lock(at_tip)
    epoch = highest.deciders.epoch + 1
    if lock is None:
        header, certificate = highest.body.header, highest.body.certificate
    else:
        header, certificate = lock.header, lock.certificate()
        epoch += header.next_validators_hash != header.validators_hash
    order = OverrideOrder(
        version=OVERRIDE_VERSION,
        chain_id=chain_id_of(document),
        height=header.height,
        block_id=block_id(header),
        epoch=epoch,
        validators=_ordered(document, members),
        proof=proof_hash(certificate),
    )
    return Override(order, header, certificate, ())


def _check_agreement(at_tip: Sequence[Statement]) -> None:
    """Two decided blocks of one height: more than f validators signed both branches."""
    names = {block_id(statement.body.header): statement for statement in at_tip}
    if len(names) > 1:
        shown = {statement.peer_id: name.hex() for name, statement in names.items()}
        message = f"statements show different decided blocks at height {at_tip[0].height}: investigate first"
        raise RecoveryRefused("RECOVER_CONFLICT", message, shown=shown)


def _highest_lock(at_tip: Sequence[Statement]) -> LockRecord | None:
    locks = [statement.body.lock for statement in at_tip if statement.body.lock is not None]
    lock = max(locks, key=lambda one: one.round, default=None)
    if lock is None:
        return None
    name = block_id(lock.header)
    if any(other.round == lock.round and block_id(other.header) != name for other in locks):
        message = f"statements show two blocks of height {lock.header.height} prepared in round {lock.round}"
        raise RecoveryRefused("RECOVER_CONFLICT", f"{message}: investigate first")
    if not any(other.holds_bodies and block_id(other.header) == name for other in locks):
        message = f"nobody holds the bodies of block {lock.header.height} {name.hex()}, which is locked on"
        raise RecoveryRefused("RECOVER_BODIES_MISSING", message, height=lock.header.height)
    return lock


def _ordered(
    document: GenesisDocument, members: Sequence[OverrideValidator]
) -> tuple[OverrideValidator, ...]:
    ordered = sorted(members, key=lambda member: member.public_key)
    least = document.parameters.min_validators
    if len({member.public_key for member in ordered}) != len(ordered):
        raise RecoveryRefused("RECOVER_SET_INVALID", "a validator is named twice")
    if len({member.peer_id for member in ordered}) != len(ordered):
        raise RecoveryRefused("RECOVER_SET_INVALID", "two validators name one peer")
    if len(ordered) < least:
        raise RecoveryRefused("RECOVER_SET_INVALID", f"the genesis asks for at least {least} validators")
    return tuple(ordered)


def sign_override(override: Override, document: GenesisDocument, key: SigningKey) -> Override:
    """The override with one more signature. Raises `OverrideRefused`: OVERRIDE_FOREIGN,
    OVERRIDE_NO_MEMBER."""
    chain_id = chain_id_of(document)
    if override.order.chain_id != chain_id:
        message = f"it is for chain {override.order.chain_id.hex()}, the genesis is of {chain_id.hex()}"
        raise OverrideRefused("OVERRIDE_FOREIGN", message)
    if key.public_key not in keys_of(document.recovery):
        message = f"{key.public_key.hex()} is no key of the genesis's recovery condition"
        raise OverrideRefused("OVERRIDE_NO_MEMBER", message, signer=key.public_key.hex())
    signatures = dict(override.signatures)
    signatures[key.public_key] = key.sign(override_sighash(override.order))
    return structs.replace(override, signatures=tuple(sorted(signatures.items())))
