"""Looking for a schedule that breaks a promise: many seeds on many cores, and mutants that must be found."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.wholenode import mutants
from tests.wholenode.schedules import run_schedule

CHUNK = 20
Found = tuple[int, str, str]
"""Seed, kind of failure, what it says."""


@dataclass
class Tally:
    """What a search has seen so far."""

    schedules: int = 0
    heights: int = 0
    messages: int = 0
    starts: int = 0
    stops: int = 0
    highest_round: int = 0
    epochs: int = 0
    transactions: int = 0
    simulated_s: float = 0.0
    cpu_s: float = 0.0
    plots: dict[str, int] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in what a chunk of seeds gave."""
        self.schedules += other.schedules
        self.heights += other.heights
        self.messages += other.messages
        self.starts += other.starts
        self.stops += other.stops
        self.highest_round = max(self.highest_round, other.highest_round)
        self.epochs += other.epochs
        self.transactions += other.transactions
        self.simulated_s += other.simulated_s
        self.cpu_s += other.cpu_s
        self.found += other.found
        for plot, count in other.plots.items():
            self.plots[plot] = self.plots.get(plot, 0) + count

    @property
    def a_minute_a_core(self) -> float:
        """Schedules in a minute of processor time."""
        return 60 * self.schedules / max(self.cpu_s, 1e-9)

    def line(self) -> str:
        """One line for people."""
        return (
            f"{self.schedules:,} schedules, {self.heights / max(self.schedules, 1):.1f} heights each, "
            f"{self.a_minute_a_core:,.0f} a minute a core, {len(self.found)} violations"
        )

    def summary(self) -> dict[str, object]:
        """For programs."""
        return {
            "schema_version": 1,
            "schedules": self.schedules,
            "heights": self.heights,
            "messages": self.messages,
            "final_transactions": self.transactions,
            "node_starts": self.starts,
            "stops_for_a_bad_disk": self.stops,
            "highest_round": self.highest_round,
            "changes_of_the_validator_set": self.epochs,
            "simulated_seconds": round(self.simulated_s),
            "cpu_seconds": round(self.cpu_s, 1),
            "schedules_per_minute_per_core": round(self.a_minute_a_core, 1),
            "plots": dict(sorted(self.plots.items())),
            "violations": [{"seed": seed, "kind": kind, "what": what} for seed, kind, what in self.found],
        }


def leaves(error: BaseException) -> list[BaseException]:
    """What a nursery's failure consists of."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def _raise_if_interrupted(error: BaseException) -> None:
    """A person who interrupts is no find."""
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves(error)):
        raise KeyboardInterrupt from error


def describe(error: BaseException) -> tuple[str, str]:
    """Kind and words of a failure."""
    parts = leaves(error)
    return type(parts[0]).__name__, "; ".join(dict.fromkeys(str(part) for part in parts))


def run_chunk(seeds: range) -> Tally:
    """The schedules of some seeds. Garbage is collected between chunks, which saves a tenth of the time."""
    tally, started = Tally(), time.process_time()
    gc.disable()
    try:
        for seed in seeds:
            tally.schedules += 1
            try:
                result = run_schedule(seed)
            except BaseException as error:  # any failure is a find, whatever its kind
                _raise_if_interrupted(error)
                tally.found.append((seed, *describe(error)))
                continue
            tally.heights += result.heights
            tally.messages += result.messages
            tally.starts += result.starts
            tally.stops += result.stops
            tally.highest_round = max(tally.highest_round, result.highest_round)
            tally.epochs += result.epochs
            tally.transactions += result.transactions
            tally.simulated_s += result.simulated_s
            tally.plots[result.plot] = tally.plots.get(result.plot, 0) + 1
    finally:
        gc.enable()
    gc.collect()
    tally.cpu_s = time.process_time() - started
    return tally


def search(count: int, first: int, jobs: int, progress: Callable[[Tally], None]) -> Tally:
    """The schedules of `count` seeds from `first` on; `progress` is called after each chunk. Interrupted,
    what was seen so far is the result."""
    total = Tally()
    chunks = (range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK))
    try:
        for tally in _map(chunks, jobs):
            total.add(tally)
            progress(total)
    except KeyboardInterrupt:
        pass
    return total


def _map(chunks: Iterator[range], jobs: int) -> Iterator[Tally]:
    if jobs == 1:
        yield from map(run_chunk, chunks)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        pending = [pool.apply_async(run_chunk, (chunk,)) for chunk in itertools.islice(chunks, 2 * jobs)]
        while pending:
            yield pending.pop(0).get()
            pending += [pool.apply_async(run_chunk, (chunk,)) for chunk in itertools.islice(chunks, 1)]


def hunt_mutant(name: str, first: int = 0) -> tuple[int, str] | None:
    """Play the mutant's plots until a promise breaks: in how many schedules, and which; or None.

    Raises when a promise breaks without the mutant: then a find would say nothing about it."""
    mutant = mutants.MUTANTS[name]
    run_schedule(first, mutant.plots[0])
    with mutant.patch():
        for number in range(mutant.within):
            try:
                run_schedule(first + number, mutant.plots[number % len(mutant.plots)])
            except BaseException as error:
                _raise_if_interrupted(error)
                return number + 1, describe(error)[1]
    return None
