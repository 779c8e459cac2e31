"""A validator's key in a process of its own, and moved to another machine: real processes, real signals."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drexnode import client as rpc
from drexnode.processes import find_process, start_process, stop_processes
from ledger.devnet import BANK_A_ISPB
from tests.network.net import COMMAND, ENVIRONMENT, Network, drexnode, free_base_port, network, until
from tests.network.steady import SteadyLoad, signed_transfers

pytestmark = pytest.mark.network

OTHERS = ["validator-0", "validator-1", "validator-2"]
MOVED = "validator-3"


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path / "net", full=0, observers=0) as running:
        yield running


@contextmanager
def signer_process(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (home / "signer.log").open("ab") as log:
        process = subprocess.Popen(
            [*COMMAND, "signer", "run", "--home", str(home)], stdout=log, stderr=log, env=ENVIRONMENT
        )
    try:
        until("the signer listens", (home / "signer" / "signer.sock").exists)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def document(*arguments: str | int | Path) -> dict[str, Any]:
    result = drexnode(*arguments, "-o", "json")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refusal(*arguments: str | int | Path) -> tuple[int, str]:
    """(exit code, stable code) of a command that must fail."""
    result = drexnode(*arguments)
    assert result.returncode != 0, result.stdout
    lines = result.stderr.splitlines()
    return result.returncode, next(line for line in lines if "error" in line)


def reasons(net: Network, name: str) -> list[str]:
    try:
        return [item["code"] for item in net.ask(name, rpc.network_info())["reasons"]]
    except rpc.NodeUnreachable:
        return ["down"]


def seals_again(net: Network, key: str, *, pay: bool = True) -> int:
    """Wait for a block above the tip that `key` sealed; its height. Without `pay` a load makes the blocks."""
    observer = "validator-0"
    begin = until("a tip", lambda: net.height(observer))

    def sealed() -> int | None:
        if pay:
            net.transfer()
        for height in range(begin + 1, (net.height(observer) or 0) + 1):
            certificate = net.ask(observer, rpc.certificate(height))
            if certificate is not None and key in certificate["signers"]:
                return height
        return None

    return until(f"{key} seals a block", sealed, 60)


def signs_elsewhere(net: Network, name: str) -> None:
    """Let the node's key be in a signer process from its next start on."""
    path = net.devnet.node(name).home / "drexnode.toml"
    text = path.read_text().replace('# signer = "local"', 'signer = "unix:signer/signer.sock"')
    path.write_text(text)


def test_signer_and_node_may_die_in_turns_and_the_validator_votes_again(net: Network) -> None:
    node = net.devnet.node(MOVED)
    key = document("signer", "status", "--home", node.home)["public_key"]
    net.devnet.kill(node)
    signs_elsewhere(net, MOVED)
    with signer_process(node.home):
        net.devnet.start(node)
        seals_again(net, key)
        held = document("signer", "status", "--home", node.home)
        assert (held["state"], held["node_pid"]) == ("signing", getattr(node.process, "pid", None))
    net.transfer()
    until("the node says that its signer is gone", lambda: "SIGNER_UNREACHABLE" in reasons(net, MOVED))
    tip = net.transfer()["height"]
    until("the node follows", lambda: (net.height(MOVED) or 0) >= tip)
    with signer_process(node.home):
        seals_again(net, key)
        until("the node is content", lambda: reasons(net, MOVED) == [])
        net.devnet.kill(node)
        net.devnet.start(node)
        seals_again(net, key)
        stopped = refusal("signer", "run", "--home", node.home)
        assert stopped[0] == 75
        assert "STORAGE_LOCKED" in stopped[1]
    assert all(net.ask(name, rpc.evidence()) == [] for name in OTHERS)


def test_a_node_without_its_signer_does_not_start_and_says_so(net: Network) -> None:
    node = net.devnet.node(MOVED)
    net.devnet.kill(node)
    signs_elsewhere(net, MOVED)
    ended = drexnode("start", "--home", node.home)
    assert ended.returncode == 75
    assert "SIGNER_UNREACHABLE" in ended.stderr


def test_a_validator_moves_under_load_and_the_old_one_never_signs_again(net: Network, tmp_path: Path) -> None:
    old, new, file = net.devnet.node(MOVED), tmp_path / "new", tmp_path / "move.bin"
    key = document("signer", "status", "--home", old.home)["public_key"]
    port = free_base_port(1)
    peers = [part for node in net.nodes for part in ("--peer", node.p2p_address)]
    made = document(
        "init", "--home", new, "--genesis", net.folder / "genesis.json", "--role", "validator", "--await-key",
        "--p2p-port", port, "--rpc-port", port + 50, *peers,
    )  # fmt: skip
    load = SteadyLoad(net, signed_transfers(net, 1500), 50, OTHERS)
    with load.running():
        net.json(
            "registry", "node", "add", made["peer_id"], "validator", BANK_A_ISPB, "--validator-key", key,
            "--address", f"/ip4/127.0.0.1/tcp/{port}", "--by", "bcb-registry", "--wait",
        )  # fmt: skip
        export = ("signer", "export-state", file, "--home", old.home, "--heir")
        assert refusal(*export, made["peer_id"])[1].startswith("error STORAGE_LOCKED")
        net.devnet.kill(old)
        document(*export, made["peer_id"])
        file.unlink()
        document(*export, made["peer_id"])  # the file was lost: the same heir gets it again
        other = document("signer", "status", "--home", net.devnet.node("validator-0").home)["peer_id"]
        refused = refusal("signer", "export-state", tmp_path / "two", "--home", old.home, "--heir", other)
        assert refused[0] == 8
        assert "SIGNER_RETIRED" in refused[1]
        ended = drexnode("start", "--home", old.home)
        assert ended.returncode == 8
        assert "SIGNER_RETIRED" in ended.stderr
        document("signer", "import-state", file, "--home", new)
        again = refusal("signer", "import-state", file, "--home", new)
        assert again[0] == 8
        assert "WATERMARK_EXISTS" in again[1]
        back = refusal("signer", "import-state", file, "--home", old.home)
        assert back[0] == 8
        assert "SIGNER_EXPORT_NOT_OURS" in back[1]
        start_process(new)
        try:
            seals_again(net, key, pay=False)
            ended = drexnode("start", "--home", old.home)
            assert ended.returncode == 8
            assert "SIGNER_RETIRED" in ended.stderr
            seals_again(net, key, pay=False)
        finally:
            process = find_process(new)
            stop_processes([process] if process else [])
    assert all(net.ask(name, rpc.evidence()) == [] for name in OTHERS)
    assert os.path.getsize(file) > 0
