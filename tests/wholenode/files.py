"""A machine's file system in memory: what storage asks of `os`, with page cache, power cuts and full disks.

Promises: bytes survive a power cut only when their file was synced; a file's name (creation, rename) only
when its directory was; what was not synced is lost, or reaches the disk torn, as chance has it. A killed
process loses nothing. The real storage code runs over this: `SimOs` stands in for its `os`, `SimPath` for
its paths.
"""

from __future__ import annotations

import errno
import fnmatch
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from random import Random
from types import SimpleNamespace

BLOCK_BYTES = 4096
ENOUGH_BYTES = 560 << 20  # above every floor, below what would make a node write its reserve


class PowerCut(BaseException):
    """The machine lost its power in the middle of this call. Nothing below it runs any further."""


@dataclass
class Inode:
    """One file: what the process sees, and what is on the disk."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    dirty: list[tuple[int, bytes]] = field(default_factory=list)  # writes since the last sync
    lock: int | None = None


class FileSystem:
    """The disk of one machine."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.names: dict[str, Inode] = {}
        self.durable_names: dict[str, Inode] = {}
        self.directories: set[str] = {"/"}
        self.free_bytes = ENOUGH_BYTES
        self.is_on = True
        self.calls = 0  # writes and syncs, for the places where a machine may die
        self.cut_at: int | None = None  # the call at which power goes
        self.fail_at: int | None = None  # the call that fails with an input/output error

    # --- faults

    def step(self) -> None:
        """One call that changes the disk. Raises `PowerCut`, or `OSError` for a bad or full disk."""
        if not self.is_on:
            raise PowerCut
        self.calls += 1
        if self.cut_at is not None and self.calls >= self.cut_at:
            self.cut_at = None
            self.is_on = False
            raise PowerCut
        if self.fail_at is not None and self.calls >= self.fail_at:
            self.fail_at = None
            raise OSError(errno.EIO, "input/output error")
        if self.free_bytes <= 0:
            raise OSError(errno.ENOSPC, "no space left on device")

    def lose_power(self) -> None:
        """Forget what no sync made durable; some of it may have reached the disk, torn."""
        self.is_on = False
        self.names = dict(self.durable_names)
        for name in sorted(self.names):
            inode = self.names[name]
            data = bytearray(inode.synced)
            for offset, piece in inode.dirty:
                if self._random.random() < 0.3:
                    _write_at(data, offset, piece[: self._random.randrange(len(piece) + 1)])
            inode.data, inode.synced, inode.dirty, inode.lock = data, bytes(data), [], None

    def kill_process(self) -> None:
        """The process is gone, the page cache stays."""
        self.is_on = False
        for inode in self.names.values():
            inode.lock = None

    def power_on(self) -> None:
        """A process runs again."""
        self.is_on, self.cut_at, self.fail_at = True, None, None

    # --- names

    def sync_name(self, name: str) -> None:
        """This directory entry survives from now on."""
        if name in self.names:
            self.durable_names[name] = self.names[name]
        else:
            self.durable_names.pop(name, None)

    def sync_directory(self, directory: str) -> None:
        """The entries of a directory survive from now on."""
        prefix = directory.rstrip("/") + "/"
        for name in {*self.names, *self.durable_names}:
            if name.startswith(prefix) and "/" not in name[len(prefix) :]:
                self.sync_name(name)


def _write_at(data: bytearray, offset: int, piece: bytes) -> None:
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(piece)] = piece


FILE_SYSTEMS: dict[str, FileSystem] = {}
"""By machine: the first part of a `SimPath` names it."""


