"""Real nodes: an empty observer begins with a snapshot, is killed on the way, and has the same chain."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from drexnode import client as rpc
from drexnode.config import CONFIG_FILE
from tests.network.net import COMMAND, ENVIRONMENT, Network, network, until

pytestmark = [pytest.mark.network, pytest.mark.slow]
EVERY = 4


def keep_snapshots(net: Network, name: str) -> None:
    """Restart a node that keeps snapshots from now on."""
    assert net.run("devnet", "kill", name).returncode == 0
    path = net.devnet.node(name).home / CONFIG_FILE
    text = path.read_text()
    assert '# snapshots = "auto"' in text
    path.write_text(text.replace('# snapshots = "auto"', f'snapshots = "2@{EVERY}"'))
    assert net.run("devnet", "start", name).returncode == 0


def start(net: Network, name: str, mode: str) -> subprocess.Popen[bytes]:
    """Start a node's process as its operator does."""
    home = net.devnet.node(name).home
    with (home / "node.log").open("ab") as log:
        command = [*COMMAND, "start", "--home", str(home), "--sync", mode]
        return subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)


def reasons(net: Network, name: str) -> set[str]:
    """Why a node is not ready; empty while it does not answer."""
    try:
        return {reason["code"] for reason in net.ask(name, rpc.network_info())["reasons"]}
    except rpc.NodeUnreachable:
        return set()


def test_an_empty_observer_begins_with_a_snapshot_killed_or_not(tmp_path: Path) -> None:
    with network(tmp_path / "devnet", full=2) as net:
        for name in ("full-0", "full-1"):
            keep_snapshots(net, name)
        made = [net.devnet.node(name).home / "data" / "snapshots" for name in ("full-0", "full-1")]
        until("a first snapshot", lambda: net.transfer() and all(any(p.glob("*/manifest")) for p in made), 90)
        home = net.devnet.node("observer-0").home
        assert net.run("devnet", "kill", "observer-0").returncode == 0
        (home / "node.log").unlink()
        shutil.rmtree(home / "data")
        (home / "data").mkdir(mode=0o700)
        for delay_s in (0.9, 1.3, 1.7, 2.1):  # kills at unlike moments: none may leave anything unusable
            process = start(net, "observer-0", "snapshot")
            time.sleep(delay_s)
            process.send_signal(signal.SIGKILL)
            process.wait()
        process = start(net, "observer-0", "snapshot")
        try:
            height = net.height("validator-0")
            assert height is not None
            until("the observer's tip", lambda: (net.height("observer-0") or 0) >= height, 60)
            net.transfer()
            tip = net.height("validator-0")
            assert tip is not None
            net.await_agreement(tip)
            events = {line["event"] for line in net.log("observer-0")}
            assert {"snapshot_sync.restored", "snapshot_sync.adopted"} <= events
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_without_any_snapshot_the_node_says_so(tmp_path: Path) -> None:
    with network(tmp_path / "devnet") as net:
        net.transfer()
        home = net.devnet.node("observer-0").home
        assert net.run("devnet", "kill", "observer-0").returncode == 0
        (home / "node.log").unlink()
        shutil.rmtree(home / "data")
        (home / "data").mkdir(mode=0o700)
        process = start(net, "observer-0", "snapshot")
        until("it says what it waits for", lambda: "SNAPSHOT_SYNC" in reasons(net, "observer-0"), 30)
        assert process.wait(90) == 75
        assert any("SNAPSHOT_NO_OFFER" in str(line) for line in net.log("observer-0"))
        process = start(net, "observer-0", "snapshot-or-blocks")
        try:
            until("it fell back", lambda: (net.height("observer-0") or 0) >= 1, 90)
            assert "snapshot_sync.fell_back" in {line["event"] for line in net.log("observer-0")}
        finally:
            process.terminate()
            assert process.wait(20) == 0
