"""A devnet of real processes for tests: started, asked and hurt only as an operator could."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from drexnode import client as rpc
from drexnode.devnet import Devnet, DevnetNode
from drexnode.network_plan import RPC_PORT_OFFSET
from drexnode.wallet import WalletBook

T = TypeVar("T")
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("DREX_")}
COMMAND = [sys.executable, "-m", "drexnode"]
POLL_S = 0.1


def drexnode(*arguments: str | int | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=ENVIRONMENT)


def free_base_port(nodes: int) -> int:
    """A base port below the range for outgoing connections whose ports are all free now."""
    for _ in range(100):
        base = random.randrange(10_000, 32_000)
        if all(_is_free(base + offset + n) for offset in (0, RPC_PORT_OFFSET) for n in range(nodes)):
            return base
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def until(what: str, condition: Callable[[], T | None], timeout_s: float = 30) -> T:
    """Wait until `condition` gives something, or fail with its description."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(POLL_S)


class Network:
    """A running devnet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.devnet = Devnet(folder)
        self.wallets = WalletBook.load(folder / "wallets.json").accounts

    @property
    def nodes(self) -> list[DevnetNode]:
        return self.devnet.nodes

    def run(self, *arguments: str | int | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command with this devnet as `--dir`."""
        return drexnode(*arguments, "--dir", self.folder, **options)

    def json(self, *arguments: str | int | Path) -> dict[str, Any]:
        """The JSON a command answers; it must succeed."""
        result = self.run(*arguments, "-o", "json")
        assert result.returncode == 0, result.stderr
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    def ask(self, name: str, call: rpc.Call[T]) -> T:
        """Carry out a call at a node."""
        with rpc.Client(self.devnet.node(name).rpc_url) as client:
            return client.run(call)

    def code_of(self, name: str, raw: bytes) -> str | None:
        """The code by which a node refuses a transaction; None when it takes it."""
        [answer] = self.ask(name, rpc.send_many([raw]))
        return answer.code

    def height(self, name: str) -> int | None:
        """The tip of a node, None while it does not answer."""
        try:
            return self.ask(name, rpc.block_number())
        except rpc.NodeUnreachable:
            return None

    def block_at(self, name: str, height: int) -> tuple[str, str] | None:
        """(block id, state root) of a height at a node, None while it lacks it."""
        try:
            found = self.ask(name, rpc.block(height))
        except rpc.NodeUnreachable:
            return None
        return None if found is None else (found["block_id"], found["state_root"])

    def await_agreement(self, height: int, names: list[str] | None = None, timeout_s: float = 30) -> None:
        """Wait until all nodes have one and the same block at a height."""
        blocks = {}
        for name in names or [node.name for node in self.nodes]:
            look = partial(self.block_at, name, height)
            blocks[name] = until(f"{name} at height {height}", look, timeout_s)
        assert len(set(blocks.values())) == 1, blocks

    def transfer(self, amount: str = "1.00", timeout_s: int = 30) -> dict[str, Any]:
        """A final transfer from alice to bob."""
        return self.json("tx", "transfer", "alice", "bob", amount, "--wait", "--timeout", timeout_s)

    def log(self, name: str) -> list[dict[str, Any]]:
        """The JSON lines of a node's log."""
        lines = (self.devnet.node(name).home / "node.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@contextmanager
def network(folder: Path, *, validators: int = 4, full: int = 1, observers: int = 1) -> Iterator[Network]:
    """A detached devnet, stopped at the end whatever happens; its logs stay for a failure."""
    base = free_base_port(validators + full + observers)
    try:
        result = drexnode(
            "devnet", "up", "--detach", "--dir", folder, "--base-port", base, "--validators", validators,
            "--full", full, "--observers", observers,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        yield Network(folder)
    finally:
        if Devnet.exists(folder):
            Devnet(folder).stop()
