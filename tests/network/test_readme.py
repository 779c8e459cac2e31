"""The README's commands do what it says, in the order in which a reader types them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.network.net import COMMAND, ENVIRONMENT, drexnode, free_base_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
pytestmark = pytest.mark.network


def commands() -> list[str]:
    """Every line of the README's shell blocks, and the commands quoted in its text, in order."""
    found = re.findall(r"```sh\n(.*?)```|`(\.venv/bin/drexnode [^`]*)`", README, re.DOTALL)
    return [line for block, quoted in found for line in (block or quoted).splitlines() if line.strip()]


def test_every_make_target_of_the_readme_exists() -> None:
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {"run", "test", "check"} <= named <= targets


def test_the_readmes_commands_work_on_a_running_network(tmp_path: Path) -> None:
    lines = [line for line in commands() if line.startswith(".venv/bin/drexnode")]
    assert len(lines) >= 6
    started = drexnode(
        "devnet", "up", "--detach", "--dir", tmp_path / "devnet", "--base-port", free_base_port(6)
    )
    assert started.returncode == 0, started.stderr
    try:
        for line in lines:
            words = [*COMMAND, *shlex.split(line)[1:]]
            result = subprocess.run(
                words, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, timeout=90
            )
            assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"
            assert result.stdout.strip() or result.stderr.strip(), line
    finally:
        drexnode("devnet", "down", "--dir", tmp_path / "devnet")
