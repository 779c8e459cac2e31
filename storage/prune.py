"""Lets go of the bodies of old blocks. Headers, certificates, ids and the index of transactions stay.

Promises: what goes and the note of how far it went (`pruned`) are one synced batch, so a kill leaves no block
of which nobody knows that it has no body; nothing within `kept_blocks` of the tip is touched; blocks that
votes made durable lie above the tip and are never touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from primitives.errors import StorageFailure
from primitives.limits import PRUNE_BLOCKS
from storage import failpoints
from storage.layout import BODIES, CONTENT, META_PRUNED, META_TIP, TipRow, height_key, read_row
from storage.leveldb import Database

Progress = Callable[[str, int, int], None]
_one_at_a_time = threading.Lock()


def prune_once(database: Database, kept_blocks: int) -> int:
    """Let the bodies of at most `PRUNE_BLOCKS` blocks go; how many blocks, 0 when nothing is left to do.

    Any thread; several wait for each other. Blocking. Raises `StorageFailure`: the outcome is unknown, stop
    and recover."""
    with _one_at_a_time:  # or a slower one would set the note back
        first, last = _range(database, kept_blocks)
        stop = min(last, first + PRUNE_BLOCKS)
        if stop <= first:
            return 0
        batch = database.batch()
        for kind in (CONTENT, BODIES):
            for key, _ in database.scan(height_key(kind, first), height_key(kind, stop)):
                batch.delete(key)
        batch.put(META_PRUNED, stop.to_bytes(8, "big"))
        failpoints.reach("prune.before_write")
        database.write(batch)
        failpoints.reach("prune.after_write")
        return stop - first


def prune(
    database: Database,
    kept_blocks: int,
    *,
    progress: Progress = lambda what, done, total: None,
    pause: Callable[[], None] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """`prune_once` until nothing is left to do; how many blocks lost their bodies."""
    first, last = _range(database, kept_blocks)
    done, total = 0, max(0, last - first)
    while not stop() and (count := prune_once(database, kept_blocks)):
        done += count
        progress("blocks", done, total)
        pause()
    return done


def _range(database: Database, kept_blocks: int) -> tuple[int, int]:
    """First block that may have a body, and the first that keeps it."""
    row = database.get(META_TIP)
    if row is None:
        raise StorageFailure("STORAGE_MISSING", "there is no block yet; start the node once")
    tip = read_row(row, TipRow, "the tip row").height
    first = int.from_bytes(database.get(META_PRUNED) or b"", "big")
    return max(1, first), max(0, tip - kept_blocks) + 1
