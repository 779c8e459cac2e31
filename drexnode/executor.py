"""Each block is executed once, on top of the tip, in slices; the result waits under its id until it is final.

A proposer's own block arrives here executed by the builder (`adopt`), so it is never executed again. A check
that its height's decision overtakes and cancels leaves its work to the decision, which goes on from there.
"""

from __future__ import annotations

import trio

from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.slicing import Resumable
from ledger.block import Block
from ledger.execute import ExecutedBlock, execute_block
from primitives.errors import InvalidBlock
from primitives.limits import EXECUTED_BLOCKS


class Executor:
    """Executes blocks that follow the finalizer's head."""

    def __init__(self, finalizer: Finalizer, metrics: Metrics) -> None:
        self._finalizer = finalizer
        self._metrics = metrics
        self._executed: dict[bytes, ExecutedBlock] = {}
        self._under_way: tuple[Block, Resumable[ExecutedBlock]] | None = None
        self._one_at_a_time = trio.Lock()
        finalizer.on_final(lambda block, executed: self._forget())

    async def execute(self, block: Block) -> ExecutedBlock:
        """The execution of `block`, whose signatures are verified, on top of the head.

        Raises `InvalidBlock`: it breaks a rule, or (BLOCK_SUPERSEDED) its height was decided meanwhile; and
        `UpgradeNeeded`: its rules are not in this program.
        """
        async with self._one_at_a_time:
            known = self._executed.get(block.block_id)
            if known is not None:
                return known
            finalizer, head = self._finalizer, self._finalizer.head
            if block.height <= head.height:  # sync and consensus obtain a block side by side
                raise _superseded(block)
            if finalizer.upgrade_needed is not None:
                raise finalizer.upgrade_needed
            begin = trio.current_time()
            execution = self._execution_of(block)
            try:
                with finalizer.right_of_way.urgent():
                    executed = await execution.drive_while(lambda: finalizer.head is head)
            except InvalidBlock:
                self._under_way = None
                await finalizer.settled()  # what is just being written is on disk before it is the head
                if finalizer.head is not head:
                    raise _superseded(block) from None
                raise
            if executed is None:
                raise _superseded(block)
            self._under_way = None
            self._metrics.block_execute_seconds.labels("execute").observe(trio.current_time() - begin)
            self.adopt(executed)
            return executed

    def _execution_of(self, block: Block) -> Resumable[ExecutedBlock]:
        """The execution of this very block that was begun on the head, or a new one: a header may have come
        with another list of transactions before."""
        if self._under_way is not None:
            begun, execution = self._under_way
            if begun.block_id == block.block_id and begun.wtxids == block.wtxids:
                return execution
        finalizer = self._finalizer
        execution = Resumable(execute_block(finalizer.state, finalizer.tree, finalizer.context(), block))
        self._under_way = (block, execution)
        return execution

    def adopt(self, executed: ExecutedBlock) -> None:
        """Keep an execution until a block becomes final. A few are kept: one a round is usual."""
        while len(self._executed) >= EXECUTED_BLOCKS:
            del self._executed[next(iter(self._executed))]
        self._executed[executed.block.block_id] = executed

    def _forget(self) -> None:
        """The head changed: nothing fits any more."""
        self._executed.clear()
        self._under_way = None

    def find(self, block_id: bytes) -> ExecutedBlock | None:
        """The kept execution of a block, or None."""
        return self._executed.get(block_id)


def _superseded(block: Block) -> InvalidBlock:
    return InvalidBlock("BLOCK_SUPERSEDED", "its height is decided", height=block.height)
