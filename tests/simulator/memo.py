"""Pure functions remembered while many schedules run: four engines in one process ask the same of them.

Decoding a message and hashing what a vote signs depend on nothing but their arguments, and their values are
frozen. A replay of one seed runs without this module, and a test shows that the trace is the same: what a
search finds is never the memory's doing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import consensus.core
import consensus.messages
import primitives.certificate
from tests.simulator import villains

SIZE = 2048  # a schedule has some hundred messages under way at a time
_PURE: tuple[tuple[Any, str], ...] = (
    (consensus.core, "decode_message"),
    (consensus.messages, "vote_sighash"),
    (primitives.certificate, "vote_sighash"),
    (villains, "decode_message"),
)


@contextmanager
def remembered() -> Iterator[None]:
    """Inside, each of the pure functions keeps its last `SIZE` answers. Exceptions are not kept."""
    originals: list[tuple[Any, str, Callable[..., Any]]] = []
    known: dict[Callable[..., Any], Callable[..., Any]] = {}
    try:
        for owner, name in _PURE:
            function = getattr(owner, name)
            originals.append((owner, name, function))
            setattr(owner, name, known.setdefault(function, lru_cache(SIZE)(function)))
        yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)
