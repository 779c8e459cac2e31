"""A validator's proposals: at once when idle, fuller under load, never while the disk is low."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import trio.testing

from drexnode.block_builder import BUSY_BLOCK_TRANSACTIONS, GATHERING_SHARE, BlockBuilder
from ledger.execute import ExecutedBlock
from ledger.transaction import Transaction
from tests.drexnode.chain import genesis_document
from tests.drexnode.desk import Desk, open_desk

pytestmark = pytest.mark.trio
DOCUMENT = genesis_document(outputs=300)
WAIT_MS = 200


@dataclass
class Works:
    """A builder and what surrounds it."""

    desk: Desk
    builder: BlockBuilder
    disk: trio.Event = field(default_factory=trio.Event)

    async def build(self, round: int = 0) -> tuple[ExecutedBlock, float]:
        """The block, and how long it took in seconds."""
        begin = trio.current_time()
        return await self.builder.build(round), trio.current_time() - begin


@asynccontextmanager
async def open_works(path: Path) -> AsyncIterator[Works]:
    async with open_desk(path, document=DOCUMENT) as desk:
        works: Works

        async def room_on_disk() -> None:
            await works.disk.wait()

        builder = BlockBuilder(
            desk.finalizer.head.validators.keys[0],
            admission=desk.admission,
            finalizer=desk.finalizer,
            metrics=desk.finalizer._metrics,
            now_ms=lambda: desk.now_ms,
            batch_wait_ms=WAIT_MS,
            room_on_disk=room_on_disk,
        )
        works = Works(desk, builder)
        works.disk.set()
        yield works


async def test_an_idle_network_builds_at_once(tmp_path: Path) -> None:
    async with open_works(tmp_path) as works:
        (payment,) = works.desk.chain.transfers(1)
        await works.desk.submit(payment)
        executed, took_s = await works.build()
        assert executed.block.transactions == (payment,)
        assert executed.block.header.timestamp_ms == works.desk.now_ms
        assert took_s < WAIT_MS / 2000


async def test_after_a_full_block_the_builder_waits_for_what_is_judged_but_not_above_round_0(
    tmp_path: Path,
) -> None:
    async with open_works(tmp_path) as works:
        await works.desk.decide(*works.desk.chain.transfers(BUSY_BLOCK_TRANSACTIONS))
        first, second = works.desk.chain.transfers(2)
        await works.desk.submit(first)
        works.desk.verifier.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(works.desk.submit, second)
            await trio.testing.wait_all_tasks_blocked()
            early, at_once_s = await works.build(round=1)
            built: list[ExecutedBlock] = []

            async def build() -> None:
                built.append((await works.build())[0])

            nursery.start_soon(build)
            await trio.testing.wait_all_tasks_blocked()
            works.desk.verifier.gate.set()
        assert early.block.wtxids == [first.wtxid]
        assert at_once_s < WAIT_MS / 2000
        assert built[0].block.wtxids == [first.wtxid, second.wtxid]


async def test_after_a_full_block_nothing_is_waited_for_while_nothing_is_judged(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_works(tmp_path) as works:
        await works.desk.decide(*works.desk.chain.transfers(BUSY_BLOCK_TRANSACTIONS))
        (payment,) = works.desk.chain.transfers(1)
        await works.desk.submit(payment)
        executed, took_s = await works.build()
        assert (executed.block.wtxids, took_s) == ([payment.wtxid], 0)


async def test_the_wait_for_what_is_judged_ends_after_a_while(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_works(tmp_path) as works:
        await works.desk.decide(*works.desk.chain.transfers(BUSY_BLOCK_TRANSACTIONS))
        (slow,) = works.desk.chain.transfers(1)
        works.desk.verifier.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(works.desk.submit, slow)
            await trio.testing.wait_all_tasks_blocked()
            executed, took_s = await works.build()
            works.desk.verifier.gate.set()
        assert executed.block.transactions == ()
        assert took_s == pytest.approx(WAIT_MS / 1000, abs=0.01)


async def test_a_block_ends_with_what_is_gathered_in_a_small_part_of_a_round(tmp_path: Path) -> None:
    async with open_works(tmp_path) as works:
        payments = works.desk.chain.transfers(3)
        timeout_s = DOCUMENT.parameters.base_timeout_ms / 1000

        def slow_candidates() -> Iterator[Transaction]:
            for payment in payments:
                yield payment
                time.sleep(timeout_s / GATHERING_SHARE)

        works.desk.admission.candidates = slow_candidates  # type: ignore[method-assign]
        executed, _ = await works.build()
        assert executed.block.transactions == (payments[0],)


async def test_nothing_is_proposed_while_the_disk_has_little_room(tmp_path: Path) -> None:
    async with open_works(tmp_path) as works:
        works.disk = trio.Event()
        with trio.move_on_after(0.1) as scope:
            await works.build()
        assert scope.cancelled_caught
        works.disk.set()
        executed, _ = await works.build()
        assert executed.block.height == 1


async def test_a_clock_behind_the_parent_gives_the_next_millisecond(tmp_path: Path) -> None:
    async with open_works(tmp_path) as works:
        works.desk.now_ms = 5
        executed, _ = await works.build()
        assert executed.block.header.timestamp_ms == works.desk.finalizer.head.header.timestamp_ms + 1


async def test_a_block_whose_parent_is_overtaken_is_built_on_the_new_head(tmp_path: Path) -> None:
    async with open_works(tmp_path) as works:
        (payment,) = works.desk.chain.transfers(1)
        await works.desk.submit(payment)
        finalizer, old_head = works.desk.finalizer, works.desk.finalizer.head
        decided, executed = works.desk.chain.build([])
        building = trio.Event()

        def candidates() -> Iterator[Transaction]:
            """The payment again and again until the parent is overtaken: no build can end before it."""
            yield payment
            while finalizer.head is old_head:
                building.set()
                yield payment

        works.desk.admission.candidates = candidates  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            built: list[ExecutedBlock] = []

            async def build() -> None:
                built.append((await works.build())[0])

            nursery.start_soon(build)
            await building.wait()
            await finalizer.finalize(decided, executed)
        assert built[0].block.header.parent_id == decided.block.block_id
        assert built[0].block.height == 2
        assert built[0].block.transactions == (payment,)
