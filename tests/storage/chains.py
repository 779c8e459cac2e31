"""A small synthetic chain for storage tests: real transactions, headers, roots and certificates' shapes, with
deltas made by plain arithmetic instead of by the ledger's rules, which are tested elsewhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from ledger.block import Block, tx_root
from ledger.payloads import Kind
from ledger.slices import finish
from ledger.state import Change, StateDelta, balance_key, output_key, output_value
from ledger.state_tree import StateTree, TreePatch
from ledger.transaction import Body, OutPoint, Output, Transaction, Witness, make_transaction
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.hashing import tagged_hash
from storage.chain_store import ChainStore
from storage.verify import RamPages

CHAIN_ID = tagged_hash("drex/genesis", b"storage tests")
BUCKETS = 4096
ASSET = "BRL"
NOBODY = bytes(32)


def lock_of(number: int) -> bytes:
    """The lock of holder `number`."""
    return tagged_hash("drex/lock", number.to_bytes(8, "big"))


@dataclass(frozen=True)
class Made:
    """One block, ready to be committed."""

    block: Block
    delta: StateDelta
    patch: TreePatch
    certificate: CommitCertificate | None


class SyntheticChain:
    """Makes block after block on its own copy of the state. The same seed makes the same chain."""

    def __init__(self, seed: int = 1, holders: int = 50) -> None:
        self._random = random.Random(seed)
        self._holders = holders
        self.state: dict[bytes, bytes] = {}
        self._pages = RamPages()
        self.tree = StateTree(BUCKETS, self._pages)
        self.parent: BlockHeader | None = None
        self.unspent: list[tuple[OutPoint, bytes, int]] = []  # outpoint, lock, amount
        self.signature = bytes(64)

    def emission(self, count: int, amount: int = 1000, reference: bytes = b"") -> Made:
        """A block with one emission of `count` outputs."""
        outputs = tuple(
            Output(ASSET, amount, lock_of(self._random.randrange(self._holders)), b"") for _ in range(count)
        )
        return self._make([self._transaction(Kind.EMISSION, (), outputs, reference)], emitted=count * amount)

    def transfers(self, count: int, reference: bytes = b"") -> Made:
        """A block of `count` transfers, each of one output into two."""
        chosen = [self.unspent.pop(self._random.randrange(len(self.unspent))) for _ in range(count)]
        transactions = []
        for outpoint, lock, amount in chosen:
            part = max(1, amount // 3)
            to = lock_of(self._random.randrange(self._holders))
            outputs: tuple[Output, ...] = (Output(ASSET, part, to, b""),)
            if amount > part:
                outputs += (Output(ASSET, amount - part, lock, b""),)
            transactions.append(self._transaction(Kind.TRANSFER, (outpoint,), outputs, reference))
        return self._make(transactions)

    def burn(self) -> Made:
        """A block that burns one output."""
        outpoint, _, amount = self.unspent.pop(0)
        return self._make([self._transaction(Kind.BURN, (outpoint,), (), b"")], burned=amount)

    def empty(self) -> Made:
        """A block without transactions."""
        return self._make([])

    def blocks(self, count: int, transfers: int = 10) -> Iterator[Made]:
        """`count` more blocks: an emission when there is too little to spend, transfers otherwise."""
        for _ in range(count):
            yield self.transfers(transfers) if len(self.unspent) > transfers else self.emission(4 * transfers)

    def _transaction(
        self, kind: Kind, inputs: tuple[OutPoint, ...], outputs: tuple[Output, ...], reference: bytes
    ) -> Transaction:
        serial = self._random.randrange(1, 2**40) if kind == Kind.EMISSION else 0
        body = Body(1, kind, inputs, outputs, 0, serial, reference, msgspec.Raw(b"\x90"))
        return make_transaction(body, Witness(((bytes(32), self.signature),), (), ()), CHAIN_ID)

    def _make(self, transactions: list[Transaction], emitted: int = 0, burned: int = 0) -> Made:
        changes = self._changes(transactions, emitted, burned)
        patch = self.tree.apply(changes)
        parent = self.parent
        header = BlockHeader(
            1,
            parent.height + 1 if parent else 0,
            block_id(parent) if parent else NOBODY,
            1_700_000_000_000 + 1000 * (parent.height + 1 if parent else 0),
            NOBODY,
            len(transactions),
            tx_root(transactions),
            patch.root,
            NOBODY,
            NOBODY,
        )
        block = Block(header, tuple(transactions))
        self._pages.take(patch)
        self.tree.commit(patch)
        self.parent = header
        for key, (_, new) in changes.items():
            if new is None:
                self.state.pop(key, None)
            else:
                self.state[key] = new
        certificate = CommitCertificate(1, header.height, 0, block.block_id, ((0, bytes(64)),))
        return Made(block, StateDelta.of(changes), patch, certificate if header.height else None)

    def _changes(self, transactions: list[Transaction], emitted: int, burned: int) -> dict[bytes, Change]:
        after: dict[bytes, bytes | None] = {}

        def read(key: bytes) -> bytes | None:
            return after[key] if key in after else self.state.get(key)

        def add(lock: bytes, amount: int) -> None:
            key = balance_key(lock, ASSET)
            total = int.from_bytes(read(key) or b"", "big") + amount
            after[key] = total.to_bytes(8, "big") if total else None

        for transaction in transactions:
            for spent in transaction.body.inputs:
                key = output_key(spent.txid, spent.index)
                value = read(key)
                assert value is not None
                add(value[:32], -int.from_bytes(value[32:40], "big"))
                after[key] = None
            for index, output in enumerate(transaction.body.outputs):
                after[output_key(transaction.txid, index)] = output_value(output.lock, output.value, ASSET)
                add(output.lock, output.value)
                self.unspent.append((transaction.outpoint(index), output.lock, output.value))
        if emitted or burned:
            key = b"s" + ASSET.encode()
            before = read(key) or bytes(16)
            totals = int.from_bytes(before[:8], "big") + emitted, int.from_bytes(before[8:], "big") + burned
            after[key] = totals[0].to_bytes(8, "big") + totals[1].to_bytes(8, "big")
        return {k: (self.state.get(k), new) for k, new in after.items() if self.state.get(k) != new}


def commit(store: ChainStore, made: Made) -> None:
    """Commit a made block the way a node does."""
    prepared = finish(store.prepare(made.block, made.delta, made.patch))
    store.write(prepared, made.certificate)
    store.apply(prepared)
    finish(store.state.settle())
