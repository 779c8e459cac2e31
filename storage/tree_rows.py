"""The state tree's pages on disk: each block writes the edits it makes, the pages follow part by part.

A page of a bucket has up to 4.6 KB, and a payment edits two of them by 70 bytes each: written with every
block, the pages were nine tenths of what LevelDB had to sort. So the buckets are cut into parts
(`ledger.unsaved_pages`), saved one after another. Promises: the edits are part of the block's own batch; all
pages of a part are as of one height, its mark, which is written with them in one synced batch; the edits of
every block above the lowest mark are there. So the pages with those edits applied that lie above their part's
mark are the tree at the tip, at any moment (`replay`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import MsgspecError

from ledger.slices import Slices, finish
from ledger.state_tree import StateTree, TreePatch
from ledger.tree_pages import Edit
from primitives.codec import encode
from primitives.errors import InvariantViolation
from primitives.limits import (
    STORAGE_ROWS_PER_SLICE,
    TREE_EDITS_PER_BLOCK,
    TREE_EDITS_PER_REPLAY,
    TREE_EDITS_PER_ROW,
    TREE_EDITS_PER_TURN,
    TREE_SAVE_BYTES,
    TREE_SAVES_PER_TURN,
)
from storage import failpoints
from storage.layout import EDITS, META_TIP, PAGE, PART, TipRow, after, damaged_row, height_key, read_row
from storage.leveldb import Batch, Database, Reader

BucketEdits = list[tuple[int, list[Edit]]]

NEVER = -1
"""The mark of a part that was not saved since its store was made, restored or brought up."""


class EditRows(NamedTuple):
    """How many rows a block's edits take, and how many edits they are."""

    rows: int
    edits: int


class TreePages:
    """`ledger.state_tree.PageStore` over the database: the pages as they were saved last."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def load(self, page_key: bytes) -> bytes | None:
        """The saved page. Raises `StorageFailure`."""
        return self._reader.get(PAGE + page_key)

    def bucket_pages(self) -> Iterator[tuple[bytes, bytes]]:
        """(page key, page) of every saved bucket page, in order. Raises `StorageFailure`."""
        cut = len(PAGE)
        for key, page in self._reader.scan(PAGE + b"p", PAGE + b"q"):
            yield key[cut:], page


def put_edits(batch: Batch, height: int, patch: TreePatch) -> Slices[EditRows]:
    """Put a block's edits into its batch, in slices."""
    waiting: BucketEdits = []
    size = count = total = 0
    for bucket, edits in patch.edits.items():
        for start in range(0, len(edits), TREE_EDITS_PER_ROW):  # one owner may have all of a block's outputs
            part = edits[start : start + TREE_EDITS_PER_ROW]
            waiting.append((bucket, part))
            size += len(part)
            if size >= TREE_EDITS_PER_ROW:
                batch.put(_edits_key(height, count), encode(waiting))
                total += size
                waiting, size, count = [], 0, count + 1
                yield
    if waiting:
        batch.put(_edits_key(height, count), encode(waiting))
        count += 1
    return EditRows(count, total + size)


def read_marks(reader: Reader, part_count: int) -> list[int]:
    """Of each part the height that its pages are of, or `NEVER`. Raises `StorageFailure`."""
    row = reader.get(META_TIP)
    tip = NEVER if row is None else read_row(row, TipRow, "the tip row").height
    marks = [NEVER] * part_count
    for key, value in reader.scan(PART, after(PART)):
        part, height = int.from_bytes(key[1:], "big"), int.from_bytes(value, "big")
        if len(key) != 3 or len(value) != 8 or part >= part_count or height > tip:
            raise damaged_row(f"the mark of part {part} of the state tree, block {height}, makes no sense")
        marks[part] = height
    return marks


