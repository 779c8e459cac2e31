"""Blocks under discussion: whose bodies are fetched, whose are refused, what a hostile source can't do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from consensus.effects import FetchBlock, ValidateProposal
from consensus.inputs import Outcome
from consensus.inputs import PeerId as EnginePeer
from drexnode.candidates import Candidates
from drexnode.executor import Executor
from drexnode.wire import (
    METHOD_BODIES,
    BodiesRequest,
    BodiesResponse,
    ProposalResponse,
    decode_message,
    encode_message,
)
from ledger.block import Block, FinalizedBlock
from ledger.build import build_body, build_transaction, make_output
from ledger.devnet import BANK_A_DVT
from ledger.locks import key_lock
from ledger.payloads import Kind
from ledger.transaction import OutPoint, Transaction, make_transaction
from p2p.transport import Offence, PeerId
from primitives.block import BlockHeader, block_id
from primitives.errors import DrexError, InvalidBlock, InvariantViolation
from primitives.limits import CONSENSUS_COMMIT_ROUNDS
from primitives.merkle import merkle_root
from tests.drexnode.chain import certify, genesis_document, key
from tests.drexnode.desk import Desk, open_desk
from tests.drexnode.scripted import Answer, ScriptedTransport

pytestmark = pytest.mark.trio
PROPOSER, VOTER, THIRD = PeerId("proposer"), PeerId("voter"), PeerId("third")
DOCUMENT = genesis_document(outputs=1200)


@dataclass
class Room:
    """Candidates of one node over a real chain, with peers that answer as told."""

    desk: Desk
    transport: ScriptedTransport
    candidates: Candidates
    executor: Executor
    holders: tuple[PeerId, ...] = ()
    ref: int = 0

    def block(self, count: int = 3) -> tuple[FinalizedBlock, Block]:
        finalized, executed = self.desk.chain.build(self.desk.chain.transfers(count))
        return finalized, executed.block

    async def check(
        self,
        header: BlockHeader,
        wtxids: Sequence[bytes],
        *sources: PeerId,
        fresh: bool = True,
    ) -> tuple[Outcome, str]:
        self.ref += 1
        peers = tuple(EnginePeer(peer) for peer in sources)
        effect = ValidateProposal(self.ref, header.height, 0, header, tuple(wtxids), peers, fresh)
        verdict = await self.candidates.check(effect)
        assert verdict.ref == self.ref
        return verdict.outcome, verdict.reason

    async def check_block(self, block: Block, *sources: PeerId) -> tuple[Outcome, str]:
        return await self.check(block.header, block.wtxids, *sources)


@asynccontextmanager
async def open_room(path: Path) -> AsyncIterator[Room]:
    async with open_desk(path, document=DOCUMENT) as desk:
        transport = ScriptedTransport()
        executor = Executor(desk.finalizer, desk.finalizer._metrics)
        room: Room
        candidates = Candidates(
            transport=cast(Any, transport),
            admission=desk.admission,
            executor=executor,
            finalizer=desk.finalizer,
            now_ms=lambda: desk.finalizer.head.header.timestamp_ms + 100,
            holders=lambda: room.holders,
        )
        room = Room(desk, transport, candidates, executor)
        yield room


def serves(transactions: Sequence[Transaction], *, at_once: int = 10_000, delay_s: float = 0) -> Answer:
    """A peer that holds these, and brings at most so many in one answer."""
    held = {transaction.wtxid: transaction.raw for transaction in transactions}

    async def answer(method: str, payload: bytes) -> bytes:
        await trio.sleep(delay_s)
        if method != METHOD_BODIES:
            return b"\xc0"
        wanted = decode_message(payload, BodiesRequest).wtxids
        found = [held[wtxid] for wtxid in wanted if wtxid in held][:at_once]
        return encode_message(BodiesResponse(tuple(found)))

    return answer


def says(answer: bytes) -> Answer:
    """A peer that answers everything with the same bytes."""

    async def fixed(method: str, payload: bytes) -> bytes:
        return answer

    return fixed


def forge(transaction: Transaction, chain_id: bytes) -> Transaction:
    """The same body with a false signature."""
    public_key, _ = transaction.witness.signatures[0]
    witness = replace_witness(transaction, ((public_key, bytes(64)),))
    return make_transaction(transaction.body, witness, chain_id)


def replace_witness(transaction: Transaction, signatures: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(transaction.witness, signatures=signatures)


def large_transactions(room: Room, count: int) -> list[Transaction]:
    """Well-formed and signed, about 250 KB each, spending what does not exist."""
    alice, chain_id = key("alice"), room.desk.finalizer.chain_id
    made = []
    for number in range(count):
        outputs = [make_output(BANK_A_DVT, 1, key_lock(alice.public_key), bytes(250)) for _ in range(740)]
        body = build_body(Kind.TRANSFER, [OutPoint(bytes([number]) * 32, 0)], outputs)
        made.append(build_transaction(body, chain_id, [alice]))
    return made


def header_over(room: Room, wtxids: Sequence[bytes]) -> BlockHeader:
    """A header that commits to any list."""
    _, block = room.block(1)
    return replace_header(block.header, tx_count=len(wtxids), tx_root=merkle_root(wtxids))


def replace_header(header: BlockHeader, **changes: Any) -> BlockHeader:
    import msgspec

    return msgspec.structs.replace(header, **changes)


# --- the usual


async def test_bodies_that_are_missing_come_from_the_proposer(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        _, block = room.block()
        room.transport.answers[PROPOSER] = serves(block.transactions)
        assert await room.check_block(block, PROPOSER) == (Outcome.OK, "")
        assert room.candidates.find(block.block_id) == block
        assert room.transport.reports == []


async def test_a_source_that_appears_meanwhile_is_asked_too(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        _, block = room.block()
        room.transport.answers[PROPOSER] = serves([], delay_s=0.05)
        room.transport.answers[VOTER] = serves(block.transactions)
        async with trio.open_nursery() as nursery:
            verdicts: list[tuple[Outcome, str]] = []

            async def check() -> None:
                verdicts.append(await room.check_block(block, PROPOSER))

            nursery.start_soon(check)
            await trio.testing.wait_all_tasks_blocked()
            room.candidates.add_source(room.ref, VOTER)
        assert verdicts == [(Outcome.OK, "")]


async def test_a_list_that_is_not_the_headers_says_nothing_about_the_block(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        _, block = room.block()
        await room.desk.submit(*block.transactions)
        outcome, _ = await room.check(block.header, block.wtxids[::-1])
        assert outcome is Outcome.WRONG_LIST
        outcome, _ = await room.check(block.header, [bytes(32), *block.wtxids[1:]], PROPOSER)
        assert outcome is Outcome.WRONG_LIST
        assert room.transport.asked == []


async def test_a_list_with_a_body_known_to_be_false_does_not_condemn_the_block(tmp_path: Path) -> None:
    """A hostile validator first had its own forged body fetched, then passed on an honest proposal with that
    body in the (unsigned) list: the block was called invalid, and got no vote in its round."""
    async with open_room(tmp_path) as room:
        _, block = room.block()
        false = forge(block.transactions[0], room.desk.finalizer.chain_id)
        bait = header_over(room, [false.wtxid])
        room.transport.answers[PROPOSER] = serves([false, *block.transactions])
        assert await room.check(bait, [false.wtxid], PROPOSER) == (Outcome.INVALID, "TX_BAD_SIGNATURE")
        await room.desk.submit(*block.transactions)
        outcome, _ = await room.check(block.header, [false.wtxid, *block.wtxids[1:]], PROPOSER)
        assert outcome is Outcome.WRONG_LIST
        assert await room.check_block(block, PROPOSER) == (Outcome.OK, "")


async def test_bytes_that_are_no_transaction_cost_their_sender_and_not_the_block(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        _, block = room.block()
        for rubbish in (
            b"",
            b"\xc1",
            encode_message(BodiesResponse((b"\x92\x01\x02",))),
            encode_message(BodiesResponse((b"\x92\x98\x63\x63\x63",))),
        ):
            room.transport.answers[PROPOSER] = says(rubbish)
            room.transport.answers[VOTER] = serves(block.transactions)
            room.transport.reports.clear()
            _, block = room.block()
            room.transport.answers[VOTER] = serves(block.transactions)
            assert await room.check_block(block, PROPOSER, VOTER) == (Outcome.OK, "")
            assert (PROPOSER, Offence.INVALID_MESSAGE) in [report[:2] for report in room.transport.reports]


# --- bounds


async def test_no_more_bodies_are_fetched_than_a_block_may_hold(tmp_path: Path) -> None:
    """A proposal of bodies that no block of this network could hold: fetching them all filled the memory."""
    async with open_room(tmp_path) as room:
        limit = DOCUMENT.parameters.limits.max_bytes
        large = large_transactions(room, 40)
        assert sum(transaction.size for transaction in large) > 2 * limit
        header = header_over(room, [transaction.wtxid for transaction in large])
        room.transport.answers[PROPOSER] = serves(large, at_once=1)
        verdict = await room.check(header, [transaction.wtxid for transaction in large], PROPOSER)
        assert verdict == (Outcome.INVALID, "BLOCK_TOO_LARGE")
        assert len(room.transport.asked) <= limit // large[0].size + 1


async def test_a_list_longer_than_a_block_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        wtxids = [
            number.to_bytes(32, "big") for number in range(DOCUMENT.parameters.limits.max_transactions + 1)
        ]
        verdict = await room.check(header_over(room, wtxids), wtxids, PROPOSER)
        assert verdict == (Outcome.INVALID, "BLOCK_TOO_LARGE")
        assert room.transport.asked == []


async def test_a_source_that_brings_one_body_at_a_time_holds_nobody_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_room(tmp_path) as room:
        _, block = room.block(200)
        room.transport.answers[PROPOSER] = serves(block.transactions, at_once=1, delay_s=1.9)
        room.transport.answers[VOTER] = serves(block.transactions)
        begin = trio.current_time()
        assert await room.check_block(block, PROPOSER, VOTER) == (Outcome.OK, "")
        assert trio.current_time() - begin < 10


async def test_as_many_blocks_are_held_as_the_engine_may_ask_for(tmp_path: Path) -> None:
    """The engine PREPAREs a block again without asking when it was found valid in an earlier round. The host
    kept eight blocks, so the ninth round ended the node: CANDIDATE_LOST."""
    async with open_room(tmp_path) as room:
        blocks = [_numbered(room, number) for number in range(CONSENSUS_COMMIT_ROUNDS)]
        for block in blocks:
            assert await room.check(block.header, (), PROPOSER, fresh=False) == (Outcome.OK, "")
        for block in blocks:
            assert room.candidates.keep_for_vote(block.header) == block


async def test_a_block_seen_again_pushes_no_other_out(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        blocks = [_numbered(room, number) for number in range(CONSENSUS_COMMIT_ROUNDS)]
        for block in (*blocks, *blocks, *([blocks[-1]] * 100)):
            assert await room.check(block.header, (), fresh=False) == (Outcome.OK, "")
        for block in blocks:
            assert room.candidates.find(block.block_id) == block


def _numbered(room: Room, number: int) -> Block:
    """One of many empty blocks at the same height."""
    _, block = room.block(0)
    return Block(replace_header(block.header, timestamp_ms=block.header.timestamp_ms + number), ())


# --- whom to charge


async def test_only_who_must_hold_a_body_and_answers_without_it_is_charged(tmp_path: Path) -> None:
    """A node that had decided without the bodies charged every validator that was down, a dozen times in two
    seconds, and so banned them for the ten minutes in which they came back."""
    async with open_room(tmp_path) as room:
        _, block = room.block()
        room.transport.answers[VOTER] = serves([])
        outcome, _ = await room.check_block(block, PROPOSER, VOTER)
        assert outcome is Outcome.UNAVAILABLE
        assert {peer for peer, _, _ in room.transport.reports} == {VOTER}


async def test_a_decided_block_that_nobody_has_yet_charges_nobody(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.05  # a write in a thread takes real time
    async with open_room(tmp_path) as room:
        finalized, block = room.block()
        room.holders = (PROPOSER, VOTER)
        room.transport.answers[VOTER] = serves([])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                room.candidates.finalize, block.header, tuple(block.wtxids), finalized.certificate
            )
            await trio.sleep(8)
            assert room.transport.reports == []
            room.transport.answers[PROPOSER] = serves(block.transactions)
        assert room.desk.finalizer.head.height == block.height


# --- decided blocks


async def test_a_decided_block_is_found_by_its_header_when_the_list_is_not_its_own(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        finalized, block = room.block()
        bodies = serves(block.transactions)
        content = encode_message(ProposalResponse(block.header, tuple(block.wtxids)))

        async def answer(method: str, payload: bytes) -> bytes:
            return await bodies(method, payload) if method == METHOD_BODIES else content

        room.holders = (PROPOSER, VOTER)
        room.transport.answers[PROPOSER] = says(
            encode_message(ProposalResponse(block.header, tuple(block.wtxids[::-1])))
        )
        room.transport.answers[VOTER] = answer
        await room.candidates.finalize(block.header, (bytes(32),), finalized.certificate)
        assert room.desk.finalizer.head.block_id == block.block_id
        assert room.transport.reports[0][:2] == (PROPOSER, Offence.LIED)


async def test_a_fetch_for_a_decided_block_ends_when_catching_up_was_faster(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A holder that drips bodies kept the task of every decided height alive for hours."""
    autojump_clock.autojump_threshold = 0.05  # a write in a thread takes real time
    async with open_room(tmp_path) as room:
        finalized, executed = room.desk.chain.build(room.desk.chain.transfers(40))
        block = executed.block
        room.holders = (PROPOSER,)
        room.transport.answers[PROPOSER] = serves(block.transactions, at_once=1, delay_s=1.9)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    room.candidates.finalize, block.header, tuple(block.wtxids), finalized.certificate
                )
                await trio.sleep(3)
                await room.desk.finalizer.finalize(finalized, executed)
                room.candidates.start_height(block.height + 1)
                before = trio.current_time()
        assert trio.current_time() - before < 0.1


