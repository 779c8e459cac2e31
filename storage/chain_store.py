"""The chain on disk: every block, its certificate, its indexes and the state after it, in one synced batch.

Promises
* A block is there whole or not at all: `write` returns when all of it survives a power cut, and the tip row
  is part of the same batch. A write that raised leaves the outcome unknown: stop, reopen, read the tip.
* Bodies that a vote made durable (`write_bodies`) are not written a second time.
* Nothing is written that does not fit: the header continues the tip, the certificate names the block, the
  patch makes the header's state root, and the sum of unspent outputs equals emitted - burned.

How to commit a block (docs/storage.md): `prepare` any time after execution (slices, no I/O), `write` in a
thread once the certificate is there, `apply` back on the owner's thread. All else belongs to that one thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import Raw

from ledger.block import Block
from ledger.slices import Slices, finish
from ledger.state import RULE_CATEGORIES, VALIDATORS, StateDelta
from ledger.state_tree import TreePatch
from primitives.block import BlockHeader, BlockId, decode_header
from primitives.certificate import CommitCertificate
from primitives.codec import encode
from primitives.errors import InvariantViolation
from primitives.limits import DB_CACHE_BYTES
from storage import failpoints
from storage.acknowledged import AcknowledgedMark
from storage.block_rows import put_indexes, put_state, put_unspent
from storage.books import book_row, load_books, next_books
from storage.layout import (
    CERTIFICATE,
    CONTENT,
    HEADER,
    HEIGHT_OF_BLOCK,
    META_TIP,
    VALIDATOR_SET,
    ContentRow,
    TipRow,
    after,
    bodies_key,
    content_key,
    damaged_row,
    height_key,
    pack_chunks,
    read_row,
)
from storage.leveldb import Batch, Database, open_database
from storage.migrations import migrate
from storage.schema import check_schema, schema_rows
from storage.state_store import StateStore
from storage.tree_rows import NEVER, EditRows, PageSaver, put_edits


@dataclass(frozen=True, slots=True)
class Tip:
    """The last final block that this node has stored."""

    header: BlockHeader
    block_id: BlockId

    @property
    def height(self) -> int:
        """Its height."""
        return self.header.height


@dataclass(frozen=True, slots=True)
class PreparedBlock:
    """A block's batch, ready but for the certificate. Useless once another block has become the tip."""

    block: Block
    delta: StateDelta
    books: Mapping[bytes, int]
    batch: Batch
    rows: int
    edits: EditRows
    changes_rules: bool


