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
DECIDED = "decided"


class PhaseClock:
    """One engine's phases. Everything here costs a few microseconds."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Callable[[], float] = monotonic,
        on_phase: Callable[[int, int, str], None] = lambda height, round_, phase: None,
    ) -> None:
        """`on_phase` hears the height, the round and what begins, DECIDED at the end."""
        self._metrics = metrics
        self._clock = clock
        self._on_phase = on_phase
        self._height = self._round = 0
        self._phase: str | None = None
        self._since = 0.0
        self._last: Position | None = None

    def height_started(self, height: int) -> None:
        """The engine works on a height."""
        self._height, self._round = height, 0
        self._metrics.qbft_round.set(0)
        self._begin(WAITING)
        self._on_phase(height, 0, WAITING)

    def vote(self, record: VoteRecord, *, by_timer: bool) -> None:
        """The engine asks for a vote; `by_timer` when a timer made it."""
        if self._last is not None and record.position <= self._last:
            return
        self._last = record.position
        self._round = record.round
        self._metrics.qbft_round.set(record.round)
        if record.step == STEP_ROUND_CHANGE:
            reason = "timeout" if by_timer else "followed_others"
            self._metrics.qbft_round_changes_total.labels(reason).inc()
            self._begin(CHANGING_ROUND)
            self._on_phase(record.height, record.round, CHANGING_ROUND)
        else:
            commits = record.step == STEP_COMMIT
            phase = COMMITTING if commits else PREPARING
            if phase != self._phase:
                self._on_phase(record.height, record.round, phase)
            self._begin(phase)
            if (traces := tracer()) is not None:
                traces.voted(record.height, record.round, commits=commits)

    def decided(self) -> None:
        """A quorum of COMMITs is there."""
        self._begin(None)
        self._on_phase(self._height, self._round, DECIDED)

    def _begin(self, phase: str | None) -> None:
        if phase == self._phase:
            return
        now = self._clock()
        if self._phase is not None:
            self._metrics.qbft_phase_seconds.labels(self._phase).observe(now - self._since)
        self._phase, self._since = phase, now
