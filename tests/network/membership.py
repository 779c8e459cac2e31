"""A validator is voted in and another one out while payments go on; then the new one is needed, and serves.

    python -m tests.network.membership --rate 100

Everything is done by the commands an operator has. A fifth node gets a home, is permitted, made a candidate,
started, and voted in once it stands at the tip; then validator-3 is voted out. Four of five and three of four
must agree from then on: the new validator seals blocks, the former one follows them and signs nothing. At the
end validator-2 is killed, so that no block comes without the new one. No transfer may be lost.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from drexnode import client as rpc
from drexnode.processes import find_process, start_process, stop_processes
from ledger.devnet import BANK_A_ISPB
from tests.network.machine import machine_line
from tests.network.net import Network, drexnode, free_base_port, network, until
from tests.network.steady import SteadyLoad, headers, intervals_ms, signed_transfers

_LEAVES = "validator-3"
_STAY = ["validator-0", "validator-1", "validator-2"]
_BLOCKS = 20
_LOAD_S = 180.0
"""Longer than the whole takes: without payments there would be an empty block each 5 s."""

Say = Callable[[str], None]


class Newcomer:
    """A validator that is no part of the network's genesis."""

    def __init__(self, net: Network, home: Path) -> None:
        self._net = net
        self.home = home
        port = free_base_port(1)
        self.address = f"/ip4/127.0.0.1/tcp/{port}"
        self.url = f"http://127.0.0.1:{port + 50}"
        peers = [part for node in net.nodes for part in ("--peer", node.p2p_address)]
        made = net_json(
            "init", "--home", home, "--genesis", net.folder / "genesis.json", "--role", "validator",
            "--p2p-port", port, "--rpc-port", port + 50, *peers,
        )  # fmt: skip
        self.peer_id: str = made["peer_id"]
        self.key: str = made["validator_key"]

    def register(self) -> None:
        """Permit the peer and let validators vote for its key."""
        by = ("--by", "bcb-registry", "--wait")
        self._net.json(
            "registry", "node", "add", self.peer_id, "validator", BANK_A_ISPB,
            "--address", self.address, "--validator-key", self.key, *by,
        )  # fmt: skip
        self._net.json("registry", "candidate", "add", self.key, BANK_A_ISPB, *by)

    def start(self) -> None:
        """Start it and wait until it stands at the tip."""
        start_process(self.home)
        until("the newcomer is ready", self._is_ready, 120)

    def stop(self) -> None:
        """Stop it, if it runs."""
        if (process := find_process(self.home)) is not None:
            stop_processes([process])

    def ask(self, call: rpc.Call[Any]) -> Any:
        """Carry out a call at it."""
        with rpc.Client(self.url) as client:
            return client.run(call)

    def _is_ready(self) -> bool:
        try:
            return bool(self.ask(rpc.network_info())["ready"])
        except rpc.NodeUnreachable:
            return False


def net_json(*arguments: str | int | Path) -> dict[str, Any]:
    """The JSON of a command that concerns no devnet."""
    result = drexnode(*arguments, "-o", "json")
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def vote(net: Network, operation: str, subject: str, voters: list[str | Path]) -> int:
    """Cast votes until they are a quorum; the height in which the last one became final."""
    return max(
        int(net.json("tx", "vote", operation, subject, "--by", voter, "--wait")["height"]) for voter in voters
    )


def signers(net: Network, first: int, blocks: int) -> list[set[str]]:
    """Who sealed each of so many blocks from a height on; waits for them."""
    until(f"block {first + blocks}", lambda: (net.height("validator-0") or 0) >= first + blocks, 120)
    found = []
    for height in range(first, first + blocks):
        certificate = net.ask("validator-0", rpc.certificate(height))
        assert certificate is not None
        found.append(set(certificate["signers"]))
    return found


def set_after(net: Network, height: int) -> set[str]:
    """The validators that decide the block after `height`."""
    keys: list[str] = net.ask("validator-0", rpc.validators(height + 1))
    return set(keys)


