"""Statements: what a stopped node shows of itself after the loss of more than f validators for good.

Promises: a statement is signed with the node's peer key and proves itself, tip by its certificate and lock by
its PREPAREs; making one changes nothing in the home. Layout: docs/encodings.md, "Recovery override".
"""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta

from consensus.journal import lock_of
from consensus.messages import Seals
from drexnode.config import NodeConfig
from drexnode.home import read_genesis
from drexnode.keystore import read_plain_key
from drexnode.recovery import STORE_FOLDER
from ledger.genesis import chain_id_of, genesis_validators
from ledger.genesis_records import GenesisDocument
from ledger.locks import Bytes32
from ledger.override import Check
from ledger.votes import read_validators
from p2p.identity import peer_id_from_public_key
from primitives.block import BlockHeader, BlockId, block_id, check_header_shape
from primitives.certificate import (
    CERTIFICATE_VERSION,
    PREPARED_VERSION,
    CommitCertificate,
    certificate_checks,
    check_certificate_shape,
    prepared_checks,
)
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, DrexError, InvalidBlock
from primitives.hashing import tagged_hasher
from primitives.keys import PublicKey, verify
from primitives.limits import MAX_HEIGHT, MAX_ROUND, MAX_STATEMENT_BYTES, MAX_TIMESTAMP_MS, MAX_VALIDATORS
from primitives.validators import ValidatorSet
from storage.chain_store import ChainStore, open_chain_store
from storage.layout import content_key
from storage.queries import ChainQueries
from storage.signing_state import Quarantine, recover_signing_state
from storage.validator_rows import read_overrides
from storage.vote_journal import read_journal
from storage.watermark import read_watermark

STATEMENT_VERSION = 1
ROLES = ("validator", "full", "observer")

_hash_statement = tagged_hasher("drex/statement")


class RecoveryRefused(DrexError):
    """Statements from which nothing may be concluded, or a step that is not safe. Codes STATEMENT_*,
    RECOVER_*."""


class SetRecord(Record, frozen=True):
    """A validator set: `[epoch, [public keys ascending]]`."""

    epoch: Annotated[int, Meta(ge=0, le=MAX_HEIGHT)]
    keys: Annotated[tuple[Bytes32, ...], Meta(min_length=1, max_length=MAX_VALIDATORS)]

    def validators(self) -> ValidatorSet:
        """The set. Raises `DecodeError` (VALIDATORS_INVALID)."""
        return ValidatorSet(self.epoch, tuple(PublicKey(key) for key in self.keys))


class LockRecord(Record, frozen=True):
    """The block of the next height that a validator is locked on, with a quorum of PREPAREs."""

    round: Annotated[int, Meta(ge=0, le=MAX_ROUND)]
    header: BlockHeader
    prepares: Seals
    holds_bodies: bool

    def certificate(self) -> CommitCertificate:
        """The proof as an override carries it."""
        header = self.header
        return CommitCertificate(PREPARED_VERSION, header.height, self.round, block_id(header), self.prepares)


class StatementBody(Record, frozen=True):
    """What is signed."""

    version: int
    chain_id: Bytes32
    public_key: Bytes32
    role: Annotated[int, Meta(ge=0, lt=len(ROLES))]
    time_ms: Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP_MS)]
    header: BlockHeader
    certificate: CommitCertificate | None
    validators: SetRecord
    next_validators: SetRecord | None
    lock: LockRecord | None


class Statement(Record, frozen=True):
    """A node's word on where it stands."""

    body: StatementBody
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]

    @property
    def peer_id(self) -> str:
        """Whose word it is."""
        return peer_id_from_public_key(self.body.public_key)

    @property
    def height(self) -> int:
        """The node's tip."""
        return self.body.header.height

    @property
    def deciders(self) -> ValidatorSet:
        """Who would decide the height after the tip."""
        body = self.body
        return (body.next_validators or body.validators).validators()


def make_statement(
    config: NodeConfig, signer: NodeConfig | None = None, *, memory_is_lost: bool = False
) -> Statement:
    """The statement of the stopped node of `config`. `signer` is the home of its signer process, if that has
    one of its own; `memory_is_lost` states the tip alone of a validator whose memory of its votes is gone, or
    of a block that is.

    Raises `StorageFailure` (STORAGE_LOCKED while it runs, STORAGE_MISSING), `ConfigError` and
    `RecoveryRefused` (RECOVER_NO_MEMORY, RECOVER_BEHIND)."""
    document = read_genesis(config.genesis_path)
    chain_id = chain_id_of(document)
    key = read_plain_key(config.peer_key_path)
    store = open_chain_store(
        config.data_path / STORE_FOLDER, chain_id, hot_set_bytes=config.storage.hot_set_bytes
    )
    try:
        body = _body(config, document, store, key.public_key, None if memory_is_lost else signer or config)
    finally:
        store.close()
    return Statement(body, key.sign(_hash_statement(encode(body))))


def _body(
    config: NodeConfig,
    document: GenesisDocument,
    store: ChainStore,
    public_key: bytes,
    signer: NodeConfig | None,
) -> StatementBody:
    chain_id, tip = chain_id_of(document), store.tip
    if tip is None:
        raise RecoveryRefused("STATEMENT_EMPTY", "this node has no chain yet: it has nothing to state")
    queries = ChainQueries(store, chain_id)
    decided_by = queries.validators_at(tip.height)
    if decided_by is None:
        raise RecoveryRefused(
            "VALIDATORS_NOT_KEPT", f"the set that decided block {tip.height} was not kept here"
        )
    deciders = read_overrides(store.database).validators_after(tip.header) or read_validators(store.state)
    lock = None
    if config.node.role == "validator" and signer is not None:
        lock = own_lock(signer, tip.height + 1, deciders.hash)
    if lock is not None:
        key = content_key(tip.height + 1, block_id(lock.header))
        lock = LockRecord(lock.round, lock.header, lock.prepares, store.database.get(key) is not None)
    return StatementBody(
        version=STATEMENT_VERSION,
        chain_id=chain_id,
        public_key=public_key,
        role=ROLES.index(config.node.role),
        time_ms=time.time_ns() // 1_000_000,
        header=tip.header,
        certificate=queries.certificate(tip.height),
        validators=_set_record(decided_by),
        next_validators=None if deciders == decided_by else _set_record(deciders),
        lock=lock,
    )


