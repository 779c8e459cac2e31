"""Links between namespaces: delayed as asked, cut and mended one by one. Played in a sandbox of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.netns.sandbox import SKIPPED

pytestmark = pytest.mark.network


def play(what: str) -> str:
    """Run one scene of `tests/netns/mesh_scenes.py` inside a sandbox; what it printed."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.netns.mesh_scenes", what], capture_output=True, text=True, timeout=120
    )
    if ended.returncode == SKIPPED:
        pytest.skip(ended.stdout.strip())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_cut_link_carries_nothing_until_it_is_mended_and_the_others_stay() -> None:
    assert play("cut").split() == ["joined", "cut", "others-joined", "mended"]


def test_the_relay_delays_each_way_loses_nothing_and_holds_all_while_it_stalls() -> None:
    assert play("delay").split() == ["delayed", "whole", "stalled", "released"]
