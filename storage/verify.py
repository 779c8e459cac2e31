"""The full scan: everything stored, checked against everything else (minutes; `drexnode verify`).

Every block's hashes, ids, bodies and certificate; the state tree rebuilt from the state and compared page by
page; balances and both books summed anew; every index against the blocks and the state. Damage is a finding,
named, never an exception; nothing is repaired here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

from ledger.block import tx_root
from ledger.override import finality_checks
from ledger.state import BALANCE, OUTPUT
from ledger.state_tree import StateTree, TreePatch
from ledger.transaction import Transaction, decode_transaction
from primitives.block import BlockHeader, block_id
from primitives.certificate import Verify
from primitives.errors import DrexError, InvariantViolation, StorageFailure
from primitives.limits import MAX_FINDINGS
from primitives.validators import ValidatorSet
from storage.block_rows import unspent_row
from storage.books import check_all_books, load_books
from storage.chain_store import ChainStore
from storage.layout import (
    HEADER,
    HISTORY,
    KINDS,
    PAGE,
    REFERENCE,
    STATE,
    TRANSACTION,
    UNSPENT,
    after,
    height_key,
    read_location,
    reference_prefix,
)
from storage.queries import ChainQueries, StoredBlock
from storage.tables import damaged_parts
from storage.tree_rows import TreePages, replay
from storage.validator_rows import read_overrides

GenesisOutputs = Mapping[bytes, tuple[bytes, bytes]]
"""Outpoint (txid, index as 4 bytes) → lock, asset."""
ValidatorsAt = Callable[[int], ValidatorSet | None]
Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Report:
    """What a full scan saw. `findings` is empty when all is well (and cut at `MAX_FINDINGS`)."""

    blocks: int = 0
    transactions: int = 0
    entries: int = 0
    findings: list[str] = field(default_factory=list)

    def find(self, what: str) -> None:
        """Keep a finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(what)

    @property
    def is_clean(self) -> bool:
        """True when nothing was found."""
        return not self.findings


def verify_store(
    store: ChainStore,
    chain_id: bytes,
    bucket_count: int,
    *,
    validators_at: ValidatorsAt | None = None,
    verify: Verify | None = None,
    genesis_outputs: GenesisOutputs = MappingProxyType({}),
    progress: Progress = lambda _what, _count: None,
) -> Report:
    """Scan everything as of the applied tip. Certificates' signatures are checked when `validators_at` (the
    set that decides a height) and `verify` are given; `genesis_outputs` are those no transaction made.
    Blocking; reads all data, keeps index sizes in RAM.

    Raises nothing for damage: what could not be read is a finding.
    """
    report = Report()
    scan = _Scan(store, chain_id, report, progress, genesis_outputs)
    parts: tuple[Callable[[], None], ...] = (
        lambda: scan.blocks(validators_at, verify),
        lambda: scan.state(bucket_count),
        scan.indexes,
        scan.everything,
    )
    for part in parts:
        try:
            part()
        except DrexError as error:
            report.find(str(error))
    return report


