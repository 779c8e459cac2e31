"""A node joins a running network with one file and two commands, and one that is removed is cut off."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drexnode import client as rpc
from drexnode.cli import output
from drexnode.processes import find_process, start_process, stop_processes
from tests.network.net import Network, drexnode, network, until

pytestmark = pytest.mark.network
LIMIT_S = 30


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("join") / "net", observers=0) as running:
        yield running


@pytest.fixture
def stopped() -> Iterator[list[Path]]:
    """Homes whose processes end with the test."""
    homes: list[Path] = []
    yield homes
    stop_processes([process for home in homes if (process := find_process(home))])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def invite(net: Network, role: str, bundle: Path, *more: str) -> dict[str, Any]:
    return net.json("registry", "invite", role, "99990001", "--by", "bcb-registry", "--bundle", bundle, *more)


def join(bundle: Path, home: Path) -> dict[str, Any]:
    made = drexnode(
        "join", bundle, "--home", home, "--p2p-port", free_port(), "--rpc-port", free_port(), "-o", "json"
    )
    assert made.returncode == 0, made.stderr
    facts: dict[str, Any] = json.loads(made.stdout)
    return facts


def height_at(url: str) -> int | None:
    try:
        with rpc.Client(url) as client:
            return client.run(rpc.block_number())
    except rpc.NodeUnreachable:
        return None


def test_a_new_observer_joins_with_one_file_and_two_commands_and_a_removed_one_is_cut_off_within_a_block(
    net: Network, tmp_path: Path, stopped: list[Path]
) -> None:
    tip = net.transfer()["height"]
    home, bundle = tmp_path / "observer", tmp_path / "bundle.json"
    invited = invite(net, "observer", bundle)
    assert invited["holds_key"]
    assert bundle.stat().st_mode & 0o777 == 0o600
    started = time.monotonic()
    joined = join(bundle, home)
    assert joined["peer_id"] == invited["peer_id"]
    stopped.append(home)
    start_process(home)
    url = f"http://127.0.0.1:{joined['rpc_port']}"
    until("the observer has the chain", lambda: (height_at(url) or 0) >= tip, LIMIT_S)
    assert time.monotonic() - started < LIMIT_S
    later = net.transfer()["height"]
    until("it follows", lambda: (height_at(url) or 0) >= later)

    removed = net.json("registry", "node", "remove", joined["peer_id"], "--by", "bcb-registry", "--wait")
    for node in net.nodes:

        def is_gone(name: str = node.name) -> bool:
            with rpc.Client(net.devnet.node(name).rpc_url) as client:
                entries = client.run(rpc.nodes())
            return joined["peer_id"] not in {entry["peer_id"] for entry in entries}

        until(f"{node.name} forbids it", is_gone)
    for _ in range(3):
        last = net.transfer()["height"]
    assert last >= removed["height"] + 3
    net.await_agreement(last)
    cut_at = height_at(url)
    assert cut_at is not None
    assert cut_at <= removed["height"] + 1
    cut = [
        line
        for line in net.log("validator-0")
        if line.get("peer") == joined["peer_id"] and line.get("reason") == "not_permitted"
    ]
    assert cut


def test_a_full_node_whose_operator_keeps_the_key_joins_with_a_file_that_holds_no_secret(
    net: Network, tmp_path: Path, stopped: list[Path]
) -> None:
    home, bundle = tmp_path / "full", tmp_path / "bundle.json"
    prepared = drexnode("join", "--prepare", "--home", home, "-o", "json")
    assert prepared.returncode == 0, prepared.stderr
    peer_id = json.loads(prepared.stdout)["peer_id"]
    invited = invite(net, "full", bundle, "--peer-id", peer_id)
    assert not invited["holds_key"]
    elsewhere = drexnode("join", bundle, "--home", tmp_path / "elsewhere")
    assert elsewhere.returncode == output.USAGE
    assert "BUNDLE_OTHER_NODE" in elsewhere.stderr
    assert not (tmp_path / "elsewhere").exists()
    joined = join(bundle, home)
    assert joined["peer_id"] == peer_id
    stopped.append(home)
    start_process(home)
    url = f"http://127.0.0.1:{joined['rpc_port']}"
    until("the full node has the chain", lambda: (height_at(url) or 0) >= invited["height"], LIMIT_S)
    sent = net.json("tx", "transfer", "alice", "bob", "1.00", "--wait", "--rpc", url)
    assert sent["status"] == "FINAL"
    again = drexnode("join", bundle, "--home", home)
    assert again.returncode == output.UNSAFE
    assert "HOME_EXISTS" in again.stderr


def test_who_may_not_register_nodes_writes_no_file(net: Network, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.json"
    refused = net.run(
        "registry", "invite", "observer", "99990001", "--by", "alice", "--as", "00038166", "--bundle", bundle
    )
    assert refused.returncode == output.REJECTED
    assert "TX_NOT_AUTHORISED" in refused.stderr
    assert not bundle.exists()


def test_an_operator_sees_peers_removes_one_and_lifts_its_ban(net: Network) -> None:
    home, full = net.folder / "full-0", net.devnet.node("validator-0")

    def peers(*arguments: str) -> dict[str, Any]:
        made = drexnode("peers", *arguments, "--home", home, "-o", "json")
        assert made.returncode == 0, made.stderr
        facts: dict[str, Any] = json.loads(made.stdout)
        return facts

    peer_id = full.p2p_address.rsplit("/", 1)[1]
    listed = {peer["peer_id"]: peer for peer in peers("list")["peers"]}
    assert listed[peer_id]["role"] == "validator"
    assert listed[peer_id]["name"] == "validator-0"
    steps = peers("test", full.p2p_address)["steps"]
    assert [step["state"] for step in steps] == ["ok"] * 7
    assert "validator-0" in steps[-1]["detail"]
    assert peers("remove", peer_id, "--ban-minutes", "5")["removed"]
    assert [ban["peer_id"] for ban in peers("bans")["bans"]] == [peer_id]
    until("it is gone", lambda: peer_id not in {peer["peer_id"] for peer in peers("list")["peers"]})
    assert peer_id in {node["peer_id"] for node in peers("list", "--all")["absent"]}
    walked = drexnode("peers", "test", full.p2p_address, "--home", home)
    assert walked.returncode == output.FAILURE
    assert "the way ends at permission" in walked.stderr
    assert peers("unban", peer_id)["lifted"]
    assert not peers("unban", peer_id)["lifted"]
    assert peers("add", full.p2p_address)["address"] == full.p2p_address
    until("it is back", lambda: peer_id in {peer["peer_id"] for peer in peers("list")["peers"]})
    between = drexnode("peers", "remove", peer_id, "--home", net.folder / "validator-1")
    assert between.returncode == output.UNSAFE
    assert "PEER_IS_VALIDATOR" in between.stderr


def test_the_way_to_a_peer_ends_where_it_is_closed(net: Network, tmp_path: Path) -> None:
    home, address = tmp_path / "stranger", net.devnet.node("validator-0").p2p_address
    genesis = net.folder / "genesis.json"
    assert drexnode("init", "--home", home, "--genesis", genesis).returncode == 0
    stranger = drexnode("peers", "test", address, "--home", home, "-o", "json")
    assert stranger.returncode == output.FAILURE
    states = {step["name"]: step["state"] for step in json.loads(stranger.stdout)["steps"]}
    assert states == {
        "name": "ok",
        "tcp": "ok",
        "noise": "ok",
        "identity": "ok",
        "permission": "failed",
        "chain": "skipped",
        "height": "skipped",
    }
    unregistered = address.rsplit("/", 1)[0] + "/12D3KooWLMowLEfb1tRREbXDSFqpVW7QfBWojf1LTjowQHniWpQm"
    refused = drexnode("peers", "add", unregistered, "--home", net.folder / "full-0")
    assert "PEER_NOT_PERMITTED" in refused.stderr
    nonsense = drexnode("peers", "test", "localhost:26600", "--home", net.folder / "full-0")
    assert nonsense.returncode == output.USAGE
    assert "next: an address looks like" in nonsense.stderr
