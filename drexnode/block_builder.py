"""Builds this validator's blocks from the pool, at the pace that suits the load.

Idle, a block is built at once. Under load (the last block was not small) the builder waits for what is just
being judged, up to a bound: while more comes in than this node can take, blocks are fuller, since small ones
cost every node the same fixed work; while it has time to spare, they are early. A block ends with what its
proposer gathers in a small part of a round: on a slow machine it is smaller, and all can check it before the
round is over. What the rules refuse at this height leaves the pool with its code; what no longer fits stays
for the next block.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import takewhile

import trio

from drexnode.admission import Admission
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.slicing import breathe
from ledger.execute import ExecutedBlock, build_block
from ledger.transaction import Transaction
from primitives.keys import PublicKey

BUSY_BLOCK_TRANSACTIONS = 64
GATHERING_SHARE = 8
"""Of a round's timeout: what follows, here and at every validator, takes about four times as long."""


class BlockBuilder:
    """Proposals of one validator."""

    def __init__(
        self,
        public_key: PublicKey,
        *,
        admission: Admission,
        finalizer: Finalizer,
        metrics: Metrics,
        now_ms: Callable[[], int],
        batch_wait_ms: int,
        room_on_disk: Callable[[], Awaitable[None]],
    ) -> None:
        self._public_key = public_key
        self._admission = admission
        self._finalizer = finalizer
        self._metrics = metrics
        self._now_ms = now_ms
        self._batch_wait_ms = batch_wait_ms
        self._room_on_disk = room_on_disk
        self._last_final = trio.current_time()
        finalizer.on_final(lambda block, executed: self._note_final())

    async def build(self, round: int) -> ExecutedBlock:
        """A block on the head for `round`, already executed. In a round above 0 there is no waiting.

        Waits as long as the disk has little room: then the round passes to another proposer."""
        await self._room_on_disk()
        if round == 0:
            await self._wait_for_a_fuller_block()
        finalizer = self._finalizer
        while True:
            head = finalizer.head
            begin = trio.current_time()
            with finalizer.right_of_way.urgent():
                built = await breathe(
                    build_block(
                        finalizer.state,
                        finalizer.tree,
                        finalizer.context(),
                        self._public_key,
                        max(self._now_ms(), head.header.timestamp_ms + 1),
                        self._gather(),
                    ),
                    lambda: finalizer.head is head,  # noqa: B023 - called within this turn of the loop
                )
            if built is not None:
                self._admission.refuse(built.refused)
                self._metrics.block_execute_seconds.labels("build").observe(trio.current_time() - begin)
                return built.executed

    def _gather(self) -> Iterator[Transaction]:
        """Candidates, until it is time to stop."""
        timeout_s = self._finalizer.genesis.parameters.base_timeout_ms / 1000
        until, now = trio.current_time() + timeout_s / GATHERING_SHARE, trio.current_time
        return takewhile(lambda _: now() < until, self._admission.candidates())

    async def _wait_for_a_fuller_block(self) -> None:
        if self._finalizer.head.header.tx_count < BUSY_BLOCK_TRANSACTIONS:
            return
        limits = self._finalizer.genesis.parameters.limits
        with trio.move_on_at(self._last_final + self._batch_wait_ms / 1000):
            while not self._admission.fills(limits) and await self._admission.judged():
                pass

    def _note_final(self) -> None:
        self._last_final = trio.current_time()