class SimPath(PurePosixPath):
    """`/<machine>/…`: as much of `pathlib.Path` as the node uses."""

    __slots__ = ()

    @property
    def files(self) -> FileSystem:
        """The machine's."""
        return FILE_SYSTEMS[self.parts[1]]

    def resolve(self) -> SimPath:
        """Already absolute, no links."""
        return self

    def exists(self) -> bool:
        """A file or a directory."""
        return str(self) in self.files.names or self.is_dir()

    def is_dir(self) -> bool:
        """A directory."""
        return str(self) in self.files.directories

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Directories are durable at once: losing one loses a machine, which is another fault."""
        self.files.directories.update(str(parent) for parent in (self, *self.parents))

    def unlink(self) -> None:
        """Remove a file's name."""
        self.files.step()
        del self.files.names[str(self)]

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Read a file."""
        inode = self.files.names.get(str(self))
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(self))
        return io.BytesIO(bytes(inode.data))

    def glob(self, pattern: str) -> Iterator[SimPath]:
        """Files of this directory whose name matches."""
        for name in sorted(self.files.names):
            path = SimPath(name)
            if path.parent == self and fnmatch.fnmatch(path.name, pattern):
                yield path


@dataclass
class _Open:
    name: str
    files: FileSystem
    inode: Inode | None  # None for a directory


class SimOs:
    """Stands in for `os` in the storage room. Descriptors are of no real file."""

    O_RDONLY, O_WRONLY, O_RDWR = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
    O_CREAT, O_TRUNC, O_CLOEXEC, O_DIRECTORY = os.O_CREAT, os.O_TRUNC, os.O_CLOEXEC, os.O_DIRECTORY

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._next = 1000

    def open(self, path: SimPath, flags: int, mode: int = 0o777) -> int:
        """A descriptor of a file, made if `O_CREAT` says so, or of a directory."""
        files, name = path.files, str(path)
        if not files.is_on:
            raise PowerCut
        inode = None
        if not flags & os.O_DIRECTORY:
            inode = files.names.get(name)
            if inode is None:
                if not flags & os.O_CREAT:
                    raise FileNotFoundError(errno.ENOENT, "no such file", name)
                files.step()
                inode = files.names[name] = Inode()
            elif flags & os.O_TRUNC:
                inode.data = bytearray()
                inode.dirty.append((0, b""))
        self._next += 1
        self._open[self._next] = _Open(name, files, inode)
        return self._next

    def close(self, descriptor: int) -> None:
        """Let go, of a lock too. A dead machine's are gone already."""
        closed = self._open.pop(descriptor)
        if closed.inode is not None and closed.inode.lock == descriptor:
            closed.inode.lock = None

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        """Bytes at an offset."""
        return bytes(self._file(descriptor).data[offset : offset + length])

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        """Into the page cache, all of it."""
        self._open[descriptor].files.step()
        inode, piece = self._file(descriptor), bytes(data)
        _write_at(inode.data, offset, piece)
        inode.dirty.append((offset, piece))
        return len(piece)

    def fdatasync(self, descriptor: int) -> None:
        """What was written survives from now on."""
        opened = self._open[descriptor]
        opened.files.step()
        if opened.inode is None:
            opened.files.sync_directory(opened.name)
        else:
            opened.inode.synced, opened.inode.dirty = bytes(opened.inode.data), []

    fsync = fdatasync

    def replace(self, source: SimPath, target: SimPath) -> None:
        """Rename over; durable once the directory is synced."""
        files = source.files
        files.step()
        files.names[str(target)] = files.names.pop(str(source))

    def statvfs(self, path: SimPath) -> SimpleNamespace:
        """The room of the machine's disk."""
        return SimpleNamespace(f_bavail=max(0, path.files.free_bytes) // BLOCK_BYTES, f_frsize=BLOCK_BYTES)

    def lock(self, descriptor: int) -> None:
        """`flock` for this descriptor alone. Raises `OSError` when another holds the file."""
        inode = self._file(descriptor)
        if inode.lock is not None:
            raise OSError(errno.EWOULDBLOCK, "held by another descriptor")
        inode.lock = descriptor

    def _file(self, descriptor: int) -> Inode:
        inode = self._open[descriptor].inode
        if inode is None:
            raise OSError(errno.EISDIR, "a directory")
        return inode
