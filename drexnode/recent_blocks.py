"""The last final blocks in RAM: what peers that are one or two blocks behind ask for, without the disk.

Bounded by `RECENT_BLOCKS` and `RECENT_BLOCK_BYTES`. A body that left the pool because it became final stays
findable by its wtxid here, for validators that still collect the bodies of that block: few do, so a block's
bodies are sorted by wtxid when the first one is asked for.
"""

from __future__ import annotations

from collections import OrderedDict

from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock
from primitives.limits import RECENT_BLOCK_BYTES, RECENT_BLOCKS


class RecentBlocks:
    """Filled by the finalizer's callback."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[int, FinalizedBlock] = OrderedDict()
        self._bodies: dict[int, dict[bytes, bytes]] = {}  # by height, of the blocks that were asked for
        self._sizes: dict[int, int] = {}

    def on_final(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        """Keep a block that became final just now; the oldest ones give way."""
        self._blocks[block.height] = block
        self._sizes[block.height] = sum(len(each.raw) for each in block.block.transactions)
        while len(self._blocks) > RECENT_BLOCKS or self._too_large():
            self._drop_oldest()

    def at(self, height: int) -> FinalizedBlock | None:
        """The final block at `height`, if it is still here."""
        return self._blocks.get(height)

    def with_id(self, block_id: bytes) -> FinalizedBlock | None:
        """The final block with this id, if it is still here."""
        return next((block for block in self._blocks.values() if block.block.block_id == block_id), None)

    def body(self, wtxid: bytes) -> bytes | None:
        """The bytes of a transaction in one of these blocks, looked for in the newest first."""
        for height in reversed(self._blocks):
            raw = self._bodies_at(height).get(wtxid)
            if raw is not None:
                return raw
        return None

    def _bodies_at(self, height: int) -> dict[bytes, bytes]:
        found = self._bodies.get(height)
        if found is None:
            transactions = self._blocks[height].block.transactions
            found = self._bodies[height] = {each.wtxid: each.raw for each in transactions}
        return found

    def _too_large(self) -> bool:
        return len(self._blocks) > 1 and sum(self._sizes.values()) > RECENT_BLOCK_BYTES

    def _drop_oldest(self) -> None:
        height, _ = self._blocks.popitem(last=False)
        del self._sizes[height]
        self._bodies.pop(height, None)
