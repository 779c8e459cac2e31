"""What sync asks for and what comes back: ranges of heights, parts of blocks, whole blocks. Pure values.

A block whose transactions do not fit into one answer comes in parts, all asked of one peer, so that whoever
spoils it is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from drexnode.wire import BlockPart
from p2p.transport import PeerId
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate

BLOCK_COST_BYTES = 1024  # what a block costs beside its transactions: header, certificate, objects


@dataclass(frozen=True, slots=True)
class FetchRange:
    """Ask `peer` for the heights `first` … `last`, the first of them from transaction `first_index` on."""

    request_id: int
    peer: PeerId
    first: int
    last: int
    first_index: int = 0

    @property
    def count(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class FetchedBlock:
    """A whole block as `peer` served it: unchecked but for its shape."""

    header: BlockHeader
    certificate: CommitCertificate
    transactions: tuple[bytes, ...]
    peer: PeerId
    size_bytes: int

    @property
    def height(self) -> int:
        return self.header.height


class FetchFailure(Enum):
    """Why a request has no answer."""

    TIMEOUT = "timeout"
    """No answer in time, or the peer's handler broke."""
    BUSY = "busy"
    """Over the peer's budget: no fault of its."""
    GONE = "gone"
    """No longer connected."""
    REFUSED = "refused"
    """It will not serve what it claimed to hold."""
    MALFORMED = "malformed"
    """The answer does not decode."""


@dataclass(slots=True)
class OpenRequest:
    """A request that was sent and not answered, with what came of its first block in earlier answers."""

    ask: FetchRange
    sent_ms: int
    parts: list[BlockPart] = field(default_factory=list)
    parts_bytes: int = 0

    def covers(self, height: int) -> bool:
        return self.ask.first <= height <= self.ask.last


def is_asked_for(request: OpenRequest, parts: Sequence[BlockPart]) -> bool:
    """True when the parts start where asked, stay inside the range, follow each other and bring something."""
    ask = request.ask
    if parts[0].header.height != ask.first or parts[0].first_index != ask.first_index:
        return False
    if request.parts and parts[0].header != request.parts[0].header:
        return False
    if len(parts) > ask.count:
        return False
    for offset, part in enumerate(parts):
        is_whole = part.next_index == part.header.tx_count
        has_progress = bool(part.transactions) or part.header.tx_count == 0
        in_place = part.header.height == ask.first + offset and (offset == 0 or part.first_index == 0)
        if not (in_place and has_progress and (is_whole or offset == len(parts) - 1)):
            return False
    return True


def join_parts(
    request: OpenRequest, parts: Sequence[BlockPart]
) -> tuple[list[FetchedBlock], list[BlockPart]]:
    """Whole blocks, and the parts of a last one that is not whole yet."""
    blocks: list[FetchedBlock] = []
    open_parts = list(request.parts)
    for part in parts:
        open_parts.append(part)
        if part.next_index == part.header.tx_count:
            transactions = tuple(raw for piece in open_parts for raw in piece.transactions)
            size_bytes = BLOCK_COST_BYTES + sum(map(len, transactions))
            blocks.append(
                FetchedBlock(part.header, part.certificate, transactions, request.ask.peer, size_bytes)
            )
            open_parts = []
    return blocks, open_parts


def transaction_bytes(parts: Sequence[BlockPart]) -> int:
    """Bytes of the transactions in `parts`."""
    return sum(len(raw) for part in parts for raw in part.transactions)
