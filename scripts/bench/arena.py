"""Networks of real node processes for a measurement: own genesis, own money, free ports, gone afterwards.

A node's promise of finality is read where it is made: the `block.final` line of its log, written when the
block is durable, with microseconds of the one clock that all processes of this machine share.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from msgspec import structs

from drexnode import client as rpc
from drexnode.devnet import Devnet, DevnetNode, write_network
from drexnode.network_plan import plan_network
from drexnode.processes import LOG_FILE, kill_process, start_process
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument
from primitives.errors import DrexError
from primitives.keys import SigningKey, verify_many
from scripts.bench.grow import grow, with_seeds
from scripts.bench.money import SIGNATURES, Load, LoadName, Money
from scripts.bench.report import say
from tests.network.net import free_base_port

VERIFY_S = 1.0
VERIFY_AT_ONCE = 500
LOG_WAIT_S = 30.0
START_S = 300.0  # on a machine that is busy with other work; a start measures nothing
AGE_MS = 3_600_000  # of a genesis whose chain is made before its nodes start


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is made of. `cpu`: all its nodes on that processor; `absent`: nodes that are registered
    but not started, whose place the measurement itself takes. `outputs`: unspent ones beside the coins,
    made through blocks before the nodes start. `buckets` of the state tree; 0: a devnet's."""

    validators: int = 4
    full: int = 0
    observers: int = 0
    workers: int = 0
    cpu: int | None = None
    absent: tuple[str, ...] = ()
    load: LoadName = "transfers"
    coins: int = 24_000
    wallets: int = 1_000
    outputs: int = 0
    buckets: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)


class Arena:
    """One running network, and the money to be sent through it."""

    def __init__(self, devnet: Devnet, shape: Shape, load: Load, seeds: Mapping[str, bytes]) -> None:
        self.devnet, self.shape, self.load = devnet, shape, load
        self.seeds = dict(seeds)
        self.rate = 0.0  # final payments a second of the last window
        self._logs = {node.name: FinalLog(node) for node in self.validators}

    @property
    def nodes(self) -> list[DevnetNode]:
        """The nodes that are started."""
        return [node for node in self.devnet.nodes if node.name not in self.shape.absent]

    @property
    def validators(self) -> list[DevnetNode]:
        """The validators, whether they live or not."""
        return [node for node in self.devnet.nodes if node.role == "validator"]

    @property
    def living(self) -> list[DevnetNode]:
        """The validators that live."""
        return [node for node in self.validators if node.process is not None]

    @property
    def urls(self) -> list[str]:
        """The RPC of each validator that lives."""
        return [node.rpc_url for node in self.living]

    @property
    def signatures(self) -> int:
        """Signatures of one payment."""
        return SIGNATURES[self.shape.load]

    def pids(self) -> dict[str, int]:
        """The living nodes' processes by name."""
        return {node.name: node.process.pid for node in self.nodes if node.process is not None}

    def start(self, node: DevnetNode) -> None:
        """Start a node with this network's settings."""
        cpu = self.shape.cpu
        prefix = () if cpu is None else ("taskset", "-c", str(cpu))
        variables = {"DREX_POOL_VERIFY_WORKERS": str(self.shape.workers)} | dict(self.shape.variables)
        start_process(node.home, prefix=prefix, variables=variables)

    def kill(self, node: DevnetNode) -> None:
        """`kill -9`."""
        if node.process is not None:
            kill_process(node.process)

    def wait_ready(self) -> None:
        """Until every node that lives is ready and knows all others that live."""
        self.devnet.wait_started([node for node in self.nodes if node.process is not None], say, START_S)
        deadline = time.monotonic() + START_S
        while True:
            living = [state for state in self.devnet.status() if state.pid is not None]
            if all((state.peers or 0) >= len(living) - 1 for state in living):
                return
            if time.monotonic() > deadline:
                raise DrexError(
                    "BENCH_NOT_JOINED", "the nodes do not find each other", next="see their node.log"
                )
            time.sleep(0.1)

    def final_everywhere(self, height: int) -> float:
        """The moment (`time.time`) at which the last living validator had made the height final."""
        return max(self._logs[node.name].moment(height) for node in self.living)


