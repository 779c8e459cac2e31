"""One network of six processes: money moves, everything false is refused with its code, faults are survived.

The tests share one network and run in the order written; each leaves all six nodes running.
"""

from __future__ import annotations

import errno
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drexnode import client as rpc
from drexnode.cli import output
from drexnode.demo import run_demo
from drexnode.processes import find_process, start_process, stop_processes
from ledger.build import build_body, build_transaction, make_output
from ledger.payloads import Kind
from ledger.transaction import Body, OutPoint, Transaction
from primitives.address import decode_address
from primitives.limits import MAX_TRANSACTION_BYTES
from tests.network.net import Network, drexnode, free_base_port, network, until

pytestmark = pytest.mark.network
DVT = "BRL@99990001/DVT"
VALIDATORS = [f"validator-{n}" for n in range(4)]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("devnet") / "net") as running:
        yield running


def test_six_processes_run_and_each_knows_all_others(net: Network) -> None:
    nodes = net.json("devnet", "status")["nodes"]
    assert [node["role"] for node in nodes] == ["validator"] * 4 + ["full", "observer"]
    assert len({node["pid"] for node in nodes}) == 6
    assert all(node["peers"] == 5 and node["ready"] for node in nodes)
    assert all("/p2p/12D3KooW" in node["p2p_address"] for node in nodes)
    assert net.ask("validator-2", rpc.peer_count()) == 5
    assert net.ask("validator-2", rpc.listening())
    assert len(net.ask("observer-0", rpc.validators())) == 4


def test_the_demonstration_becomes_final_and_all_nodes_agree(net: Network) -> None:
    said: list[str] = []
    steps = run_demo(net.devnet, said.append)
    assert len(steps) == 3
    assert all(step.signers >= 3 for step in steps)
    assert all("FINAL at height" in line for line in said[:3])
    net.await_agreement(steps[-1].height)
    supply = net.ask("observer-0", rpc.supply("BRL"))
    assert (supply.emitted, supply.burned, supply.circulating) == (1_000_00, 400_00, 600_00)


def test_a_network_that_runs_is_not_started_twice_and_a_taken_port_is_named(
    net: Network, tmp_path: Path
) -> None:
    again = net.run("devnet", "up")
    assert again.returncode != 0
    assert "DEVNET_RUNNING" in again.stderr
    assert "drexnode devnet status" in again.stderr
    port = net.nodes[0].p2p_port
    taken = drexnode("devnet", "up", "--dir", tmp_path / "other", "--base-port", port)
    assert taken.returncode != 0
    assert f"port {port} of validator-0 is in use" in taken.stderr
    assert not (tmp_path / "other").exists()
    assert "DEVNET_RUNNING" in net.run("devnet", "start", "validator-1").stderr


def test_a_full_node_relays_and_an_observer_refuses(net: Network) -> None:
    sent = net.json(
        "tx", "transfer", "alice", "bob", "3.00", "--wait", "--rpc", net.devnet.node("full-0").rpc_url
    )
    assert sent["status"] == "FINAL"
    assert len(sent["signers"]) >= 3
    url = net.devnet.node("observer-0").rpc_url
    refused = net.run("tx", "transfer", "alice", "bob", "3.00", "--rpc", url, "-o", "json")
    assert refused.returncode == output.REJECTED
    error = json.loads(refused.stderr)["error"]
    assert error["code"] == "NODE_OBSERVER"
    assert error["next"]
    until("the observer has it too", lambda: net.ask("observer-0", rpc.transaction(sent["txid"])))


