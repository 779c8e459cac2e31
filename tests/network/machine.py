"""What a figure was measured on: printed beside it."""

from __future__ import annotations

import os
import platform
import subprocess


def machine_line() -> str:
    """Cores, how busy they are with other things, Python and commit."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    commit = found.stdout.strip() or "unknown"
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}, commit {commit}"
