"""How long consensus spends in each phase, and why rounds are left: the metrics of one validator's engine.

Promise: it only watches. Phases begin with this validator's own votes: `waiting` with the height, `preparing`
with its PROPOSAL or PREPARE, `committing` with its COMMIT, `changing_round` with its ROUND_CHANGE; the
decision ends the last one. A vote that is asked for again begins nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from consensus.journal import Position, VoteRecord
from drexnode.metrics import Metrics
from drexnode.tracing import tracer
from primitives.certificate import STEP_COMMIT, STEP_ROUND_CHANGE

WAITING = "waiting"
PREPARING = "preparing"
COMMITTING = "committing"
CHANGING_ROUND = "changing_round"


class PhaseClock:
    """One engine's phases. Everything here costs a few microseconds."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._phase: str | None = None
        self._since = 0.0
        self._last: Position | None = None

    def height_started(self) -> None:
        """The engine works on the next height."""
        self._metrics.qbft_round.set(0)
        self._begin(WAITING)

    def vote(self, record: VoteRecord, *, by_timer: bool) -> None:
        """The engine asks for a vote; `by_timer` when a timer made it."""
        if self._last is not None and record.position <= self._last:
            return
        self._last = record.position
        self._metrics.qbft_round.set(record.round)
        if record.step == STEP_ROUND_CHANGE:
            reason = "timeout" if by_timer else "followed_others"
            self._metrics.qbft_round_changes_total.labels(reason).inc()
            self._begin(CHANGING_ROUND)
        else:
            commits = record.step == STEP_COMMIT
            self._begin(COMMITTING if commits else PREPARING)
            if (traces := tracer()) is not None:
                traces.voted(record.height, record.round, commits=commits)

    def decided(self) -> None:
        """A quorum of COMMITs is there."""
        self._begin(None)

    def _begin(self, phase: str | None) -> None:
        if phase == self._phase:
            return
        now = self._clock()
        if self._phase is not None:
            self._metrics.qbft_phase_seconds.labels(self._phase).observe(now - self._since)
        self._phase, self._since = phase, now
