"""Durable file steps: write it all, sync it, and remember that after a failed sync nothing is known.

Every failure is a `StorageFailure`. A sync that failed is never tried again: the kernel may have dropped the
pages, and a second sync would then report success for data that is gone.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from primitives.errors import StorageFailure


def write_fully(descriptor: int, data: bytes, offset: int, path: Path) -> None:
    """Write all of `data` at `offset`. Raises `StorageFailure` (STORAGE_WRITE_FAILED)."""
    view = memoryview(data)
    try:
        while view:
            written = os.pwrite(descriptor, view, offset)
            if written == 0:
                raise OSError("nothing was written")
            view = view[written:]
            offset += written
    except OSError as error:
        raise write_failed(path, error) from error


def sync_data(descriptor: int, path: Path) -> None:
    """Make what was written durable. Raises `StorageFailure` (STORAGE_WRITE_FAILED)."""
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        raise write_failed(path, error) from error


def sync_directory(directory: Path) -> None:
    """Make creations and renames in `directory` durable. Raises `StorageFailure`."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise write_failed(directory, error) from error


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader or a power cut sees the old file or the new one, never a mix."""
    temporary = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            write_fully(descriptor, data, 0, temporary)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        raise write_failed(path, error) from error
    sync_directory(path.parent)


def read_bounded(path: Path, max_bytes: int) -> bytes | None:
    """The file's bytes, or None when it does not exist. Raises `StorageFailure` when it is unreadable or
    longer than `max_bytes`."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"cannot read {path} ({error.strerror}); check the disk"
        raise StorageFailure("STORAGE_READ_FAILED", message, path=str(path)) from error
    if len(data) > max_bytes:
        message = f"{path} is longer than {max_bytes} bytes and was not written by this program"
        raise StorageFailure("STORAGE_CORRUPT", message, path=str(path), file=str(path))
    return data


def lock_exclusively(path: Path) -> int:
    """Hold `path` (created if missing) for this process until the returned descriptor is closed.

    Raises `StorageFailure` (STORAGE_LOCKED) when another process holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise write_failed(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        message = f"another process holds {path}; stop it first"
        raise StorageFailure("STORAGE_LOCKED", message, path=str(path)) from error
    return descriptor


def write_failed(path: Path, error: OSError) -> StorageFailure:
    """The failure of a write, sync or rename under `path`."""
    reason = error.strerror or str(error)
    message = f"writing {path} failed ({reason}); free space or check the disk, then restart the node"
    return StorageFailure("STORAGE_WRITE_FAILED", message, path=str(path), errno=error.errno)
