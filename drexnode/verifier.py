"""Verifies signatures without ever holding the event loop (docs/node.md, "Verification").

Guarantees: the same answers as `primitives.keys.verify`, whether worker processes help or not; the loop is
held for one breath (0.4 ms, and `VERIFY_PART` signatures at most beyond it) at a time, by all callers
together; a worker that dies loses no answer: its batches are verified here, the loss is logged, and it is
started again.

With workers, whatever callers bring during one turn of the loop is gathered into frames of up to
`VERIFY_BATCH` checks, `VERIFY_IN_FLIGHT` frames ahead of each worker; a handful is verified here, since
asking costs more.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from drexnode.slicing import Breaths
from drexnode.telemetry import get_logger
from drexnode.verify_worker import encode_request
from primitives.keys import verify
from primitives.limits import (
    VERIFY_BATCH,
    VERIFY_IN_FLIGHT,
    VERIFY_PART,
    VERIFY_QUEUE_CHECKS,
    VERIFY_RESTART_MAX_SECONDS,
    VERIFY_RESTART_MIN_SECONDS,
    VERIFY_SHARE,
    VERIFY_SLICE,
    VERIFY_TIMEOUT_SECONDS,
)

Check = tuple[bytes, bytes, bytes]
Count = Callable[[str, int], None]
"""Told (where, how many) after each batch; where is `inline` or `worker`."""

log = get_logger("verifier")


@dataclass(slots=True, eq=False)
class _Request:
    """One caller's checks. `results` fills up in any order; `done` is set with the last of them."""

    checks: Sequence[Check]
    results: list[bool]
    missing: int
    done: trio.Event = field(default_factory=trio.Event)

    def fill(self, start: int, answers: Sequence[bool]) -> None:
        self.results[start : start + len(answers)] = answers
        self.missing -= len(answers)
        if not self.missing:
            self.done.set()


@dataclass(frozen=True, slots=True)
class _Run:
    """A part of one request: checks start … stop."""

    request: _Request
    start: int
    stop: int

    @property
    def checks(self) -> Sequence[Check]:
        return self.request.checks[self.start : self.stop]


class Verifier:
    """Verifies here, in slices. `open_verifier` makes one that has workers."""

    def __init__(self, count: Count | None = None) -> None:
        self._turn = trio.Lock()
        self._count = count or (lambda where, signatures: None)
        self.verified = 0
        """Signatures verified since start, good or bad."""

    async def verify(self, checks: Sequence[Check]) -> list[bool]:
        """One answer for each (public key, message, signature), in order. A checkpoint, even when empty."""
        return await self._verify_inline(checks)

    async def _verify_inline(self, checks: Sequence[Check]) -> list[bool]:
        answers: list[bool] = []
        breaths = Breaths(checks, VERIFY_PART)
        while breaths:
            async with self._turn:  # one breath a turn of the loop, callers one after the other
                for part in breaths:
                    answers += [verify(*check) for check in part]
        if not checks:
            await trio.lowlevel.checkpoint()
        self._counted("inline", len(checks))
        return answers

    def _counted(self, where: str, signatures: int) -> None:
        self.verified += signatures
        if signatures:
            self._count(where, signatures)


