"""Blocks on the wire: what is written reads back, and nothing but `DecodeError` comes of anything else."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genesis
from ledger.block import (
    Block,
    FinalizedBlock,
    check_transactions,
    decode_block,
    decode_block_in_slices,
    decode_finalized,
    encode_block,
    encode_finalized,
    signature_count,
    tx_root,
)
from ledger.genesis import chain_id_of, make_genesis_state
from ledger.parameters import BlockLimits
from ledger.state_tree import StateTree
from ledger.transaction import Transaction
from primitives.certificate import CERTIFICATE_VERSION, CommitCertificate
from primitives.errors import DecodeError, InvalidBlock
from primitives.hashing import ZERO_HASH
from primitives.limits import MAX_ENCODED_BLOCK_BYTES
from primitives.merkle import merkle_root
from tests.ledger.chain import Chain, Pages, forged

CHAIN = Chain()


def some_block(count: int = 3) -> Block:
    return CHAIN.build([CHAIN.emission(number + 1) for number in range(count)]).executed.block


BLOCK = some_block()
CERTIFICATE = CommitCertificate(
    CERTIFICATE_VERSION, 1, 2, BLOCK.block_id, ((0, bytes(64)), (2, bytes(range(64))), (3, bytes(64)))
)
FINALIZED = FinalizedBlock(BLOCK, CERTIFICATE)


def test_a_block_reads_back_as_it_was_written() -> None:
    data = encode_block(BLOCK)
    assert decode_block(data, CHAIN.chain_id) == BLOCK
    assert encode_block(decode_block(data, CHAIN.chain_id)) == data
    assert decode_finalized(encode_finalized(FINALIZED), CHAIN.chain_id) == FINALIZED


def test_a_block_is_plain_messagepack_arrays() -> None:
    header, transactions = msgpack.unpackb(encode_block(BLOCK))
    assert (len(header), header[1], header[5]) == (10, 1, 3)
    assert [msgpack.packb(item) for item in transactions] == [item.raw for item in BLOCK.transactions]
    block, certificate = msgpack.unpackb(encode_finalized(FINALIZED))
    assert msgpack.packb(block) == encode_block(BLOCK)
    assert certificate[:2] == [CERTIFICATE_VERSION, 1]


def test_a_transaction_of_another_chain_has_another_id_and_so_another_root() -> None:
    stranger = decode_block(encode_block(BLOCK), ZERO_HASH)
    limits = BlockLimits(10**6, 100, 100)
    check_transactions(BLOCK.header, BLOCK.transactions, limits)
    with pytest.raises(InvalidBlock, match="BLOCK_TX_ROOT"):
        check_transactions(stranger.header, stranger.transactions, limits)


def test_the_root_depends_on_order_and_number() -> None:
    first, second, third = BLOCK.transactions
    roots = [
        tx_root(items) for items in ((), (first,), (first, second), (second, first), (first, second, third))
    ]
    assert roots[0] == ZERO_HASH
    assert len(set(roots)) == len(roots)
    assert tx_root(BLOCK.transactions) == BLOCK.header.tx_root
    assert signature_count(BLOCK.transactions) == 3


@pytest.mark.parametrize("count", [1, 255, 256, 257, 511, 512, 513, 700])
def test_the_sliced_root_is_the_root_of_the_whole_list(count: int) -> None:
    transactions = [replace_wtxid(BLOCK.transactions[0], number) for number in range(count)]
    assert tx_root(transactions) == merkle_root([item.wtxid for item in transactions])


def replace_wtxid(transaction: Transaction, number: int) -> Transaction:
    return msgspec.structs.replace(transaction, wtxid=number.to_bytes(32, "big"))


def test_decoding_breathes() -> None:
    steps = decode_block_in_slices(encode_block(some_block(40)), CHAIN.chain_id)
    assert sum(1 for _ in steps) == 40 // 8


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\x93" + data[1:] + b"\xc0",
        lambda data: b"",
        lambda data: bytes(MAX_ENCODED_BLOCK_BYTES + 1),
        lambda data: encode_block(forged(BLOCK, height=-1)),
        lambda data: encode_block(forged(BLOCK, version=2)),
        lambda data: encode_block(forged(BLOCK, proposer=bytes(31))),
        lambda data: encode_block(forged(BLOCK, state_root=bytes(33))),
        lambda data: data.replace(BLOCK.transactions[0].raw, b"\x92\x90\x90"),
        lambda data: data.replace(
            b"\x93" + BLOCK.transactions[0].raw, b"\xdc\0\x03" + BLOCK.transactions[0].raw
        ),
    ],
)
def test_what_is_no_block_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DecodeError):
        decode_block(spoil(encode_block(BLOCK)), CHAIN.chain_id)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_spoilt_byte_gives_another_block_or_a_decode_error(data: st.DataObject) -> None:
    raw = bytearray(encode_finalized(FINALIZED))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_finalized(bytes(raw), CHAIN.chain_id)
    except DecodeError:
        return
    assert found != FINALIZED
    assert encode_finalized(found) == raw


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_no_block(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_finalized(data, CHAIN.chain_id)


def test_the_shipped_devnet_has_the_ids_it_always_had() -> None:
    """Frozen: another value means that an encoding, a hash or genesis/devnet.json changed."""
    document = genesis.named_genesis("devnet")
    start = make_genesis_state(document, StateTree(document.parameters.bucket_count, Pages()))
    assert chain_id_of(document).hex() == FROZEN_CHAIN_ID
    assert start.header.state_root.hex() == FROZEN_STATE_ROOT
    assert start.block_id.hex() == FROZEN_BLOCK_ID


FROZEN_CHAIN_ID = "2d22067d7d1afbaa52a91719036228468207276d7b3a32030d5ab618301e15da"
FROZEN_STATE_ROOT = "bf04040eaaf9ef9e7913af43b4a45efe0f1e23b6b20a5b56c331cd39eb9f9460"
FROZEN_BLOCK_ID = "3ab60b2bd46aa62efb75ec4a0ea8b6ac9260503f5c88b2865e86f916054dfde4"
