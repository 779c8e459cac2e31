"""What a node answers to its peers: bounded, true, and a refusal for everything else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drexnode.finalizer import Finalizer
from drexnode.recent_blocks import RecentBlocks
from drexnode.serving import BlockServer
from drexnode.wire import (
    BlocksRequest,
    BlocksResponse,
    BodiesRequest,
    BodiesResponse,
    HeadersRequest,
    HeadersResponse,
    ProposalRequest,
    ProposalResponse,
    Status,
    decode_message,
    encode_message,
)
from ledger.block import Block
from ledger.transaction import Transaction
from p2p.transport import PeerId, RequestRefused
from primitives.block import block_id
from primitives.certificate import verify_certificate
from primitives.keys import verify
from primitives.limits import KIB, RECENT_BLOCKS, SYNC_CHUNK_BYTES
from storage.layout import META_PRUNED, bodies_key
from tests.drexnode.chain import Chain, genesis_document, open_finalizer

pytestmark = pytest.mark.trio
DOCUMENT = genesis_document(outputs=3000)
PEER = PeerId("somebody")
NOBODY = bytes(32)
BLOCKS = RECENT_BLOCKS + 14


@dataclass
class Served:
    """A server over a chain of `BLOCKS` small blocks and one large one, and what it was told."""

    server: BlockServer
    finalizer: Finalizer
    chain: Chain
    pool: dict[bytes, Transaction]
    proposals: dict[bytes, Block]
    statuses: list[Status]

    async def blocks(self, first: int, count: int, *, index: int = 0, room: int = 4 << 20) -> BlocksResponse:
        request = encode_message(BlocksRequest(first, index, count, room))
        return decode_message(await self.server.blocks(PEER, request), BlocksResponse)

    async def bodies(self, *wtxids: bytes) -> list[bytes]:
        answer = await self.server.bodies(PEER, encode_message(BodiesRequest(wtxids)))
        return list(decode_message(answer, BodiesResponse).transactions)

    async def proposal(self, wanted: bytes) -> ProposalResponse:
        answer = await self.server.proposal(PEER, encode_message(ProposalRequest(wanted)))
        return decode_message(answer, ProposalResponse)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        recent = RecentBlocks()
        finalizer.on_final(recent.on_final)
        pool: dict[bytes, Transaction] = {}
        proposals: dict[bytes, Block] = {}
        statuses: list[Status] = []

        def exchange(peer: PeerId, theirs: Status) -> Status:
            statuses.append(theirs)
            return theirs

        server = BlockServer(
            finalizer, recent, find_body=pool.get, find_block=proposals.get, exchange_status=exchange
        )
        chain = Chain(finalizer, DOCUMENT)
        await chain.grow(1, 2200)
        await chain.grow(BLOCKS - 1, 3)
        yield Served(server, finalizer, chain, pool, proposals, statuses)


async def test_blocks_come_in_order_with_valid_certificates(served: Served) -> None:
    answer = await served.blocks(2, 100)
    assert [part.header.height for part in answer.blocks] == list(range(2, BLOCKS + 1))
    validators = served.finalizer.head.validators
    for part in answer.blocks:
        name = block_id(part.header)
        verify_certificate(
            part.certificate, served.finalizer.chain_id, validators, name, part.header.height, verify
        )
        assert part.next_index == part.header.tx_count


async def test_blocks_from_disk_and_from_memory_are_the_same(served: Served) -> None:
    for height in (2, BLOCKS):
        (part,) = (await served.blocks(height, 1)).blocks
        stored = served.finalizer.queries.block(height)
        assert stored is not None
        assert (part.header, part.transactions) == (stored.header, stored.transactions)


async def test_nothing_is_served_above_the_head_or_at_genesis(served: Served) -> None:
    assert (await served.blocks(BLOCKS + 1, 10)).blocks == ()
    assert (await served.blocks(2**62, 10)).blocks == ()
    assert (await served.blocks(0, 10)).blocks == ()


async def test_a_large_block_is_served_in_parts_that_fit(served: Served) -> None:
    whole: list[bytes] = []
    while True:
        payload = encode_message(BlocksRequest(1, len(whole), 1, 4 << 20))
        answer = await served.server.blocks(PEER, payload)
        assert len(answer) <= SYNC_CHUNK_BYTES
        (part,) = decode_message(answer, BlocksResponse).blocks
        assert part.first_index == len(whole)
        whole += part.transactions
        if len(whole) == part.header.tx_count:
            break
    stored = served.finalizer.queries.block(1)
    assert stored is not None
    assert tuple(whole) == stored.transactions


async def test_the_asker_may_want_less(served: Served) -> None:
    answer = await served.blocks(2, 100, room=4 * KIB)
    assert 1 <= len(answer.blocks) < 5
    assert len(encode_message(answer)) <= 4 * KIB
    (part,) = (await served.blocks(2, 100, room=1)).blocks
    assert len(part.transactions) == 1


async def test_an_index_past_the_block_brings_nothing(served: Served) -> None:
    assert (await served.blocks(2, 1, index=3)).blocks == ()
    assert (await served.blocks(BLOCKS, 1, index=60_000)).blocks == ()


async def test_a_pruned_block_is_refused_with_a_reason(served: Served) -> None:
    store = served.finalizer.store
    header = served.finalizer.queries.header(2)
    assert header is not None
    batch = store.database.batch()
    batch.put(META_PRUNED, (3).to_bytes(8, "big"))
    batch.delete(bodies_key(2, block_id(header), 0))
    store.database.write(batch)
    await served.chain.grow(1)
    with pytest.raises(RequestRefused, match="pruned"):
        await served.blocks(2, 1)


async def test_headers_reach_from_genesis_to_the_head(served: Served) -> None:
    answer = await served.server.headers(PEER, encode_message(HeadersRequest(0, 1000)))
    heads = decode_message(answer, HeadersResponse).headers
    assert [head.height for head in heads] == list(range(BLOCKS + 1))
    assert heads[0].certificate is None
    assert all(head.certificate is not None for head in heads[1:])


async def test_bodies_come_from_the_pool_and_from_the_last_blocks(served: Served) -> None:
    pending = served.chain.transfers(2)
    served.pool.update({transaction.wtxid: transaction for transaction in pending})
    final = served.finalizer.queries.block(BLOCKS)
    assert final is not None
    raws = await served.bodies(pending[1].wtxid, NOBODY, final.wtxids[0], pending[0].wtxid)
    assert raws == [pending[1].raw, final.transactions[0], pending[0].raw]


async def test_bodies_that_do_not_fit_are_left_out(served: Served) -> None:
    many = served.chain.transfers(2900)
    served.pool.update({transaction.wtxid: transaction for transaction in many})
    request = encode_message(BodiesRequest(tuple(transaction.wtxid for transaction in many)))
    answer = await served.server.bodies(PEER, request)
    assert len(answer) <= SYNC_CHUNK_BYTES
    raws = decode_message(answer, BodiesResponse).transactions
    assert list(raws) == [transaction.raw for transaction in many[: len(raws)]]


async def test_a_proposal_is_known_before_and_after_it_is_final(served: Served) -> None:
    finalized, executed = served.chain.build(served.chain.transfers(4))
    block = finalized.block
    with pytest.raises(RequestRefused, match="no block"):
        await served.proposal(block.block_id)
    served.proposals[block.block_id] = block
    assert (await served.proposal(block.block_id)).wtxids == tuple(block.wtxids)
    served.proposals.clear()
    await served.finalizer.finalize(finalized, executed)
    assert (await served.proposal(block.block_id)).header == block.header
    old = served.finalizer.queries.block(2)
    assert old is not None
    assert (await served.proposal(block_id(old.header))).wtxids == old.wtxids


async def test_a_status_of_another_chain_is_refused(served: Served) -> None:
    head = served.finalizer.head
    ours = Status(1, served.finalizer.chain_id, head.height, head.block_id, 1, "full", "it")
    assert await served.server.status(PEER, encode_message(ours)) == encode_message(ours)
    foreign = Status(1, NOBODY, head.height, head.block_id, 1, "full", "it")
    with pytest.raises(RequestRefused, match=served.finalizer.chain_id.hex()):
        await served.server.status(PEER, encode_message(foreign))
    assert served.statuses == [ours]


class NoChain:
    """Garbage must be refused before anything is looked up."""

    chain_id = NOBODY
    queries = None


@settings(max_examples=100, deadline=None)
@given(
    payload=st.binary(max_size=200),
    method=st.sampled_from(["status", "blocks", "headers", "bodies", "proposal"]),
)
async def test_garbage_is_refused_and_nothing_else(payload: bytes, method: str) -> None:
    server = BlockServer(
        NoChain(),  # type: ignore[arg-type]
        RecentBlocks(),
        find_body=lambda wtxid: None,
        find_block=lambda block: None,
        exchange_status=lambda peer, status: status,
    )
    with pytest.raises(RequestRefused, match="not a request"):
        await getattr(server, method)(PEER, payload)
