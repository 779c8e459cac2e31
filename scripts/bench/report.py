"""What every measurement states beside its figures: the machine, the commit, and how quiet it was."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Processor seconds a process has used, all threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def steal_s() -> float:
    """Seconds that the hypervisor gave to others since boot, over all processors."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return int(fields[8]) / TICKS


def busy_s() -> float:
    """Processor seconds that all processes of the machine have used since boot."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system = fields[:3]
    return (user + nice + system) / TICKS


def report(setting: Figures, results: Figures) -> Figures:
    """The JSON document of one measurement."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
        "commit": commit,
        "setting": setting,
        "results": results,
    }