def run(net: Network, newcomer: Newcomer, rate: int, say: Say) -> None:
    """The whole change of validators under load. Raises `AssertionError` for any broken promise."""
    load = SteadyLoad(net, signed_transfers(net, round(rate * _LOAD_S)), rate, _STAY)
    begin = until("a tip", lambda: net.height("validator-0"))
    with load.running():
        newcomer.register()
        newcomer.start()
        say("a fifth node is registered, started and at the tip")
        added = vote(net, "add", newcomer.key, list(_STAY))
        assert newcomer.key in set_after(net, added)
        sealed = signers(net, added + 1, _BLOCKS)
        assert any(newcomer.key in keys for keys in sealed), "the new validator seals nothing"
        assert all(len(keys) >= 4 for keys in sealed), "four of five are a quorum"
        say(f"voted in at height {added}; sealed {_count(newcomer.key, sealed)} of the next {_BLOCKS} blocks")
        former = key_of(net, _LEAVES)
        removed = vote(net, "remove", _LEAVES, [*_STAY, newcomer.home])
        assert set_after(net, removed) == set_after(net, added) - {former}
        sealed = signers(net, removed + 1, _BLOCKS)
        assert not any(former in keys for keys in sealed), "the former validator seals blocks"
        say(f"{_LEAVES} voted out at height {removed}; sealed none of the next {_BLOCKS} blocks")
        _check_former(net, former)
        net.devnet.kill(net.devnet.node("validator-2"))
        alone = until("a tip", lambda: net.height("validator-0"))
        sealed = signers(net, alone + 2, _BLOCKS)
        assert all(newcomer.key in keys for keys in sealed), "three of four with one dead: all three seal"
        say(f"validator-2 is dead: the new validator sealed all of the next {_BLOCKS} blocks")
    tip = until("a tip", lambda: net.height("validator-0"))
    rows = headers(net, "validator-0", begin, tip)
    assert not load.refused, load.refused[0]
    lost = load.lost(net, _LEAVES, survivors=["validator-0", "validator-1"], timeout_s=30)
    assert not lost, f"{len(lost)} transfers are lost, e.g. {min(lost)}"
    block = until("the newcomer has the tip", partial(newcomer.ask, rpc.block(tip)))
    assert (block["block_id"], block["state_root"]) == net.block_at(_LEAVES, tip)
    waits = intervals_ms(rows)
    taken = sum(len(txids) for txids in load.taken.values())
    say(
        f"{taken} transfers taken, none lost; {len(waits)} blocks, one each {statistics.median(waits):.0f} "
        f"ms (median), the longest wait {max(waits) / 1000:.1f} s; the former validator follows to the tip"
    )


def _check_former(net: Network, former: str) -> None:
    """A former validator shows itself as none, passes payments on, and its vote is refused."""
    seen = net.ask(_LEAVES, rpc.network_info())["consensus"]
    assert former not in [item["public_key"] for item in seen["validators"]]
    url = net.devnet.node(_LEAVES).rpc_url
    paid = net.json("tx", "transfer", "alice", "bob", "1.00", "--wait", "--rpc", url)
    assert (paid["status"], former in paid["signers"]) == ("FINAL", False)
    refused = net.run("tx", "vote", "add", _LEAVES, "--by", _LEAVES, "-o", "json")
    assert json.loads(refused.stderr)["error"]["code"] == "TX_NOT_A_VALIDATOR", refused.stderr


def key_of(net: Network, name: str) -> str:
    """The key that a validator of the current set votes with."""
    infos = net.ask("validator-0", rpc.network_info())["consensus"]["validators"]
    [key] = [str(item["public_key"]) for item in infos if item["name"] == name]
    return key


def _count(key: str, sealed: list[set[str]]) -> int:
    return sum(key in keys for keys in sealed)


@click.command()
@click.option("--rate", default=100, show_default=True, help="Transfers a second.")
def main(rate: int) -> None:
    """Vote a validator in and another one out of a network under load."""
    folder = Path(tempfile.mkdtemp(prefix="drexnode-membership-"))
    print(machine_line(), flush=True)
    with network(folder / "net", full=0, observers=0) as net:
        newcomer = Newcomer(net, folder / "newcomer")
        try:
            begin = time.monotonic()
            run(net, newcomer, rate, lambda text: print(text, flush=True))
            print(f"done in {time.monotonic() - begin:.0f} s")
        finally:
            newcomer.stop()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
