"""The chunks of one snapshot, asked of every peer that may hold them, a few at a time.

Promises: what is kept has the digest it is named by and is synced; memory is bounded by what is in flight;
what a peer is late with is asked of another, and a peer that changes a chunk is banned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from drexnode.snapshot_peers import SnapshotPeers
from drexnode.snapshot_wire import METHOD_SNAPSHOT_CHUNK, SnapshotOffer
from drexnode.sync_peers import PeerBook
from p2p.transport import Offence, PeerId, RequestCode, RequestFailed
from primitives.errors import DecodeError
from primitives.limits import SNAPSHOT_STALL_MS, SYNC_HEDGE_MS, SYNC_REQUESTS_IN_FLIGHT
from storage.files import replace_file
from storage.snapshot_format import ChunkName, Manifest, chunk_path, digest_of_chunk


@dataclass(slots=True)
class SnapshotProgress:
    """For people: what is being done, of which height, how far."""

    phase: str = "offers"
    height: int = 0
    done: int = 0
    total: int = 0

    def sentence(self) -> str:
        """One line."""
        if self.phase == "offers":
            return "looking for a peer that offers a snapshot"
        return f"snapshot of block {self.height}: {self.phase}, {self.done} of {self.total}"


class Stalled(Exception):
    """Nobody serves the rest of what was begun."""


class ChunkDownload:
    """The chunks of one manifest that are missing, asked of every peer that may hold them."""

    def __init__(
        self,
        peers: SnapshotPeers,
        folder: Path,
        offer: SnapshotOffer,
        manifest: Manifest,
        missing: list[int],
        progress: SnapshotProgress,
    ) -> None:
        """`missing` are places in the manifest's list."""
        self._peers, self._folder, self._progress = peers, folder, progress
        self._offer, self._manifest = offer, manifest
        self._waiting = deque(missing)
        self._lacking = set(missing)
        self._asked: dict[int, list[tuple[PeerId, float]]] = {}  # what is in flight, of whom, since when
        self._book = PeerBook()
        self._last_came = trio.current_time()
        self._look = trio.Event()

    async def run(self) -> None:
        """Until nothing is lacking. Raises `Stalled`."""
        for peer in self._peers.holders(self._offer):
            self._book.claim(peer, len(self._manifest.chunks), 0, _now_ms())
        async with trio.open_nursery() as nursery:
            while self._lacking:
                self._look = trio.Event()
                if trio.current_time() > self._last_came + SNAPSHOT_STALL_MS / 1000 or not len(self._book):
                    break
                self._plan(nursery.start_soon)
                with trio.move_on_after(SYNC_HEDGE_MS / 1000 / 4):
                    await self._look.wait()
            nursery.cancel_scope.cancel()
        if self._lacking:
            raise Stalled

    def _plan(self, start: Callable[..., object]) -> None:
        now = trio.current_time()
        while self._in_flight < SYNC_REQUESTS_IN_FLIGHT:
            late = self._late(now)
            if not self._waiting and late is None:
                return
            index = self._waiting[0] if self._waiting else late
            assert index is not None
            exclude = [peer for peer, _ in self._asked.get(index, ())]
            peer = self._book.choose(index, _now_ms(), exclude)
            if peer is None:
                return
            if self._waiting:
                self._waiting.popleft()
            for slow in exclude:
                self._book.slowed(slow)
            self._asked.setdefault(index, []).append((peer, now))
            self._book.asked(peer)
            start(self._fetch, index, peer)

    @property
    def _in_flight(self) -> int:
        return sum(len(asked) for asked in self._asked.values())

    def _late(self, now: float) -> int | None:
        """A chunk that one peer alone was asked for, a while ago, when nothing else is waiting."""
        if self._waiting:
            return None
        late = [
            index
            for index, asked in self._asked.items()
            if len(asked) == 1 and now - asked[0][1] > SYNC_HEDGE_MS / 1000
        ]
        return min(late, default=None)

    async def _fetch(self, index: int, peer: PeerId) -> None:
        name, began = self._manifest.chunks[index], trio.current_time()
        came = False
        try:
            data = await self._peers.whole(peer, METHOD_SNAPSHOT_CHUNK, name.digest, name.size_bytes)
            came = self._take(name, peer, data)
            if came and index in self._lacking:
                path = chunk_path(self._folder, name.digest)
                await trio.to_thread.run_sync(replace_file, path, data)
                self._lacking.discard(index)
                self._last_came = trio.current_time()
                self._book.delivered(peer, 1, int((self._last_came - began) * 1000))
                self._progress.done = len(self._manifest.chunks) - len(self._lacking)
        except (RequestFailed, DecodeError) as error:
            is_exact = self._offer in self._peers.offers.get(peer, ())
            self._peers.charge(peer, error, is_own_word=is_exact)
            if error.code == RequestCode.REFUSED or isinstance(error, DecodeError):
                self._book.forget(peer)  # it does not hold this snapshot
            elif not self._peers.transport.is_connected(peer):
                self._book.forget(peer)
            else:
                self._book.failed(peer, _now_ms())
        finally:
            self._book.answered(peer)
            rest = [entry for entry in self._asked.pop(index, []) if entry[0] != peer]
            if rest:
                self._asked[index] = rest
            elif index in self._lacking:
                self._waiting.appendleft(index)
            self._look.set()

    def _take(self, name: ChunkName, peer: PeerId, data: bytes) -> bool:
        if digest_of_chunk(data) == name.digest:
            return True
        self._peers.transport.report(peer, Offence.LIED, "snapshot: a chunk is not what its name says")
        self._book.forget(peer)
        return False


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