class WorkerVerifier(Verifier):
    """Verifies in worker processes; here what is too little to send, and what a lost worker leaves."""

    def __init__(self, command: Sequence[str], workers: int, count: Count | None = None) -> None:
        super().__init__(count)
        self._command = tuple(command)
        self._workers = workers
        self._queue: deque[_Run] = deque()
        self._queued = 0
        self._arrived = trio.Event()
        self.processes: dict[int, trio.Process] = {}
        """The process that runs now, by worker."""
        self.restarts = 0
        """Workers lost since start."""
        self.verified_by_workers = 0

    async def verify(self, checks: Sequence[Check]) -> list[bool]:
        """See `Verifier.verify`. Checks of other widths than the protocol's 32, 32, 64 bytes stay here."""
        if not checks or any(map(_is_odd, checks)):
            return await self._verify_inline(checks)
        results: list[bool] = []
        for start in range(0, len(checks), VERIFY_QUEUE_CHECKS):  # others get their turn in between
            part = checks[start : start + VERIFY_QUEUE_CHECKS]
            request = _Request(part, [False] * len(part), len(part))
            self._enqueue(_Run(request, 0, len(part)))
            await request.done.wait()
            results += request.results
        return results

    def _enqueue(self, run: _Run) -> None:
        self._queue.append(run)
        self._queued += run.stop - run.start
        self._arrived.set()

    def _take_frame(self) -> list[_Run]:
        """Take an even share of what waits, at most one frame; runs are split where it ends."""
        room = min(VERIFY_BATCH, max(VERIFY_SHARE, -(-self._queued // self._workers)))
        frame: list[_Run] = []
        while self._queue and room:
            run = self._queue.popleft()
            stop = min(run.stop, run.start + room)
            if stop < run.stop:
                self._queue.appendleft(_Run(run.request, stop, run.stop))
            frame.append(_Run(run.request, run.start, stop))
            room -= stop - run.start
            self._queued -= stop - run.start
        return frame

    async def _wait_for_work(self) -> None:
        while not self._queue:
            self._arrived = trio.Event()
            await self._arrived.wait()

    async def run_worker(self, number: int) -> None:
        """Keep one worker process busy, for ever. Cancel it to stop the process."""
        delay_s = VERIFY_RESTART_MIN_SECONDS
        while True:
            in_flight: deque[list[_Run]] = deque()
            started_s = trio.current_time()
            try:
                await self._drive_process(number, in_flight)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
                self.restarts += 1
                log.warning("verifier.worker_lost", worker=number, error=repr(error), retry_s=delay_s)
            with trio.CancelScope(shield=True):
                for frame in in_flight:
                    await self._answer_inline(frame)
            if trio.current_time() - started_s > VERIFY_RESTART_MAX_SECONDS:
                delay_s = VERIFY_RESTART_MIN_SECONDS
            await self._stand_in(delay_s)
            delay_s = min(2 * delay_s, VERIFY_RESTART_MAX_SECONDS)

    async def _stand_in(self, seconds: float) -> None:
        """Verify here for a while: nobody waits for a process that is being restarted."""
        with trio.move_on_after(seconds):
            while True:
                await self._wait_for_work()
                with trio.CancelScope(shield=True):
                    await self._answer_inline(self._take_frame())

    async def _drive_process(self, number: int, in_flight: deque[list[_Run]]) -> None:
        """Start a process and feed it until it fails, which raises; `in_flight` then holds what it owes."""
        process = await trio.lowlevel.open_process(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.processes[number] = process
        try:
            while True:
                if not in_flight:
                    await self._wait_for_work()
                while self._queue and len(in_flight) < VERIFY_IN_FLIGHT:
                    await self._send(process, in_flight)
                if in_flight:
                    await self._receive(process, in_flight)
        finally:
            del self.processes[number]
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                await _close(process)

    async def _send(self, process: trio.Process, in_flight: deque[list[_Run]]) -> None:
        """Send one frame, or verify here what is too little to be worth it while the worker is idle."""
        frame = self._take_frame()
        if not in_flight and sum(run.stop - run.start for run in frame) <= VERIFY_SLICE:
            with trio.CancelScope(shield=True):
                await self._answer_inline(frame)
            return
        in_flight.append(frame)
        assert process.stdin is not None
        with trio.fail_after(VERIFY_TIMEOUT_SECONDS):
            await process.stdin.send_all(encode_request([check for run in frame for check in run.checks]))

    async def _receive(self, process: trio.Process, in_flight: deque[list[_Run]]) -> None:
        """Read the answer to the oldest frame and hand it out."""
        owed = sum(run.stop - run.start for run in in_flight[0])
        answers = b""
        assert process.stdout is not None
        with trio.fail_after(VERIFY_TIMEOUT_SECONDS):
            while len(answers) < owed:
                some = await process.stdout.receive_some(owed - len(answers))
                if not some:
                    raise trio.BrokenResourceError("the worker ended")
                answers += some
        _hand_out(in_flight.popleft(), [bool(answer) for answer in answers])
        self.verified_by_workers += owed
        self._counted("worker", owed)

    async def _answer_inline(self, frame: list[_Run]) -> None:
        _hand_out(frame, await self._verify_inline([check for run in frame for check in run.checks]))


def _hand_out(frame: list[_Run], answers: Sequence[bool]) -> None:
    at = 0
    for run in frame:
        size = run.stop - run.start
        run.request.fill(run.start, answers[at : at + size])
        at += size


def _is_odd(check: Check) -> bool:
    public_key, message, signature = check
    return len(public_key) != 32 or len(message) != 32 or len(signature) != 64


async def _close(process: trio.Process) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await stream.aclose()


@asynccontextmanager
async def open_verifier(
    workers: int, count: Count | None = None, *, command: Sequence[str] | None = None
) -> AsyncIterator[Verifier]:
    """A verifier with `workers` processes (0: none), which end when the block is left.

    `count` feeds a metric; `command` starts one worker (another program in tests)."""
    if workers == 0:
        yield Verifier(count)
        return
    verifier = WorkerVerifier(command or (sys.executable, "-m", "drexnode.verify_worker"), workers, count)
    async with trio.open_nursery() as nursery:
        for number in range(workers):
            nursery.start_soon(verifier.run_worker, number)
        try:
            yield verifier
        finally:
            nursery.cancel_scope.cancel()
