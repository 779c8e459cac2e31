"""Two nodes for one history: one with a store and the short ways, one that looks everything up anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import drexnode.pool_gate
import ledger.apply
from drexnode.finalizer import Finalizer
from drexnode.pool_gate import PoolGate
from ledger.block import Block, FinalizedBlock, tx_root
from ledger.context import LedgerParameters
from ledger.execute import BuiltBlock, ExecutedBlock, ExecutionContext, build_block
from ledger.mempool import Mempool
from ledger.slices import Slices, finish
from ledger.state import StateDelta, StateReader, StateView
from ledger.state_tree import StateTree
from ledger.transaction import Transaction
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.hashing import ZERO_HASH
from primitives.validators import ValidatorSet
from storage.chain_store import ChainStore, open_chain_store
from storage.integrity import check_open
from tests.ledger.chain import Pages, with_parameters
from tests.ledger.world import BCB, CHAIN_ID, RECOVERY_DELAY, REPLAY_WINDOW, VALIDATOR_SET, Dict

BUCKETS = 16
HOT_SETS = (0, 3000, 1 << 24)
PARAMETERS = with_parameters(bucket_count=BUCKETS)
RULES = LedgerParameters(BCB, REPLAY_WINDOW, RECOVERY_DELAY)


class Node:
    """State, tree, pool and head of one of the two; `commit` is theirs."""

    state: StateReader
    tree: StateTree

    def __init__(self) -> None:
        self.validators: ValidatorSet = VALIDATOR_SET
        self.pool = Mempool()
        self.head: Any = None
        surroundings = SimpleNamespace(context=lambda explains=False: self.context)
        self.surroundings = surroundings
        self.gate = PoolGate(self.pool, cast(Finalizer, surroundings), lambda: self.now_ms)

    @property
    def context(self) -> ExecutionContext:
        return ExecutionContext(self.head.header, self.validators, PARAMETERS, RULES)

    @property
    def now_ms(self) -> int:
        return int(self.head.header.timestamp_ms) + 1000

    def advance(self, header: BlockHeader, validators: ValidatorSet) -> None:
        self.validators = validators
        self.head = SimpleNamespace(header=header, height=header.height)
        self.surroundings.head, self.surroundings.state = self.head, self.state

    def build(self, candidates: Sequence[Transaction], proposer: bytes) -> Slices[BuiltBlock]:
        return build_block(self.state, self.tree, self.context, proposer, self.now_ms, candidates)

    def leave(self, executed: ExecutedBlock) -> list[tuple[bytes, str]]:
        block = FinalizedBlock(executed.block, certificate_of(executed.block))
        self.gate.begin_leaving(block)
        left: list[tuple[bytes, str]] = []
        while (each := self.gate.next_leaving()) is not None:
            left += [(gone.txid, gone.code) for gone in finish(self.gate.leave(each))]
        return left


class Cold(Node):
    """Dictionaries, the general way, nothing kept."""

    def __init__(self, entries: dict[bytes, bytes]) -> None:
        super().__init__()
        self.state = self.entries = Dict()
        self.pages = Pages()
        self.tree = StateTree(BUCKETS, self.pages)
        self.delta = StateDelta.of({name: (None, value) for name, value in entries.items()})
        patch = self.tree.apply(self.delta.changes)
        header = BlockHeader(
            1, 0, ZERO_HASH, 1_000, ZERO_HASH, 0, tx_root(()), patch.root, ZERO_HASH, ZERO_HASH
        )
        self.genesis = ExecutedBlock(Block(header, ()), self.delta, patch, VALIDATOR_SET)
        self.commit(self.genesis)

    def commit(self, executed: ExecutedBlock) -> None:
        view = StateView(self.state)
        for name, (_, value) in executed.delta.changes.items():
            view.put(name, value)
        self.entries.commit(view)
        self.tree.commit(executed.patch)
        for page_key, page in executed.patch.page_writes():
            if page is None:
                self.pages.pop(page_key, None)
            else:
                self.pages[page_key] = page
        self.advance(executed.block.header, executed.next_validators)


class Warm(Node):
    """A chain store on disk, as a node runs it."""

    def __init__(self, folder: Path, genesis: ExecutedBlock, random: Random) -> None:
        super().__init__()
        self.folder, self.random = folder, random
        self.store = self.open(create=True)
        self.commit(genesis)

    def open(self, *, create: bool = False) -> ChainStore:
        store = open_chain_store(
            self.folder, CHAIN_ID, hot_set_bytes=self.random.choice(HOT_SETS), create=create
        )
        self.tree, self.state = check_open(store, CHAIN_ID, BUCKETS), store.state
        return store

    def commit(self, executed: ExecutedBlock) -> None:
        block = executed.block
        certificate = certificate_of(block) if block.height else None
        self.store.commit(block, certificate, executed.delta, executed.patch)
        self.tree.commit(executed.patch)
        self.advance(block.header, executed.next_validators)

    def restart(self) -> None:
        self.store.close()
        self.store = self.open()
        self.advance(self.head.header, self.validators)


def certificate_of(block: Block) -> CommitCertificate:
    return CommitCertificate(1, block.height, 0, block.block_id, ((0, bytes(64)),))


@contextmanager
def the_general_way() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(ledger.apply, "try_plain_transfer", return_value=False))
        stack.enter_context(mock.patch.object(drexnode.pool_gate, "plain_share", return_value=None))
        yield
