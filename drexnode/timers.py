"""The engine's timers on trio's clock: one of each kind, never dropped, whatever queue is full.

A single task sleeps until the nearest deadline, and is woken for a nearer one alone. Setting a timer again
replaces it; an expired one is handed to the callback in the same trio thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from consensus.inputs import Timer, TimerKind


class Timers:
    """Deadlines by kind. `run` must be running for any of them to expire."""

    def __init__(self, expired: Callable[[Timer], None]) -> None:
        self._expired = expired
        self._deadlines: dict[TimerKind, tuple[float, Timer]] = {}
        self._changed = trio.Event()
        self._wakes_at = math.inf  # no later than the nearest deadline

    def set(self, timer: Timer, delay_ms: int) -> None:
        """Start the timer of this kind anew: it expires after `delay_ms`."""
        deadline = trio.current_time() + delay_ms / 1000
        self._deadlines[timer.kind] = (deadline, timer)
        if deadline < self._wakes_at:
            self._changed.set()

    def cancel(self, kind: TimerKind) -> None:
        """Stop the timer of this kind, if one runs."""
        self._deadlines.pop(kind, None)

    async def run(self) -> None:
        """Expire timers until cancelled."""
        while True:
            self._changed = trio.Event()
            self._wakes_at = min((deadline for deadline, _ in self._deadlines.values()), default=math.inf)
            with trio.move_on_at(self._wakes_at):
                await self._changed.wait()
            self._expire_due(trio.current_time())

    def _expire_due(self, now: float) -> None:
        due = sorted((item for item in self._deadlines.values() if item[0] <= now), key=lambda item: item[0])
        for deadline, timer in due:
            if self._deadlines.get(timer.kind) == (deadline, timer):
                del self._deadlines[timer.kind]
                self._expired(timer)
