"""A devnet whose nodes each live in a namespace: the same homes, commands and RPC as on loopback."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from drexnode.devnet import Devnet, DevnetNode, write_network
from drexnode.network_plan import plan_network
from drexnode.processes import NodeProcess, start_process
from tests.netns.mesh import Mesh
from tests.network.net import Network

BASE_PORT = 26_600


class NamespaceDevnet(Devnet):
    """A devnet that starts its nodes in their namespaces."""

    def __init__(self, folder: Path, mesh: Mesh) -> None:
        super().__init__(folder)
        self._mesh = mesh

    def start(self, node: DevnetNode, variables: Mapping[str, str] | None = None) -> NodeProcess:
        """Start one node where it lives."""
        return start_process(node.home, prefix=self._mesh.prefix(node.name), variables=variables)


class NamespaceNetwork(Network):
    """A running devnet and the links between its nodes."""

    def __init__(self, folder: Path, mesh: Mesh) -> None:
        super().__init__(folder)
        self.mesh = mesh
        self.devnet = NamespaceDevnet(folder, mesh)


@contextmanager
def namespace_network(
    folder: Path, *, validators: int = 4, full: int = 0, observers: int = 0, delay_ms: int = 0
) -> Iterator[NamespaceNetwork]:
    """A network of namespaces with every node ready; inside a sandbox only."""
    counts = {"validator": validators, "full": full, "observer": observers}
    mesh = Mesh([f"{role}-{n}" for role, count in counts.items() for n in range(count)], delay_ms)
    mesh.build()
    try:
        plan = plan_network(
            validators=validators,
            full=full,
            observers=observers,
            base_port=BASE_PORT,
            entropy=secrets.token_bytes(32),
            timestamp_ms=time.time_ns() // 1_000_000,
            hosts=mesh.hosts(),
        )
        write_network(plan, folder)
        net = NamespaceNetwork(folder, mesh)
        try:
            for node in net.nodes:
                net.devnet.start(node)
            net.devnet.wait_started(net.nodes, lambda line: None)
            net.devnet.wait_mesh()
            yield net
        finally:
            net.devnet.stop()
    finally:
        mesh.close()
