"""The wall clock of a node, and the one way to set it wrong on purpose.

`DREX_TEST_CLOCK_OFFSET_MS` shifts the clock of one node of a test network, to show that a validator whose
clock is wrong stops nothing but itself. A chain is a test network when its addresses say so (`drexdev1…`); on
any other a node that finds the variable refuses to start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from drexnode.config import ConfigError
from ledger.devnet import DEVNET_PREFIX

OFFSET_VARIABLE = "DREX_TEST_CLOCK_OFFSET_MS"
MAX_OFFSET_MS = 24 * 60 * 60 * 1000


def wall_clock_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def open_clock(environment: Mapping[str, str], address_prefix: str) -> Callable[[], int]:
    """The clock of a node on the chain whose addresses begin so. Raises `ConfigError` CONFIG_TEST_ONLY (not a
    test network), CONFIG_BAD_VALUE (no whole number, or more than a day)."""
    text = environment.get(OFFSET_VARIABLE)
    if text is None:
        return wall_clock_ms
    if address_prefix != DEVNET_PREFIX:
        message = f"{OFFSET_VARIABLE} is for test networks; unset it: this is the chain of {address_prefix}"
        raise ConfigError("CONFIG_TEST_ONLY", message, next=f"unset {OFFSET_VARIABLE}")
    try:
        offset_ms = int(text)
    except ValueError:
        offset_ms = MAX_OFFSET_MS + 1
    if abs(offset_ms) > MAX_OFFSET_MS:
        message = f"{OFFSET_VARIABLE} must be -{MAX_OFFSET_MS} … {MAX_OFFSET_MS}, not {text[:40]!r}"
        raise ConfigError("CONFIG_BAD_VALUE", message, key=OFFSET_VARIABLE)
    return lambda: wall_clock_ms() + offset_ms
