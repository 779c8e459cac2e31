"""A backlog by time: payments enter through the validators' public JSON-RPC for so many seconds.

The window begins with nothing waiting, so whatever is final in it entered in it. What counts is what every
living validator has made final when the window ends. Promise: a figure is only given when each validator
has verified at least the signatures of what counts, and when all that was sent is final in the end.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from drexnode import client as rpc
from primitives.errors import DrexError
from scripts.bench.arena import Arena, verification_limit, verified
from scripts.bench.report import Figures, Watch, say, spread

CHUNK = 250
FEEDERS = 2  # connections to each validator
POLL_S = 0.05
SAY_EVERY_S = 5.0
DRAIN_S = 120.0
WARM_UP_S = 3.0
WARM_UP = 6_000  # payments at most
HEADERS = 500
RETRIES = 50
SPARE = 2_000
MARGIN = 2  # how much more is signed than the warm-up's rate needs


class Feed:
    """Keeps a bounded number of payments under way."""

    def __init__(self, arena: Arena, waiting: int, *, may_run_dry: bool = False) -> None:
        """`may_run_dry`: the window may end when nothing is left to send, which makes its figure a guess."""
        self._arena, self._waiting = arena, waiting
        self._changed = threading.Condition()
        self._ended = False
        self._watched = rpc.Client(arena.urls[0], timeout_s=60)  # asked many times a second: kept open
        self._first = self._height = max(_height(url) for url in arena.urls)
        self._verified = {url: verified(url) for url in arena.urls}
        self.sent = self.final = self.retried = 0
        self.dry, self._may_run_dry = False, may_run_dry

    def verified(self) -> list[int]:
        """Signatures that each validator has verified since the beginning."""
        return [verified(url) - before for url, before in self._verified.items()]

    def run(self, seconds: float) -> tuple[int, float, list[int]]:
        """Feed for so long, then wait until all of it is final. Payments that every validator had made final
        when the time was over, the seconds that it took, and the signatures each had verified by then."""
        urls, begin = self._arena.urls, time.monotonic()
        with ThreadPoolExecutor(FEEDERS * len(urls)) as pool:
            feeders = [pool.submit(self._feed, url) for url in urls * FEEDERS]
            try:
                said = begin
                while time.monotonic() < begin + seconds and not any(f.done() for f in feeders):
                    time.sleep(POLL_S)
                    self._follow()
                    if time.monotonic() > said + SAY_EVERY_S:
                        said = time.monotonic()
                        say(f"{said - begin:.0f} of {seconds:.0f} s, {self.final:,} final")
                height = min(_height(url) for url in urls)
                taken_s = time.monotonic() - begin
                checked = self.verified()
            finally:
                self._end()
            for feeder in feeders:
                feeder.result()
        if self.dry and not self._may_run_dry:
            raise DrexError("BENCH_DRY", "the signed payments ran out before the window's end: sign more")
        counted = self._count(self._first, height)
        self._drain()
        self._watched.close()
        return counted, taken_s, checked

    def _feed(self, url: str) -> None:
        with rpc.Client(url, timeout_s=120) as client:
            while True:
                with self._changed:
                    while not self._ended and self.sent - self.final + CHUNK > self._waiting:
                        self._changed.wait(1.0)
                    if self._ended:
                        return
                    raws = self._arena.load.take(CHUNK)
                    if len(raws) < CHUNK:
                        self.dry = True
                        self.sent += len(raws)
                        self._ended = True
                    self.sent += CHUNK if len(raws) == CHUNK else 0
                self._send(client, raws)

    def _send(self, client: rpc.Client, raws: list[bytes]) -> None:
        """Until the node has taken each of them: a full pool, or a parent that is still on its way, is no
        loss. Raises `DrexError` BENCH_REFUSED."""
        for attempt in range(RETRIES):
            if not raws:
                return
            if attempt:
                time.sleep(0.1)
            answers = client.run(rpc.send_many(raws))
            refused = [(raw, answer) for raw, answer in zip(raws, answers, strict=True) if answer.code]
            raws = [raw for raw, _ in refused]
            self.retried += len(raws)
        code, message = refused[0][1].code, refused[0][1].message
        raise DrexError("BENCH_REFUSED", f"{len(raws)} payments are refused: {code} {message}")

    def _follow(self) -> None:
        height = self._watched.run(rpc.block_number())
        if height == self._height:
            return
        final = self._count(self._height, height)
        with self._changed:
            self._height, self.final = height, self.final + final
            self._changed.notify_all()

    def _count(self, after: int, height: int) -> int:
        """Payments in the blocks above `after` up to `height`."""
        total = 0
        for first in range(after + 1, height + 1, HEADERS):
            headers = self._watched.run(rpc.headers(first, min(height, first + HEADERS - 1)))
            total += sum(int(header["tx_count"]) for header in headers)
        return total

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        while self.final < self.sent:
            self._follow()
            if time.monotonic() > deadline:
                message = f"{self.sent - self.final} of {self.sent} payments are not final after {DRAIN_S} s"
                raise DrexError("BENCH_NOT_FINAL", message)
            time.sleep(POLL_S)


def _height(url: str) -> int:
    with rpc.Client(url, timeout_s=60) as client:
        return client.run(rpc.block_number())


def warm_up(arena: Arena, waiting: int) -> None:
    """A short window that does not count, with which the first one's need is guessed."""
    arena.load.sign_up_to(WARM_UP + waiting)
    begin, feed = time.monotonic(), Feed(arena, waiting, may_run_dry=True)
    feed.run(WARM_UP_S)
    taken_s = time.monotonic() - begin
    arena.rate = feed.final / taken_s
    say(f"warmed up at {arena.rate:,.0f} a second")


