"""Events of a running node that no block holds: consensus at work, and alerts (docs/rpc.md, "Subscriptions").

Part of `drexnode.rpc.api.NodeApi`. An `EventLog` is a bounded memory of one sort of event: each has a number,
a reader names the number after which it goes on, and one that asks for what was forgotten is refused, never
given a gap. It belongs to the node's trio thread.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import trio

from primitives.errors import DrexError
from primitives.limits import REMEMBERED_EVENTS


class EventLog:
    """The last `REMEMBERED_EVENTS` events of a kind. `epoch` tells one start of the node from another."""

    def __init__(self, kind: str, epoch: int | None = None) -> None:
        self.kind = kind
        self.epoch = time.time_ns() // 1_000_000 if epoch is None else epoch
        self._events: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_EVENTS)
        self._added = trio.Event()
        self.last = 0
        """Number of the newest event; the first one is 1."""

    def add(self, event: dict[str, Any]) -> None:
        """Remember an event and wake whoever waits for it. It is JSON and is not changed afterwards."""
        self._events.append(event)
        self.last += 1
        self._added.set()
        self._added = trio.Event()

    def check(self, epoch: int, number: int) -> None:
        """Whether a reader may go on after an event. Raises `DrexError` CURSOR_EXPIRED."""
        if epoch != self.epoch or not self.last - len(self._events) <= number <= self.last:
            message = f"what came after this {self.kind} event is no longer remembered: subscribe from now"
            raise DrexError("CURSOR_EXPIRED", message)

    async def after(self, number: int) -> list[tuple[int, dict[str, Any]]]:
        """Wait for events after a number: all of them, ascending. Raises `DrexError` CURSOR_EXPIRED."""
        while self.last == number:
            await self._added.wait()
        self.check(self.epoch, number)
        first = self.last - len(self._events) + 1
        return [(at, event) for at, event in enumerate(self._events, first) if at > number]