async def test_a_decided_block_whose_bodies_arrive_when_catching_up_was_faster_stops_nobody(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """On a busy machine a validator stopped for good (exit 7): sync had made the block final while consensus
    fetched its bodies, and then it did not continue the chain."""
    autojump_clock.autojump_threshold = 0.05  # a write in a thread takes real time
    async with open_room(tmp_path) as room:
        chain, finalizer = room.desk.chain, room.desk.finalizer
        finalized, executed = chain.build(chain.transfers(4))
        block = executed.block
        room.holders = (PROPOSER,)
        room.transport.answers[PROPOSER] = serves(block.transactions, at_once=4, delay_s=1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                room.candidates.finalize, block.header, tuple(block.wtxids), finalized.certificate
            )
            await trio.sleep(0.5)
            await finalizer.finalize(finalized, executed)
        assert finalizer.head.block_id == block.block_id


async def test_a_block_whose_height_becomes_final_meanwhile_is_superseded_and_not_invalid(
    tmp_path: Path,
) -> None:
    """What is being written is on disk before it is the head: a rival execution may read it and fail."""
    async with open_room(tmp_path) as room:
        chain, finalizer = room.desk.chain, room.desk.finalizer
        finalized, executed = chain.build(chain.transfers(2))
        other = Executor(finalizer, finalizer._metrics)
        false = Block(
            replace_header(executed.block.header, state_root=bytes(32)), executed.block.transactions
        )
        write = finalizer.store.write

        def slow_write(*args: Any) -> None:
            write(*args)
            time.sleep(0.3)

        finalizer.store.write = slow_write  # type: ignore[method-assign,assignment]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(finalizer.finalize, finalized, executed)
            await trio.sleep(0.1)
            assert finalizer.head.height == 0  # being written
            with pytest.raises(InvalidBlock) as caught:
                await other.execute(false)
        assert caught.value.code == "BLOCK_SUPERSEDED"
        with pytest.raises(InvalidBlock) as caught:
            await other.execute(executed.block)
        assert caught.value.code == "BLOCK_SUPERSEDED"


async def test_a_certified_block_that_breaks_a_rule_stops_the_node(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        _, block = room.block(0)
        false = Block(replace_header(block.header, state_root=bytes(32)), ())
        finalizer = room.desk.finalizer
        certificate = certify(false.header, finalizer.chain_id, finalizer.head.validators)
        with pytest.raises(InvariantViolation) as caught:
            await room.candidates.finalize(false.header, (), certificate)
        assert caught.value.code == "CERTIFIED_BLOCK_INVALID"


# --- blocks prepared earlier


async def test_a_block_prepared_earlier_is_fetched_with_its_list(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        _, block = room.block()
        bodies = serves(block.transactions)
        content = encode_message(ProposalResponse(block.header, tuple(block.wtxids)))

        async def answer(method: str, payload: bytes) -> bytes:
            return await bodies(method, payload) if method == METHOD_BODIES else content

        room.transport.answers[VOTER] = answer
        effect = FetchBlock(1, block.header, (EnginePeer(PROPOSER), EnginePeer(VOTER)))
        assert await room.candidates.fetch(effect) == tuple(block.wtxids)


async def test_a_block_that_nobody_serves_is_not_fetched(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        _, block = room.block()
        room.transport.answers[VOTER] = says(b"\xc0")
        effect = FetchBlock(1, block.header, (EnginePeer(PROPOSER), EnginePeer(VOTER)))
        assert await room.candidates.fetch(effect) is None


async def test_an_oversized_block_is_not_fetched_and_ends_nothing(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        large = large_transactions(room, 24)
        wtxids = tuple(transaction.wtxid for transaction in large)
        header = header_over(room, wtxids)
        bodies, content = serves(large, at_once=1), encode_message(ProposalResponse(header, wtxids))

        async def answer(method: str, payload: bytes) -> bytes:
            return await bodies(method, payload) if method == METHOD_BODIES else content

        room.transport.answers[VOTER] = answer
        assert await room.candidates.fetch(FetchBlock(1, header, (EnginePeer(VOTER),))) is None


# --- the clock


async def test_a_block_from_the_future_is_asked_about_again_and_one_from_the_past_is_refused(
    tmp_path: Path,
) -> None:
    async with open_room(tmp_path) as room:
        skew = DOCUMENT.parameters.max_clock_skew_ms
        _, block = room.block(0)
        ahead = replace_header(block.header, timestamp_ms=block.header.timestamp_ms + skew + 1)
        assert (await room.check(ahead, ()))[0] is Outcome.LATER
        assert (await room.check(ahead, (), fresh=False))[0] is Outcome.OK


async def test_a_vote_needs_a_block_that_is_held(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        _, block = room.block()
        with pytest.raises(DrexError) as caught:
            room.candidates.keep_for_vote(block.header)
        assert caught.value.code == "CANDIDATE_LOST"
        assert room.candidates.find(block_id(block.header)) is None