class FinalLog:
    """When one node made its blocks final, as its log has it. For several threads at once."""

    def __init__(self, node: DevnetNode) -> None:
        self._path, self._name = node.home / LOG_FILE, node.name
        self._read = 0
        self._moments: dict[int, float] = {}
        self._one_at_a_time = threading.Lock()

    def moment(self, height: int) -> float:
        """Seconds since 1970; waits for it. Raises `DrexError` BENCH_NOT_FINAL."""
        deadline = time.monotonic() + LOG_WAIT_S
        while height not in self._moments:
            self._read_on()
            if height in self._moments:
                break
            if time.monotonic() > deadline:
                message = f"{self._name} has not made block {height} final"
                raise DrexError("BENCH_NOT_FINAL", message, next=f"read {self._path}")
            time.sleep(0.002)
        return self._moments[height]

    def _read_on(self) -> None:
        with self._one_at_a_time, self._path.open("rb") as log:
            log.seek(self._read)
            data = log.read()
            whole = data.rfind(b"\n") + 1
            self._read += whole
            for line in data[:whole].splitlines():
                if b'"block.final"' in line:
                    event = json.loads(line)
                    moment = datetime.fromisoformat(event["timestamp"]).timestamp()
                    self._moments[int(event["height"])] = moment


def grown_document(document: GenesisDocument, shape: Shape) -> GenesisDocument:
    """The genesis with the seeds of the outputs that are made later, and with so many buckets."""
    if shape.buckets:
        parameters = structs.replace(document.parameters, bucket_count=shape.buckets)
        document = structs.replace(document, parameters=parameters)
    return with_seeds(document, shape.outputs)


@contextmanager
def open_arena(shape: Shape) -> Iterator[Arena]:
    """Write the network, start it, wait for it; stop and delete it in the end, SIGTERM's end included."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended by SIGTERM"))
    with tempfile.TemporaryDirectory(prefix="drexnode-bench-") as name:
        plan = plan_network(
            validators=shape.validators, full=shape.full, observers=shape.observers,
            base_port=free_base_port(shape.validators + shape.full + shape.observers),
            entropy=secrets.token_bytes(32),
            timestamp_ms=time.time_ns() // 1_000_000 - (AGE_MS if shape.outputs else 0),
        )  # fmt: skip
        banks = plan.wallets["bank-a"], plan.wallets["bank-b"]
        money = Money(shape.load, shape.coins, shape.wallets, banks)
        plan = replace(plan, document=grown_document(money.document(plan.document), shape))
        folder = Path(name) / "net"
        write_network(plan, folder)
        if shape.outputs:
            grow(plan, folder, shape.outputs)
        load = Load(money, chain_id_of(plan.document))
        seeds = {node.name: node.peer_seed for node in plan.nodes}
        arena = Arena(Devnet(folder), shape, load, seeds)
        try:
            for node in arena.nodes:
                arena.start(node)
            arena.wait_ready()
            yield arena
        finally:
            arena.devnet.stop()


def verified(url: str) -> int:
    """Signatures of transactions that a node has verified."""
    with rpc.Client(url) as client:
        text = client.get("/metrics")[1].decode()
    lines = (line for line in text.splitlines() if line.startswith("drex_signatures_verified_total"))
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in lines))


def verify_for(seconds: float) -> float:
    """Signatures a second that this process verifies."""
    key, message = SigningKey(bytes(range(32))), bytes(32)
    checks = [(key.public_key, message, key.sign(message))] * VERIFY_AT_ONCE
    done, begin = 0, time.monotonic()
    while (taken := time.monotonic() - begin) < seconds:
        if not all(verify_many(checks)):
            raise DrexError("BENCH_SIGNATURE", "a signature does not verify")
        done += len(checks)
    return done / taken


def verification_limit(processes: int, cpus: Sequence[int] | None = None, seconds: float = VERIFY_S) -> float:
    """Signatures a second that so many processes verify together on `cpus`, the machine as busy as it is."""
    with ProcessPoolExecutor(processes, initializer=_pin, initargs=(cpus,)) as pool:
        list(pool.map(verify_for, [0.05] * processes))
        return sum(pool.map(verify_for, [seconds] * processes))


def _pin(cpus: Sequence[int] | None) -> None:
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
