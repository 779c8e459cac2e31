"""What really reaches the disk before a vote leaves and before a block is FINAL, by the system calls made.

    python -m tests.crash.fsync_trace        (needs strace, from the distribution's packages)

One validator of a devnet runs under strace while money moves. A process that is killed keeps the page cache,
so killing it proves nothing about a power cut; the order of writes, syncs and what follows them does:

    vote:   write to the journal → sync of the journal → write and sync of a watermark slot → "vote.durable",
            the line that precedes the message's hand-over to the network
    block:  write to the database's log → sync of it → "block.final", the line that precedes every answer
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.network.net import ENVIRONMENT, network

TRACED = "trace=write,writev,pwrite64,fsync,fdatasync"
_CALL = re.compile(r"^\d+ +(?P<name>\w+)\(\d+<(?P<path>[^>]*)>(?P<rest>.*)")
_RESUMED = re.compile(r"^(?P<pid>\d+) +<\.\.\. (?P<name>fsync|fdatasync) resumed>.*= 0")
_STARTED = re.compile(r"^(?P<pid>\d+) +(?P<name>fsync|fdatasync)\(\d+<(?P<path>[^>]*)>?.*<unfinished")
SYNCS = ("fsync", "fdatasync")


@dataclass
class Order:
    """Reads a trace line by line and notes what happened since the last vote and the last block."""

    votes: int = 0
    blocks: int = 0
    faults: list[str] = field(default_factory=list)
    _dirty: dict[str, bool] = field(default_factory=dict)  # file -> written and not yet synced
    _synced: set[str] = field(default_factory=set)  # kinds synced since the last vote
    _log_synced: bool = False
    _syncing: dict[str, str] = field(default_factory=dict)

    def read(self, lines: Iterable[str]) -> None:
        """Follow the trace to its end."""
        for line in lines:
            if (resumed := _RESUMED.match(line)) is not None:
                self._on_sync(self._syncing.pop(resumed["pid"], ""))
            elif (started := _STARTED.match(line)) is not None:
                self._syncing[started["pid"]] = started["path"]
            elif (call := _CALL.match(line)) is not None:
                self._on_call(call["name"], call["path"], call["rest"])

    def _on_call(self, name: str, path: str, rest: str) -> None:
        if name in SYNCS:
            if rest.rstrip().endswith("= 0"):
                self._on_sync(path)
        elif "vote.durable" in rest:
            self._on_vote()
        elif "block.final" in rest:
            self._on_block()
        elif _kind(path) is not None:
            self._dirty[path] = True

    def _on_sync(self, path: str) -> None:
        kind = _kind(path)
        if kind is None:
            return
        if self._dirty.pop(path, False):
            self._synced.add(kind)
            self._log_synced |= kind == "database"

    def _on_vote(self) -> None:
        self.votes += 1
        unsynced = [path for path, dirty in self._dirty.items() if dirty and _kind(path) != "database"]
        missing = {"journal", "watermark"} - self._synced
        if unsynced or missing:
            self.faults.append(f"vote {self.votes}: not synced {sorted(missing)} {unsynced}")
        self._synced -= {"journal", "watermark"}

    def _on_block(self) -> None:
        self.blocks += 1
        if not self._log_synced:
            self.faults.append(f"block {self.blocks}: the database's log was not synced before it")
        self._log_synced = False


def _kind(path: str) -> str | None:
    if path.endswith("votes.journal"):
        return "journal"
    if "/signer/watermark/" in path:
        return "watermark"
    if "/data/chain/" in path and path.endswith(".log"):
        return "database"
    return None


def main() -> int:
    """Trace, judge, say the figures; 0 when the order held for every vote and block."""
    strace = shutil.which("strace")
    if strace is None:
        print("strace is not installed: install the package strace, then run this again", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="drexnode-trace-"))
    trace = folder / "trace"
    with network(folder / "net", observers=0, full=0) as net:
        node = net.devnet.node("validator-0")
        net.devnet.kill(node)
        command = [strace, "-f", "-y", "-s", "200", "-e", TRACED, "-o", str(trace), sys.executable, "-m",
                   "drexnode", "start", "--home", str(node.home), "--set", "log.level=debug"]  # fmt: skip
        with (folder / "node.log").open("wb") as log:
            traced = subprocess.Popen(command, stderr=log, stdout=log, env=ENVIRONMENT)
        try:
            begin = time.monotonic()
            while net.height("validator-0") is None:
                assert time.monotonic() - begin < 60, "the traced node does not start"
                time.sleep(0.2)
            for _ in range(12):
                net.transfer()
            height = net.height("validator-1") or 0
            net.await_agreement(height)
        finally:
            for child in Path(f"/proc/{traced.pid}/task/{traced.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGTERM)  # strace itself ends with what it traces
            traced.wait(30)
    order = Order()
    with trace.open(errors="replace") as lines:
        order.read(lines)
    print(f"{order.votes} votes: journal and watermark written and synced before each one left")
    print(f"{order.blocks} blocks: the database's log synced before each was reported FINAL")
    if order.faults or order.votes < 12 or order.blocks < 12:
        print("\n".join(order.faults) or "too few votes or blocks were seen", file=sys.stderr)
        print(f"the trace is kept in {trace}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
