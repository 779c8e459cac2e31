"""An upgrade by the registry: nodes say whether they are ready, and stop before it when they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from drexnode.cli import output
from tests.network.net import drexnode, network, until

pytestmark = [pytest.mark.network, pytest.mark.slow]


def test_nodes_that_lack_a_version_stop_before_its_height_and_say_why(tmp_path: Path) -> None:
    with network(tmp_path / "net") as net:
        before = net.json("upgrade", "status")
        assert (before["version"], before["next_version"], before["supported"]) == (1, None, 1)
        until(
            "all nodes told their version",
            lambda: all(node["protocol"] == 1 for node in net.json("upgrade", "status")["nodes"]),
        )
        tip = net.height("validator-0")
        assert tip is not None
        height = tip + 4
        set_version = ("registry", "protocol", 2, height, "--by", "bcb-registry", "--wait")
        assert net.run(*set_version).returncode == 0
        after = net.run("upgrade", "status")
        assert after.returncode == output.FAILURE
        assert f"version 2 from block {height} on" in after.stdout
        until("every node stopped", lambda: not net.devnet.running(), 90)
        for node in net.nodes:
            [failed] = [line for line in net.log(node.name) if line["event"] == "node.failed"]
            assert failed["exit_code"] == output.CONFIGURATION
            assert f"block {height} follows protocol version 2" in failed["error"]
            found = drexnode("inspect", "block", "latest", "--home", node.home, "-o", "json")
            assert f'"height": {height - 1},' in found.stdout
        again = drexnode("start", "--home", net.nodes[0].home)
        assert again.returncode == output.CONFIGURATION
        assert "PROTOCOL_UNSUPPORTED" in again.stderr
