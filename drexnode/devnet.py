"""A local network: every node its own operating-system process and home, real libp2p over loopback.

`DIR/devnet.json` names the nodes and their ports, `DIR/<name>/` are their homes, `DIR/wallets.json` holds the
demo wallets' open seeds. Promise: nothing but processes named by these homes' pid files is ever signalled,
and ports are tried before anything is written.
"""

from __future__ import annotations

import errno
import json
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drexnode import client as rpc
from drexnode.client_tls import TrustError
from drexnode.config import ConfigError, load_config
from drexnode.home import create_home, write_genesis
from drexnode.network_plan import RPC_PORT_OFFSET, NetworkPlan, plan_network
from drexnode.own_node import own_client
from drexnode.processes import (
    NodeProcess,
    find_process,
    kill_process,
    log_tail,
    reap,
    start_process,
    stop_processes,
)
from primitives.errors import DrexError

DEVNET_FILE = "devnet.json"
WALLETS_FILE = "wallets.json"
START_TIMEOUT_S = 60.0
MESH_TIMEOUT_S = 10.0
DEVNET_HOT_SET_BYTES = 32 << 20
PORT_RELEASE_S = 3.0
_POLL_S = 0.1


class DevnetError(DrexError):
    """A devnet can't do what was asked. Codes DEVNET_*."""


@dataclass(frozen=True, slots=True)
class DevnetNode:
    """One node of a devnet, as `devnet.json` has it."""

    name: str
    role: str
    home: Path
    p2p_address: str
    rpc_url: str
    p2p_port: int
    rpc_port: int

    @property
    def process(self) -> NodeProcess | None:
        """Its process, if it runs."""
        return find_process(self.home)


@dataclass(frozen=True, slots=True)
class NodeState:
    """What `devnet status` shows of a node; height and peers are None when its RPC does not answer."""

    node: DevnetNode
    pid: int | None
    height: int | None
    peers: int | None
    ready: bool


def write_network(plan: NetworkPlan, folder: Path) -> None:
    """Write genesis, wallets and homes of a planned network. Raises `HomeError` HOME_EXISTS."""
    folder.mkdir(parents=True, exist_ok=True)
    write_genesis(folder / "genesis.json", plan.document)
    for node in plan.nodes:
        others = tuple(other.address for other in plan.nodes if other is not node)
        create_home(
            folder / node.name,
            plan.document,
            node.role,
            node.peer_seed,
            node.validator_seed,
            {
                "node.name": node.name,
                "p2p.listen": (node.listen,),
                "p2p.peers": others,
                "rpc.host": node.rpc_host,
                "rpc.port": node.rpc_port,
                "rpc.rate_per_second": 0,
                "storage.hot_set_bytes": DEVNET_HOT_SET_BYTES,
                "log.format": "json",
            },
        )
    wallets = json.dumps(plan.wallets_view(), indent=2) + "\n"
    (folder / WALLETS_FILE).write_text(wallets, "utf-8")
    nodes = [
        {
            "name": node.name,
            "role": node.role,
            "p2p_address": node.address,
            "rpc_url": f"http://{node.rpc_host}:{node.rpc_port}",
            "p2p_port": node.p2p_port,
            "rpc_port": node.rpc_port,
        }
        for node in plan.nodes
    ]
    document = {"version": 1, "network": plan.document.name, "nodes": nodes}
    (folder / DEVNET_FILE).write_text(json.dumps(document, indent=2) + "\n", "utf-8")


