"""Targets for what a node reads from its peers and its own disk: votes, evidence, records, payloads.

The same promise as `tests/fuzz/targets.py`: a value, or the documented error, and a canonical encoding. A
frame's checksum would stop mutation at once, so journal and slot are fuzzed behind theirs as well.
"""

from __future__ import annotations

import contextlib

from consensus.evidence import (
    decode_conflict_proof,
    decode_evidence,
    verify_conflict_proof,
    verify_evidence,
)
from consensus.journal import VoteRecord, decode_record
from consensus.messages import decode_message, encode_message
from drexnode import snapshot_wire, wire
from p2p.addresses import parse_address
from p2p.identity import parse_peer_id, peer_id_from_seed, public_key_of
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.codec import Record, encode
from primitives.errors import DecodeError, InvalidBlock
from primitives.hashing import tagged_hasher
from storage.vote_journal import JournalOwner, parse_journal
from storage.watermark import Slot, encode_slot, parse_slot
from tests.consensus.engine import Engine
from tests.fuzz.checks import cheap_verify as _verify
from tests.fuzz.checks import same as _same

_WORD = bytes(32)
_OWNER = encode(JournalOwner(1, _WORD, _WORD))
_RECORD = VoteRecord(1, _WORD, 7, 0, 1, _WORD, _WORD, None, b"")
_hash_frame, _hash_slot = tagged_hasher("drex/journal"), tagged_hasher("drex/watermark")
_WIRE_TYPES: tuple[type[Record], ...] = (
    wire.TransactionBatch,
    wire.HeadAnnouncement,
    wire.Status,
    wire.BodiesRequest,
    wire.BodiesResponse,
    wire.BlocksRequest,
    wire.BlocksResponse,
    wire.HeadersRequest,
    wire.HeadersResponse,
    wire.ProposalRequest,
    wire.ProposalResponse,
)


def fuzz_message(data: bytes) -> None:
    """Bytes → message of consensus."""
    with contextlib.suppress(DecodeError):
        _same(encode_message(decode_message(data)), data)


def fuzz_evidence(data: bytes) -> None:
    """Bytes → evidence and conflict proof → whether they stand."""
    with contextlib.suppress(DecodeError):
        evidence = decode_evidence(data)
        _same(encode(evidence), data)
        verify_evidence(evidence, _WORD, _verify)
    with contextlib.suppress(DecodeError, InvalidBlock):
        proof = decode_conflict_proof(data)
        _same(encode(proof), data)
        verify_conflict_proof(proof, _verify)


def fuzz_record(data: bytes) -> None:
    """Bytes → vote record."""
    with contextlib.suppress(DecodeError):
        _same(decode_record(data).encode(), data)


def fuzz_disk(data: bytes) -> None:
    """Bytes → journal and watermark slot, bare and behind right checksums; reading never raises."""
    parse_journal(data)
    parse_journal(_frames(data))
    contents = parse_journal(_frames(_OWNER, data, encode(_RECORD)))
    if contents.owner is None or (contents.damage is None and len(contents.records) != 2):
        raise AssertionError(f"a journal lost a frame without a word: {data.hex()}")
    framed = b"DREXWM\x00\x01" + len(data).to_bytes(4, "big") + _hash_slot(data) + data
    for slot_bytes in (data, framed):
        for side in (0, 1):
            slot = parse_slot(slot_bytes, side)
            if slot is not None:
                _same(encode_slot(slot), slot_bytes)


def fuzz_wire(data: bytes) -> None:
    """The first byte chooses the payload's type, the rest is the payload."""
    if data:
        message_type = _WIRE_TYPES[data[0] % len(_WIRE_TYPES)]
        with contextlib.suppress(DecodeError):
            _same(wire.encode_message(wire.decode_message(data[1:], message_type)), data[1:])


def fuzz_snapshot(data: bytes) -> None:
    """The first byte chooses a message about snapshots, the rest is its bytes. Manifests and chunks, which
    the messages carry, are files as well: file_targets.py."""
    if data:
        kinds = snapshot_wire.SNAPSHOT_MESSAGES
        kind = kinds[data[0] % len(kinds)]
        with contextlib.suppress(DecodeError):
            _same(encode(snapshot_wire.decode_snapshot_message(data[1:], kind)), data[1:])


