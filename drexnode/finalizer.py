"""The one door to a new height, for every role: proposer, voter, full node, observer, catching up or live.

Promises: heights become final one after another; a block is durable (one synced batch) before anyone hears
of it; state, tree and head change together, between two turns of the event loop; whoever registered with
`on_final` is called in order of registration, once a block. A failure in here stops the node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import trio

from consensus.evidence import ConflictProof
from drexnode.metrics import Metrics
from drexnode.protocol_guard import UpgradeNeeded, check_protocol, find_upgrade_needed
from drexnode.slicing import Resumable, RightOfWay, breathe
from drexnode.telemetry import get_logger
from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock, ExecutionContext
from ledger.genesis import chain_id_of, ledger_parameters
from ledger.genesis_records import GenesisDocument
from ledger.override import Override
from ledger.state import StateReader
from ledger.state_tree import StateTree
from ledger.transaction import OutPoint
from primitives.block import BlockHeader, BlockId
from primitives.certificate import CommitCertificate
from primitives.codec import encode
from primitives.errors import InvariantViolation
from primitives.validators import ValidatorSet
from storage.chain_store import ChainStore, PreparedBlock
from storage.queries import ChainQueries
from storage.validator_rows import read_overrides, write_override

_log = get_logger("finalizer")

OnFinal = Callable[[FinalizedBlock, ExecutedBlock], None]


@dataclass(frozen=True, slots=True)
class Head:
    """The highest final block. `validators` decide the next height; `certificate` is None for genesis."""

    header: BlockHeader
    block_id: BlockId
    certificate: CommitCertificate | None
    validators: ValidatorSet

    @property
    def height(self) -> int:
        return self.header.height


class Finalizer:
    """Holds the committed chain: store, state, tree and head. Belongs to one trio thread."""

    def __init__(
        self, store: ChainStore, tree: StateTree, genesis: GenesisDocument, head: Head, metrics: Metrics
    ) -> None:
        self.store = store
        self.state: StateReader = store.state
        self.tree = tree
        self.genesis = genesis
        self.chain_id = chain_id_of(genesis)
        self.queries = ChainQueries(store, self.chain_id)
        self.overrides = read_overrides(store.database)  # those that this node follows
        self.head = replace(head, validators=self._deciders_after(head.header, head.validators))
        self._ledger = ledger_parameters(genesis)
        self._metrics = metrics
        self._listeners: list[OnFinal] = []
        self.upgrade_needed: UpgradeNeeded | None = None  # the next block's rules are not in this program
        self._decided_by: ValidatorSet | None = None  # the head; None until this run decided one
        self._ahead: tuple[ExecutedBlock, Resumable[PreparedBlock]] | None = None
        self.right_of_way = RightOfWay()
        self._one_at_a_time = trio.Lock()
        self._grown = trio.Event()
        metrics.chain_height.set(head.height)
        metrics.head_timestamp_seconds.set(head.header.timestamp_ms / 1000)

    def context(self, *, explains: bool = False) -> ExecutionContext:
        """What the block after the head is executed with. `explains` makes a refusal of a spent output name
        its spender: a search through the index, for a person's answer and never for what peers send."""
        head, find_spender = self.head, self._find_spender if explains else None
        return ExecutionContext(
            head.header, head.validators, self.genesis.parameters, self._ledger, find_spender
        )

    def _find_spender(self, outpoint: OutPoint) -> tuple[bytes, int] | None:
        """What spent an output, of the genesis as well."""
        outputs = self.genesis.outputs
        of_genesis = outpoint.txid == self.chain_id and outpoint.index < len(outputs)
        return self.queries.find_spender(outpoint, outputs[outpoint.index].lock if of_genesis else None)

    def _deciders_after(self, header: BlockHeader, validators: ValidatorSet) -> ValidatorSet:
        """The set that decides the height after `header`: an override's, or the state's, `validators`."""
        found = self.overrides.validators_after(header)
        if found is None:
            return validators
        if found.epoch <= validators.epoch:
            message = f"the override of block {header.height} names epoch {found.epoch}, not above the last"
            raise InvariantViolation("OVERRIDE_EPOCH", message, height=header.height)
        return found

    async def follow_override(self, override: Override) -> bool:
        """Follow an override, which was checked, from now on, if the head is still below the last block that
        was decided before it; False and nothing done when a block that was just becoming final is that one.

        Raises `StorageFailure`: stop and recover."""
        async with self._one_at_a_time:
            if override.decided_height <= self.head.height:
                return False
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(write_override, self.store.database, override)
                self.overrides.add(override)
        return True

    def on_final(self, listener: OnFinal) -> None:
        """Call `listener(block, executed)` after each block became final. It must not wait or raise."""
        self._listeners.append(listener)

    async def finalize(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        """Make `block` final: checked certificate, execution on top of the head. A second call for a height
        that is final already does nothing.

        Raises `StorageFailure`: the write's outcome is unknown, stop and recover; or (`UpgradeNeeded`) the
        block's rules are not in this program. Raises `InvariantViolation` for a different block at a final
        height, or a block that is not the next."""
        async with self._one_at_a_time:
            if block.height <= self.head.height:
                self._check_same(block)
                return
            self._check_override(block)
            check_protocol(self.state, block.height)
            begin = trio.current_time()
            with self.right_of_way.urgent():
                prepared = await self._preparation_of(executed).finish()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.store.write, prepared, block.certificate)
                self.store.apply(prepared)
                self.tree.commit(executed.patch)
                self._advance(block, executed)
            self._metrics.block_execute_seconds.labels("commit").observe(trio.current_time() - begin)
            await breathe(self.store.state.settle())
            if self.store.pages.is_due(self.tree):
                await self._save_pages()

    async def prepare_ahead(self, executed: ExecutedBlock) -> None:
        """Prepare the batch of a block that may become final next, while votes travel. Cancelled half way, or
        overtaken by the decision, `finalize` goes on from there; for any other block it is thrown away."""
        if executed.block.header.parent_id == self.head.block_id:
            await self._preparation_of(executed).finish()

    def _preparation_of(self, executed: ExecutedBlock) -> Resumable[PreparedBlock]:
        """The preparation of this very execution: the one under way, or a new one."""
        if self._ahead is None or self._ahead[0] is not executed:
            slices = self.store.prepare(executed.block, executed.delta, executed.patch)
            self._ahead = (executed, Resumable(slices))
        return self._ahead[1]

    async def _save_pages(self) -> None:
        """Bring the tree's pages on disk to the head. The next block waits for it, votes do not."""
        batch = await breathe(self.store.pages.prepare(self.tree))
        if batch is None:
            raise InvariantViolation("PAGES_ABANDONED", "the pages of the state tree were not prepared")
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.store.pages.write, batch)
            self.store.pages.saved(self.tree, batch)

    async def settled(self) -> None:
        """Wait until no block is being made final."""
        async with self._one_at_a_time:
            return

    async def wait_height(self, height: int) -> Head:
        """Return the head as soon as it is at least `height`."""
        while self.head.height < height:
            await self._grown.wait()
        return self.head

    def _advance(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        parent, self._ahead = self.head, None
        self._decided_by = parent.validators
        validators = self._deciders_after(block.header, executed.next_validators)
        executed = replace(executed, next_validators=validators)
        self.head = Head(block.header, block.block.block_id, block.certificate, validators)
        grown, self._grown = self._grown, trio.Event()
        grown.set()
        metrics = self._metrics
        metrics.chain_height.set(block.height)
        metrics.head_timestamp_seconds.set(block.header.timestamp_ms / 1000)
        if parent.height > 0:
            metrics.block_interval_seconds.observe(
                (block.header.timestamp_ms - parent.header.timestamp_ms) / 1000
            )
        metrics.block_txs.observe(block.header.tx_count)
        _log.info(
            "block.final",
            height=block.height,
            round=block.certificate.round,
            txs=block.header.tx_count,
            id=block.block.block_id.hex()[:16],
        )
        self.upgrade_needed = find_upgrade_needed(self.state, block.height + 1)
        for listener in self._listeners:
            listener(block, executed)

    def _check_override(self, block: FinalizedBlock) -> None:
        if self.overrides.contradicts(block.height, block.block.block_id):
            message = f"a quorum decided block {block.height}, and a recovery override names another one"
            raise InvariantViolation("OVERRIDE_CONTRADICTED", message, height=block.height)

    def _check_same(self, block: FinalizedBlock) -> None:
        """Raise with a proof when a quorum certified another block than the head at its height."""
        head, validators = self.head, self._decided_by
        if block.height != head.height or block.block.block_id == head.block_id:
            return
        proof = None
        if head.certificate is not None and validators is not None:
            chain = (self.chain_id, validators.epoch, validators.keys)
            proof = encode(
                ConflictProof(*chain, head.header, head.certificate, block.header, block.certificate)
            )
        raise InvariantViolation(
            "CONFLICTING_FINAL_BLOCK",
            f"two final blocks at height {block.height}: stop and investigate",
            height=block.height,
            proof=proof,
        )
