"""Keeps connections to persistent peers: dial, and dial again with jittered backoff when one is lost.

One task a peer. Between two attempts it waits for the backoff or a `nudge` (the peer became permitted, a ban
was lifted, its addresses changed), whichever comes first; while connected it waits for the loss.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from p2p.transport import PeerId
from primitives.limits import DIAL_BACKOFF_MAX_MS, DIAL_BACKOFF_MIN_MS

_SETTLED_S: Final = 10.0
"""A connection that lasted this long starts the backoff anew when it is lost."""
_YIELD_S: Final = 0.3
"""The greater PeerId lets the smaller one dial first, so that two rarely dial each other at once."""

Dial = Callable[[PeerId, Sequence[str]], Awaitable[bool]]
"""Try to connect; true if the peer is connected afterwards. Never raises for what the network does."""


def backoff_s(failures: int, jitter: float) -> float:
    """Seconds to wait after so many failures in a row, `jitter` in [0, 1): doubled up to a cap, then between
    half of that and all of it."""
    longest_ms: float = min(DIAL_BACKOFF_MAX_MS, DIAL_BACKOFF_MIN_MS * 2 ** min(failures, 16))
    return longest_ms * (0.5 + 0.5 * jitter) / 1000


class Dialer:
    """The persistent peers of one host."""

    def __init__(self, own_id: PeerId, dial: Dial, is_connected: Callable[[PeerId], bool]) -> None:
        self._own_id = own_id
        self._dial = dial
        self._is_connected = is_connected
        self._addresses: dict[PeerId, tuple[str, ...]] = {}
        self._scopes: dict[PeerId, trio.CancelScope] = {}
        self._changed: dict[PeerId, trio.Event] = {}
        self._nursery: trio.Nursery | None = None

    @property
    def peers(self) -> frozenset[PeerId]:
        return frozenset(self._addresses)

    async def run(self) -> None:
        """Dial until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for peer in self._addresses:
                self._start(peer)
            await trio.sleep_forever()

    def add(self, peer: PeerId, addresses: Sequence[str]) -> None:
        """Keep a connection to `peer`. Added again, its addresses are replaced."""
        known = peer in self._addresses
        self._addresses[peer] = tuple(addresses)
        if known:
            self.nudge(peer)
        elif self._nursery is not None:
            self._start(peer)

    def remove(self, peer: PeerId) -> None:
        self._addresses.pop(peer, None)
        if (scope := self._scopes.pop(peer, None)) is not None:
            scope.cancel()

    def nudge(self, peer: PeerId) -> None:
        """Something changed for this peer: connected, lost, or worth another attempt now."""
        if (event := self._changed.get(peer)) is not None:
            event.set()

    def _start(self, peer: PeerId) -> None:
        if self._nursery is not None and peer != self._own_id:
            scope = self._scopes[peer] = trio.CancelScope()
            self._nursery.start_soon(self._keep, peer, scope)

    async def _keep(self, peer: PeerId, scope: trio.CancelScope) -> None:
        failures = 0
        with scope:
            if self._own_id > peer:
                await self._wait(peer, _YIELD_S)
            # A peer nudged and removed in one breath wakes this task before its cancellation does.
            while (addresses := self._addresses.get(peer)) is not None:
                if self._is_connected(peer) or await self._dial(peer, addresses):
                    since_s = trio.current_time()
                    await self._until_lost(peer)
                    if trio.current_time() - since_s > _SETTLED_S:
                        failures = 0
                await self._wait(peer, backoff_s(failures, random.random()))
                failures += 1

    async def _until_lost(self, peer: PeerId) -> None:
        while self._is_connected(peer):
            await self._wait(peer, float("inf"))

    async def _wait(self, peer: PeerId, seconds: float) -> None:
        event = self._changed[peer] = trio.Event()
        try:
            with trio.move_on_after(seconds):
                await event.wait()
        finally:
            if self._changed.get(peer) is event:
                del self._changed[peer]