class _Scan:
    def __init__(
        self,
        store: ChainStore,
        chain_id: bytes,
        report: Report,
        progress: Progress,
        genesis_outputs: GenesisOutputs,
    ) -> None:
        self._store = store
        self._view = store.state.view
        self._queries = ChainQueries(store, chain_id)
        self._overrides = read_overrides(store.database)
        self._chain_id = chain_id
        self._report = report
        self._progress = progress
        self._expected_history = 0
        self._expected_references = 0
        self._locks = dict(genesis_outputs)  # of all outputs ever made and not yet spent

    def blocks(self, validators_at: ValidatorsAt | None, verify: Verify | None) -> None:
        """Headers, parents, bodies, roots over wtxids, certificates, and each transaction's index rows."""
        tip, parent = self._store.tip, None
        for height in range(self._queries.base, tip.height + 1 if tip else 0):
            header = self._queries.header(height)
            if header is None:
                self._report.find(f"block {height}: its header is missing")
                parent = None
                continue
            self._header(header, parent, height)
            if height and validators_at is not None and verify is not None:
                self._certificate(header, validators_at(height), verify)
            if height >= self._queries.pruned_below:
                self._bodies(height)
            parent = header
            self._report.blocks += 1
            self._progress("blocks", height)

    def _header(self, header: BlockHeader, parent: BlockHeader | None, height: int) -> None:
        if header.height != height:
            self._report.find(f"block {height}: its header says {header.height}")
        if parent is not None and header.parent_id != block_id(parent):
            self._report.find(f"block {height}: its parent is another block than the one stored")
        if self._queries.height_of(block_id(header)) != height:
            self._report.find(f"block {height}: the index of block ids does not lead to it")

    def _certificate(self, header: BlockHeader, validators: ValidatorSet | None, verify: Verify) -> None:
        certificate = self._queries.certificate(header.height)
        if certificate is None or validators is None:
            lacking = "its certificate" if certificate is None else "the validator set that decided it"
            self._report.find(f"block {header.height}: {lacking} is missing")
            return
        try:
            checks = finality_checks(header, certificate, self._chain_id, validators, self._overrides)
        except DrexError as error:
            self._report.find(f"block {header.height}: {error}")
            return
        if not all(verify(*check) for check in checks):
            self._report.find(f"block {header.height}: CERTIFICATE_BAD_SEAL (a seal is false)")

    def _bodies(self, height: int) -> None:
        try:
            stored = self._queries.block(height)
            if stored is not None:
                self._transactions(stored)
        except DrexError as error:
            self._report.find(f"block {height}: {error}")

    def _transactions(self, stored: StoredBlock) -> None:
        height = stored.header.height
        transactions = [decode_transaction(raw, self._chain_id) for raw in stored.transactions]
        if stored.header.tx_root != tx_root(transactions) or len(transactions) != stored.header.tx_count:
            self._report.find(f"block {height}: its bodies are not those its header commits to")
        if stored.wtxids != tuple(tx.wtxid for tx in transactions):
            self._report.find(f"block {height}: its list of wtxids is not that of its bodies")
        for position, transaction in enumerate(transactions):
            row = self._view.get(TRANSACTION + transaction.txid)
            if row is None or read_location(row) != (height, position):
                self._report.find(f"transaction {transaction.txid.hex()}: the index does not lead to it")
            self._count_index_rows(transaction, height, position)
        self._report.transactions += len(transactions)

    def _count_index_rows(self, transaction: Transaction, height: int, position: int) -> None:
        body = transaction.body
        locks: set[bytes] = {output.lock for output in body.outputs}
        assets: set[bytes] = {output.asset.encode() for output in body.outputs}
        for spent in body.inputs:
            known = self._locks.pop(spent.txid + spent.index.to_bytes(4, "big"), None)
            if known is None and self._queries.pruned_below:
                continue  # made by a block whose bodies are gone
            if known is None:
                self._report.find(f"transaction {transaction.txid.hex()} spends an output never made")
                continue
            locks.add(known[0])
            assets.add(known[1])
        for index, output in enumerate(body.outputs):
            self._locks[transaction.txid + index.to_bytes(4, "big")] = output.lock, output.asset.encode()
        subject = getattr(transaction.payload, "lock", None)
        if not body.inputs and not body.outputs and isinstance(subject, bytes) and len(subject) == 32:
            locks.add(subject)
        where = height.to_bytes(8, "big") + position.to_bytes(4, "big")
        for lock in locks:
            if self._view.get(HISTORY + lock + where) != transaction.txid:
                self._report.find(f"transaction {transaction.txid.hex()}: missing in a lock's history")
        self._expected_history += len(locks)
        if body.reference:
            for asset in assets:
                row = reference_prefix(asset.decode(), body.reference) + where
                if self._view.get(row) != transaction.txid:
                    self._report.find(f"transaction {transaction.txid.hex()}: missing under its reference")
            self._expected_references += len(assets)

    def state(self, bucket_count: int) -> None:
        """The tree rebuilt from the entries, balances and supply summed anew, unspent rows."""
        tip = self._store.tip
        pages = RamPages()
        rebuilt = StateTree(bucket_count, pages)
        balances: dict[bytes, int] = {}
        sums: dict[bytes, int] = {}
        stored_balances: dict[bytes, int] = {}
        for batch in _batches(self._entries()):
            for key, value in batch.items():
                if key[:1] == OUTPUT:
                    self._output(key, value, balances, sums)
                elif key[:1] == BALANCE:
                    stored_balances[key[1:]] = int.from_bytes(value, "big")
            patch = rebuilt.apply({key: (None, value) for key, value in batch.items()})
            pages.take(patch)
            rebuilt.commit(patch)
            self._report.entries += len(batch)
            self._progress("entries", self._report.entries)
        if tip is not None and rebuilt.root != tip.header.state_root:
            self._report.find(f"the state's root is {rebuilt.root.hex()}, block {tip.height} says otherwise")
        if balances != stored_balances:
            self._report.find("balances differ from the sums of unspent outputs")
        if sums != {asset: amount for asset, amount in load_books(self._view).items() if amount}:
            self._report.find("the books differ from the sums of unspent outputs")
        check_all_books(load_books(self._view), self._view)
        self._pages(pages, bucket_count)

    def _output(self, key: bytes, value: bytes, balances: dict[bytes, int], sums: dict[bytes, int]) -> None:
        amount = int.from_bytes(value[32:40], "big")
        holder = value[:32] + value[40:]
        balances[holder] = balances.get(holder, 0) + amount
        sums[value[40:]] = sums.get(value[40:], 0) + amount
        if self._view.get(unspent_row(key, value)) is None:
            self._report.find(f"output {key[1:].hex()}: missing in its lock's index")

    def _pages(self, rebuilt: RamPages, bucket_count: int) -> None:
        """The saved tree pages, with the edits since then, are exactly those of a tree built anew."""
        edited: dict[bytes, bytes | None] = {}
        try:
            tree = StateTree(bucket_count, TreePages(self._view), keeps_unsaved=True)
            for patch in replay(self._view, tree):
                edited.update(patch.page_writes())
        except (InvariantViolation, StorageFailure) as error:
            self._report.find(error.message)
            return
        saved = ((row[len(PAGE) :], page) for row, page in self._view.scan(PAGE, after(PAGE)))
        unedited = ((key, page) for key, page in saved if key not in edited)
        count = 0
        for key, page in chain(unedited, edited.items()):
            if page is None:
                continue
            count += 1
            if rebuilt.load(key) != page:
                self._report.find(f"page {key.hex()} of the state tree is not what the state makes")
        if count != len(rebuilt):
            self._report.find(f"the state tree has {count} pages, {len(rebuilt)} are expected")

    def indexes(self) -> None:
        """No index holds a row too many."""
        tip = self._store.tip
        base = height_key(HEADER, self._queries.base)
        expected = {
            UNSPENT: sum(1 for key, _ in self._view.scan(STATE + OUTPUT, after(STATE + OUTPUT))),
        }
        if self._queries.pruned_below == 0:
            expected[TRANSACTION] = self._report.transactions
            expected[HISTORY] = self._expected_history
            expected[REFERENCE] = self._expected_references
        headers = sum(1 for _ in self._view.scan(base, after(HEADER)))
        if headers != (tip.height + 1 - self._queries.base if tip else 0):
            self._report.find(f"there are {headers} headers from block {self._queries.base} on")
        for kind, count in sorted(expected.items()):
            found = sum(1 for _ in self._view.scan(kind, after(kind)))
            if found != count:
                self._report.find(f"index {kind.decode()!r} has {found} rows, {count} are expected")

    def everything(self) -> None:
        """Every row of the database can be read and is of a known kind; the note beside it is whole."""
        for kind in sorted({key[:1] for key, _ in self._view.scan(b"", b"\xff")} - set(KINDS)):
            self._report.find(f"rows of an unknown kind {kind!r}")
        for finding in damaged_parts(self._store.database.path):
            self._report.find(finding)
        if self._store.mark.is_damaged:
            self._report.find("the note of the last stored height is damaged (the next block renews it)")

    def _entries(self) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._view.scan(STATE, after(STATE)):
            yield key[len(STATE) :], value


def _batches(rows: Iterator[tuple[bytes, bytes]], size: int = 20_000) -> Iterator[dict[bytes, bytes]]:
    batch: dict[bytes, bytes] = {}
    for key, value in rows:
        batch[key] = value
        if len(batch) == size:
            yield batch
            batch = {}
    yield batch


class RamPages:
    """A `PageStore` in RAM: for a tree that is built anew."""

    def __init__(self) -> None:
        self._pages: dict[bytes, bytes] = {}

    def load(self, page_key: bytes) -> bytes | None:
        """The page, or None."""
        return self._pages.get(page_key)

    def take(self, patch: TreePatch) -> None:
        """Keep what a patch writes; call it before the tree's `commit`."""
        for key, page in patch.page_writes():
            if page is None:
                self._pages.pop(key, None)
            else:
                self._pages[key] = page

    def __len__(self) -> int:
        return len(self._pages)
