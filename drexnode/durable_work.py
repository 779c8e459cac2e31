"""What must be on disk before consensus goes on: votes, the blocks they depend on, evidence. One thread.

Promises: work is done one after another in the order it was given; a vote's answer comes only after journal
and watermark hold it; what waits for a height that is decided meanwhile is dropped, so the queue is bounded
by the rounds of one height; that it is decided goes with the next work, since it alone is not worth waking
the thread. A signer that answers nothing for so long that the bound is reached stops the
node, as a failed disk does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import trio

from consensus import inputs as inp
from consensus.effects import Persist
from consensus.evidence import Evidence
from consensus.journal import VoteRecord
from drexnode.evidence_store import EvidenceStore
from drexnode.metrics import Metrics
from drexnode.signer import Signer
from drexnode.telemetry import get_logger
from ledger.block import Block
from primitives.errors import StorageFailure
from primitives.limits import DRIVER_DURABLE_QUEUE
from storage.signing_state import SigningRefused

_log = get_logger("durable")


@dataclass(frozen=True, slots=True)
class HeightDecided:
    """Votes and blocks up to `height` are of no more use."""

    height: int


@dataclass(frozen=True, slots=True)
class LeaveQuarantine:
    """The key may sign again, above everything seen."""


Work = Block | Persist | Evidence | HeightDecided | LeaveQuarantine
Answer = inp.VoteSigned | inp.SigningFailed


class DurableWork:
    """The queue and its thread. Nobody else calls the signer's blocking methods."""

    def __init__(
        self,
        signer: Signer,
        *,
        write_bodies: Callable[[Block], None],
        evidence: EvidenceStore,
        answer: Callable[[Answer], None],
        metrics: Metrics,
    ) -> None:
        """`answer` is called on the event loop with each vote's fate."""
        self._signer = signer
        self._write_bodies = write_bodies
        self._evidence = evidence
        self._answer = answer
        self._metrics = metrics
        self._waiting: deque[Work] = deque()
        self._given = trio.Event()

    def put(self, work: Work) -> None:
        """Queue work. Raises `StorageFailure` (SIGNER_STALLED) when too much waits."""
        if isinstance(work, HeightDecided):
            self._waiting = deque(kept for kept in self._waiting if not _is_over(kept, work.height))
            self._waiting.append(work)
            return
        if len(self._waiting) >= DRIVER_DURABLE_QUEUE:
            message = f"{len(self._waiting)} votes wait for the signer: check its disk, then restart the node"
            raise StorageFailure("SIGNER_STALLED", message)
        self._waiting.append(work)
        self._given.set()

    async def run(self) -> None:
        """Work until cancelled. Raises `StorageFailure`: then the node stops."""
        while True:
            await self._given.wait()
            part = self._take()
            for answer in await trio.to_thread.run_sync(self._do, part):
                self._answer(answer)

    def _take(self) -> list[Work]:
        """What waits, up to the first vote: its answer shall not wait for what follows."""
        part: list[Work] = []
        while self._waiting and not (part and isinstance(part[-1], Persist)):
            part.append(self._waiting.popleft())
        if not self._waiting:
            self._given = trio.Event()
        return part

    def _do(self, part: Sequence[Work]) -> list[Answer]:
        """In the thread."""
        answers: list[Answer] = []
        for work in part:
            match work:
                case Persist(token, record):
                    answers.append(self._sign(token, record))
                case Block():
                    self._write_bodies(work)
                case Evidence():
                    self._evidence.write(work)
                case HeightDecided(height):
                    self._signer.height_decided(height)
                case LeaveQuarantine():
                    self._signer.leave_quarantine()
        return answers

    def _sign(self, token: int, record: VoteRecord) -> Answer:
        begin = monotonic()
        try:
            signature = self._signer.sign(record)
        except SigningRefused as error:
            self._metrics.sign_refused_total.labels(error.code).inc()
            _log.warning("vote.refused", code=error.code, height=record.height, round=record.round)
            return inp.SigningFailed(token, error.code)
        self._metrics.sign_seconds.observe(monotonic() - begin)
        _log.debug("vote.durable", height=record.height, round=record.round, step=record.step)
        return inp.VoteSigned(token, signature)


def _is_over(work: Work, height: int) -> bool:
    """True for what is of no use once `height` is decided."""
    match work:
        case Persist(_, record):
            return record.height <= height
        case Block() | HeightDecided():
            return work.height <= height
        case _:
            return False
