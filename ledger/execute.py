"""Execution: a parent state and transactions give a `StateDelta`, a tree patch and a state root.

Promises: the same parent and block give the same bytes on every machine; nothing passed in is changed (the
delta and the patch are committed later, on decide); a block with one refused transaction is refused whole; a
builder leaves out what is refused and never lets it leave a trace. Sliced, so that no event loop is held.
Every signature must have been verified by the caller: rules are checked here, signatures are not.
Order of a block's effects: docs/ledger.md, "Blocks".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ledger.apply import apply_transaction
from ledger.block import Block, check_header, check_transactions_in_slices, tx_root_in_slices
from ledger.context import BlockContext, FindSpender, LedgerParameters
from ledger.end_of_block import end_block
from ledger.parameters import BlockLimits, ChainParameters
from ledger.slices import Slices
from ledger.state import StateDelta, StateReader, StateView
from ledger.state_tree import StateTree, TreePatch
from ledger.supply import compare_books
from ledger.transaction import Transaction
from primitives.block import HEADER_VERSION, BlockHeader, block_id
from primitives.errors import InvalidBlock, InvalidTransaction
from primitives.limits import BUILDER_MISFITS, DELTA_KEYS_PER_SLICE, ENTRIES_APPLIED_PER_SLICE
from primitives.validators import ValidatorSet


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """What a block is executed on top of, besides state and tree."""

    parent: BlockHeader
    validators: ValidatorSet  # decides the block's height: the state's set, or an override's
    chain: ChainParameters
    ledger: LedgerParameters
    find_spender: FindSpender | None = None

    def at(self, timestamp_ms: int) -> BlockContext:
        """The context of transactions in the next block, should its time be `timestamp_ms`."""
        height = self.parent.height + 1
        return BlockContext(height, timestamp_ms, self.ledger, self.validators, self.find_spender)


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """A block with all that committing it needs. `delta` and `patch` fit only the parent's state."""

    block: Block
    delta: StateDelta
    patch: TreePatch
    next_validators: ValidatorSet

    @property
    def state_root(self) -> bytes:
        """Root of the state after the block."""
        return self.patch.root


class Refusal(NamedTuple):
    """A candidate that a builder left out because the rules refuse it at this height."""

    transaction: Transaction
    error: InvalidTransaction


@dataclass(frozen=True, slots=True)
class BuiltBlock:
    """What a builder made: a block ready to be proposed, and the candidates it refused."""

    executed: ExecutedBlock
    refused: tuple[Refusal, ...]


def execute_block(
    state: StateReader, tree: StateTree, context: ExecutionContext, block: Block
) -> Slices[ExecutedBlock]:
    """Execute `block` on `state`. Raises `InvalidBlock` when it breaks any rule; nothing is changed."""
    header = block.header
    check_header(header, context.parent, context.validators)
    yield from check_transactions_in_slices(header, block.transactions, context.chain.limits)
    view, at, entries = StateView(state), context.at(header.timestamp_ms), 0
    for place, transaction in enumerate(block.transactions):
        try:
            apply_transaction(view, transaction, at)
        except InvalidTransaction as error:
            message = f"transaction {place} ({transaction.txid.hex()}): {error}"
            raise InvalidBlock("BLOCK_TRANSACTION", message, place=place, tx_code=error.code) from error
        entries += _entries_of(transaction)
        if entries >= ENTRIES_APPLIED_PER_SLICE:
            entries = 0
            yield
    next_validators, delta, patch = yield from _close(view, tree, context, header.proposer)
    if header.next_validators_hash != next_validators.hash:
        raise InvalidBlock("BLOCK_NEXT_VALIDATORS", "it names another next validator set")
    if header.state_root != patch.root:
        message = f"its state root is {header.state_root.hex()}, ours {patch.root.hex()}"
        raise InvalidBlock("BLOCK_STATE_ROOT", message, height=header.height)
    return ExecutedBlock(block, delta, patch, next_validators)


def build_block(
    state: StateReader,
    tree: StateTree,
    context: ExecutionContext,
    proposer: bytes,
    timestamp_ms: int,
    candidates: Iterable[Transaction],
) -> Slices[BuiltBlock]:
    """Make the next block of `proposer` from `candidates`, in their order, within the network's limits.

    A refused candidate is left out and named; one that no longer fits is left out without a word. The
    source may end early (a deadline); the result needs no execution by its own proposer."""
    view, at = StateView(state), context.at(timestamp_ms)
    room, chosen, refused = _Room(context.chain.limits), list[Transaction](), list[Refusal]()
    misfits, entries = 0, 0
    for transaction in candidates:
        if not room.holds(transaction):
            misfits += 1
            if misfits >= BUILDER_MISFITS or room.is_full():
                break
            continue
        try:
            apply_transaction(view, transaction, at)
        except InvalidTransaction as error:
            refused.append(Refusal(transaction, error))
        else:
            room.take(transaction)
            chosen.append(transaction)
        entries += _entries_of(transaction)
        if entries >= ENTRIES_APPLIED_PER_SLICE:
            entries = 0
            yield
    next_validators, delta, patch = yield from _close(view, tree, context, proposer)
    root = yield from tx_root_in_slices(chosen)
    header = BlockHeader(
        version=HEADER_VERSION,
        height=at.height,
        parent_id=block_id(context.parent),
        timestamp_ms=timestamp_ms,
        proposer=proposer,
        tx_count=len(chosen),
        tx_root=root,
        state_root=patch.root,
        validators_hash=context.validators.hash,
        next_validators_hash=next_validators.hash,
    )
    check_header(header, context.parent, context.validators)
    block = Block(header, tuple(chosen))
    executed = ExecutedBlock(block, delta, patch, next_validators)
    return BuiltBlock(executed, tuple(refused))


def check_candidate(
    state: StateReader,
    context: ExecutionContext,
    timestamp_ms: int,
    ancestors: Sequence[Transaction],
    transaction: Transaction,
) -> None:
    """Whether `transaction` could stand in the next block after its unconfirmed `ancestors` (parents
    first). Raises `InvalidTransaction`; changes nothing."""
    view, at = StateView(state), context.at(timestamp_ms)
    for ancestor in ancestors:
        apply_transaction(view, ancestor, at)
    apply_transaction(view, transaction, at)


def _entries_of(transaction: Transaction) -> int:
    """What applying it weighs: a slice ends after so many, not after so many transactions."""
    body = transaction.body
    return 1 + len(body.inputs) + len(body.outputs)


def _close(
    view: StateView, tree: StateTree, context: ExecutionContext, proposer: bytes
) -> Slices[tuple[ValidatorSet, StateDelta, TreePatch]]:
    next_validators = yield from end_block(
        view, context.validators, context.parent, proposer, context.chain.min_validators
    )
    delta = yield from view.delta_in_slices(DELTA_KEYS_PER_SLICE)
    compare_books(delta)
    patch = yield from tree.apply_in_slices(delta)
    return next_validators, delta, patch


class _Room:
    """What is left of a block's limits."""

    def __init__(self, limits: BlockLimits) -> None:
        self._bytes = limits.max_bytes
        self._transactions = limits.max_transactions
        self._signatures = limits.max_signatures

    def holds(self, transaction: Transaction) -> bool:
        return (
            self._transactions > 0
            and transaction.size <= self._bytes
            and len(transaction.witness.signatures) <= self._signatures
        )

    def take(self, transaction: Transaction) -> None:
        self._transactions -= 1
        self._bytes -= transaction.size
        self._signatures -= len(transaction.witness.signatures)

    def is_full(self) -> bool:
        return self._transactions == 0
