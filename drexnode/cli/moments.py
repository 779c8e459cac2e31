"""Moments on the command line: a time from now (`24h`) or a time of the calendar (`2026-12-01T10:00:00Z`)."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import click

from primitives.limits import MAX_TIMESTAMP_MS

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FROM_NOW = re.compile(r"([0-9]{1,9})([smhd])")


def parse_moment(text: str, now_ms: int | None = None) -> int:
    """Milliseconds since 1970 (UTC). Raises `click.UsageError`; a time without a zone is refused."""
    found = _FROM_NOW.fullmatch(text)
    if found is not None:
        now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        moment = now + int(found[1]) * _UNITS_MS[found[2]]
    else:
        moment = _of_calendar(text)
    if not 0 <= moment <= MAX_TIMESTAMP_MS:
        raise click.UsageError(f"{text!r} is too far away")
    return moment


def _of_calendar(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
    except ValueError:
        message = f"{text!r}: 24h, 30m, 7d, or 2026-12-01T10:00:00Z is expected"
        raise click.UsageError(message) from None
    since = moment.astimezone(UTC) - datetime.fromtimestamp(0, UTC)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000
