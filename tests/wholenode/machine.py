"""One machine of the simulated network: its disk, its clock, and the node that runs, dies and starts again.

The node is composed by `drexnode.node.Node` and opened by `drexnode.recovery` and `storage.signing_state`
as the real program does it. A machine that stops for a reason it should not stop for ends the schedule.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, cast

import trio

from consensus.journal import VoteRecord
from drexnode.config import NodeConfig, NodeSection, PoolSection, StorageSection
from drexnode.evidence_store import EVIDENCE_FOLDER, keep_proofs
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.node import Node
from drexnode.recovery import open_chain
from drexnode.signer import LocalSigner
from drexnode.verifier import Verifier
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument
from primitives.errors import StorageFailure
from primitives.keys import Signature, SigningKey
from storage.signing_state import SigningState, open_signing_state
from storage.watermark import create_watermark
from tests.wholenode.engine import STORED, StoredRows
from tests.wholenode.files import ENOUGH_BYTES, FILE_SYSTEMS, FileSystem, PowerCut, SimPath
from tests.wholenode.links import LinkNetwork
from tests.wholenode.network import SimNetwork
from tests.wholenode.seams import THREADS
from tests.wholenode.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from tests.wholenode.oracle import Oracle

EPOCH_MS = 1_767_225_700_000  # a little after the genesis

_METRICS: dict[int, Metrics] = {}


@dataclass
class Faults:
    """What is wrong with a machine."""

    slow_s: float = 0.0  # a disk call takes up to this
    clock_offset_ms: int = 0
    restart_after_s: float = 0.5
    stays_down: bool = False


class WatchedSigner(LocalSigner):
    """The node's own signer; the oracle hears of every signature, and looks whether it was durable."""

    def __init__(self, key: SigningKey, state: SigningState, machine: Machine) -> None:
        super().__init__(key, state)
        self._machine = machine

    def sign(self, record: VoteRecord) -> Signature:
        signature = super().sign(record)
        self._machine.oracle.signed(self._machine, record)
        return signature


def node_config(name: str, role: str) -> NodeConfig:
    """The configuration of a node on the machine of this name."""
    return NodeConfig(
        home=cast("Path", SimPath(f"/{name}")),
        node=NodeSection(name=name, role=role),
        pool=PoolSection(batch_wait_ms=5),
        storage=StorageSection(hot_set_bytes=16 << 20),
    )


@lru_cache(maxsize=4)
def formatted_rows(document: GenesisDocument) -> tuple[tuple[bytes, bytes], ...]:
    """A new chain's rows: most machines begin with them, which saves them the making."""
    name = "formatting"
    FILE_SYSTEMS[name] = FileSystem(Random(0))
    rows = STORED[f"/{name}/data/chain"] = StoredRows()
    open_chain(node_config(name, "full"), document, Metrics()).store.close()
    return tuple(rows.rows.items())