class Forge:
    """Makes transactions of alice's largest coin, right and wrong ones."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.chain_id = bytes.fromhex(net.ask("validator-0", rpc.chain_id()))
        self.keys = {name: account.key for name, account in net.wallets.items()}
        coins = net.ask("validator-0", rpc.unspent(net.wallets["alice"].address, DVT, None, 200)).outputs
        self.coin = max(coins, key=lambda coin: coin.amount)
        self.point = OutPoint(bytes.fromhex(self.coin.txid), self.coin.index)

    def lock(self, name: str) -> bytes:
        return decode_address("drexdev", self.net.wallets[name].address)

    def body(self, *amounts: tuple[str, int], kind: Kind = Kind.TRANSFER, points: int = 1) -> Body:
        outputs = [make_output(DVT, amount, self.lock(name)) for name, amount in amounts]
        return build_body(kind, [self.point] * points, outputs)

    def sign(self, body: Body, *names: str) -> Transaction:
        keys = [key for name in names if (key := self.keys[name]) is not None]
        return build_transaction(body, self.chain_id, keys)

    def emission(self, signer: str, reference: bytes) -> Transaction:
        height = self.net.ask("validator-0", rpc.block_number())
        body = build_body(
            Kind.EMISSION,
            (),
            [make_output("BRL", 500, self.lock("bcb"))],
            valid_until=height + 100,
            reference=reference,
        )
        return self.sign(body, signer)


def test_everything_false_is_refused_with_its_code_and_changes_nothing(net: Network) -> None:
    forge = Forge(net)
    whole = forge.coin.amount
    good = forge.sign(forge.body(("bob", 5), ("alice", whole - 5)), "alice")
    raw = good.raw
    bent = forge.sign(forge.body(("bob", 6), ("alice", whole - 6)), "alice").raw
    net.ask("full-0", rpc.send(forge.emission("bcb", b"one operation").raw))
    until(
        "the reference is used",
        lambda: net.ask("full-0", rpc.transaction_by_reference("BRL", b"one operation")),
    )
    before = [net.ask("validator-0", rpc.supply(asset)).circulating for asset in ("BRL", DVT)]
    wrong = {
        "TX_UNBALANCED": forge.sign(forge.body(("bob", whole + 1)), "alice").raw,
        "TX_BAD_SIGNATURE": bent[:-20] + bytes([bent[-20] ^ 1]) + bent[-19:],
        "TX_REFERENCE_USED": forge.emission("bcb", b"one operation").raw,
        "TX_NONCANONICAL": raw[:2] + b"\xcc" + raw[2:],
        "TX_TOO_LARGE": raw + bytes(MAX_TRANSACTION_BYTES),
        "TX_MALFORMED": b"\x92\x90\x93\x90\x90\x90",
        "TX_INPUT_DUPLICATE": forge.sign(forge.body(("bob", 2 * whole), points=2), "alice").raw,
        "TX_UNKNOWN_OUTPUT": forge.sign(
            build_body(Kind.TRANSFER, [OutPoint(bytes(32), 0)], [make_output(DVT, 1, forge.lock("bob"))]),
            "alice",
        ).raw,
        "TX_WALLET_NOT_ENABLED": forge.sign(forge.body(("stn", whole)), "alice").raw,
    }
    found = {code: net.code_of("validator-1", bytes_) for code, bytes_ in wrong.items()}
    assert found == {code: code for code in wrong}
    wrong_key = net.code_of("validator-1", forge.sign(forge.body(("bob", whole)), "bob").raw)
    assert wrong_key == "TX_NOT_AUTHORISED"
    wrong_issuer = net.code_of("validator-1", forge.emission("alice", b"another").raw)
    assert wrong_issuer == "TX_NOT_AUTHORISED"
    burn = forge.sign(forge.body(("alice", whole - 1), kind=Kind.BURN), "alice")
    assert net.code_of("validator-1", burn.raw) == "TX_NOT_AUTHORISED"
    net.ask("validator-1", rpc.send(raw))
    final = net.ask("validator-1", rpc.wait_transaction(good.txid.hex(), 20_000))
    assert final.status == "FINAL"
    assert net.code_of("validator-2", bent) == "TX_DOUBLE_SPEND"
    assert net.ask("validator-1", rpc.send(raw)) == good.txid.hex()
    assert [net.ask("validator-0", rpc.supply(asset)).circulating for asset in ("BRL", DVT)] == before


def test_two_spends_of_one_coin_at_two_nodes_end_with_one_of_them_final(net: Network) -> None:
    forge = Forge(net)
    whole = forge.coin.amount
    one = forge.sign(forge.body(("bob", 1), ("alice", whole - 1)), "alice")
    two = forge.sign(forge.body(("bob", 2), ("alice", whole - 2)), "alice")
    taken = [net.code_of(name, item.raw) for name, item in (("validator-0", one), ("validator-3", two))]
    assert taken in ([None, None], [None, "TX_DOUBLE_SPEND"])

    def final() -> list[str] | None:
        states = [net.ask("full-0", rpc.transaction_status(item.txid.hex())).status for item in (one, two)]
        return states if "FINAL" in states else None

    assert until("one is final", final).count("FINAL") == 1


def test_garbage_on_every_port_is_answered_or_closed_and_the_node_goes_on(net: Network) -> None:
    node = net.devnet.node("validator-0")
    process = node.process
    assert process is not None
    for port in (node.p2p_port, node.rpc_port):
        for garbage in (
            b"\x00" * 4096,
            b"GET / HTTP/1.1\r\n" + b"A" * 70_000,
            bytes(range(256)) * 64,
            b"\x13",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.settimeout(20)
                try:
                    connection.sendall(garbage)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError as error:  # the node closed it first
                    if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
                        raise
    assert net.transfer()["status"] == "FINAL"
    assert net.devnet.node("validator-0").process == process


def test_a_peer_that_is_not_registered_is_refused_after_the_handshake_and_logged(
    net: Network, tmp_path: Path
) -> None:
    home = tmp_path / "stranger"
    base = free_base_port(1)
    made = drexnode(
        "init", "--home", home, "--genesis", net.folder / "genesis.json", "--p2p-port", base,
        "--rpc-port", base + 50, *(part for node in net.nodes[:4] for part in ("--peer", node.p2p_address)),
        "-o", "json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    peer_id = json.loads(made.stdout)["peer_id"]

    def refused() -> bool:
        lines = net.log("validator-0")
        return any(peer_id in json.dumps(line) and "refuse" in line["event"] for line in lines)

    start_process(home)
    try:
        until("the stranger is refused", refused)
        assert net.ask("validator-0", rpc.peer_count()) == 5
        with rpc.Client(f"http://127.0.0.1:{base + 50}") as client:
            assert client.run(rpc.block_number()) == 0
            assert client.get("/readyz")[0] == 503
    finally:
        process = find_process(home)
        assert process is not None
        stop_processes([process])


def test_one_validator_killed_blocks_go_on_a_second_halts_and_status_says_why(net: Network) -> None:
    net.run("devnet", "kill", "validator-1")
    first = net.transfer()
    assert len(first["signers"]) == 3
    net.run("devnet", "kill", "validator-2")
    stuck = net.run("tx", "transfer", "alice", "bob", "1.00", "--wait", "--timeout", "4", "-o", "json")
    assert stuck.returncode == output.TRY_AGAIN
    error = json.loads(stuck.stderr)["error"]
    assert error["code"] == "TX_NOT_FINAL"
    assert "validator-1" in error["message"]
    assert "validator-2" in error["message"]
    status = net.json("status")
    assert status["consensus"]["reachable"] == 2
    assert "2 of 4" in status["consensus"]["stalled_reason"]
    assert "NO BLOCKS" in net.run("status").stdout
    with rpc.Client(net.devnet.node("validator-0").rpc_url) as client:
        assert client.get("/readyz")[0] == 503
        assert client.get("/livez")[0] == 200
    heights = {net.height(name) for name in ("validator-0", "validator-3")}
    assert len(heights) == 1
    started = time.monotonic()
    net.run("devnet", "start", "validator-1")
    txid = error["evidence"]["txid"]
    final = net.json("tx", "wait", txid, "--timeout", "20")
    assert final["status"] == "FINAL"
    assert time.monotonic() - started < 10
    net.run("devnet", "start", "validator-2", "--wait")
    net.await_agreement(final["height"])


def test_an_observer_with_an_empty_store_catches_up_and_has_every_block(net: Network) -> None:
    observer = net.devnet.node("observer-0")
    net.run("devnet", "kill", "observer-0")
    for path in sorted((observer.home / "data").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    tip = net.height("validator-0")
    assert tip is not None
    net.run("devnet", "start", "observer-0")
    net.await_agreement(tip, timeout_s=60)
    heads = [
        [item["block_id"] for item in net.ask(name, rpc.headers(0, min(tip, 250)))]
        for name in ("validator-0", "observer-0")
    ]
    assert heads[0] == heads[1]
    assert net.json("query", "supply", DVT, "--rpc", observer.rpc_url) | {"height": 0} == net.json(
        "query", "supply", DVT, "--rpc", net.nodes[0].rpc_url
    ) | {"height": 0}


def test_all_nodes_killed_at_once_come_back_with_all_that_was_final(net: Network) -> None:
    sent = net.transfer()
    blocks = {height: net.block_at("validator-0", height) for height in range(sent["height"] + 1)}
    for node in net.nodes:
        net.devnet.kill(node)
    assert net.devnet.running() == []
    assert net.run("status").returncode == output.UNREACHABLE
    for node in net.nodes:
        net.devnet.start(node)
    net.devnet.wait_started(net.nodes, lambda line: None)
    for node in net.nodes:
        found = {height: net.block_at(node.name, height) for height in blocks}
        assert found == blocks, node.name
    assert net.transfer()["height"] > sent["height"]


def test_what_the_metrics_tell_is_the_chains_height(net: Network) -> None:
    with rpc.Client(net.devnet.node("full-0").rpc_url) as client:
        text = client.get("/metrics")[1].decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(lines["drex_chain_height"]) >= 1
    assert float(lines["drex_supply_invariant_ok"]) == 1
    peers = sum(float(value) for name, value in lines.items() if name.startswith("drex_peers{"))
    assert peers == 5


def test_down_stops_every_process_and_up_goes_on_with_the_chain(net: Network) -> None:
    height = net.height("validator-0")
    assert height is not None
    processes = [node.process for node in net.nodes]
    result = net.run("devnet", "down")
    assert (result.returncode, [node.process for node in net.nodes]) == (0, [None] * 6)
    assert None not in processes
    assert net.run("devnet", "down").returncode == 0
    rows = net.json("devnet", "status")["nodes"]
    assert [(row["pid"], row["height"]) for row in rows] == [(None, None)] * 6
    up = net.run("devnet", "up", "--detach")
    assert up.returncode == 0, up.stderr
    assert (net.height("observer-0") or 0) >= height
    assert net.transfer()["height"] > height


def test_keys_that_a_node_signs_with_are_never_in_its_log(net: Network) -> None:
    seeds = [path.read_text().strip() for node in net.nodes for path in (node.home / "keys").iterdir()]
    assert len(seeds) == 10
    for node in net.nodes:
        text = (node.home / "node.log").read_text()
        assert not any(seed in text for seed in seeds)
