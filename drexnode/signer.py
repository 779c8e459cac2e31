"""The validator's signature: journal fsync, watermark fsync, and only then the key is used.

`Signer` is what the consensus driver needs, so that a signer in another process can stand in. The in-process
one holds the key and the signing state; all its calls block and belong in a thread, one after another.
"""

from __future__ import annotations

from typing import Protocol

from consensus.inputs import Recovered
from consensus.journal import VoteRecord, last_record
from consensus.messages import round_change_sighash
from drexnode.config import NodeConfig
from ledger.payloads import ValidatorVote
from ledger.transaction import decode_transaction
from primitives.certificate import STEP_ROUND_CHANGE, vote_domain, vote_sighash
from primitives.errors import DecodeError, DrexError
from primitives.keys import PublicKey, Signature, SigningKey
from storage.signing_state import (
    Quarantine,
    RecoveredSigner,
    SigningRefused,
    SigningState,
    open_signing_state,
)


class Signer(Protocol):
    """Signs each step at most once. Methods but the properties block: call them from a thread, in order."""

    @property
    def public_key(self) -> PublicKey: ...

    @property
    def in_quarantine(self) -> bool:
        """True while it is not known how far the key has signed: nothing is signed."""
        ...

    def sign(self, record: VoteRecord) -> Signature:
        """Make `record` durable and sign its payload hash. Raises `SigningRefused`, `StorageFailure`."""
        ...

    def height_decided(self, height: int) -> None:
        """The records of `height` and below are no longer needed."""
        ...

    def leave_quarantine(self) -> None:
        """Sign again, above everything seen."""
        ...


class NodeSigner(Signer, Protocol):
    """A signer as the node owns it: `LocalSigner`, or `RemoteSigner` for one in another process."""

    @property
    def fault(self) -> DrexError | None:
        """Why nothing is signed at present (SIGNER_UNREACHABLE), or None."""
        ...

    def recovered(self, lock_wtxids: tuple[bytes, ...] | None) -> Recovered | None:
        """What the engine is told with its first height; None while in quarantine.

        `lock_wtxids` is the stored list of the block that the recovered lock names, if any."""
        ...

    def sign_ledger_vote(self, unsigned: bytes) -> Signature:
        """Sign a VALIDATOR_VOTE transaction in this key's own name, given without witness; blocking.

        Raises `DrexError` SIGNER_NO_VOTE for anything else, and `SigningRefused` SIGNER_UNREACHABLE."""
        ...

    def close(self) -> None:
        """Let go of files or connection. Idempotent."""
        ...


def open_local_signer(config: NodeConfig, chain_id: bytes, key: SigningKey) -> LocalSigner:
    """A home's journal and watermark, recovered, and its unlocked key. Blocking; raises `StorageFailure`."""
    state = open_signing_state(config.votes_path, config.watermark_path, chain_id, key.public_key)
    return LocalSigner(key, state)


def without_replaced_set(found: Recovered, validators_hash: bytes) -> Recovered:
    """What a restart found, without the votes of a set that a recovery override replaced at this height, once
    the key has voted in the new one (`validators_hash`): a lock of the old set proves nothing to the new."""
    records = found.records if found.watermark is None else (*found.records, found.watermark)
    last = last_record(records)
    if last is None or last.validators_hash != validators_hash:
        return found
    kept = [
        record for record in records
        if record.height != last.height or record.validators_hash == validators_hash
    ]  # fmt: skip
    return Recovered(tuple(kept), None, found.lock_wtxids)


def payload_hash_of(record: VoteRecord, chain_id: bytes) -> bytes:
    """The 32 bytes that the vote signs which a record describes."""
    domain = vote_domain(chain_id, record.validators_hash)
    if record.step == STEP_ROUND_CHANGE:
        claim = None if record.lock is None else (record.lock.round, record.lock.block_id)
        return round_change_sighash(domain, record.height, record.round, claim)
    return vote_sighash(domain, record.step, record.height, record.round, record.block_id)


class LocalSigner:
    """The key in this process."""

    def __init__(self, key: SigningKey, state: SigningState) -> None:
        self._key = key
        self._state = state

    @property
    def public_key(self) -> PublicKey:
        return self._key.public_key

    @property
    def in_quarantine(self) -> bool:
        return self._state.in_quarantine

    @property
    def fault(self) -> DrexError | None:
        """See `NodeSigner`: a key in this process is never out of reach."""
        return None

    @property
    def last(self) -> VoteRecord | None:
        """The last durable vote; None before the first and in quarantine."""
        return self._state.last

    @property
    def recovery(self) -> RecoveredSigner | Quarantine:
        """What the start found in journal and watermark."""
        return self._state.recovery

    def recovered(self, lock_wtxids: tuple[bytes, ...] | None) -> Recovered | None:
        """What the engine is told with its first height; None while in quarantine or when nothing was found.

        `lock_wtxids` is the stored list of the block that the recovered lock names, if any."""
        recovery = self._state.recovery
        if isinstance(recovery, Quarantine):
            return None
        return Recovered(recovery.records, recovery.watermark, lock_wtxids)

    def sign(self, record: VoteRecord) -> Signature:
        """See `Signer`. The hash is the one of the vote that the record describes, or SIGN_MISMATCH: the
        position that is remembered is the one that is signed."""
        if record.payload_hash != payload_hash_of(record, self._state.chain_id):
            message = f"what is to be signed is not the vote of {record.position} that the record describes"
            raise SigningRefused("SIGN_MISMATCH", message)
        self._state.record(record)
        return self._key.sign(record.payload_hash)

    def height_decided(self, height: int) -> None:
        self._state.height_decided(height)

    def leave_quarantine(self) -> None:
        self._state.leave_quarantine()

    def sign_ledger_vote(self, unsigned: bytes) -> Signature:
        """See `NodeSigner`."""
        try:
            transaction = decode_transaction(unsigned, self._state.chain_id)
        except DecodeError as error:
            raise DrexError("SIGNER_NO_VOTE", f"that is no transaction: {error.message}") from None
        payload = transaction.payload
        if not isinstance(payload, ValidatorVote) or payload.voter != self.public_key:
            message = "this key signs blocks and its own votes on validators, nothing else"
            raise DrexError("SIGNER_NO_VOTE", message)
        return self._key.sign(transaction.sighash)

    def close(self) -> None:
        """Close the files. Idempotent."""
        self._state.close()