def run_window(arena: Arena, seconds: float, waiting: int) -> Figures:
    """One window with its share of the verification limit, measured just before and after on the processors
    that the network may use. Raises `DrexError` when the figure would not be one."""
    cpus = None if arena.shape.cpu is None else (arena.shape.cpu,)
    cores = (os.cpu_count() or 1) if cpus is None else 1
    arena.load.sign_up_to(int(MARGIN * arena.rate * seconds) + waiting + SPARE)
    limits = [verification_limit(cores, cpus)]
    watch, feed = Watch(arena.pids()), Feed(arena, waiting)
    counted, taken_s, checked = feed.run(seconds)
    figures = watch.figures(feed.sent)
    for each, payments in ((checked, counted), (feed.verified(), feed.sent)):
        if min(each) < payments * arena.signatures:
            message = f"validators verified {each} signatures for {payments} payments"
            raise DrexError("BENCH_UNVERIFIED", message)
    limits.append(verification_limit(cores, cpus))
    limit = statistics.mean(limits) / len(arena.urls) / arena.signatures
    arena.rate = counted / taken_s
    return figures | {
        "seconds": round(taken_s, 2),
        "final_in_the_window": counted,
        "final_tx_per_s": round(counted / taken_s, 1),
        "sent": feed.sent,
        "sent_again": feed.retried,
        "signatures_verified_by_each_validator": checked,
        "signatures_a_second_of_this_machine": round(statistics.mean(limits)),
        "verification_limit_tx_per_s": round(limit),
        "share_of_the_limit": round(counted / taken_s / limit, 3),
    }


def ratio(value: float, base: float) -> float:
    """`value` as a share of `base`. Raises `DrexError` BENCH_TOO_SHORT when nothing was final in that."""
    if not base:
        raise DrexError("BENCH_TOO_SHORT", "nothing was final in a window", next="give it more --seconds")
    return round(value / base, 3)


def summarise(runs: Sequence[Figures]) -> Figures:
    """Medians and spreads of windows."""
    validator = [run["cpu_us_a_transaction"].get("validator", 0.0) for run in runs]
    return {
        "final_tx_per_s": spread([run["final_tx_per_s"] for run in runs], 0),
        "share_of_the_limit": spread([run["share_of_the_limit"] for run in runs], 3),
        "validator_cpu_us_a_transaction": spread(validator, 1),
        "runs": list(runs),
    }


def in_turn(arenas: dict[str, Arena], seconds: float, waiting: int, repeat: int) -> Figures:
    """Windows of each network in turn, `repeat` times; the ratio of each to the first, of medians."""
    for name, arena in arenas.items():
        say(f"warm-up, {name}")
        warm_up(arena, waiting)
    runs: dict[str, list[Figures]] = {name: [] for name in arenas}
    for number in range(repeat):
        for name, arena in arenas.items():
            say(f"window {number + 1} of {repeat}, {name}")
            runs[name].append(run_window(arena, seconds, waiting))
            say(f"{name}: {runs[name][-1]['final_tx_per_s']:,} final a second")
    results = {name: summarise(made) for name, made in runs.items()}
    medians = {name: float(found["final_tx_per_s"]["median"]) for name, found in results.items()}
    first = next(iter(medians.values()))
    return results | {"ratio_to_the_first": {name: ratio(rate, first) for name, rate in medians.items()}}
