"""Drive a sliced computation on trio: the event loop breathes at each of its yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import trio

from ledger.slices import Slices

T = TypeVar("T")


async def breathe(slices: Slices[T], still_wanted: Callable[[], bool] = lambda: True) -> T | None:
    """Run `slices` to its end and return its value; None as soon as `still_wanted()` is False.

    What a slice raises is raised here.
    """
    try:
        while still_wanted():
            next(slices)
            await trio.lowlevel.checkpoint()
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        slices.close()
    return None


def slices_of(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a list into parts of at most `size`, to let the event loop breathe between them."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
