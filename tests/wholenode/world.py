"""Time, chance and the list of what happens next, for trio tasks and for the simulated world around them.

`World` is trio's clock: when no task can run, it jumps to the next deadline of a task or the next event of
the world, whichever comes first, and carries the event out. Nothing here reads a clock. All that is random
comes from one seed, and the trace mixes in everything that crossed between machines.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest import mock

import trio
from trio._core import _run

Event = tuple[float, int, Callable[..., None], tuple[Any, ...]]

MAX_EVENTS = 400_000
"""More events than any schedule has: what goes on longer has no end."""


MAX_IDLE = 50


class Stuck(Exception):
    """Nothing will ever happen again, or far too much happens."""


class World(trio.abc.Clock):
    """One schedule's clock, event list, random source and trace."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now_s = 0.0
        self.events = 0
        self.trace = 0
        self.failure: BaseException | None = None
        self._heap: list[Event] = []
        self._sequence = 0
        self._idle = 0
        self._main = trio.CancelScope()

    # --- events

    def after(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call `action(*arguments)` in `delay_s` seconds, between two turns of the tasks."""
        self._sequence += 1
        heapq.heappush(self._heap, (self.now_s + delay_s, self._sequence, action, arguments))

    def note(self, who: int, what: bytes) -> None:
        """Mix something that happened into the trace."""
        self.trace = zlib.crc32(what, self.trace ^ (int(self.now_s * 1e6) << 6 | who) & 0xFFFFFFFF)

    def fail(self, error: BaseException) -> None:
        """End the schedule with this failure, the first one."""
        if self.failure is None:
            self.failure = error
        self._main.cancel()

    # --- trio's clock

    def start_clock(self) -> None:
        """Nothing to do: time stands still until the tasks wait."""

    def current_time(self) -> float:
        """Seconds since the schedule began."""
        return self.now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """No task can run: jump. Called by trio only then."""
        heap = self._heap
        if heap and heap[0][0] <= deadline:
            self._carry_out(heap)
        elif deadline == float("inf"):
            self._idle += 1  # trio itself waits for its own wake-up while it begins and ends
            if self._idle > MAX_IDLE:
                self.fail(Stuck("no task can run and nothing will happen"))
            return 0.001
        else:
            self.now_s = max(self.now_s, deadline)
        return 0.0

    def _carry_out(self, heap: list[Event]) -> None:
        due_s = self.now_s = max(self.now_s, heap[0][0])
        while heap and heap[0][0] <= due_s:
            _, _, action, arguments = heapq.heappop(heap)
            self.events += 1
            try:
                action(*arguments)
            except BaseException as error:  # trio takes nothing from a clock: it is raised by `run`
                self.fail(error)
                return
        if self.events > MAX_EVENTS:
            self.fail(Stuck(f"no end in sight after {self.events} events"))

    # --- running

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        """Run `main` under this clock to its end. Raises what it, or an event, raised."""

        async def within_scope() -> None:
            with self._main:
                await main()

        with deterministic_scheduling(self.random.getrandbits(64)):
            trio.run(within_scope, clock=self)
        if self.failure is not None:
            raise self.failure


@contextmanager
def deterministic_scheduling(seed: int) -> Iterator[None]:
    """The order in which trio lets tasks run that can run at one time comes from `seed` alone."""
    with mock.patch.multiple(_run, _r=Random(seed), _ALLOW_DETERMINISTIC_SCHEDULING=True):
        yield
