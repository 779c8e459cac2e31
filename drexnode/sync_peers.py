"""Which peers hold which final blocks, how well they served, and whom to ask next. Time is a parameter.

A tip is what a peer *claims*: it decides whom to ask, never what to believe. A peer that does not answer
rests for a while, longer each time; one that lacks what it claimed is doubted until its rest is over.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from p2p.transport import PeerId
from primitives.limits import MAX_PEERS, SYNC_BACKOFF_MAX_MS, SYNC_BACKOFF_MIN_MS, SYNC_REQUESTS_PER_PEER


@dataclass(slots=True)
class SyncPeer:
    """What is known of one peer."""

    tip: int
    lowest: int = 1
    in_flight: int = 0
    failures: int = 0
    """Since its last useful answer."""
    resting_until_ms: int = 0
    doubted: bool = False
    """Its claim proved empty: no target, until its rest is over."""
    cost_us: int = 0
    """Smoothed time it took per block, µs; 0 until it delivered, so that new peers are tried."""

    def holds(self, height: int) -> bool:
        return self.lowest <= height <= self.tip


class PeerBook:
    """At most `MAX_PEERS` peers; who claims least gives way."""

    def __init__(self) -> None:
        self._peers: dict[PeerId, SyncPeer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def claim(self, peer: PeerId, tip: int, lowest: int, now_ms: int) -> None:
        """`peer` says that it holds the final blocks `lowest` … `tip`; the last word counts."""
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) >= MAX_PEERS:
                del self._peers[min(self._peers, key=lambda other: (self._peers[other].tip, other))]
            self._peers[peer] = SyncPeer(tip, lowest)
            return
        if known.doubted and now_ms < known.resting_until_ms:
            return
        known.tip, known.lowest, known.doubted = tip, lowest, False

    def seen(self, peer: PeerId, tip: int, now_ms: int) -> None:
        """`peer` showed that it is at `tip` or above: never lowers what it claimed."""
        known = self._peers.get(peer)
        if known is None or known.tip < tip:
            self.claim(peer, tip, 1 if known is None else known.lowest, now_ms)

    def forget(self, peer: PeerId) -> None:
        self._peers.pop(peer, None)

    def best_tip(self) -> int:
        """The highest tip that some peer claims and has not been found not to hold; 0 for none."""
        return max((peer.tip for peer in self._peers.values()), default=0)

    def tip_of(self, peer: PeerId) -> int | None:
        """The claim of `peer`, None for a stranger."""
        known = self._peers.get(peer)
        return None if known is None else known.tip

    def choose(self, height: int, now_ms: int, exclude: Collection[PeerId] = ()) -> PeerId | None:
        """The peer to ask for `height` now: idle before busy, quick before slow; None if nobody can."""
        best: tuple[int, int, int, PeerId] | None = None
        for peer, known in self._peers.items():
            if not known.holds(height) or known.in_flight >= SYNC_REQUESTS_PER_PEER:
                continue
            if known.resting_until_ms > now_ms or peer in exclude:
                continue
            rank = (known.in_flight, known.failures, known.cost_us, peer)
            if best is None or rank < best:
                best = rank
        return None if best is None else best[-1]

    def asked(self, peer: PeerId) -> None:
        self._peers[peer].in_flight += 1

    def answered(self, peer: PeerId) -> None:
        """A request to `peer` ended, one way or another."""
        if (known := self._peers.get(peer)) is not None:
            known.in_flight = max(0, known.in_flight - 1)

    def delivered(self, peer: PeerId, blocks: int, elapsed_ms: int) -> None:
        """`peer` answered with useful blocks (0: a part of a large one)."""
        if (known := self._peers.get(peer)) is None:
            return
        known.failures = 0
        if blocks:
            cost_us = max(1, elapsed_ms * 1000 // blocks)
            known.cost_us = (3 * known.cost_us + cost_us) // 4 if known.cost_us else cost_us

    def slowed(self, peer: PeerId) -> None:
        """Another peer had to be asked for what this one is late with."""
        if (known := self._peers.get(peer)) is not None:
            known.cost_us = 2 * known.cost_us + 1000

    def failed(self, peer: PeerId, now_ms: int) -> None:
        """No answer: let it rest, twice as long each time (requests that fail together count once)."""
        known = self._peers.get(peer)
        if known is not None and known.resting_until_ms <= now_ms:
            rest_ms = SYNC_BACKOFF_MIN_MS << min(known.failures, 16)
            known.resting_until_ms = now_ms + min(rest_ms, SYNC_BACKOFF_MAX_MS)
            known.failures += 1

    def doubt(self, peer: PeerId, tip: int, now_ms: int) -> None:
        """`peer` does not hold what it claimed above `tip`."""
        self.failed(peer, now_ms)
        if (known := self._peers.get(peer)) is not None:
            known.tip, known.doubted = min(known.tip, tip), True

    def next_rest_end(self, now_ms: int) -> int | None:
        """When the next resting peer may be asked again."""
        rests = [known.resting_until_ms for known in self._peers.values() if known.resting_until_ms > now_ms]
        return min(rests, default=None)