class ChainStore:
    """The open store. See the module for who may call what on which thread."""

    def __init__(self, database: Database, mark: AcknowledgedMark, hot_set_bytes: int) -> None:
        self.database = database
        self.state = StateStore(database, hot_set_bytes)
        self.mark = mark
        self._tip = _load_tip(database)
        self.pages = _page_saver(database, self._tip)
        self._books = load_books(database)
        self._stored = _stored_above(database, self._tip)

    @property
    def tip(self) -> Tip | None:
        """The applied tip, or None before genesis."""
        return self._tip

    @property
    def books(self) -> Mapping[bytes, int]:
        """Sum of unspent outputs per asset name at the applied tip."""
        return self._books

    @property
    def undecided(self) -> list[tuple[int, bytes]]:
        """(height, block id) of the blocks that votes made durable and that are not final, ascending."""
        tip = -1 if self._tip is None else self._tip.height
        return sorted(name for name in tuple(self._stored) if name[0] > tip)

    # --- a block, in four steps

    def write_bodies(self, block: Block) -> None:
        """Make a block's header, wtxids and bodies durable before a vote that depends on them. Blocking.

        Any thread, one call at a time. Raises `StorageFailure`.
        """
        name = (block.height, bytes(block.block_id))
        if name in self._stored or (self._tip is not None and block.height <= self._tip.height):
            return
        batch = self.database.batch()
        _put_content(batch, block)
        failpoints.reach("bodies.before_write")
        self.database.write(batch)
        failpoints.reach("bodies.after_write")
        self._stored.add(name)

    def prepare(self, block: Block, delta: StateDelta, patch: TreePatch) -> Slices[PreparedBlock]:
        """Build everything the block writes but its bodies and certificate; touches no disk but for reads.

        The applied tip must be the block's parent. Raises `InvariantViolation` when the block, its delta,
        its patch and the books do not fit together.
        """
        self._check_continues(block, patch)
        keys = sorted(delta.changes)
        yield
        books = yield from next_books(self._books, delta, self.state)
        batch = self.database.batch()
        count = yield from put_state(batch, delta.changes, keys)
        count += yield from put_unspent(batch, delta)
        edits = yield from put_edits(batch, block.height, patch)
        count += yield from put_indexes(batch, block, delta.changes)
        for asset, amount in books.items():
            batch.put(*book_row(asset, amount))
        _, next_set = delta.changes.get(VALIDATORS, (None, None))
        if next_set is not None:
            batch.put(height_key(VALIDATOR_SET, block.height + 1), next_set)
        header = encode(block.header)
        batch.put(height_key(HEADER, block.height), header)
        batch.put(HEIGHT_OF_BLOCK + block.block_id, block.height.to_bytes(8, "big"))
        batch.put(META_TIP, encode(TipRow(block.height, block.block_id, block.header.state_root)))
        count += edits.rows + len(books) + 3
        return PreparedBlock(block, delta, books, batch, count, edits, _changes_rules(keys))

    def write(self, prepared: PreparedBlock, certificate: CommitCertificate | None) -> None:
        """Make the block durable with its certificate (None for genesis alone). Blocking: run it in a thread.

        Raises `StorageFailure` (then stop and recover) and `InvariantViolation` for a certificate of another
        block or a prepared block whose parent is no longer the tip.
        """
        block, batch = prepared.block, prepared.batch
        self._check_parent(block)
        if certificate is not None:
            if certificate.block_id != block.block_id or certificate.height != block.height:
                raise InvariantViolation("CERTIFICATE_MISMATCH", "the certificate is of another block")
            batch.put(height_key(CERTIFICATE, block.height), encode(certificate))
        elif block.height != 0:
            raise InvariantViolation("CERTIFICATE_MISSING", f"block {block.height} has no certificate")
        if (block.height, bytes(block.block_id)) not in self._stored:
            _put_content(batch, block)
        self._drop_undecided(batch, block)
        failpoints.reach("commit.before_write")
        self.database.write(batch)
        failpoints.reach("commit.after_write")
        self.mark.raise_to(block.height)
        failpoints.reach("commit.after_mark")

    def apply(self, prepared: PreparedBlock) -> None:
        """Make a written block the tip that everything here answers from. Takes constant time; call
        `state.settle` in slices afterwards. Commit the tree's patch in the same breath."""
        self._check_parent(prepared.block)
        self.state.apply(prepared.delta.changes, changes_rules=prepared.changes_rules)
        header = prepared.block.header
        self.pages.block_applied(header.height, header.state_root, prepared.edits)
        self._books = {**self._books, **prepared.books}
        self._tip = Tip(header, prepared.block.block_id)
        self._stored.difference_update([name for name in tuple(self._stored) if name[0] <= self._tip.height])
        failpoints.reach("commit.after_apply")

    def commit(
        self, block: Block, certificate: CommitCertificate | None, delta: StateDelta, patch: TreePatch
    ) -> None:
        """`prepare`, `write` and `apply` in one blocking call: for genesis, tools and tests."""
        prepared = finish(self.prepare(block, delta, patch))
        self.write(prepared, certificate)
        self.apply(prepared)

    def close(self) -> None:
        """Close the database. Idempotent."""
        self.state.close()
        self.database.close()
        self.mark.close()

    # --- checks before anything is written

    def _check_continues(self, block: Block, patch: TreePatch) -> None:
        self._check_parent(block)
        if patch.root != block.header.state_root:
            message = f"block {block.height}: the patch makes {patch.root.hex()}, not the header's state root"
            raise InvariantViolation("STATE_ROOT_MISMATCH", message)
        if block.header.tx_count != len(block.transactions):
            raise InvariantViolation("BLOCK_INCOMPLETE", f"block {block.height} lacks transactions")

    def _check_parent(self, block: Block) -> None:
        tip = self._tip
        fits = block.height == 0 if tip is None else block.header.parent_id == tip.block_id
        if not fits or (tip is not None and block.height != tip.height + 1):
            at = "nothing" if tip is None else f"block {tip.height} {tip.block_id.hex()}"
            raise InvariantViolation("BLOCK_NOT_NEXT", f"block {block.height} does not follow {at}")

    def _drop_undecided(self, batch: Batch, block: Block) -> None:
        """Delete what votes stored of other blocks up to this height."""
        for height, block_id in sorted(self._stored):
            is_final = (
                self.database.get(HEIGHT_OF_BLOCK + block_id) is not None
            )  # stored late, in another thread
            if height <= block.height and block_id != block.block_id and not is_final:
                batch.delete(content_key(height, block_id))
                start = bodies_key(height, block_id, 0)
                for key, _ in self.database.scan(start, after(start[:-4])):
                    batch.delete(key)