def replay(reader: Reader, tree: StateTree) -> Iterator[TreePatch]:
    """Apply the stored edits to a tree that was opened on the saved pages, `TREE_EDITS_PER_REPLAY` together;
    gives each patch after it was committed. Raises `StorageFailure` (STORAGE_CORRUPT) if they do not fit."""
    marks, part_of = read_marks(reader, tree.unsaved.part_count), tree.unsaved.part_of
    lowest = min(marks)
    window: dict[int, dict[bytes, Edit]] = {}
    waiting = height = 0
    for key, value in reader.scan(EDITS, after(EDITS)):
        height = int.from_bytes(key[1:9], "big")
        if height <= lowest:
            raise damaged_row(f"edits of the state tree by block {height}, which all pages contain, are left")
        for bucket, edits in read_row(value, BucketEdits, f"edits of the state tree by block {height}"):
            if not 0 <= bucket < tree.bucket_count:
                raise damaged_row(f"edits of the state tree by block {height} name bucket {bucket}")
            if height > marks[part_of(bucket)]:
                _join(window.setdefault(bucket, {}), edits, height)
                waiting += len(edits)
        if waiting >= TREE_EDITS_PER_REPLAY:
            yield _apply(tree, window, height)
            window, waiting = {}, 0
    if window:
        yield _apply(tree, window, height)


def _join(known: dict[bytes, Edit], edits: Iterable[Edit], height: int) -> None:
    """Add later edits of a bucket to earlier ones: of a key the first says what was, the last what is."""
    for edit in edits:
        key, was_present, digest = edit
        before = known.get(key)
        if before is None:
            known[key] = edit
        elif (before[2] is not None) is was_present:
            known[key] = key, before[1], digest
        else:
            raise damaged_row(f"edits of the state tree by block {height} do not fit those before")


def _apply(tree: StateTree, window: dict[int, dict[bytes, Edit]], height: int) -> TreePatch:
    edits: dict[int, list[Edit]] = {}
    for bucket in sorted(window):
        left = [edit for edit in window[bucket].values() if edit[1] or edit[2] is not None]
        if left:
            edits[bucket] = left
    try:
        patch = finish(tree.apply_edits(edits))
    except (InvariantViolation, MsgspecError, LookupError, ValueError) as error:  # or a page makes no sense
        raise damaged_row(f"edits of the state tree up to block {height} do not fit its pages") from error
    tree.commit(patch)
    return patch


@dataclass(frozen=True, slots=True)
class PreparedPages:
    """A batch that saves parts of the tree as of a height. Useless once another block was applied."""

    batch: Batch
    height: int
    parts: tuple[int, ...]
    blocks: int
    """Of so many blocks, the oldest, the batch deletes the edits."""


