"""Node processes of a devnet: started apart from the terminal, known by a pid file, never mistaken for
others.

A pid file names pid and start time, so that a number the system has given to another process is not touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PID_FILE = "node.pid"
LOG_FILE = "node.log"
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """A running node of a home."""

    pid: int
    started: str  # the kernel's start time of the process


def _start_time(pid: int) -> str | None:
    """The kernel's start time of a living process; None when there is none, or only its zombie."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    text = shown.stdout.strip()
    return None if not text or text.startswith("Z") else text.split(maxsplit=1)[1]


def find_process(home: Path) -> NodeProcess | None:
    """The process that runs this home, or None."""
    try:
        pid_text, started = (home / PID_FILE).read_text("ascii").split("\n")[:2]
        process = NodeProcess(int(pid_text), started)
    except (OSError, ValueError):
        return None
    return process if _start_time(process.pid) == process.started else None


def start_process(
    home: Path, *, prefix: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> NodeProcess:
    """Start `python -m drexnode start --home …` in a session of its own; its log is HOME/node.log.

    This program's `DREX_*` variables are not handed on: they are meant for one node, not for six; `variables`
    are. `prefix` is a command that executes the node in its place, with the same pid (`ip netns exec NAME`).
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DREX_")}
    environment |= variables or {}
    with (home / LOG_FILE).open("ab") as log:
        child = subprocess.Popen(
            [*prefix, sys.executable, "-m", "drexnode", "start", "--home", str(home.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    process = NodeProcess(child.pid, _start_time(child.pid) or "")
    temporary = home / f"{PID_FILE}.new"
    temporary.write_text(f"{process.pid}\n{process.started}\n", "ascii")
    temporary.replace(home / PID_FILE)
    _children[child.pid] = child
    return process


_children: dict[int, subprocess.Popen[bytes]] = {}


def reap() -> dict[int, int]:
    """Exit codes of children of this program that have ended since the last call."""
    ended = {pid: code for pid, child in _children.items() if (code := child.poll()) is not None}
    for pid in ended:
        del _children[pid]
    return ended


def kill_process(process: NodeProcess) -> None:
    """`kill -9`, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    _wait_gone([process], STOP_TIMEOUT_S)


def stop_processes(processes: list[NodeProcess]) -> list[NodeProcess]:
    """SIGTERM to all, then wait; those that don't go in time are killed and returned."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    left = _wait_gone(processes, STOP_TIMEOUT_S)
    for process in left:
        kill_process(process)
    return left


def _wait_gone(processes: list[NodeProcess], timeout_s: float) -> list[NodeProcess]:
    deadline = time.monotonic() + timeout_s
    left = list(processes)
    while left:
        reap()
        left = [process for process in left if _start_time(process.pid) == process.started]
        if left and time.monotonic() > deadline:
            return left
        if left:
            time.sleep(_POLL_S)
    return left


def log_tail(home: Path, lines: int = 5) -> str:
    """The last lines of a node's log, for an error's evidence."""
    try:
        return "\n".join((home / LOG_FILE).read_text("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ""
