"""Makes snapshots while the node runs, keeps the newest few, and gives them to peers that ask.

Promises: a snapshot is made in a thread over one frozen view of the database, with a pause every few rows; at
most `count` are kept, plus the one being made; none is made while the disk is low or the node is catching up,
and a failure is logged and stops nothing. Heights are multiples of the interval, so that nodes with the same
interval hold the same chunks. A request gets at most `SNAPSHOT_PART_BYTES`, read in a thread. docs/sync.md.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import trio

from drexnode.config import NodeConfig
from drexnode.finalizer import Finalizer
from drexnode.recovery import disk_space
from drexnode.snapshot_settings import parse_snapshots
from drexnode.snapshot_wire import (
    METHOD_SNAPSHOT_CHUNK,
    METHOD_SNAPSHOT_MANIFEST,
    METHOD_SNAPSHOTS,
    SnapshotOffer,
    SnapshotPart,
    SnapshotPartRequest,
    SnapshotsRequest,
    SnapshotsResponse,
    decode_snapshot_message,
)
from drexnode.telemetry import get_logger
from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock
from p2p.transport import PeerId, RequestRefused, Transport
from primitives.codec import encode
from primitives.errors import DecodeError, DrexError
from primitives.limits import (
    MAX_OFFERED_MANIFEST_BYTES,
    MAX_SNAPSHOT_OFFERS,
    SNAPSHOT_PART_BYTES,
    SNAPSHOT_PAUSE_MS,
)
from storage.disk_space import Room
from storage.leveldb import Snapshot
from storage.snapshot_format import (
    MANIFEST_FILE,
    Manifest,
    chunk_path,
    digest_of_manifest,
    encode_manifest,
    read_manifest,
)
from storage.snapshot_writer import write_snapshot

SNAPSHOTS_FOLDER = "snapshots"
READS_AT_ONCE = 4
M = TypeVar("M", SnapshotsRequest, SnapshotPartRequest)
_log = get_logger("snapshots")


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot on this node's disk."""

    offer: SnapshotOffer
    folder: Path


