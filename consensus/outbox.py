"""Where a step collects its effects, and the timers it has set. Durable effects leave first."""

from __future__ import annotations

from consensus.effects import (
    CancelTimer,
    Effect,
    Persist,
    QuarantineLifted,
    Reject,
    SetTimer,
    StoreBlock,
)
from consensus.inputs import PeerId, Timer, TimerKind


class Outbox:
    """Effects of the step under way, in order; `drain` puts the durable ones in front."""

    __slots__ = ("_durable", "_others")

    def __init__(self) -> None:
        self._durable: list[Effect] = []
        self._others: list[Effect] = []

    def emit(self, effect: Effect) -> None:
        """Append an effect that is not durable."""
        self._others.append(effect)

    def emit_durable(self, effect: StoreBlock | Persist | QuarantineLifted) -> None:
        """Append an effect that must be on disk before what else this step does."""
        self._durable.append(effect)

    def reject(self, peer: PeerId, reason: str, detail: str = "") -> None:
        """Have `peer` scored for what it delivered."""
        self._others.append(Reject(peer, reason, detail))

    def drain(self) -> list[Effect]:
        """Take everything, durable effects first."""
        effects = self._durable + self._others if self._durable else self._others
        self._durable = []
        self._others = []
        return effects


class Timers:
    """Which timers run. An expiry counts only if it is exactly the timer that was set last."""

    __slots__ = ("_outbox", "_running")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._running: dict[TimerKind, Timer] = {}

    def start(self, kind: TimerKind, height: int, round: int, delay_ms: int) -> None:
        """Set (again) the timer of this kind."""
        timer = Timer(kind, height, round)
        self._running[kind] = timer
        self._outbox.emit(SetTimer(timer, max(1, delay_ms)))

    def stop(self, kind: TimerKind) -> None:
        """Cancel the timer of this kind if it runs."""
        if self._running.pop(kind, None) is not None:
            self._outbox.emit(CancelTimer(kind))

    def is_running(self, kind: TimerKind) -> bool:
        """True while an expiry of this kind is awaited."""
        return kind in self._running

    def any_running(self, kinds: frozenset[TimerKind]) -> bool:
        """True while an expiry of one of these kinds is awaited."""
        return not kinds.isdisjoint(self._running)

    def take(self, timer: Timer) -> bool:
        """Accept an expiry: True (and no longer running) unless it is stale."""
        if self._running.get(timer.kind) != timer:
            return False
        del self._running[timer.kind]
        return True
