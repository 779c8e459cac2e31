"""`devnet up` in the foreground: it tells what happened, keeps running, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from drexnode.cli import output
from drexnode.devnet import Devnet
from tests.network.net import COMMAND, ENVIRONMENT, drexnode, free_base_port, network, until

pytestmark = pytest.mark.network
SMALL = ("--validators", "1", "--full", "0", "--observers", "0")


class Foreground:
    """A `devnet up` whose output is read as it comes."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [*COMMAND, "devnet", "up", "--dir", str(folder), *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            self.lines.extend(iter(stream.readline, ""))

    def has(self, text: str) -> Callable[[], bool]:
        return lambda: any(text in line for line in self.lines)

    def end(self, number: signal.Signals) -> int:
        os.kill(self.process.pid, number)
        code = self.process.wait(timeout=30)
        self._reader.join()
        return code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_network_of_one_validator_shows_the_demo_and_ends_with_its_terminal(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "net"
    shown = Foreground(folder, *SMALL, "--demo", "--base-port", str(free_base_port(1)))
    try:
        until("it runs", shown.has("Ctrl-C stops the network"), 60)
        assert sum("FINAL at height" in line for line in shown.lines) == 3
        assert any("RPC: http://127.0.0.1:" in line for line in shown.lines)
        assert drexnode("devnet", "kill", "validator-0", "--dir", folder).returncode == 0
        until("the death is noticed", shown.has("validator-0 ended"))
        assert drexnode("devnet", "start", "validator-0", "--dir", folder, "--wait").returncode == 0
        until("the return is noticed", shown.has("validator-0 runs again"))
    finally:
        code = shown.end(number)
    assert code == 0
    assert Devnet(folder).running() == []


def test_a_second_start_of_a_home_names_the_taken_port_and_the_first_goes_on(tmp_path: Path) -> None:
    with network(tmp_path / "net", validators=1, full=0, observers=0) as net:
        result = drexnode("start", "--home", net.nodes[0].home)
        assert result.returncode == output.CONFIGURATION
        assert f"error RPC_PORT_IN_USE: can't listen on 127.0.0.1:{net.nodes[0].rpc_port}" in result.stderr
        assert "next: drexnode start --set rpc.port=PORT" in result.stderr
        port = free_base_port(1)
        locked = drexnode("start", "--home", net.nodes[0].home, "--set", f"rpc.port={port}")
        assert (locked.returncode, "STORAGE_LOCKED" in locked.stderr) == (output.TRY_AGAIN, True)
        assert net.transfer()["status"] == "FINAL"


def test_a_node_that_cannot_start_stops_the_others_and_its_log_is_the_evidence(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    base = str(free_base_port(2))
    Devnet.create(folder, validators=2, full=0, observers=0, base_port=int(base))
    with (folder / "validator-1" / "drexnode.toml").open("a") as file:
        file.write("\n[nonsense]\nkey = 1\n")
    result = drexnode("devnet", "up", "--dir", folder)
    assert result.returncode != 0
    assert "DEVNET_START_FAILED: validator-1" in result.stderr
    assert "CONFIG_UNKNOWN_KEY" in result.stderr
    assert Devnet(folder).running() == []
    other = drexnode("devnet", "up", "--dir", folder, "--validators", "4")
    assert (other.returncode, "made with --validators 2, not 4" in other.stderr) == (8, True)
    assert drexnode("devnet", "reset", "--dir", folder).returncode == 0
    assert not folder.exists()