class Devnet:
    """An existing devnet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes = _read_nodes(folder)

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """True when the folder holds a devnet."""
        return (folder / DEVNET_FILE).is_file()

    @classmethod
    def create(cls, folder: Path, *, validators: int, full: int, observers: int, base_port: int) -> Devnet:
        """Plan and write a new devnet; its ports must be free. Raises `DevnetError` DEVNET_PORT_IN_USE."""
        if validators + full + observers > RPC_PORT_OFFSET:
            raise DevnetError("DEVNET_TOO_LARGE", f"a devnet has at most {RPC_PORT_OFFSET} nodes")
        plan = plan_network(
            validators=validators,
            full=full,
            observers=observers,
            base_port=base_port,
            entropy=secrets.token_bytes(32),
            timestamp_ms=time.time_ns() // 1_000_000,
        )
        for node in plan.nodes:
            check_ports(node.name, node.p2p_port, node.rpc_port)
        write_network(plan, folder)
        return cls(folder)

    def node(self, name: str) -> DevnetNode:
        """The node of that name. Raises `DevnetError` DEVNET_NO_SUCH_NODE."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise DevnetError("DEVNET_NO_SUCH_NODE", f"there is no node {name!r}; there are {known}")

    def running(self) -> list[DevnetNode]:
        """Nodes whose process lives."""
        return [node for node in self.nodes if node.process is not None]

    def start(self, node: DevnetNode) -> NodeProcess:
        """Start one node. Raises `DevnetError` DEVNET_RUNNING, DEVNET_PORT_IN_USE."""
        if node.process is not None:
            raise DevnetError("DEVNET_RUNNING", f"{node.name} runs already", name=node.name)
        check_ports(node.name, node.p2p_port, node.rpc_port, wait_s=PORT_RELEASE_S)
        return start_process(node.home)

    def wait_started(
        self, nodes: list[DevnetNode], report: Callable[[str], None], timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """Wait until all answer as ready and stand at one height. Raises `DevnetError`
        DEVNET_START_FAILED.
        """
        deadline = time.monotonic() + timeout_s
        waiting = {node.name: node for node in nodes}
        while waiting:
            reap()
            for node in list(waiting.values()):
                state = node_state(node)
                if state.pid is None:
                    raise _start_failed(node, "its process ended")
                if state.ready:
                    del waiting[node.name]
                    report(f"{node.name} is ready at height {state.height}, pid {state.pid}")
            if waiting and time.monotonic() > deadline:
                raise _start_failed(next(iter(waiting.values())), "it is not ready in time")
            if waiting:
                time.sleep(_POLL_S)

    def wait_mesh(self) -> bool:
        """Wait until every node is connected to all others; False when some connection takes long."""
        deadline = time.monotonic() + MESH_TIMEOUT_S
        others = len(self.nodes) - 1
        while any(state.peers != others for state in self.status()):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def kill(self, node: DevnetNode) -> None:
        """`kill -9`. Raises `DevnetError` DEVNET_NOT_RUNNING."""
        process = node.process
        if process is None:
            raise DevnetError("DEVNET_NOT_RUNNING", f"{node.name} does not run", name=node.name)
        kill_process(process)

    def stop(self) -> list[str]:
        """Stop all nodes in order; names of those that ran."""
        running = [(node.name, process) for node in self.nodes if (process := node.process) is not None]
        stop_processes([process for _, process in running])
        return [name for name, _ in running]

    def delete(self) -> None:
        """Stop all nodes and delete the folder: keys, chain and all."""
        self.stop()
        shutil.rmtree(self.folder)

    def status(self) -> list[NodeState]:
        """Every node's state, in order."""
        return [node_state(node) for node in self.nodes]


def _read_nodes(folder: Path) -> list[DevnetNode]:
    path = folder / DEVNET_FILE
    try:
        document: Any = json.loads(path.read_text("utf-8"))
        return [
            DevnetNode(
                name=item["name"],
                role=item["role"],
                home=folder / item["name"],
                p2p_address=item["p2p_address"],
                rpc_url=item["rpc_url"],
                p2p_port=item["p2p_port"],
                rpc_port=item["rpc_port"],
            )
            for item in document["nodes"]
        ]
    except FileNotFoundError:
        message = f"there is no devnet in {folder}"
        raise DevnetError("DEVNET_MISSING", message, next=f"drexnode devnet up --dir {folder}") from None
    except (OSError, ValueError, LookupError, TypeError):
        raise DevnetError("DEVNET_UNREADABLE", f"{path} is not a devnet's file", path=str(path)) from None


def check_ports(name: str, *ports: int, wait_s: float = 0.0) -> None:
    """Try to bind each port, for `wait_s` at most: the threads of a killed process may hold its sockets a
    moment longer than it lives. Raises `DevnetError` DEVNET_PORT_IN_USE and names port and node."""
    deadline = time.monotonic() + wait_s
    for port in ports:
        while (error := _bind_error(port)) is not None:
            if time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            why = "in use" if error.errno == errno.EADDRINUSE else str(error.strerror)
            message = f"port {port} of {name} is {why}"
            hint = "drexnode devnet down, or drexnode devnet up --base-port PORT"
            raise DevnetError("DEVNET_PORT_IN_USE", message, port=port, node=name, next=hint)


def _bind_error(port: int) -> OSError | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error
    return None


def node_state(node: DevnetNode) -> NodeState:
    """Ask one node as its own user; whoever does not answer within a second is shown without height."""
    process = node.process
    if process is None:
        return NodeState(node, None, None, None, False)
    try:
        with own_client(load_config(node.home), timeout_s=1.0) as client:
            node = replace(node, rpc_url=client.url)
            info = client.run(rpc.network_info())
        return NodeState(node, process.pid, info["tip"]["height"], info["peers"], bool(info["ready"]))
    except (rpc.NodeUnreachable, rpc.RpcRefused, ConfigError, TrustError):
        return NodeState(node, process.pid, None, None, False)


def _start_failed(node: DevnetNode, why: str) -> DevnetError:
    hint = f"drexnode devnet status; the whole log is {node.home / 'node.log'}"
    return DevnetError(
        "DEVNET_START_FAILED", f"{node.name}: {why}", log=log_tail(node.home), next=hint, node=node.name
    )
