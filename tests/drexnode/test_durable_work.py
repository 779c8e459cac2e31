"""What must be on disk before consensus goes on: order, bounds, and who touches the signer."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from consensus.effects import Persist
from consensus.evidence import Evidence
from consensus.inputs import SigningFailed, VoteSigned
from consensus.journal import RECORD_VERSION, VoteRecord
from drexnode.durable_work import Answer, DurableWork, HeightDecided, LeaveQuarantine, Work
from drexnode.evidence_store import EvidenceStore
from drexnode.metrics import Metrics
from drexnode.signer import LocalSigner
from ledger.block import Block
from primitives.certificate import vote_domain, vote_sighash
from primitives.errors import StorageFailure
from primitives.keys import SigningKey, verify
from primitives.limits import DRIVER_DURABLE_QUEUE
from storage.signing_state import SigningRefused, open_signing_state
from storage.watermark import create_watermark
from tests.drexnode.chain import Chain, genesis_document, key, open_finalizer
from tests.drexnode.follower import until

pytestmark = pytest.mark.trio
CHAIN_ID = bytes(range(32))


def vote(height: int, round: int = 0, step: int = 2) -> VoteRecord:
    """A vote for a block of zeros at a position."""
    digest = vote_sighash(vote_domain(CHAIN_ID, bytes(32)), step, height, round, bytes(32))
    return VoteRecord(RECORD_VERSION, bytes(32), height, round, step, digest, bytes(32), None, b"")


def evidence(height: int) -> Evidence:
    return Evidence(bytes(32), bytes(32), 2, height, 0, bytes(32), bytes(64), b"\1" * 32, bytes(64))


@dataclass
class FakeSigner:
    """Remembers in which order and in which thread it was called; waits for `gate`."""

    calls: list[Any] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    refuses: bool = False

    def _called(self, what: Any) -> None:
        self.gate.wait(10)
        self.calls.append(what)
        self.threads.add(threading.get_ident())

    def sign(self, record: VoteRecord) -> bytes:
        self._called(record)
        if self.refuses:
            raise SigningRefused("SIGN_REGRESSION", "told to")
        return bytes(64)

    def height_decided(self, height: int) -> None:
        self._called(height)

    def leave_quarantine(self) -> None:
        self._called("leave")


@dataclass
class Bench:
    """Durable work at work, with what it did."""

    work: DurableWork
    signer: FakeSigner
    answers: list[Answer]
    stored: list[Block]

    async def settle(self, count: int) -> None:
        await until(lambda: len(self.signer.calls) >= count)
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_bench(path: Path, *, is_open: bool = True) -> AsyncIterator[Bench]:
    signer, answers, stored = FakeSigner(), list[Answer](), list[Block]()
    if is_open:
        signer.gate.set()

    def store(block: Block) -> None:
        signer._called(block)
        stored.append(block)

    work = DurableWork(
        cast(Any, signer),
        write_bodies=store,
        evidence=EvidenceStore(path / "evidence"),
        answer=answers.append,
        metrics=Metrics(),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work.run)
        try:
            yield Bench(work, signer, answers, stored)
        finally:
            signer.gate.set()
            nursery.cancel_scope.cancel()


def a_block(path: Path) -> Block:
    document = genesis_document(outputs=2)
    with open_finalizer(path, document) as finalizer:
        return Chain(finalizer, document).build([])[0].block


async def test_work_is_done_in_the_order_it_was_given(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        block = a_block(tmp_path)
        given: list[Work] = [Persist(1, vote(1)), block, Persist(2, vote(1, step=3)), LeaveQuarantine()]
        for work in given:
            bench.work.put(work)
        await bench.settle(4)
        assert bench.signer.calls == [vote(1), block, vote(1, step=3), "leave"]
        assert bench.answers == [VoteSigned(1, bytes(64)), VoteSigned(2, bytes(64))]


async def test_the_signer_is_never_called_on_the_event_loop(tmp_path: Path) -> None:
    """Leaving the quarantine wrote journal and watermark on the event loop, beside the thread that votes."""
    async with open_bench(tmp_path) as bench:
        bench.work.put(HeightDecided(1))
        bench.work.put(LeaveQuarantine())
        bench.work.put(Persist(1, vote(2)))
        await bench.settle(3)
        assert bench.signer.calls == [1, "leave", vote(2)]
        assert threading.get_ident() not in bench.signer.threads


async def test_a_decided_height_goes_with_the_next_work(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.work.put(HeightDecided(1))
        bench.work.put(HeightDecided(2))
        await trio.sleep(0.05)
        assert bench.signer.calls == []
        bench.work.put(Persist(1, vote(3)))
        await bench.settle(2)
        assert bench.signer.calls == [2, vote(3)]


async def test_a_refused_vote_is_answered(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        bench.signer.refuses = True
        bench.work.put(Persist(7, vote(1)))
        await bench.settle(1)
        assert bench.answers == [SigningFailed(7, "SIGN_REGRESSION")]
        figures = bench.work._metrics.render().decode()
        assert 'drex_sign_refused_total{reason="SIGN_REGRESSION"} 1.0' in figures


async def test_a_vote_is_answered_before_what_follows_it_is_written(tmp_path: Path) -> None:
    async with open_bench(tmp_path, is_open=False) as bench:
        bench.work.put(LeaveQuarantine())
        await trio.sleep(0.05)  # the thread waits at the gate
        block = a_block(tmp_path)
        bench.work.put(Persist(1, vote(1)))
        bench.work.put(block)
        signed_before: list[int] = []
        bench.work._write_bodies = lambda written: signed_before.append(len(bench.answers))
        bench.signer.gate.set()
        await until(lambda: bool(signed_before))
        assert signed_before == [1]


async def test_a_stalled_signer_keeps_only_the_votes_of_the_height_that_is_open(tmp_path: Path) -> None:
    """While the watermark's disk hung and others went on deciding, the queue filled and the node fell over
    with an error of its own making (trio.WouldBlock)."""
    async with open_bench(tmp_path, is_open=False) as bench:
        for height in range(1, 10 * DRIVER_DURABLE_QUEUE):
            bench.work.put(Persist(height, vote(height % 256)))
            bench.work.put(HeightDecided(height))
        assert len(bench.work._waiting) <= 2


async def test_evidence_outlives_the_heights_that_are_decided(tmp_path: Path) -> None:
    async with open_bench(tmp_path, is_open=False) as bench:
        bench.work.put(HeightDecided(1))
        bench.work.put(evidence(2))
        bench.work.put(HeightDecided(5))
        bench.signer.gate.set()
        await until(lambda: 5 in bench.signer.calls)
    assert EvidenceStore(tmp_path / "evidence").kept == (evidence(2),)


async def test_too_many_waiting_votes_of_one_height_are_a_failure_of_the_world(tmp_path: Path) -> None:
    async with open_bench(tmp_path, is_open=False) as bench:
        for round in range(DRIVER_DURABLE_QUEUE):
            bench.work.put(Persist(round, vote(1, round % 256)))
        with pytest.raises(StorageFailure) as caught:
            bench.work.put(Persist(0, vote(1, step=3)))
        assert caught.value.code == "SIGNER_STALLED"


async def test_a_real_signer_signs_what_the_journal_holds_and_nothing_twice(tmp_path: Path) -> None:
    signing_key: SigningKey = key("validator-0")
    create_watermark(tmp_path / "mark", CHAIN_ID, signing_key.public_key)
    state = open_signing_state(tmp_path / "votes", tmp_path / "mark", CHAIN_ID, signing_key.public_key)
    answers: list[Answer] = []
    signer = LocalSigner(signing_key, state)
    work = DurableWork(
        signer,
        write_bodies=lambda block: None,
        evidence=EvidenceStore(tmp_path / "evidence"),
        answer=answers.append,
        metrics=Metrics(),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work.run)
        work.put(Persist(1, vote(4)))
        work.put(Persist(2, vote(3)))
        work.put(Persist(3, vote(4)))
        await until(lambda: len(answers) == 3)
        nursery.cancel_scope.cancel()
    signer.close()
    signed = answers[0]
    assert isinstance(signed, VoteSigned)
    assert verify(signing_key.public_key, vote(4).payload_hash, signed.signature)
    assert answers[1:] == [SigningFailed(2, "SIGN_REGRESSION"), VoteSigned(3, signed.signature)]
