"""How fast catching up goes: rates, time left, and when to say so. Pure; time is a parameter.

Following the chain at its tip is no catching up: a node is behind when more than `SYNC_LIVE_BLOCKS` are
missing, and has caught up when at most that many are.
"""

from __future__ import annotations

from dataclasses import dataclass

from primitives.limits import SYNC_LIVE_BLOCKS, SYNC_REPORT_MS


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """Figures since the last report; `eta_s` is None before anything was made final."""

    height: int
    target: int
    blocks_per_second: int
    transactions_per_second: int
    eta_s: int | None


class SyncProgress:
    """Counts what becomes final and tells, at most every `SYNC_REPORT_MS`, how it goes."""

    def __init__(self, now_ms: int) -> None:
        self.is_behind = False
        self._since_ms = now_ms
        self._blocks = 0
        self._transactions = 0

    def update(self, height: int, target: int) -> bool | None:
        """Where the node stands. True when it fell behind just now, False when it caught up, else None."""
        is_behind = target - height > SYNC_LIVE_BLOCKS
        if is_behind == self.is_behind:
            return None
        self.is_behind = is_behind
        return is_behind

    def start(self, now_ms: int) -> None:
        """Count from here."""
        self._since_ms, self._blocks, self._transactions = now_ms, 0, 0

    def count(self, transactions: int) -> None:
        """One block became final."""
        self._blocks += 1
        self._transactions += transactions

    def report(self, height: int, target: int, now_ms: int) -> ProgressReport | None:
        """The figures, when it is time for them again."""
        elapsed_ms = now_ms - self._since_ms
        if not self.is_behind or elapsed_ms < SYNC_REPORT_MS:
            return None
        blocks, transactions = self._blocks, self._transactions
        self.start(now_ms)
        eta_s = (target - height) * elapsed_ms // (blocks * 1000) if blocks else None
        return ProgressReport(
            height, target, blocks * 1000 // elapsed_ms, transactions * 1000 // elapsed_ms, eta_s
        )
