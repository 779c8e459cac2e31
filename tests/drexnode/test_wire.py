"""Payloads between nodes: canonical both ways, bounded, and nothing but `DecodeError` for anything else."""

from hashlib import sha256

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drexnode import wire
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.codec import Record
from primitives.errors import DecodeError
from primitives.limits import MAX_BATCH_BYTES, MAX_BATCH_TRANSACTIONS, MAX_TRANSACTION_BYTES

MESSAGE_TYPES: list[type[Record]] = [
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
]


def header(height: int, tx_count: int = 0) -> BlockHeader:
    word = bytes([height % 256]) * 32
    return BlockHeader(1, height, word, 1000 + height, word, tx_count, word, word, word, word)


def certificate(height: int) -> CommitCertificate:
    return CommitCertificate(1, height, 0, bytes(32), ((0, bytes(64)), (2, bytes(64))))


def part(height: int, tx_count: int, first_index: int, held: int) -> wire.BlockPart:
    return wire.BlockPart(header(height, tx_count), certificate(height), first_index, (b"raw",) * held)


EXAMPLES: list[Record] = [
    wire.TransactionBatch(True, (b"\x92\x90\x90", b"x")),
    wire.HeadAnnouncement(header(7), certificate(7)),
    wire.HeadAnnouncement(header(0), None),
    wire.Status(1, bytes(32), 7, bytes(32), 1, "observer", "observer-0"),
    wire.BodiesRequest((bytes(32),)),
    wire.BodiesResponse(()),
    wire.BlocksRequest(1, 0, 100, 1 << 20),
    wire.BlocksResponse((part(4, 5, 3, 2), part(5, 0, 0, 0), part(6, 3, 0, 2))),
    wire.HeadersRequest(1, 100),
    wire.HeadersResponse((wire.HeadAnnouncement(header(3), certificate(3)),)),
    wire.ProposalRequest(bytes(32)),
    wire.ProposalResponse(header(9, 2), (b"a" * 32, b"b" * 32)),
]


FROZEN = [  # SHA-256 of each example's bytes; a change here is a new version of the protocol
    "38c3ec8adc5b01cd",
    "3029c65756b8be08",
    "4bd59a9afaaca364",
    "ae0aab74cb61f8dd",
    "103c237d654ff9d2",
    "cb4ab3daa47d4c94",
    "19ce8d8c7b3b92ed",
    "9a636a86e50d6002",
    "bbc47dfb8941c3ab",
    "ad56d3c98dff9953",
    "79538c8cb8135303",
    "aa2376ef30c7c6d5",
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was_sent(message: Record) -> None:
    payload = wire.encode_message(message)
    assert wire.decode_message(payload, type(message)) == message
    plain = msgspec.to_builtins(message, builtin_types=(bytes,))
    assert msgpack.packb(plain, use_bin_type=True) == payload


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_cut_or_longer_bytes_are_refused(message: Record) -> None:
    payload = wire.encode_message(message)
    for end in range(len(payload)):
        with pytest.raises(DecodeError):
            wire.decode_message(payload[:end], type(message))
    with pytest.raises(DecodeError):
        wire.decode_message(payload + b"\xc0", type(message))


REFUSED: list[tuple[str, Record]] = [
    ("an empty batch", wire.TransactionBatch(False, ())),
    ("too many in a batch", wire.TransactionBatch(False, (b"x",) * (MAX_BATCH_TRANSACTIONS + 1))),
    ("an empty transaction", wire.TransactionBatch(False, (b"",))),
    ("a transaction too large", wire.TransactionBatch(False, (bytes(MAX_TRANSACTION_BYTES + 1),))),
    ("a batch too large", wire.TransactionBatch(False, (bytes(MAX_BATCH_BYTES // 4),) * 4)),
    ("an uncertified head", wire.HeadAnnouncement(header(7), None)),
    ("a head with another's certificate", wire.HeadAnnouncement(header(7), certificate(8))),
    ("an odd chain id", wire.Status(1, bytes(31), 7, bytes(32), 1, "full", "n")),
    ("an unknown version", wire.Status(2, bytes(32), 7, bytes(32), 1, "full", "n")),
    ("a long name", wire.Status(1, bytes(32), 7, bytes(32), 1, "full", "n" * 65)),
    ("an odd wtxid", wire.BodiesRequest((bytes(33),))),
    ("no wtxid", wire.BodiesRequest(())),
    ("a height below zero", wire.BlocksRequest(-1, 0, 1, 1)),
    ("no block", wire.BlocksRequest(1, 0, 0, 1)),
    ("a gap", wire.BlocksResponse((part(4, 1, 0, 1), part(6, 1, 0, 1)))),
    ("a block that starts inside, later", wire.BlocksResponse((part(4, 1, 0, 1), part(5, 2, 1, 1)))),
    ("a block cut in the middle", wire.BlocksResponse((part(4, 2, 0, 1), part(5, 2, 0, 2)))),
    ("more bodies than counted", wire.BlocksResponse((part(4, 1, 0, 2),))),
    ("a malformed header", wire.ProposalResponse(msgspec.structs.replace(header(9), version=2), ())),
    ("wtxids not as counted", wire.ProposalResponse(header(9, 1), (bytes(32), bytes(32)))),
]


@pytest.mark.parametrize(("what", "message"), REFUSED, ids=[what for what, _ in REFUSED])
def test_out_of_bounds_is_refused(what: str, message: Record) -> None:
    with pytest.raises(DecodeError):
        wire.decode_message(wire.encode_message(message), type(message))


def test_a_longer_form_of_an_integer_is_refused() -> None:
    payload = wire.encode_message(wire.HeadersRequest(1, 2))
    assert payload == b"\x92\x01\x02"
    with pytest.raises(DecodeError):
        wire.decode_message(b"\x92\xcc\x01\x02", wire.HeadersRequest)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=70)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=11) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=30,
)


@given(st.sampled_from(MESSAGE_TYPES), anything.map(msgpack.packb) | st.binary(max_size=300))
def test_any_bytes_decode_or_raise_the_one_error(message_type: type[Record], payload: bytes) -> None:
    try:
        message = wire.decode_message(payload, message_type)
    except DecodeError:
        return
    assert wire.encode_message(message) == payload


@given(st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=30), st.booleans())
def test_any_batch_travels(raws: list[bytes], relay: bool) -> None:
    batch = wire.TransactionBatch(relay, tuple(raws))
    assert wire.decode_message(wire.encode_message(batch), wire.TransactionBatch) == batch


def test_the_bytes_of_every_payload_are_frozen() -> None:
    hashes = [sha256(wire.encode_message(message)).hexdigest()[:16] for message in EXAMPLES]
    assert hashes == FROZEN