@dataclass
class Machine:
    """A computer of the network. `peer` and `validator` name its keys; twins share them."""

    world: World
    network: SimNetwork | LinkNetwork
    oracle: Oracle
    document: GenesisDocument
    number: int
    role: str
    peer: SigningKey
    validator: SigningKey | None = None
    faults: Faults = field(default_factory=Faults)
    node: Node | None = None
    finalizer: Finalizer | None = None
    starts: int = 0
    villain: Callable[[Node], None] | None = None  # makes each of its nodes Byzantine
    is_on: bool = False
    _nursery: trio.Nursery | None = None
    _context: Context | None = None
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _wake: trio.Event = field(default_factory=trio.Event)

    def __post_init__(self) -> None:
        self.name = f"m{self.number}"
        self.random = Random(self.world.random.getrandbits(64))
        self.files = FILE_SYSTEMS[self.name] = FileSystem(self.random)
        formatted = () if self.random.random() < 0.1 else formatted_rows(self.document)
        self.rows = STORED[f"/{self.name}/data/chain"] = StoredRows(dict(formatted))
        self.config = node_config(self.name, self.role)

    # --- what the node asks of it

    def now_ms(self) -> int:
        """Its wall clock."""
        return EPOCH_MS + int(self.world.now_s * 1000) + self.faults.clock_offset_ms

    def latencies_s(self) -> tuple[float, float]:
        """Of one call to its disk."""
        slow_s = self.faults.slow_s or 0.0004
        return self.random.random() * slow_s, self.random.random() * slow_s

    @property
    def height(self) -> int:
        """Its tip, 0 while it is down."""
        return 0 if self.finalizer is None else self.finalizer.head.height

    def start_soon(self, work: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Let a client do something with the running node, as long as it runs."""
        if self.is_running and self._nursery is not None and self._context is not None:
            self._context.run(self._nursery.start_soon, work, *arguments)

    @property
    def is_running(self) -> bool:
        """True while the node serves."""
        return self.is_on and self.node is not None

    # --- dying

    def cut_power(self) -> None:
        """Now, whatever it does: unsynced writes are lost."""
        if self.is_on:
            self.is_on = False
            self.world.note(self.number, b"power cut")
            self.files.lose_power()
            self.rows.lose_power()
            self._scope.cancel()

    def kill(self) -> None:
        """`kill -9`: the page cache survives."""
        if self.is_on:
            self.is_on = False
            self.world.note(self.number, b"killed")
            self.files.kill_process()
            self.rows.is_open = False
            self._scope.cancel()

    def lose_journal(self) -> None:
        """The file of its votes is gone, the watermark is not."""
        name = f"/{self.name}/data/votes/votes.journal"
        self.files.names.pop(name, None)
        self.files.durable_names.pop(name, None)

    def crash(self) -> None:
        """One or the other."""
        (self.cut_power if self.random.random() < 0.7 else self.kill)()

    def restart_soon(self) -> None:
        """End a long pause."""
        self.faults.stays_down = False
        self._wake.set()

    # --- living

    async def live(self) -> None:
        """Run the node again and again until cancelled."""
        THREADS.set(self)
        while True:
            await self._run_once()
            self._wake = trio.Event()
            with trio.move_on_after(self.faults.restart_after_s * (0.5 + self.random.random())):
                await self._wake.wait()
            while self.faults.stays_down:
                await self._wake.wait()
                self._wake = trio.Event()

    async def _run_once(self) -> None:
        self.files.power_on()
        self.files.free_bytes = ENOUGH_BYTES
        self.is_on, self.starts = True, self.starts + 1
        self.world.note(self.number, b"start")
        try:
            with trio.CancelScope() as self._scope:
                await self._run_node()
        except BaseException as error:
            self._judge_end(error)
        finally:
            self.node = self.finalizer = self._nursery = None
            was_on, self.is_on = self.is_on, False
            if was_on:  # the process ended by itself
                self.files.kill_process()
                self.rows.is_open = False

    async def _run_node(self) -> None:
        chain_id = chain_id_of(self.document)
        metrics = _METRICS.setdefault(self.number, Metrics())
        finalizer = open_chain(self.config, self.document, metrics)
        signer = None
        if self.validator is not None:
            if not self.config.watermark_path.is_dir():
                create_watermark(self.config.watermark_path, chain_id, self.validator.public_key)
            votes = self.config.data_path / "votes"
            state = open_signing_state(votes, self.config.watermark_path, chain_id, self.validator.public_key)
            signer = WatchedSigner(self.validator, state, self)
        self.oracle.opened(self, finalizer)
        finalizer.on_final(lambda block, executed: self.oracle.final(self, block))
        try:
            async with (
                self.network.open(self.number, self.peer) as host,
                trio.open_nursery() as self._nursery,
            ):
                node = Node(
                    self.config,
                    finalizer,
                    host,
                    Verifier(),
                    signer,
                    metrics,
                    now_ms=self.now_ms,
                    random=self.random,
                )
                if self.villain is not None:
                    self.villain(node)
                self.node, self.finalizer, self._context = node, finalizer, copy_context()
                await node.run(None)
        except Exception as error:
            keep_proofs(error, self.config.data_path / EVIDENCE_FOLDER)
            raise
        finally:
            if self.is_on:
                if signer is not None:
                    signer.close()
                finalizer.store.close()

    def _judge_end(self, error: BaseException) -> None:
        """A dead machine's last words mean nothing; a failed disk stops a node; all else is a find."""
        if not self.is_on or self._scope.cancel_called:
            return
        causes = list(_leaves(error))
        if all(isinstance(cause, PowerCut) for cause in causes):
            self.is_on = True
            self.cut_power()
        elif all(isinstance(cause, StorageFailure) for cause in causes) and self.oracle.excuses(self, causes):
            self.world.note(self.number, b"stopped")
        elif all(isinstance(cause, trio.Cancelled) for cause in causes):
            raise error
        else:
            self.world.fail(error)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
