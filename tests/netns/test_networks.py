"""Networks of namespaces hurt for a short time: the long forms are `make partition` and `make netns-run`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.netns.sandbox import SKIPPED

pytestmark = [pytest.mark.network, pytest.mark.slow]


def command(*arguments: str) -> str:
    """Run a command of this folder to its end; what it printed. Skips where namespaces are not permitted."""
    ended = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=400)
    if ended.returncode == SKIPPED:
        pytest.skip(ended.stdout.strip())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_after_two_halves_were_apart_blocks_go_on_and_nothing_is_lost() -> None:
    """That the next block comes within 5 s is measured by `make partition`; a busy machine is no judge."""
    said = command("tests.netns.partition", "--seconds", "10", "--rate", "30", "--most-s", "60")
    assert "apart for 10.0 of 10 s" in said
    assert "all final; one chain on all four" in said


def test_ten_nodes_far_apart_go_on_through_kills_and_partitions() -> None:
    said = command("tests.netns.run", "--minutes", "0.75", "--seed", "4", "--rate", "20", "--most-s", "60")
    assert said.count("put right") == 6
    assert "0 of those that living nodes took are lost" in said
    assert "one chain and one state root on all 10" in said