def fuzz_peer(data: bytes) -> None:
    """Text → address of a peer, peer id."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(DecodeError):
        address = parse_address(text)
        if parse_address(str(address)) != address:
            raise AssertionError(f"{text!r} does not survive")
    with contextlib.suppress(DecodeError):
        public_key_of(parse_peer_id(text))


def messages() -> list[bytes]:
    """Each kind of message, bare and with its proofs."""
    texts = (
        "PROPOSAL A r0 x",
        "PREPARE B r0 x",
        "COMMIT C r0 x",
        "ROUND_CHANGE B r1 prepared 0 x by A B C",
        "PROPOSAL B r1 x with A:0:x B C prepares 0 A B C",
    )
    return [Engine().message(text) for text in texts]


def proofs() -> list[bytes]:
    """Evidence of each shape of payload, and a conflict proof."""
    evidence = [
        [_WORD, _WORD, step, 7, 0, first, bytes(64), second, bytes(64)]
        for step, first, second in ((1, _WORD, b"\1" * 32), (3, None, [0, _WORD]))
    ]
    certified = [[1, 7, _WORD, 1000, _WORD, 0, *[_WORD] * 4], [1, 7, 0, _WORD, [[0, bytes(64)]]]]
    return [encode(part) for part in (*evidence, [_WORD, 0, [_WORD], *certified, *certified])]


def records() -> list[bytes]:
    """A vote record, alone and in a slot."""
    return [_RECORD.encode(), encode(Slot(1, _WORD, _WORD, 0, _RECORD)), _OWNER]


def payloads() -> list[bytes]:
    """One payload of each type."""
    header = BlockHeader(1, 7, _WORD, 1007, _WORD, 2, _WORD, _WORD, _WORD, _WORD)
    certificate = CommitCertificate(1, 7, 0, _WORD, ((0, bytes(64)),))
    head = wire.HeadAnnouncement(header, certificate)
    examples = (
        wire.TransactionBatch(True, (b"\x92\x90\x90", b"x")),
        head,
        wire.Status(1, _WORD, 7, _WORD, 1, "observer", "observer-0"),
        wire.BodiesRequest((_WORD,)),
        wire.BodiesResponse((b"x",)),
        wire.BlocksRequest(1, 0, 100, 1 << 20),
        wire.BlocksResponse((wire.BlockPart(header, certificate, 0, (b"raw", b"raw")),)),
        wire.HeadersRequest(1, 100),
        wire.HeadersResponse((head,)),
        wire.ProposalRequest(_WORD),
        wire.ProposalResponse(header, (b"a" * 32, b"b" * 32)),
    )
    return [bytes([place]) + wire.encode_message(message) for place, message in enumerate(examples)]


def snapshots() -> list[bytes]:
    """Each message about snapshots."""
    offer = snapshot_wire.SnapshotOffer(7, _WORD, _WORD, 100, 1000, 2)
    examples: tuple[Record, ...] = (
        snapshot_wire.SnapshotsRequest(1),
        snapshot_wire.SnapshotsResponse((offer,)),
        snapshot_wire.SnapshotPartRequest(_WORD, 0),
        snapshot_wire.SnapshotPart(b"x"),
    )
    return [bytes([place]) + encode(example) for place, example in enumerate(examples)]


def addresses() -> list[bytes]:
    """Peer ids, and addresses with and without one."""
    peer = peer_id_from_seed(_WORD)
    texts = (
        peer,
        "/ip4/10.0.0.1/tcp/26600",
        f"/ip6/::1/tcp/1/p2p/{peer}",
        f"/dns4/node.example/tcp/2/p2p/{peer}",
    )
    return [text.encode() for text in texts]


def _frames(*payloads: bytes) -> bytes:
    data, digest = b"", bytes(32)
    for payload in payloads:
        digest = _hash_frame(digest + payload)
        data += len(payload).to_bytes(4, "big") + digest[:16] + payload
    return data
