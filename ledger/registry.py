"""The registry's records and how they are found: participants, credentials, locks, wallets, nodes …

Only reads and plain writes live here; which act may change what is in `ledger/authority.py`, how acts change
the registry in `ledger/acts.py`. Layouts: docs/encodings.md, "State".
"""

from __future__ import annotations

from enum import Enum, IntEnum
from functools import lru_cache

import msgspec

from ledger import codes
from ledger.assets import AssetRecord
from ledger.locks import Condition
from ledger.payloads import Credential, Holders, NodeRole, Role
from ledger.state import (
    AUTHORITY,
    CANDIDATE,
    LOCK,
    NODE,
    PARTICIPANT,
    PROTOCOL,
    RECOVERY,
    WALLET,
    StateReader,
    StateView,
)
from primitives.codec import Record, encode
from primitives.errors import InvariantViolation

DISABLED_BY_OWNER = 1
DISABLED_BY_BCB = 2


class Purpose(IntEnum):
    """What a participant's own lock is for."""

    SETTLEMENT = 0
    RESERVE = 1
    OTHER = 2


class Standing(Enum):
    """Whether a lock may hold an asset."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    ABSENT = "not registered"


class CredentialRecord(Record, frozen=True):
    """A condition that speaks for someone, and a replacement that is on its way.

    `pending` is in force from height `due` on; `cancelled` counts attempts cancelled since the last recovery.
    """

    condition: Condition
    cancelled: int = 0
    pending: Condition | None = None
    due: int = 0

    def at(self, height: int) -> CredentialRecord:
        """The record as it is in force at `height`: a recovery that is due has taken place."""
        if self.pending is not None and height >= self.due:
            return CredentialRecord(self.pending)
        return self


class ParticipantRecord(Record, frozen=True):
    """A participant. `credential` is None for BCB, whose authorities have their own."""

    name: str
    role: Role
    credential: CredentialRecord | None
    settlement_lock: bytes
    sponsor: str


class LockRecord(Record, frozen=True):
    """A participant's own lock; `asset` names what a reserve lock backs; `disabled` is a set of bits."""

    ispb: str
    purpose: Purpose
    asset: str
    disabled: int


class NodeRecord(Record, frozen=True):
    """A permitted peer."""

    role: NodeRole
    ispb: str
    addresses: tuple[str, ...]
    validator_key: bytes


class CandidateRecord(Record, frozen=True):
    """A key that validators may vote into the set, and the participant that runs it."""

    ispb: str


class ProtocolRecord(Record, frozen=True):
    """The protocol version, and the next one with the height from which it holds (0 = none set)."""

    version: int
    next_version: int
    height: int

    def at(self, height: int) -> int:
        """The version in force at `height`."""
        return self.next_version if 0 < self.height <= height else self.version


_decode_participant = lru_cache(maxsize=4096)(msgspec.msgpack.Decoder(ParticipantRecord).decode)
_decode_credential = lru_cache(maxsize=16)(msgspec.msgpack.Decoder(CredentialRecord).decode)
_decode_condition = msgspec.msgpack.Decoder(Condition).decode
_decode_lock = lru_cache(maxsize=4096)(msgspec.msgpack.Decoder(LockRecord).decode)
_decode_node = msgspec.msgpack.Decoder(NodeRecord).decode
_decode_candidate = msgspec.msgpack.Decoder(CandidateRecord).decode
_decode_protocol = msgspec.msgpack.Decoder(ProtocolRecord).decode


def find_participant(reader: StateReader, ispb: str) -> ParticipantRecord | None:
    """The participant, or None."""
    value = reader.get(PARTICIPANT + ispb.encode())
    return None if value is None else _decode_participant(value)


def get_participant(reader: StateReader, ispb: str) -> ParticipantRecord:
    """The participant; refuses with TX_PARTICIPANT_UNKNOWN."""
    participant = find_participant(reader, ispb)
    if participant is None:
        codes.refuse(codes.PARTICIPANT_UNKNOWN, f"{ispb} is not registered", ispb=ispb)
    return participant


def put_participant(view: StateView, ispb: str, participant: ParticipantRecord) -> None:
    """Write a participant."""
    view.put(PARTICIPANT + ispb.encode(), encode(participant))


def get_authority(reader: StateReader, number: Credential) -> CredentialRecord:
    """BCB's authority `number` (emission, orders, registry), as stored."""
    value = reader.get(AUTHORITY + bytes([number]))
    if value is None:
        raise InvariantViolation("STATE_AUTHORITY_MISSING", f"BCB has no {number.name} authority")
    return _decode_credential(value)


