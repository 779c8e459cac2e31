"""Follows the validators' heights and knows, at each moment, whether a quorum of them can talk.

Two promises are judged: while a quorum lives and its links are up, the time without a block is bounded; while
none can talk, there is no block (after a moment in which what was under way still lands).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.netns.net import NamespaceNetwork

POLL_S = 0.25
SETTLE_S = 5.0
"""What was sent before a cut may still arrive and decide a block; nodes notice a cut only after a while."""


class Watch:
    """Use it as a context; `longest_wait_s` and `blocks_without_quorum` tell what was seen."""

    def __init__(self, net: NamespaceNetwork, quorum: int) -> None:
        self._net = net
        self._quorum = quorum
        self._validators = [node.name for node in net.nodes if node.role == "validator"]
        self._stopped = threading.Event()
        self._had_quorum = True
        self._since = self._changed = time.monotonic()  # of the last block; of the last change of quorum
        self.tip = 0
        self.longest_wait_s = 0.0
        self.blocks_without_quorum = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch until the end of the block; raises what ended the watch early."""
        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(self._run)
            try:
                yield
            finally:
                self._stopped.set()
        watching.result()

    def _run(self) -> None:
        with ThreadPoolExecutor(len(self._validators)) as pool:
            while not self._stopped.wait(POLL_S):
                found = list(pool.map(self._net.height, self._validators))
                alive = [
                    name for name, height in zip(self._validators, found, strict=True) if height is not None
                ]
                tip = max((height for height in found if height is not None), default=0)
                self._look(time.monotonic(), self._largest(alive) >= self._quorum, tip)

    def _look(self, now: float, has_quorum: bool, tip: int) -> None:
        """Judge one moment: whether a quorum can talk now, and the highest tip."""
        if has_quorum != self._had_quorum:
            self._had_quorum, self._since = has_quorum, now
            self._changed = now
        if tip > self.tip:
            if not has_quorum and now - self._changed > SETTLE_S:
                self.blocks_without_quorum += tip - self.tip
            self.tip, self._since = tip, now
        elif has_quorum:
            self.longest_wait_s = max(self.longest_wait_s, now - self._since)

    def _largest(self, alive: list[str]) -> int:
        """The size of the largest group of living validators that are joined to each other. Links are cut
        between whole groups, so whoever is joined to one is joined to its whole group."""
        joined = self._net.mesh.joined
        return max(
            (sum(name == other or joined(name, other) for other in alive) for name in alive), default=0
        )
