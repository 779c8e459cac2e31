"""The last final blocks in RAM, as bytes: what peers that are one or two blocks behind ask for, without the
disk.

Bounded by `RECENT_BLOCKS` and `RECENT_BLOCK_BYTES`. Transactions are kept encoded: decoded they take five
times the room, and freeing a block of them at once stops the event loop for 5 ms. A body that left the pool
because it became final stays findable by its wtxid here, for validators that still collect the bodies of that
block: few do, so a block's bodies are sorted by wtxid when the first one is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.limits import RECENT_BLOCK_BYTES, RECENT_BLOCKS


@dataclass(frozen=True)
class RecentBlock:
    """A final block: `wtxids` and `raws` (`[body, witness]`) in its order, of `size` bytes together."""

    header: BlockHeader
    block_id: bytes
    certificate: CommitCertificate
    wtxids: list[bytes]
    raws: list[bytes]
    size: int

    @cached_property
    def bodies(self) -> dict[bytes, bytes]:
        """The raws by wtxid."""
        return dict(zip(self.wtxids, self.raws, strict=True))


class RecentBlocks:
    """Filled by the finalizer's callback."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[int, RecentBlock] = OrderedDict()
        self._size = 0

    def on_final(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        """Keep a block that became final just now; the oldest ones give way."""
        content, raws = block.block, [each.raw for each in block.block.transactions]
        size = sum(map(len, raws))
        self._blocks[block.height] = RecentBlock(
            content.header, content.block_id, block.certificate, content.wtxids, raws, size
        )
        self._size += size
        while len(self._blocks) > RECENT_BLOCKS or (
            self._size > RECENT_BLOCK_BYTES and len(self._blocks) > 1
        ):
            _, oldest = self._blocks.popitem(last=False)
            self._size -= oldest.size

    def at(self, height: int) -> RecentBlock | None:
        """The final block at `height`, if it is still here."""
        return self._blocks.get(height)

    def with_id(self, block_id: bytes) -> RecentBlock | None:
        """The final block with this id, if it is still here."""
        return next((block for block in self._blocks.values() if block.block_id == block_id), None)

    def body(self, wtxid: bytes) -> bytes | None:
        """The bytes of a transaction in one of these blocks, looked for in the newest first."""
        for block in reversed(self._blocks.values()):
            raw = block.bodies.get(wtxid)
            if raw is not None:
                return raw
        return None
