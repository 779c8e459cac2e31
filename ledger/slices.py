"""Sliced computations: generators that yield between slices of well under a millisecond and return a value.

Whoever owns an event loop drives them and lets it breathe at each yield; everyone else calls `finish`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Slices = Generator[None, None, T]


def finish(slices: Slices[T]) -> T:
    """Run a sliced computation to its end without a pause and return its value."""
    try:
        while True:
            next(slices)
    except StopIteration as stop:
        value: T = stop.value
        return value
