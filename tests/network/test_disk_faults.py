"""A validator whose disk fails or is full: it stops with exit code 75, comes back, and nothing final is lost.

The storage-only process of tests/crash sees many more of these; here it is the whole node, in a network that
goes on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from drexnode.processes import kill_process, log_tail, reap, start_process
from tests.crash.failing_syncs import build_library
from tests.network.net import Network, drexnode, network, until

pytestmark = pytest.mark.network

VICTIM = "validator-3"
OTHERS = ["validator-0", "validator-1", "validator-2"]
EXIT_TRY_AGAIN = 75
SMALL_DISK_MIB = 800  # the floor is 256 MiB, low is 512, the reserve takes 64
BALLAST_BYTES = 600 << 20


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path / "net", full=0, observers=0) as running:
        yield running


def kill(net: Network) -> Path:
    """Kill the victim; its home."""
    node = net.devnet.node(VICTIM)
    assert node.process is not None
    kill_process(node.process)
    return node.home


def ends_with(pid: int, home: Path) -> int:
    """The exit code with which the victim ends by itself."""
    return until(f"{VICTIM} ends: {log_tail(home)}", lambda: reap().get(pid), timeout_s=60)


def comes_back_whole(net: Network, home: Path, final: int) -> None:
    """Started again it has every block and goes on; its data is without a fault."""
    start_process(home)
    net.await_agreement(final, timeout_s=60)
    net.transfer()
    net.await_agreement(max(net.height(name) or 0 for name in OTHERS), timeout_s=60)
    kill(net)
    checked = drexnode("verify", "--home", home)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(shutil.which("cc") is None, reason="the library needs a C compiler")
def test_a_sync_that_fails_stops_the_node_and_loses_nothing(net: Network, tmp_path: Path) -> None:
    library = build_library(tmp_path)
    for number in (20, 45):
        home = kill(net)
        variables = {
            "LD_PRELOAD": str(library),
            "DREXNODE_FAIL_SYNC_BELOW": str(home.resolve()),
            "DREXNODE_FAIL_SYNC_NUMBER": str(number),
        }
        process = start_process(home, variables=variables)
        ended: int | None = None
        for _ in range(60):
            net.transfer()
            if (ended := reap().get(process.pid)) is not None:
                break
        assert ended == EXIT_TRY_AGAIN, log_tail(home)
        assert "STORAGE_" in log_tail(home) or "WATERMARK_" in log_tail(home)
        final = max(net.height(name) or 0 for name in OTHERS)
        comes_back_whole(net, home, final)
        start_process(home)


@pytest.fixture
def small_disk(net: Network) -> Iterator[Path]:
    """The victim's home, its data on a file system of its own."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    home = kill(net)
    aside = home / "data-aside"
    (home / "data").rename(aside)
    (home / "data").mkdir()
    command = [mount, "-t", "tmpfs", "-o", f"size={SMALL_DISK_MIB}m", "none", str(home / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting a small tmpfs is not permitted here: {done.stderr.strip()}")
    try:
        shutil.copytree(aside, home / "data", dirs_exist_ok=True)
        yield home
    finally:
        net.devnet.stop()
        subprocess.run(["umount", str(home / "data")], check=True)


def test_a_full_disk_stops_the_node_until_there_is_room(net: Network, small_disk: Path) -> None:
    home = small_disk
    process = start_process(home)
    net.transfer()
    net.await_agreement(1, timeout_s=60)
    ballast = home / "data" / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
    assert ends_with(process.pid, home) == EXIT_TRY_AGAIN
    net.transfer()
    again = start_process(home)
    assert ends_with(again.pid, home) == EXIT_TRY_AGAIN
    assert "STORAGE_DISK_FULL" in log_tail(home)
    final = max(net.height(name) or 0 for name in OTHERS)
    ballast.unlink()
    comes_back_whole(net, home, final)