class PageSaver:
    """Decides when pages are saved, and saves them. Belongs to the thread that owns the store.

    A tree's parts take turns, that of the lowest mark first; how many at one time follows from how many edits
    blocks have made, so that pages are written evenly and a start has a bounded number of edits to apply."""

    def __init__(self, database: Database, height: int = NEVER, state_root: bytes = b"") -> None:
        """`height` and `state_root` are those of the applied tip."""
        self._database = database
        self._marks: list[int] | None = None  # read when they are needed: `verify` opens damaged stores
        self._blocks: deque[tuple[int, int]] = deque()  # height, rows of edits: of blocks that have some
        for key, _ in database.scan(EDITS, after(EDITS)):
            height = int.from_bytes(key[1:9], "big")
            rows = self._blocks.pop()[1] if self._blocks and self._blocks[-1][0] == height else 0
            self._blocks.append((height, rows + 1))
        self._height, self._root = height, state_root
        self._earned = TREE_EDITS_PER_TURN // TREE_SAVES_PER_TURN if self._blocks else 0

    def block_applied(self, height: int, state_root: bytes, rows: EditRows) -> None:
        """A block with these edits is the tip now."""
        self._height, self._root = height, state_root
        if rows.rows:
            self._blocks.append((height, rows.rows))
            self._earned += rows.edits + TREE_EDITS_PER_BLOCK

    def is_due(self, tree: StateTree) -> bool:
        """Whether blocks have made enough edits for some more parts, or much RAM is held by unsaved pages."""
        count = tree.unsaved.part_count
        return (
            self._earned * count >= TREE_EDITS_PER_TURN * max(1, count // TREE_SAVES_PER_TURN)
            or tree.unsaved.size_bytes > tree.unsaved_limit_bytes
        )

    def prepare(self, tree: StateTree) -> Slices[PreparedPages]:
        """The batch that saves the next parts as of the tip, in slices; no block may be applied meanwhile.
        `write` it, then call `saved`. Raises `InvariantViolation` for a tree of another state."""
        wanted = max(1, self._earned * tree.unsaved.part_count // TREE_EDITS_PER_TURN)
        return self._prepare(tree, wanted)

    def _prepare(self, tree: StateTree, wanted: int) -> Slices[PreparedPages]:
        yield from tree.settle()
        if tree.root != self._root:
            raise InvariantViolation("PAGES_OTHER_STATE", "the state tree is not that of the stored tip")
        batch, unsaved, marks = self._database.batch(), tree.unsaved, list(self._marks_of(tree))
        parts: list[int] = []
        rows = size = 0
        rest, limit = unsaved.size_bytes, tree.unsaved_limit_bytes
        for part in sorted(range(unsaved.part_count), key=marks.__getitem__):
            if (len(parts) >= wanted or size >= TREE_SAVE_BYTES) and rest <= limit:
                break
            for key, page in tree.unsaved_part(part):
                if page is None:
                    batch.delete(PAGE + key)
                else:
                    batch.put(PAGE + key, page)
                    size += len(page)
                rows += 1
                if rows % STORAGE_ROWS_PER_SLICE == 0:
                    yield
            batch.put(PART + part.to_bytes(2, "big"), self._height.to_bytes(8, "big"))
            marks[part] = self._height
            parts.append(part)
            rest -= unsaved.part_bytes(part)
        blocks, lowest = 0, min(marks)
        for height, count in self._blocks:
            if height > lowest:
                break
            for number in range(count):
                batch.delete(_edits_key(height, number))
            blocks += 1
            if blocks % STORAGE_ROWS_PER_SLICE == 0:
                yield
        return PreparedPages(batch, self._height, tuple(parts), blocks)

    def write(self, prepared: PreparedPages) -> None:
        """Make a prepared batch durable. Blocking, in any thread. Raises `StorageFailure`."""
        failpoints.reach("pages.before_write")
        self._database.write(prepared.batch)
        failpoints.reach("pages.after_write")

    def saved(self, tree: StateTree, prepared: PreparedPages) -> None:
        """The batch is written: the tree may forget which pages it held back."""
        if prepared.height != self._height:
            raise InvariantViolation("PAGES_OTHER_STATE", "a block was applied while pages were saved")
        marks = self._marks_of(tree)
        for part in prepared.parts:
            tree.unsaved.let_go(part)
            marks[part] = prepared.height
        for _ in range(prepared.blocks):
            self._blocks.popleft()
        count = tree.unsaved.part_count
        left = self._earned - len(prepared.parts) * TREE_EDITS_PER_TURN // count
        self._earned = max(0, left) if len(prepared.parts) < count else 0

    def save_if_due(self, tree: StateTree) -> None:
        """All of it in blocking calls, as long as it is due: for tools, after each block."""
        finish(tree.settle())  # which takes the block's pages up
        while self.is_due(tree):
            self._save(tree, self.prepare(tree))

    def save_all(self, tree: StateTree) -> None:
        """Save every part as of the tip. Blocking: for who wants no edits left."""
        left = tree.unsaved.part_count
        while left > 0:
            left -= self._save(tree, self._prepare(tree, left))

    def _save(self, tree: StateTree, slices: Slices[PreparedPages]) -> int:
        prepared = finish(slices)
        self.write(prepared)
        self.saved(tree, prepared)
        return len(prepared.parts)

    def _marks_of(self, tree: StateTree) -> list[int]:
        if self._marks is None:
            self._marks = read_marks(self._database, tree.unsaved.part_count)
        return self._marks


def _edits_key(height: int, number: int) -> bytes:
    return height_key(EDITS, height) + number.to_bytes(4, "big")