def _set_record(validators: ValidatorSet) -> SetRecord:
    return SetRecord(validators.epoch, validators.keys)


def own_lock(config: NodeConfig, height: int, validators_hash: bytes) -> LockRecord | None:
    """The proven lock that journal or watermark of a home hold for `height` in the given set, or None.

    Reads only; `holds_bodies` is left False. A lock that is merely named is no proof and is left out. Raises
    `RecoveryRefused`: RECOVER_NO_MEMORY when the two do not tell how far the key has signed (what a start
    would answer with quarantine), RECOVER_BEHIND when it has voted above `height`, so that the blocks which
    are known here are not all that this validator has seen decided."""
    journal, watermark = read_journal(config.votes_path), read_watermark(config.watermark_path)
    found = recover_signing_state(journal, watermark)
    if isinstance(found, Quarantine):
        message = (
            f"what this validator is locked on is not known from {config.watermark_path}: it holds no whole "
            f"sign watermark ({found.reason})"
        )
        raise RecoveryRefused("RECOVER_NO_MEMORY", message, path=str(config.watermark_path))
    if found.last is not None and found.last.height > height:
        message = (
            f"this validator has voted at height {found.last.height}, and block {height} is not known here"
        )
        raise RecoveryRefused("RECOVER_BEHIND", message, height=found.last.height)
    in_slots = [slot.record for slot in watermark.slots if slot is not None and slot.record is not None]
    records = [
        record for record in (*journal.records, *in_slots) if record.validators_hash == validators_hash
    ]
    lock = lock_of(records, height)
    if lock is None or lock.header is None or not lock.prepares:
        return None
    return LockRecord(lock.round, lock.header, lock.prepares, holds_bodies=False)


def encode_statement(statement: Statement) -> bytes:
    """The canonical bytes."""
    return encode(statement)


def decode_statement(data: bytes) -> Statement:
    """Read a statement. Raises `DecodeError`; verifies no signature."""
    statement = decode(data, Statement, max_bytes=MAX_STATEMENT_BYTES)
    body = statement.body
    if body.version != STATEMENT_VERSION:
        raise DecodeError(f"version {body.version} is unknown", code="STATEMENT_MALFORMED")
    check_header_shape(body.header)
    if body.certificate is not None:
        check_certificate_shape(body.certificate)
    if body.lock is not None:
        check_header_shape(body.lock.header)
        check_certificate_shape(body.lock.certificate())
    body.validators.validators()
    if body.next_validators is not None:
        body.next_validators.validators()
    return statement


def check_statement(statement: Statement, document: GenesisDocument) -> None:
    """Check that a statement proves what it says. Raises `RecoveryRefused`: STATEMENT_FOREIGN,
    STATEMENT_BAD_SIGNATURE, STATEMENT_UNPROVEN."""
    body, chain_id = statement.body, chain_id_of(document)
    if body.chain_id != chain_id:
        raise RecoveryRefused("STATEMENT_FOREIGN", f"it is of chain {body.chain_id.hex()}")
    if not verify(body.public_key, _hash_statement(encode(body)), statement.signature):
        raise RecoveryRefused("STATEMENT_BAD_SIGNATURE", f"{statement.peer_id} did not sign it")
    validators = body.validators.validators()
    if validators.epoch == 0 and validators != genesis_validators(document):
        raise _unproven(statement, "its set of epoch 0 is not the genesis's")
    if validators.hash != body.header.validators_hash:
        raise _unproven(statement, "the set is not the one its tip names")
    try:
        checks = _tip_checks(body, chain_id, validators) + _lock_checks(statement, chain_id)
    except InvalidBlock as error:
        raise _unproven(statement, str(error)) from None
    if not all(verify(*check) for check in checks):
        raise _unproven(statement, "a seal is false")


def _tip_checks(body: StatementBody, chain_id: bytes, validators: ValidatorSet) -> list[Check]:
    header, certificate = body.header, body.certificate
    if certificate is None:
        if header.height:
            raise InvalidBlock("CERTIFICATE_MISSING", "its tip has no certificate", height=header.height)
        return []
    prove = certificate_checks if certificate.version == CERTIFICATE_VERSION else prepared_checks
    return prove(certificate, chain_id, validators, BlockId(block_id(header)), header.height)


def _lock_checks(statement: Statement, chain_id: bytes) -> list[Check]:
    lock, body = statement.body.lock, statement.body
    if lock is None:
        return []
    header, deciders = lock.header, statement.deciders
    follows = header.height == body.header.height + 1 and header.parent_id == block_id(body.header)
    if not follows or header.validators_hash != deciders.hash:
        raise InvalidBlock("BLOCK_PARENT", "the lock is no block after its tip", height=header.height)
    return prepared_checks(lock.certificate(), chain_id, deciders, block_id(header), header.height)


def _unproven(statement: Statement, message: str) -> RecoveryRefused:
    return RecoveryRefused(
        "STATEMENT_UNPROVEN",
        f"{statement.peer_id}: {message}",
        peer_id=statement.peer_id,
        height=statement.height,
    )
