"""The state tree's pages on disk: each block writes the edits it makes, the pages follow from time to time.

A page of a bucket has up to 4.6 KB, and a payment edits two of them by 70 bytes each: written with every
block, the pages were nine tenths of what LevelDB had to sort. Promises: the edits are part of the block's own
batch; pages are saved as of the tip in one synced batch that also deletes the edits they contain, so that at
any moment the stored pages with the stored edits applied are the tree at the tip (`replay`); a start applies
at most `TREE_UNSAVED_EDITS` edits and those of two blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import MsgspecError

from ledger.slices import Slices, finish
from ledger.state_tree import StateTree, TreePatch
from ledger.tree_pages import Edit
from primitives.codec import encode
from primitives.errors import InvariantViolation
from primitives.limits import (
    STORAGE_ROWS_PER_SLICE,
    TREE_EDITS_PER_ROW,
    TREE_UNSAVED_BLOCKS,
    TREE_UNSAVED_EDITS,
    TREE_UNSAVED_PAGES,
)
from storage import failpoints
from storage.layout import EDITS, PAGE, after, damaged_row, height_key, read_row
from storage.leveldb import Batch, Database, Reader

BucketEdits = list[tuple[int, list[Edit]]]


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


def put_edits(batch: Batch, height: int, patch: TreePatch) -> Slices[int]:
    """Put a block's edits into its batch, in slices; returns the number of rows."""
    waiting: BucketEdits = []
    size = count = 0
    for bucket, edits in patch.edits.items():
        for start in range(0, len(edits), TREE_EDITS_PER_ROW):  # one owner may have all of a block's outputs
            part = edits[start : start + TREE_EDITS_PER_ROW]
            waiting.append((bucket, part))
            size += len(part)
            if size >= TREE_EDITS_PER_ROW:
                batch.put(_edits_key(height, count), encode(waiting))
                waiting, size, count = [], 0, count + 1
                yield
    if waiting:
        batch.put(_edits_key(height, count), encode(waiting))
        count += 1
    return count


def replay(reader: Reader, tree: StateTree) -> Iterator[TreePatch]:
    """Apply the stored edits, block by block, to a tree that was opened on the saved pages; gives each patch
    after it was committed. Raises `StorageFailure` (STORAGE_CORRUPT) when they do not fit."""
    height: int | None = None
    block: dict[int, list[Edit]] = {}
    for key, value in reader.scan(EDITS, after(EDITS)):
        row_height = int.from_bytes(key[1:9], "big")
        if row_height != height and height is not None:
            yield _replay_block(tree, block, height)
            block = {}
        height = row_height
        for bucket, edits in read_row(value, BucketEdits, f"edits of the state tree by block {height}"):
            if not 0 <= bucket < tree.bucket_count:
                raise damaged_row(f"edits of the state tree by block {height} name bucket {bucket}")
            block.setdefault(bucket, []).extend(edits)
    if height is not None:
        yield _replay_block(tree, block, height)


def _replay_block(tree: StateTree, block: dict[int, list[Edit]], height: int) -> TreePatch:
    try:
        patch = finish(tree.apply_edits(block))
    except (InvariantViolation, MsgspecError, LookupError, ValueError) as error:  # or a page makes no sense
        raise damaged_row(f"edits of the state tree by block {height} do not fit its pages") from error
    tree.commit(patch)
    return patch


class PageSaver:
    """Decides when the pages are saved, and saves them. Belongs to the thread that owns the store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._edit_rows = [key for key, _ in database.scan(EDITS, after(EDITS))]
        self._blocks = len({key[1:9] for key in self._edit_rows})

    def block_applied(self, height: int, rows: int) -> None:
        """A block with so many rows of edits is the tip now."""
        self._edit_rows += [_edits_key(height, number) for number in range(rows)]
        self._blocks += 1

    def is_due(self, tree: StateTree) -> bool:
        """Whether a start would take long by now, or much RAM is held by unsaved pages."""
        return (
            tree.unsaved_edits >= TREE_UNSAVED_EDITS
            or len(tree.unsaved_pages) >= TREE_UNSAVED_PAGES
            or self._blocks >= TREE_UNSAVED_BLOCKS
        )

    def prepare(self, tree: StateTree) -> Slices[Batch]:
        """The batch that saves every page as of the tip, in slices; no block may be applied meanwhile.
        `write` it, then call `saved`."""
        yield from tree.settle()
        batch = self._database.batch()
        pages = tree.unsaved_pages
        for count, key in enumerate(sorted(pages), 1):
            page = pages[key]
            if page is None:
                batch.delete(PAGE + key)
            else:
                batch.put(PAGE + key, page)
            if count % STORAGE_ROWS_PER_SLICE == 0:
                yield
        for key in self._edit_rows:
            batch.delete(key)
        return batch

    def write(self, batch: Batch) -> None:
        """Make a prepared batch durable. Blocking, in any thread. Raises `StorageFailure`."""
        failpoints.reach("pages.before_write")
        self._database.write(batch)
        failpoints.reach("pages.after_write")

    def saved(self, tree: StateTree) -> None:
        """The batch is written: the tree may forget which pages it held back."""
        tree.pages_saved()
        self._edit_rows.clear()
        self._blocks = 0

    def save_if_due(self, tree: StateTree) -> None:
        """All of it in one blocking call, when it is due: for tools, after each block."""
        finish(tree.settle())  # which counts the block's edits
        if self.is_due(tree):
            self.write(finish(self.prepare(tree)))
            self.saved(tree)


def _edits_key(height: int, number: int) -> bytes:
    return height_key(EDITS, height) + number.to_bytes(4, "big")
