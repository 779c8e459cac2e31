"""A look at a stopped node's database that changes none of its files.

LevelDB writes whenever it opens: it replays its log into a new table, begins a new manifest and deletes what
is no longer needed. So a look opens a folder of its own: tables, which LevelDB never changes, as links to the
node's; the small files (log, manifest, CURRENT) and the note of the last height as copies. A torn log is cut
in the copy. While the look lasts a shared lock on the node's LOCK file keeps the node from starting, so no
table disappears; several looks may go on at one time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from primitives.errors import StorageFailure

_TABLES = (".ldb", ".sst")
_OWN = ("LOCK", "LOG", "LOG.old")  # LevelDB makes its own in every folder


@contextmanager
def borrow_database(path: Path, scratch: Path | None = None) -> Iterator[Path]:
    """A folder (under `scratch`, or the system's folder for temporary files) that opens as `path` would.

    Raises `StorageFailure`: STORAGE_MISSING, STORAGE_LOCKED while the node runs, STORAGE_WRITE_FAILED when
    the copies do not fit.
    """
    if not (path / "CURRENT").exists():
        message = f"{path} holds no database; name the node's home with --home"
        raise StorageFailure("STORAGE_MISSING", message, path=str(path))
    lock = _lock_shared(path)
    try:
        with tempfile.TemporaryDirectory(prefix="drexnode-look-", dir=scratch) as folder:
            borrowed = Path(folder) / path.name
            try:
                _fill(path, borrowed)
            except OSError as error:
                message = f"the small files of {path} cannot be copied to {folder} ({error.strerror})"
                raise StorageFailure(
                    "STORAGE_WRITE_FAILED", f"{message}; set TMPDIR to another disk"
                ) from error
            yield borrowed
    finally:
        os.close(lock)


def _fill(path: Path, borrowed: Path) -> None:
    borrowed.mkdir()
    for entry in sorted(path.iterdir()):
        if entry.suffix in _TABLES:
            (borrowed / entry.name).symlink_to(entry.resolve())
        elif entry.is_file() and entry.name not in _OWN:
            shutil.copyfile(entry, borrowed / entry.name)
    mark = path.with_name(path.name + ".acknowledged")
    if mark.is_file():
        shutil.copyfile(mark, borrowed.with_name(mark.name))


def _lock_shared(path: Path) -> int:
    """Hold LevelDB's own lock file, shared. Raises `StorageFailure` (STORAGE_LOCKED, STORAGE_READ_FAILED)."""
    lock_file = path / "LOCK"
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        message = f"cannot open {lock_file} ({error.strerror}); is it this node's data?"
        raise StorageFailure("STORAGE_READ_FAILED", message, path=str(path)) from error
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        message = f"a running node uses {path}: stop it first, or ask it over its RPC"
        raise StorageFailure("STORAGE_LOCKED", message, path=str(path)) from error
    return descriptor
