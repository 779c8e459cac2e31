"""Crashes, flipped bits and full disks, in small numbers; the long runs are the same commands.

Each runs as a process of its own, because it forks and must never have opened LevelDB itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import failpoints
from tests.crash import vote_kills

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    """Run a module of this folder; what it printed. Fails when it fails, or takes more than two minutes."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_thirty_kills_at_random_moments_lose_nothing() -> None:
    assert "30 kills at random moments" in run("tests.crash.kill_loop", "--count", "30", "--seed", "11")


def test_a_death_at_every_fail_point_loses_nothing() -> None:
    points = 2 * len(failpoints.NAMES)
    words = run("tests.crash.kill_loop", "--count", "0", "--points", str(points), "--seed", "12")
    assert f"{points} deaths at fail points" in words


def test_a_validator_killed_at_every_point_of_a_vote_signs_nothing_twice_and_keeps_its_lock() -> None:
    count = 2 * len(vote_kills.POINTS)
    words = run("tests.crash.vote_kills", "--count", str(count), "--seed", "15")
    assert f"{count} kills over" in words
    assert all(f"     2  {point}" in words for point in vote_kills.POINTS)


def test_a_validator_that_forgets_its_votes_at_each_start_is_noticed() -> None:
    with pytest.raises(AssertionError, match="VIOLATION"):
        run("tests.crash.vote_kills", "--count", "60", "--forget")


def test_one_flipped_bit_in_any_file_is_noticed() -> None:
    assert "40 flips, all noticed" in run("tests.crash.bit_flips", "--count", "40", "--seed", "13")


@pytest.mark.skipif(shutil.which("cc") is None, reason="the recorder needs a C compiler")
def test_a_power_cut_after_any_write_loses_nothing_and_nothing_is_promised_unsynced() -> None:
    words = run("tests.crash.power_cuts", "--count", "40", "--seed", "14")
    assert "votes and 120 final blocks were synced before they were promised" in words
    assert "40 crash images" in words


@pytest.mark.skipif(shutil.which("cc") is None, reason="the library needs a C compiler")
def test_a_sync_that_fails_stops_the_node_and_loses_nothing() -> None:
    words = run("tests.crash.failing_syncs", "--count", "30", "--seed", "16")
    assert "30 syncs failed" in words
    assert all(f"'{kind}'" in words for kind in ("LevelDB log", "vote journal", "watermark"))


def test_a_fail_point_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the fail points"):
        failpoints.arm("commit.befor_write")
    failpoints.arm("")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=6m", "none", str(disk)], capture_output=True)
    if done.returncode:
        pytest.skip(f"mounting a small tmpfs is not permitted here: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_node_and_loses_nothing(small_disk: Path) -> None:
    assert "nothing lost" in run("tests.crash.full_disk", "--disk", str(small_disk))