def put_authority(view: StateView, number: Credential, record: CredentialRecord) -> None:
    """Write BCB's authority `number`."""
    view.put(AUTHORITY + bytes([number]), encode(record))


def get_recovery(reader: StateReader) -> Condition:
    """BCB's recovery condition, fixed in the genesis."""
    value = reader.get(RECOVERY)
    if value is None:
        raise InvariantViolation("STATE_RECOVERY_MISSING", "the state holds no recovery condition")
    condition: Condition = _decode_condition(value)
    return condition


def put_recovery(view: StateView, condition: Condition) -> None:
    """Write BCB's recovery condition: the genesis alone does."""
    view.put(RECOVERY, encode(condition))


def find_lock(reader: StateReader, lock: bytes) -> LockRecord | None:
    """The registration of a participant's own lock, or None."""
    value = reader.get(LOCK + lock)
    return None if value is None else _decode_lock(value)


def put_lock(view: StateView, lock: bytes, record: LockRecord | None) -> None:
    """Write or (None) remove the registration of a participant's own lock."""
    view.put(LOCK + lock, None if record is None else encode(record))


def wallet_key(issuer: str, lock: bytes) -> bytes:
    """Key of a client's wallet: `w` + issuer(8) + lock(32)."""
    return WALLET + issuer.encode() + lock


def find_wallet(reader: StateReader, issuer: str, lock: bytes) -> int | None:
    """The disabled bits of a client's wallet, or None when there is none."""
    value = reader.get(WALLET + issuer.encode() + lock)
    return None if value is None else value[0]


def put_wallet(view: StateView, issuer: str, lock: bytes, disabled: int) -> None:
    """Write a client's wallet."""
    view.put(WALLET + issuer.encode() + lock, bytes([disabled]))


def standing(reader: StateReader, asset: AssetRecord, lock: bytes) -> Standing:
    """Whether `lock` itself may hold `asset`, by the asset's `holders`."""
    if asset.holders is Holders.ANY:
        return Standing.ENABLED
    if asset.holders is Holders.CLIENTS:
        wallet = reader.get(WALLET + asset.issuer.encode() + lock)
        if wallet is not None:
            return Standing.DISABLED if wallet[0] else Standing.ENABLED
    record = find_lock(reader, lock)
    if record is None or (asset.holders is Holders.CLIENTS and record.ispb != asset.issuer):
        return Standing.ABSENT
    return Standing.DISABLED if record.disabled else Standing.ENABLED


def cash_lock(reader: StateReader, asset: AssetRecord) -> bytes:
    """Where the issuer of a retail asset settles in BRL: the reserve of e-money, else its settlement lock,
    else its sponsor's. Refuses (TX_REGISTRY_RULE) when there is none."""
    if asset.reserve_lock:
        return asset.reserve_lock
    participant = get_participant(reader, asset.issuer)
    if participant.sponsor:
        participant = get_participant(reader, participant.sponsor)
    if not participant.settlement_lock:
        codes.refuse(codes.REGISTRY_RULE, f"{asset.issuer} has no settlement lock", ispb=asset.issuer)
    return participant.settlement_lock


def find_node(reader: StateReader, peer_id: bytes) -> NodeRecord | None:
    """The permitted peer, or None."""
    value = reader.get(NODE + peer_id)
    return None if value is None else _decode_node(value)


def put_node(view: StateView, peer_id: bytes, node: NodeRecord | None) -> None:
    """Write or (None) remove a permitted peer."""
    view.put(NODE + peer_id, None if node is None else encode(node))


def find_candidate(reader: StateReader, public_key: bytes) -> CandidateRecord | None:
    """The validator candidate, or None."""
    value = reader.get(CANDIDATE + public_key)
    return None if value is None else _decode_candidate(value)


def put_candidate(view: StateView, public_key: bytes, candidate: CandidateRecord | None) -> None:
    """Write or (None) remove a validator candidate."""
    view.put(CANDIDATE + public_key, None if candidate is None else encode(candidate))


def get_protocol(reader: StateReader) -> ProtocolRecord:
    """The protocol version and the next one; version 1 when the state says nothing."""
    value = reader.get(PROTOCOL)
    return ProtocolRecord(1, 0, 0) if value is None else _decode_protocol(value)


def put_protocol(view: StateView, protocol: ProtocolRecord) -> None:
    """Write the protocol version record."""
    view.put(PROTOCOL, encode(protocol))
