"""How far long work is: a bar on a terminal, a line now and then elsewhere. Always on stderr.

A quiet half second comes first, so that short work shows nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

Report = Callable[[str, int, int], None]
"""Told (what is done, how many are done, of how many; 0 where nobody knows)."""

_QUIET_S = 0.5
_BAR_EVERY_S = 0.1
_LINE_EVERY_S = 10.0
_BAR = 28


@contextmanager
def show_progress() -> Iterator[Report]:
    """A function that the work calls as often as it likes."""
    line = _Line(sys.stderr.isatty())
    try:
        yield line.report
    finally:
        line.end()


class _Line:
    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._begin = time.monotonic()
        self._next = self._begin + (_QUIET_S if is_terminal else _LINE_EVERY_S)
        self._width = 0

    def report(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_BAR_EVERY_S if self._is_terminal else _LINE_EVERY_S)
        text = self._text(what, done, total, now - self._begin)
        if self._is_terminal:
            click.echo("\r" + text.ljust(self._width), nl=False, err=True)
            self._width = len(text)
        else:
            click.echo(text, err=True)

    def end(self) -> None:
        """Wipe the bar."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)
            self._width = 0

    def _text(self, what: str, done: int, total: int, seconds: float) -> str:
        if not total:
            return f"{what}: {done:,} in {seconds:.0f} s"
        share = min(1.0, done / total)
        filled = round(share * _BAR)
        bar = f"[{'#' * filled}{'.' * (_BAR - filled)}] " if self._is_terminal else ""
        return f"{what}: {bar}{share:4.0%}  {done:,} of {total:,}, {seconds:.0f} s"
