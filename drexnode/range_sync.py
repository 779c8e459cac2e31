"""Which blocks to ask of whom, and handing them out in order: catching up, without clock, network or disk.

Promises: blocks are handed out by ascending height without gap or repetition; never more than the window
(`SYNC_WINDOW_BYTES`, plus the one block that all wait for) is asked for, buffered or handed out and not yet
final; a peer that is slow, silent, lying or below what it claimed is replaced by another. Nothing is
believed: whoever takes a block checks it, and `refuse` sends the planner back to its height.

The driver (`drexnode/sync.py`) calls `plan` after every event, sends what it returns, and reports each answer
to `received` or `failed`. docs/sync.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from drexnode.range_parts import (
    FetchedBlock,
    FetchFailure,
    FetchRange,
    OpenRequest,
    is_asked_for,
    join_parts,
    transaction_bytes,
)
from drexnode.sync_peers import PeerBook
from drexnode.wire import BlockPart
from p2p.transport import Offence, PeerId
from primitives.limits import (
    MAX_BLOCK_BYTES,
    SYNC_CHUNK_BYTES,
    SYNC_HEDGE_MS,
    SYNC_RANGE_BLOCKS,
    SYNC_REQUESTS_IN_FLIGHT,
    SYNC_WINDOW_BLOCKS,
    SYNC_WINDOW_BYTES,
)

_FIRST_GUESS_BYTES = 8192  # of a block, before one was seen


class RangePlanner:
    """The state of catching up from the final `height` on. Every method takes the time in ms, any origin."""

    def __init__(self, height: int) -> None:
        self._final = height
        self._next = height + 1  # to be handed out
        self._book = PeerBook()
        self._requests: dict[int, OpenRequest] = {}
        self._continued: list[FetchRange] = []
        self._runs: dict[int, deque[FetchedBlock]] = {}  # by first height, disjoint
        self._taken: dict[int, FetchedBlock] = {}  # handed out, not final yet
        self._held_bytes = 0  # of runs and taken blocks
        self._block_bytes = _FIRST_GUESS_BYTES
        self._last_id = 0

    # --- figures

    @property
    def final_height(self) -> int:
        """The highest height known to be final here."""
        return self._final

    @property
    def next_height(self) -> int:
        """The height that `take` hands out next."""
        return self._next

    @property
    def target(self) -> int:
        """The highest tip a peer has shown, or the own one."""
        return max(self._final, self._book.best_tip())

    @property
    def outstanding_bytes(self) -> int:
        """Asked for (at its largest), buffered, or handed out and not final."""
        partial = sum(request.parts_bytes for request in self._requests.values())
        return self._held_bytes + partial + SYNC_CHUNK_BYTES * len(self._requests)

    @property
    def in_flight(self) -> int:
        return len(self._requests)

    def source(self) -> PeerId | None:
        """The peer that is asked for the next height, for people's eyes."""
        asked = [request.ask for request in self._requests.values()]
        return min(asked, key=lambda ask: ask.first).peer if asked else None

    # --- peers

    def claim(self, peer: PeerId, tip: int, now_ms: int, lowest: int = 1) -> None:
        """`peer` says that it holds the blocks `lowest` … `tip`."""
        self._book.claim(peer, tip, max(1, lowest), now_ms)

    def seen(self, peer: PeerId, tip: int, now_ms: int) -> None:
        """`peer` showed that it holds the block at `tip`, maybe more."""
        self._book.seen(peer, tip, now_ms)

    def drop_peer(self, peer: PeerId) -> None:
        """`peer` is gone; what it delivered stays."""
        self._book.forget(peer)
        for request_id in [key for key, request in self._requests.items() if request.ask.peer == peer]:
            del self._requests[request_id]

    def tip_of(self, peer: PeerId) -> int | None:
        """What `peer` claims, less what it was found not to hold; None for a stranger."""
        return self._book.tip_of(peer)

    # --- asking

    def plan(self, now_ms: int) -> list[FetchRange]:
        """What to ask now. Each is answered by exactly one `received` or `failed`; late ones are ignored."""
        asks = self._continuations()
        for first, last in list(self._gaps()):
            start = first
            while start <= last and (ask := self._ask(start, last, now_ms)) is not None:
                asks.append(ask)
                start = ask.last + 1
            if start <= last:
                break
        if (second := self._ask_another(now_ms)) is not None:
            asks.append(second)
        return asks

    def _continuations(self) -> list[FetchRange]:
        """Requests for the rest of large blocks, unless they came whole from another peer meanwhile."""
        waiting, self._continued = self._continued, []
        for ask in waiting:
            if ask.first < self._next and self._requests.pop(ask.request_id, None) is not None:
                self._book.answered(ask.peer)
        return [ask for ask in waiting if ask.request_id in self._requests]

    def next_wakeup(self, now_ms: int) -> int | None:
        """When `plan` may have more to ask although nothing happened; None if only an event can change it."""
        moments = [self._book.next_rest_end(now_ms)] if self._next <= self.target else []
        late = [r.sent_ms + SYNC_HEDGE_MS for r in self._requests.values() if r.covers(self._next)]
        moments += [moment for moment in late if moment > now_ms]
        return min((moment for moment in moments if moment is not None), default=None)

    def _gaps(self) -> Iterator[tuple[int, int]]:
        """Heights from the next one to the horizon that are neither buffered nor asked for."""
        horizon = min(self._book.best_tip(), self._next + SYNC_WINDOW_BLOCKS - 1)
        covered = [(r.ask.first, r.ask.last) for r in self._requests.values()]
        covered += [(first, first + len(run) - 1) for first, run in self._runs.items()]
        start = self._next
        for first, last in sorted(covered):
            if start > horizon:
                return
            if first > start:
                yield start, min(first - 1, horizon)
            start = max(start, last + 1)
        if start <= horizon:
            yield start, horizon

    def _ask(self, first: int, last: int, now_ms: int) -> FetchRange | None:
        has_room = self.outstanding_bytes + SYNC_CHUNK_BYTES <= SYNC_WINDOW_BYTES
        if len(self._requests) >= SYNC_REQUESTS_IN_FLIGHT or not (has_room or first == self._next):
            return None
        peer = self._book.choose(first, now_ms)
        return None if peer is None else self._send(peer, first, last, now_ms)

    def _ask_another(self, now_ms: int) -> FetchRange | None:
        """Ask a second peer for the height that all wait for, when the first is late with it."""
        late = [request for request in self._requests.values() if request.covers(self._next)]
        if len(late) != 1 or now_ms - late[0].sent_ms < SYNC_HEDGE_MS:
            return None
        slow = late[0].ask
        peer = self._book.choose(self._next, now_ms, exclude=(slow.peer,))
        if peer is None:
            return None
        self._book.slowed(slow.peer)
        return self._send(peer, self._next, slow.last, now_ms)

    def _send(self, peer: PeerId, first: int, last: int, now_ms: int) -> FetchRange:
        span = max(1, min(SYNC_CHUNK_BYTES // self._block_bytes, SYNC_RANGE_BLOCKS))
        tip = self._book.tip_of(peer)
        last = min(last, first + span - 1, first if tip is None else tip)
        return self._record(peer, first, last, 0, now_ms).ask

    def _record(self, peer: PeerId, first: int, last: int, first_index: int, now_ms: int) -> OpenRequest:
        self._last_id += 1
        request = OpenRequest(FetchRange(self._last_id, peer, first, last, first_index), now_ms)
        self._requests[self._last_id] = request
        self._book.asked(peer)
        return request

    # --- answers

    def received(self, request_id: int, parts: Sequence[BlockPart], now_ms: int) -> Offence | None:
        """The answer to one request; late ones are ignored. Returns what the peer did wrong, if anything."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return None
        peer = request.ask.peer
        self._book.answered(peer)
        if not parts:
            self._book.doubt(peer, request.ask.first - 1, now_ms)
            return Offence.UNSERVED
        if not is_asked_for(request, parts):
            self._book.doubt(peer, 0, now_ms)
            return Offence.INVALID_MESSAGE
        blocks, rest = join_parts(request, parts)
        if transaction_bytes(rest) > MAX_BLOCK_BYTES:
            self._book.doubt(peer, 0, now_ms)
            return Offence.INVALID_MESSAGE
        self._book.delivered(peer, len(blocks), now_ms - request.sent_ms)
        self._keep(blocks)
        if rest and rest[0].header.height >= self._next:
            self._continue(request.ask, rest, now_ms)
        return None

    def failed(self, request_id: int, failure: FetchFailure, now_ms: int) -> Offence | None:
        """A request without an answer. Returns what the peer did wrong, if anything."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return None
        peer = request.ask.peer
        self._book.answered(peer)
        match failure:
            case FetchFailure.GONE:
                self.drop_peer(peer)
                return None
            case FetchFailure.BUSY:
                self._book.failed(peer, now_ms)
                return None
            case FetchFailure.TIMEOUT:
                self._book.failed(peer, now_ms)
                return Offence.UNSERVED
            case FetchFailure.REFUSED:
                self._book.doubt(peer, request.ask.first - 1, now_ms)
                return Offence.UNSERVED
            case FetchFailure.MALFORMED:
                self._book.doubt(peer, 0, now_ms)
                return Offence.INVALID_MESSAGE

    def _continue(self, ask: FetchRange, parts: list[BlockPart], now_ms: int) -> None:
        """Ask the same peer for the rest of a block that did not fit into its answer."""
        height = parts[0].header.height
        request = self._record(ask.peer, height, max(height, ask.last), parts[-1].next_index, now_ms)
        request.parts = parts
        request.parts_bytes = transaction_bytes(parts)
        self._continued.append(request.ask)

    def _keep(self, blocks: Sequence[FetchedBlock]) -> None:
        """Buffer what is neither handed out nor buffered yet (two peers may have been asked for it)."""
        run: deque[FetchedBlock] | None = None
        for block in blocks:
            self._block_bytes = max(1, (7 * self._block_bytes + block.size_bytes) // 8)
            if block.height < self._next or self._is_buffered(block.height):
                run = None
                continue
            if run is None:
                run = self._runs[block.height] = deque()
            run.append(block)
            self._held_bytes += block.size_bytes

    def _is_buffered(self, height: int) -> bool:
        return any(first <= height < first + len(run) for first, run in self._runs.items())

    # --- handing out

    def take(self, max_transactions: int) -> list[FetchedBlock]:
        """The next blocks in order, maybe none: one if it is there, and more up to so many transactions."""
        taken: list[FetchedBlock] = []
        room = max_transactions
        while (run := self._runs.get(self._next)) is not None:
            room -= len(run[0].transactions)
            if taken and room < 0:
                break
            del self._runs[self._next]
            block = run.popleft()
            self._taken[self._next] = block
            taken.append(block)
            self._next += 1
            if run:
                self._runs[self._next] = run
        return taken

    def finalized(self, height: int) -> None:
        """`height` is final here, whoever decided it: what is held up to it is released."""
        if height <= self._final:
            return
        self._final = height
        for taken in [key for key in self._taken if key <= height]:
            self._held_bytes -= self._taken.pop(taken).size_bytes
        if self._next <= height:
            self._next = height + 1
            self._trim_runs()

    def refuse(self, block: FetchedBlock) -> None:
        """A block that was handed out is false: forget its peer and what else it delivered, and hand out from
        its height again. What was handed out above it is void."""
        height = max(block.height, self._final + 1)
        for taken in [key for key in self._taken if key >= height]:
            self._held_bytes -= self._taken.pop(taken).size_bytes
        self._next = min(self._next, height)
        self.drop_peer(block.peer)
        for first, run in list(self._runs.items()):
            if run[0].peer == block.peer:
                self._held_bytes -= sum(other.size_bytes for other in run)
                del self._runs[first]

    def _trim_runs(self) -> None:
        for first in sorted(first for first in self._runs if first < self._next):
            run = self._runs.pop(first)
            while run and run[0].height < self._next:
                self._held_bytes -= run.popleft().size_bytes
            if run:
                self._runs[run[0].height] = run