def open_chain_store(
    path: Path,
    chain_id: bytes,
    *,
    hot_set_bytes: int,
    create: bool = False,
    cache_bytes: int = DB_CACHE_BYTES,
    wait_for_lock_ms: int = 0,
) -> ChainStore:
    """Open (or create, empty) the chain store in directory `path`. Blocking.

    `storage.integrity.check_open` comes next: it checks what is there and warms the hot set.

    Raises `StorageFailure`: STORAGE_MISSING, STORAGE_LOCKED, STORAGE_CORRUPT, STORAGE_SCHEMA, STORAGE_FOREIGN
    (another chain's data), STORAGE_LOST_BLOCKS.
    """
    database = open_database(path, create=create, cache_bytes=cache_bytes, wait_for_lock_ms=wait_for_lock_ms)
    try:
        if create and next(database.scan(b"", b"\xff"), None) is None:
            batch = database.batch()
            for key, value in schema_rows(chain_id):
                batch.put(key, value)
            database.write(batch)
        check_schema(database, chain_id)
        database.recovered += migrate(database, chain_id)
        mark = AcknowledgedMark(path.with_name(path.name + ".acknowledged"))
        store = ChainStore(database, mark, hot_set_bytes)
        mark.check(store.tip.height if store.tip else -1, path)
    except BaseException:
        database.close()
        raise
    return store


def _load_tip(database: Database) -> Tip | None:
    row = database.get(META_TIP)
    if row is None:
        return None
    tip = read_row(row, TipRow, "the tip row")
    header_row = database.get(height_key(HEADER, tip.height))
    if header_row is None:
        raise damaged_row(f"the tip is block {tip.height}, whose header is missing")
    return Tip(decode_header(header_row), BlockId(tip.block_id))


def _page_saver(database: Database, tip: Tip | None) -> PageSaver:
    if tip is None:
        return PageSaver(database, NEVER, b"")
    return PageSaver(database, tip.height, tip.header.state_root)


def _stored_above(database: Database, tip: Tip | None) -> set[tuple[int, bytes]]:
    """(height, block id) of blocks that votes made durable above the tip, or (late) beside it."""
    start = height_key(CONTENT, tip.height if tip else 0)
    keys = [key for key, _ in database.scan(start, after(CONTENT))]
    final = content_key(tip.height, tip.block_id) if tip else b""
    return {(int.from_bytes(key[1:9], "big"), key[9:]) for key in keys if key != final}


def _changes_rules(keys: Sequence[bytes]) -> bool:
    """Whether any of the sorted state keys is of `RULE_CATEGORIES`."""
    return any(bisect_left(keys, kind) < bisect_left(keys, after(kind)) for kind in RULE_CATEGORIES)


def _put_content(batch: Batch, block: Block) -> None:
    """Header, wtxids and bodies."""
    height, block_id = block.height, block.block_id
    content = ContentRow(Raw(encode(block.header)), b"".join(block.wtxids))
    batch.put(content_key(height, block_id), encode(content))
    for chunk, value in enumerate(pack_chunks([tx.raw for tx in block.transactions])):
        batch.put(bodies_key(height, block_id, chunk), value)
