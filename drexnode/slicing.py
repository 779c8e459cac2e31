"""Cut long work on trio: the event loop breathes every `BREATH_SECONDS` or so, and not much more often.

Work comes in small parts, each far below that; a turn of the loop costs about 10 µs, so parts follow each
other until the time of one breath is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Generic, TypeVar

import trio

from ledger.slices import Slices
from primitives.limits import BREATH_SECONDS, GIVE_WAY_SECONDS

T = TypeVar("T")


async def breathe(slices: Slices[T], still_wanted: Callable[[], bool] = lambda: True) -> T | None:
    """Run `slices` to its end and return its value; None as soon as `still_wanted()` is False, which is asked
    whenever others had a turn.

    What a slice raises is raised here.
    """
    try:
        while still_wanted():
            until = monotonic() + BREATH_SECONDS
            next(slices)
            while monotonic() < until:
                next(slices)
            await trio.lowlevel.checkpoint()
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        slices.close()
    return None


class Resumable(Generic[T]):
    """Work in slices that whoever needs its value may drive, one after the other or by turns: a driver that
    is cancelled loses nothing. What a slice raises is raised to its driver, and to every later one."""

    def __init__(self, slices: Slices[T]) -> None:
        self._slices = slices
        self._value: list[T] = []
        self._error: Exception | None = None

    async def finish(self) -> T:
        """Drive it to its end, a breath at a time, and return the value."""
        await self.drive_while(lambda: True)
        return self._value[0]

    async def drive_while(self, still_wanted: Callable[[], bool]) -> T | None:
        """`finish`; None as soon as `still_wanted()` is False, which is asked whenever others had a turn."""
        while not self._value:
            if self._error is not None:
                raise self._error
            if not still_wanted():
                return None
            self._drive(monotonic() + BREATH_SECONDS)
            if not self._value:  # what is done is still wanted: nobody had a turn since that was asked
                await trio.lowlevel.checkpoint()
        return self._value[0]

    def _drive(self, until: float) -> None:
        try:
            next(self._slices)
            while monotonic() < until:
                next(self._slices)
        except StopIteration as stop:
            self._value.append(stop.value)
        except Exception as error:
            self._error = error
            raise


class RightOfWay:
    """Who goes first on one event loop. While work is under way for which other validators wait (a block is
    built, checked, made final), the rest takes no breath, or one each `GIVE_WAY_SECONDS` if that lasts: it
    goes on while this node waits for others."""

    def __init__(self) -> None:
        self._urgent = 0
        self._clear = trio.Event()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """The work within goes first."""
        self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1
            if not self._urgent:
                self._clear.set()
                self._clear = trio.Event()

    async def give_way(self) -> None:
        """Called before a breath of work that can wait. No checkpoint while nothing is urgent."""
        if self._urgent:
            with trio.move_on_after(GIVE_WAY_SECONDS):
                while self._urgent:
                    await self._clear.wait()


class Breaths(Generic[T]):
    """A list to be worked off in parts of at most `size`, one breath of parts at a time.

    True while something is left; iterating gives the parts of one breath. The caller lets the event loop turn
    (or takes a lock) before each: `while breaths: await …; for part in breaths: …`."""

    def __init__(self, items: Sequence[T], size: int) -> None:
        self._items = items
        self._size = size
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._items)

    def __iter__(self) -> Iterator[Sequence[T]]:
        until = monotonic() + BREATH_SECONDS
        while self:
            start, self._at = self._at, self._at + self._size
            yield self._items[start : self._at]
            if monotonic() >= until:
                return


def slices_of(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a list into parts of at most `size`, to let the event loop breathe between them."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