class SnapshotKeeper:
    """The snapshots of one node. `register` before the network starts; `run` works until cancelled."""

    def __init__(self, config: NodeConfig, finalizer: Finalizer, is_syncing: Callable[[], bool]) -> None:
        settings = parse_snapshots(config.sync.snapshots, config.node.role)
        self._count, self._every = settings.count, settings.every
        self._config = config
        self._finalizer = finalizer
        self._is_syncing = is_syncing
        self._folder = config.data_path / SNAPSHOTS_FOLDER
        self._held: list[Held] = []  # newest first
        self._next: tuple[int, Snapshot] | None = None
        self._given = trio.Event()
        self._is_making = False
        self._is_stopped = False
        self._reads = trio.CapacityLimiter(READS_AT_ONCE)
        finalizer.on_final(self._on_final)

    @property
    def offers(self) -> tuple[SnapshotOffer, ...]:
        """What is held, newest first."""
        return tuple(held.offer for held in self._held)

    def register(self, transport: Transport) -> None:
        """Offer the methods to peers."""
        transport.register_handler(METHOD_SNAPSHOTS, self.snapshots)
        transport.register_handler(METHOD_SNAPSHOT_MANIFEST, self.manifest)
        transport.register_handler(METHOD_SNAPSHOT_CHUNK, self.chunk)

    # --- serving

    async def snapshots(self, peer: PeerId, payload: bytes) -> bytes:
        """The offers from a height on."""
        request = _read(payload, SnapshotsRequest)
        await trio.lowlevel.checkpoint()
        found = [offer for offer in self.offers if offer.height >= request.lowest_height]
        return encode(SnapshotsResponse(tuple(found[:MAX_SNAPSHOT_OFFERS])))

    async def manifest(self, peer: PeerId, payload: bytes) -> bytes:
        """A part of a manifest."""
        request = _read(payload, SnapshotPartRequest)
        paths = [held.folder / MANIFEST_FILE for held in self._held if held.offer.manifest == request.digest]
        return await self._part(paths, request)

    async def chunk(self, peer: PeerId, payload: bytes) -> bytes:
        """A part of a chunk."""
        request = _read(payload, SnapshotPartRequest)
        return await self._part([chunk_path(held.folder, request.digest) for held in self._held], request)

    async def _part(self, paths: list[Path], request: SnapshotPartRequest) -> bytes:
        data = await trio.to_thread.run_sync(_read_part, paths, request.first_byte, limiter=self._reads)
        if not data:
            raise RequestRefused(
                f"{request.digest.hex()} is not held here, or has no byte {request.first_byte}"
            )
        return encode(SnapshotPart(data))

    # --- making

    def _on_final(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        if not self._count or self._is_making or self._next is not None or self._is_syncing():
            return
        is_first = not self._held and block.height > self._every
        if block.height % self._every == 0 or is_first:
            self._next = block.height, self._finalizer.store.database.snapshot()
            self._given.set()

    async def run(self) -> None:
        """Find what is held, then make what is due, until cancelled; the thread is then told to end."""
        self._held = await trio.to_thread.run_sync(find_snapshots, self._folder)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_at_the_end)
            while True:
                await self._given.wait()
                self._given = trio.Event()
                if self._next is not None:
                    await self._make(*self._next)

    async def _make(self, height: int, view: Snapshot) -> None:
        self._is_making = True
        began = time.monotonic()
        try:
            held = await trio.to_thread.run_sync(self._write, height, view)
            self._held.insert(0, held)
            gone, self._held = self._held[self._count :], self._held[: self._count]
            for old in gone:
                await trio.to_thread.run_sync(shutil.rmtree, old.folder)
            seconds = round(time.monotonic() - began, 1)
            _log.info("snapshot.made", height=height, size_bytes=held.offer.size_bytes, seconds=seconds)
        except (DrexError, OSError) as error:
            _log.warning("snapshot.failed", height=height, reason=str(error))
        finally:
            view.close()
            self._next, self._is_making = None, False

    def _write(self, height: int, view: Snapshot) -> Held:
        """In the thread."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        folder = self._folder / str(height)
        if disk_space(self._config).room() is not Room.ENOUGH:
            message = "the disk is low: no snapshot is made; free some space"
            raise DrexError("SNAPSHOT_NO_ROOM", message)
        shutil.rmtree(folder, ignore_errors=True)  # one that was found unreadable
        manifest = write_snapshot(
            view,
            self._finalizer.chain_id,
            folder,
            pause=lambda: time.sleep(SNAPSHOT_PAUSE_MS / 1000),
            floor_bytes=2 * self._config.storage.free_floor_bytes,
            stop=lambda: self._is_stopped,
        )
        return Held(offer_of(manifest), folder)

    async def _stop_at_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._is_stopped = True


def offer_of(manifest: Manifest) -> SnapshotOffer:
    """How a snapshot is offered."""
    data = encode_manifest(manifest)
    return SnapshotOffer(
        manifest.height,
        manifest.header.state_root,
        digest_of_manifest(data),
        len(data),
        manifest.size_bytes,
        len(manifest.chunks),
    )


def find_snapshots(folder: Path) -> list[Held]:
    """What lies in a node's folder of snapshots, newest first; what can't be read is named in the log and
    left out, as is what is too large to be offered."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.isdecimal():
            continue
        try:
            offer = offer_of(read_manifest(path))
        except DrexError as error:
            _log.warning("snapshot.unreadable", path=str(path), reason=str(error))
            continue
        if offer.manifest_bytes <= MAX_OFFERED_MANIFEST_BYTES:
            found.append(Held(offer, path))
    return sorted(found, key=lambda held: held.offer.height, reverse=True)


def _read_part(paths: list[Path], first_byte: int) -> bytes:
    """In a thread: empty where nothing is."""
    for path in paths:
        try:
            with path.open("rb") as file:
                file.seek(first_byte)
                return file.read(SNAPSHOT_PART_BYTES)
        except FileNotFoundError:
            continue
        except OSError as error:
            _log.warning("snapshot.unreadable", path=str(path), reason=str(error))
    return b""


def _read(payload: bytes, request_type: type[M]) -> M:
    try:
        return decode_snapshot_message(payload, request_type)
    except DecodeError as error:
        raise RequestRefused(f"not a request of this kind: {error.message}") from error
