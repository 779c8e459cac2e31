"""The commands of handbook and five-minute start as a reader gives them; and the stall they speak of."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from drexnode.cli import output
from scripts.recording import commands as start_commands
from tests.network.net import COMMAND, ENVIRONMENT, Network, network, until

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = [pytest.mark.network, pytest.mark.slow]
_RUN = re.compile(r"<!-- run -->\n```sh\n(.*?)```", re.S)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("handbook") / "devnet") as net:
        yield net


def run(line: str, net: Network) -> subprocess.CompletedProcess[str]:
    """A command in the folder in which the devnet is `devnet`, as the page supposes."""
    words = [*COMMAND, *shlex.split(line)[1:]]
    return subprocess.run(
        words, capture_output=True, text=True, cwd=net.folder.parent, env=ENVIRONMENT, timeout=120
    )


def test_every_command_of_the_handbook_does_what_it_says(net: Network) -> None:
    lines = [
        line
        for block in _RUN.findall((DOCS / "handbook.md").read_text("utf-8"))
        for line in block.splitlines()
    ]
    assert len(lines) >= 12
    for line in lines:
        assert line.startswith("drexnode "), line
        result = run(line, net)
        assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"


def test_every_command_of_the_five_minute_start_works(net: Network) -> None:
    for line in start_commands(DOCS / "start.md"):
        if " devnet up" not in line:
            result = run(line, net)
            assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"


def test_a_network_that_stands_still_says_why_and_goes_on_when_enough_are_back(net: Network) -> None:
    for name in ("validator-2", "validator-3"):
        assert run(f"drexnode devnet kill {name}", net).returncode == 0
    assert run("drexnode tx transfer alice bob 1.00", net).returncode == 0
    told = until("the cause is named", lambda: _stall(net), 60)
    assert "NO_QUORUM" in told
    assert "validator-2" in told
    assert "validator-3" in told
    assert run("drexnode devnet start validator-2", net).returncode == 0
    until("nothing stands in the way", lambda: run("drexnode explain-stall", net).returncode == output.OK, 90)
    net.transfer(timeout_s=60)


def _stall(net: Network) -> str | None:
    result = run("drexnode explain-stall", net)
    return result.stdout if result.returncode == output.FAILURE and "NO_QUORUM" in result.stdout else None
