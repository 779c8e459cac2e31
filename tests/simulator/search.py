"""Looking for a schedule that breaks a promise: many seeds on many cores, and mutants that must be found."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.simulator import mutants
from tests.simulator.oracle import Violation
from tests.simulator.schedules import KINDS, run_schedule
from tests.simulator.twins import all_partitions, fork_with_too_many_twins, run_twins

CHUNK = 50
Found = tuple[int, str, str]  # seed, kind of failure, what it says


@dataclass
class Tally:
    """What a search has seen so far."""

    schedules: int = 0
    steps: int = 0
    heights: int = 0
    cpu_seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what a chunk of seeds gave."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.heights += other.heights
        self.cpu_seconds += other.cpu_seconds
        self.found += other.found
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count

    def line(self) -> str:
        """One line for people."""
        cpu = max(self.cpu_seconds, 1e-9)
        return (
            f"{self.schedules:,} schedules, {self.heights / max(self.schedules, 1):.1f} heights each, "
            f"{60 * self.schedules / cpu:,.0f} a minute a core, {self.steps / cpu:,.0f} steps/s, "
            f"{len(self.found)} violations"
        )


def run_chunk(first: int) -> Tally:
    """The schedules of `CHUNK` seeds. Garbage is collected between them, which saves a tenth of the time."""
    tally, started = Tally(), time.process_time()
    collects = gc.isenabled()
    gc.disable()
    try:
        _run_seeds(first, tally)
    finally:
        if collects:
            gc.enable()
    gc.collect()
    tally.cpu_seconds = time.process_time() - started
    return tally


def _run_seeds(first: int, tally: Tally) -> None:
    for seed in range(first, first + CHUNK):
        tally.schedules += 1
        try:
            result = run_schedule(seed)
        except Exception as error:  # any exception is a find, whatever its kind
            tally.found.append((seed, type(error).__name__, str(error)))
            continue
        tally.steps += result.steps
        tally.heights += result.heights
        tally.kinds[result.kind] = tally.kinds.get(result.kind, 0) + 1


def search(
    minutes: float, count: int | None, first: int, cores: int | None, progress: Callable[[Tally], None]
) -> Tally:
    """Run seeds from `first` on until time or count is used up; `progress` is called after each chunk."""
    total, end = Tally(), time.monotonic() + 60 * minutes

    def chunks() -> Iterator[int]:
        last = None if count is None else first + count
        for start in itertools.count(first, CHUNK):
            if time.monotonic() >= end or (last is not None and start >= last):
                return
            yield start

    try:
        with workers(cores) as run:
            for tally in run(run_chunk, chunks()):
                total.add(tally)
                progress(total)
    except KeyboardInterrupt:
        pass  # what was seen so far is the result
    return total


@contextmanager
def workers(cores: int | None) -> Iterator[Callable[..., Iterator[Tally]]]:
    """A map over processes that takes its next argument only when a process is free; in line for one core."""
    cores = cores or len(os.sched_getaffinity(0))
    if cores == 1:
        yield map
        return
    with multiprocessing.get_context("fork").Pool(cores) as pool:

        def run(function: Callable[[int], Tally], arguments: Iterator[int]) -> Iterator[Tally]:
            pending = [pool.apply_async(function, (a,)) for a in itertools.islice(arguments, 2 * cores)]
            while pending:
                yield pending.pop(0).get()
                pending += [pool.apply_async(function, (a,)) for a in itertools.islice(arguments, 1)]

        yield run


# --- what must be found


def hunt_mutant(name: str, limit: int | None = None) -> tuple[int, str] | None:
    """Play the mutant's schedules until one breaks a promise: how many it took, and the promise; or None."""
    mutant = mutants.MUTANTS[name]
    kinds = mutant.kinds or tuple(sorted(KINDS))
    with mutants.apply(name):
        for number in range(limit or mutant.within):
            try:
                run_schedule(number, kinds[number % len(kinds)])
            except (Violation, AssertionError) as found:
                return number + 1, str(found)
    return None


# --- twins


def run_twin_plans(stride: int = 1, offset: int = 0) -> Tally:
    """Every `stride`-th of the 16^4 splits of four validators and one twin; finds are numbered by plan."""
    tally, started = Tally(), time.process_time()
    for number, plan in enumerate(itertools.islice(all_partitions(5), offset, None, stride)):
        tally.schedules += 1
        try:
            run_twins(1, plan)
        except Exception as error:  # any exception is a find
            tally.found.append((offset + number * stride, type(error).__name__, str(error)))
    tally.cpu_seconds = time.process_time() - started
    return tally


def fork_of_too_many_twins() -> str:
    """What the oracle says about f + 1 twins; empty if it saw nothing wrong."""
    violation = fork_with_too_many_twins()
    return "" if violation is None else str(violation)
