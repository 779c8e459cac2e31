"""The operator's page on data: its commands do what it says, in its order, on a running network."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.network.net import COMMAND, ENVIRONMENT, Network, drexnode, free_base_port, until

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
pytestmark = [pytest.mark.network, pytest.mark.slow]


def commands() -> list[str]:
    """Every line of the page's shell blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def await_caught_up(network: Network, name: str) -> None:
    """Wait until a node that was started has the tip of the others."""
    height = network.height("validator-0")
    assert height is not None
    until(f"{name} at height {height}", lambda: (network.height(name) or -1) >= height, 60)


def test_the_pages_commands_work_and_every_node_ends_with_the_same_chain(tmp_path: Path) -> None:
    lines = commands()
    assert len(lines) > 25
    up, rest = lines[0], lines[1:]
    started = drexnode(*shlex.split(up)[1:], "--dir", tmp_path / "devnet", "--base-port", free_base_port(6))
    assert started.returncode == 0, started.stderr
    network = Network(tmp_path / "devnet")
    shown: dict[str, dict[str, Any]] = {}
    try:
        for number in range(3):
            network.transfer(f"{number + 1}.00")
        for line in rest:
            words = shlex.split(line)[1:]
            form = [] if words[0] in ("devnet", "export") else ["-o", "json"]
            done = subprocess.run(
                [*COMMAND, *words, *form],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                env=ENVIRONMENT,
                timeout=120,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            if done.stdout.startswith("{"):
                shown[line] = json.loads(done.stdout)
            if line.startswith("drexnode devnet start"):
                await_caught_up(network, shlex.split(line)[-1])
        network.transfer("4.00")
        height = network.height("validator-0")
        assert height is not None
        network.await_agreement(height, timeout_s=60)
    finally:
        drexnode("devnet", "down", "--dir", tmp_path / "devnet")
    backed_up, verified = (
        shown[f"drexnode backup {what} backup --home devnet/full-0"] for what in ("create", "verify")
    )
    assert verified["state_root"] == backed_up["state_root"]
    assert shown["drexnode replay --home devnet/full-0"]["transactions"] == 3
    assert len((tmp_path / "transactions.jsonl").read_text().splitlines()) == 3
