"""Looking for a schedule that breaks a promise: many seeds on many cores, and mutants that must be found."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from primitives.errors import InvariantViolation
from tests.simulator import mutants
from tests.simulator.memo import remembered
from tests.simulator.oracle import Violation
from tests.simulator.schedules import KINDS, Result, run_schedule
from tests.simulator.twins import (
    Partition,
    all_partitions,
    fork_with_too_many_twins,
    run_twins,
    sampled_partitions,
)

CHUNK = 50
Found = tuple[int, str, str]  # seed, kind of failure, what it says


@dataclass
class Tally:
    """What a search has seen so far."""

    schedules: int = 0
    steps: int = 0
    heights: int = 0
    cpu_seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    rounds_after_healing: Counter[int] = field(default_factory=Counter)
    rounds_of_later_heights: Counter[int] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what a chunk of seeds gave."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.heights += other.heights
        self.cpu_seconds += other.cpu_seconds
        self.found += other.found
        self.kinds += other.kinds
        self.rounds_after_healing += other.rounds_after_healing
        self.rounds_of_later_heights += other.rounds_of_later_heights

    def note(self, result: Result) -> None:
        """Count one schedule that broke nothing."""
        self.steps += result.steps
        self.heights += result.heights
        self.kinds[result.kind] += 1
        self.rounds_after_healing[result.rounds_after_healing] += 1
        self.rounds_of_later_heights[result.rounds_of_later_heights] += 1

    @property
    def a_minute_a_core(self) -> float:
        """Schedules in a minute of one core's time."""
        return 60 * self.schedules / max(self.cpu_seconds, 1e-9)

    @property
    def steps_a_second(self) -> float:
        """Inputs given to engines in a second of one core's time."""
        return self.steps / max(self.cpu_seconds, 1e-9)

    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.schedules:,} schedules, {self.heights / max(self.schedules, 1):.1f} heights each, "
            f"{self.a_minute_a_core:,.0f} a minute a core, {self.steps_a_second:,.0f} steps/s, "
            f"{max(self.rounds_after_healing, default=0)} rounds at most after healing, "
            f"{len(self.found)} violations"
        )

    def summary(self) -> dict[str, Any]:
        """All of it for machines; rounds are histograms: rounds taken -> schedules."""
        return {
            "schedules": self.schedules,
            "heights": self.heights,
            "steps": self.steps,
            "cpu_seconds": round(self.cpu_seconds, 1),
            "schedules_per_minute_per_core": round(self.a_minute_a_core),
            "steps_per_second": round(self.steps_a_second),
            "rounds_after_healing": dict(sorted(self.rounds_after_healing.items())),
            "rounds_of_later_heights": dict(sorted(self.rounds_of_later_heights.items())),
            "kinds": dict(sorted(self.kinds.items())),
            "violations": [
                {"seed": seed, "error": name, "message": text} for seed, name, text in sorted(self.found)
            ],
        }


def run_chunk(first: int, count: int = CHUNK) -> Tally:
    """The schedules of `count` seeds. Garbage is collected between chunks only."""
    tally, started = Tally(), time.process_time()
    collects = gc.isenabled()
    gc.disable()
    try:
        with remembered():
            _run_seeds(range(first, first + count), tally)
    finally:
        if collects:
            gc.enable()
    gc.collect()
    tally.cpu_seconds = time.process_time() - started
    return tally


def _run_seeds(seeds: range, tally: Tally) -> None:
    for seed in seeds:
        tally.schedules += 1
        try:
            tally.note(run_schedule(seed))
        except Exception as error:  # any exception is a find, whatever its kind
            tally.found.append((seed, type(error).__name__, str(error)))


def search(
    first: int,
    *,
    minutes: float | None = None,
    schedules: int | None = None,
    jobs: int | None = None,
    progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Run seeds from `first` on until time or number is used up; `progress` is called after each chunk.

    Chunks count in the order of their seeds: what was run is always `first` … `first + tally.schedules - 1`,
    so a search that was stopped is continued at the next seed."""
    total, started = Tally(), time.monotonic()

    def chunks() -> Iterator[tuple[int, int]]:
        last = None if schedules is None else first + schedules
        for start in itertools.count(first, CHUNK):
            is_late = minutes is not None and time.monotonic() - started >= 60 * minutes
            if is_late or (last is not None and start >= last):
                return
            yield start, CHUNK if last is None else min(CHUNK, last - start)

    try:
        with workers(jobs) as run:
            for tally in run(run_chunk, chunks()):
                total.add(tally)
                progress(total)
    except KeyboardInterrupt:
        pass  # what was seen so far is the result
    return total


def _ignore_interrupts() -> None:
    """Ctrl-C ends the search by the parent alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def workers(jobs: int | None) -> Iterator[Callable[..., Iterator[Any]]]:
    """A starmap over processes that takes its next arguments only when a process is free; in line for one."""
    jobs = jobs or len(os.sched_getaffinity(0))
    gc.collect()
    gc.freeze()  # modules are not looked through again by each chunk's collection, nor copied by it
    try:
        if jobs == 1:
            yield itertools.starmap
            return
        with multiprocessing.get_context("fork").Pool(jobs, _ignore_interrupts) as pool:

            def run(function: Callable[..., Any], arguments: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
                pending = deque(pool.apply_async(function, a) for a in itertools.islice(arguments, 2 * jobs))
                while pending:
                    yield pending.popleft().get()
                    pending += [pool.apply_async(function, a) for a in itertools.islice(arguments, 1)]

            yield run
    finally:
        gc.unfreeze()


# --- what must be found


def hunt_mutant(name: str, limit: int | None = None) -> tuple[int, str] | None:
    """Play the mutant's schedules until one breaks a promise: how many it took, and the promise; or None."""
    mutant = mutants.MUTANTS[name]
    kinds = mutant.kinds or tuple(sorted(KINDS))
    with mutants.apply(name):
        for number in range(limit or mutant.within):
            try:
                run_schedule(number, kinds[number % len(kinds)])
            except (Violation, AssertionError, InvariantViolation) as found:
                return number + 1, str(found)
    return None


# --- twins


def run_twin_plans(stride: int = 1, offset: int = 0) -> Tally:
    """Every `stride`-th of the 16^4 splits of four validators and one twin; finds are numbered by plan."""
    plans = itertools.islice(enumerate(all_partitions(5)), offset, None, stride)
    return _run_plans(plans, twins=1, size=4)


def run_sampled_twins(count: int, seed: int = 1) -> Tally:
    """`count` splits by chance of seven validators and two twins."""
    return _run_plans(enumerate(sampled_partitions(9, count, seed)), twins=2, size=7)


def _run_plans(plans: Iterable[tuple[int, tuple[Partition, ...]]], twins: int, size: int) -> Tally:
    tally, started = Tally(), time.process_time()
    with remembered():
        for number, plan in plans:
            tally.schedules += 1
            try:
                run_twins(twins, plan, size)
            except Exception as error:  # any exception is a find
                tally.found.append((number, type(error).__name__, str(error)))
    tally.cpu_seconds = time.process_time() - started
    return tally


def fork_of_too_many_twins(size: int = 4) -> str:
    """What the oracle says about f + 1 twins; empty if it saw nothing wrong."""
    violation = fork_with_too_many_twins(size)
    return "" if violation is None else str(violation)
