"""What every measurement states beside its figures: the machine, the commit, and how quiet it was."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Processor seconds a process has used, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def family_cpu_s(pid: int) -> float:
    """The same with the processes it started and that live, such as a node's workers."""
    children = [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]
    return cpu_s(pid) + sum(family_cpu_s(child) for child in children)


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def mapped_bytes(pid: int) -> int:
    """What of it are pages of files: the program, and LevelDB's tables as far as they were read. The kernel
    takes those back when memory is short."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[2])
    return pages * os.sysconf("SC_PAGE_SIZE")


def steal_s() -> float:
    """Seconds that the hypervisor gave to others since boot, over all processors."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) / TICKS


def busy_s() -> float:
    """Processor seconds that all processes of the machine have used since boot."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system = fields[:3]
    return (user + nice + system) / TICKS


class Watch:
    """What processes of ours use from now on, and the noise: processor time that others on this machine used
    or the hypervisor took."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        """`pids` by the process's name; `validator-0` and `validator-1` are of one role."""
        self._pids = dict(pids)
        self._used = {name: family_cpu_s(pid) for name, pid in self._pids.items()}
        self._own = time.process_time()
        self._begin, self._steal, self._busy = time.monotonic(), steal_s(), busy_s()

    def figures(self, transactions: int) -> Figures:
        """Up to now, for so many transactions."""
        taken_s, cores = time.monotonic() - self._begin, os.cpu_count() or 1
        used = {name: family_cpu_s(pid) - self._used[name] for name, pid in self._pids.items()}
        own = time.process_time() - self._own
        others = max(0.0, busy_s() - self._busy - sum(used.values()) - own)
        by_role: dict[str, list[float]] = {}
        for name, seconds in used.items():
            by_role.setdefault(name.rsplit("-", 1)[0], []).append(seconds)
        return {
            "cpu_us_a_transaction": {
                role: round(1e6 * statistics.mean(values) / max(1, transactions), 1)
                for role, values in by_role.items()
            },
            "cores_used": round(sum(used.values()) / taken_s, 2),
            "cores_used_by_the_load": round(own / taken_s, 2),
            "noise": {
                "cores_used_by_others": round(others / taken_s, 2),
                "steal_share": round((steal_s() - self._steal) / taken_s / cores, 3),
            },
        }


def spread(values: Sequence[float], digits: int = 2) -> Figures:
    """Median, lowest and highest of repeated runs, and how many there were."""
    return {
        "median": round(statistics.median(values), digits),
        "lowest": round(min(values), digits),
        "highest": round(max(values), digits),
        "runs": len(values),
    }


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which `percent` of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def percentiles_ms(seconds: Sequence[float]) -> Figures:
    """Count, p50, p90 and p99 in milliseconds."""
    found = {f"p{share}_ms": round(1000 * percentile(seconds, share), 2) for share in (50, 90, 99)}
    return {"count": len(seconds)} | found


def say(what: str) -> None:
    """Progress, beside the JSON."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


def report(setting: Figures, results: Figures) -> Figures:
    """The JSON document of one measurement."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
        "commit": commit,
        "setting": setting,
        "results": results,
    }


def emit(setting: Figures, results: Figures, out: Path | None = None) -> None:
    """Print the document, and write it to a file as well."""
    text = json.dumps(report(setting, results), indent=2)
    print(text, flush=True)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", "utf-8")
