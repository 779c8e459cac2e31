"""An empty node begins with a peer's snapshot: fetched, restored beside the chain, put in its place.

Promises: while it works the node fetches no blocks and stands at the genesis, its RPC and peers work and say
how far it is; the restored chain takes the genesis's place only when the restorer has found the certified
state root; a kill at any moment is made up for at the next start; without a usable offer the node stops
(`sync.mode = snapshot`) or says that it goes on with blocks (`snapshot-or-blocks`). docs/sync.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial

import trio

from drexnode.config import NodeConfig
from drexnode.recovery import STORE_FOLDER
from drexnode.snapshot_chunks import SnapshotProgress
from drexnode.snapshot_fetch import SnapshotFetcher, SnapshotUnavailable, forget_fetched
from drexnode.snapshot_settings import parse_anchor
from drexnode.telemetry import get_logger
from ledger.genesis_records import GenesisDocument
from p2p.transport import Transport
from primitives.errors import InvariantViolation
from primitives.keys import verify
from primitives.limits import SYNC_REPORT_MS
from storage.files import sync_directory
from storage.snapshot_format import (
    Manifest,
    SnapshotRefused,
    digest_of_manifest,
    encode_manifest,
    read_chunks,
)
from storage.snapshot_restore import restore_snapshot

FETCHED_FOLDER = "snapshot-fetched"
RESTORED_FOLDER = "chain.restored"
GENESIS_FOLDER = "chain.genesis"
_log = get_logger("snapshots")


class SnapshotReady(Exception):
    """A restored chain waits: close the store, call `adopt_restored`, open it again."""


class SnapshotSync:
    """The beginning of one node. `run` ends by `SnapshotReady`, or returns when blocks are to be fetched."""

    def __init__(
        self, config: NodeConfig, document: GenesisDocument, transport: Transport, release: Callable[[], None]
    ) -> None:
        """`release` lets the node fetch blocks."""
        self._config = config
        self._document = document
        self._release = release
        self._folder = config.data_path / FETCHED_FOLDER
        self.progress = SnapshotProgress()
        self._is_stopped = False
        self._fetcher = SnapshotFetcher(
            transport,
            document,
            self._folder,
            self.progress,
            pinned=parse_anchor(config.sync.anchor),
            floor_bytes=config.storage.free_floor_bytes,
        )

    async def run(self) -> None:
        """Raises `SnapshotReady`, `SnapshotUnavailable` and `StorageFailure`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell)
            try:
                while not await self._restore(await self._fetcher.fetch()):
                    await trio.lowlevel.checkpoint()
            except SnapshotUnavailable as error:
                if self._config.sync.mode == "snapshot":
                    raise
                _log.warning("snapshot_sync.fell_back", reason=error.message)
                await trio.to_thread.run_sync(forget_fetched, self._folder)
                self.progress.phase = "over"
                self._release()
                nursery.cancel_scope.cancel()
                return
            raise SnapshotReady

    async def _restore(self, manifest: Manifest) -> bool:
        """Make the database; False when the chunks are not the state: who made them up is charged."""
        self.progress.phase, self.progress.done, self.progress.total = "restoring", 0, manifest.entries
        work = partial(
            restore_snapshot,
            manifest,
            read_chunks(self._folder, manifest),
            self._document,
            self._config.data_path / RESTORED_FOLDER,
            verify=verify,
            progress=self._count,
            floor_bytes=self._config.storage.free_floor_bytes,
        )
        try:
            await trio.to_thread.run_sync(work)
        except (SnapshotRefused, InvariantViolation) as error:
            _log.warning(
                "snapshot_sync.refused", height=manifest.height, code=error.code, reason=error.message
            )
            self._fetcher.blame(digest_of_manifest(encode_manifest(manifest)), error.code)
            return False
        _log.info("snapshot_sync.restored", height=manifest.height, entries=manifest.entries)
        return True

    def _count(self, what: str, done: int, total: int) -> None:
        """In the thread."""
        self.progress.done = done

    async def _tell(self) -> None:
        while True:
            await trio.sleep(SYNC_REPORT_MS / 1000)
            progress = self.progress
            _log.info(
                "snapshot_sync.progress",
                phase=progress.phase,
                height=progress.height,
                done=progress.done,
                total=progress.total,
            )


def adopt_restored(config: NodeConfig) -> bool:
    """Put a restored chain in the genesis's place, or finish what a kill interrupted. Blocking, before the
    store is opened; True when there was one.

    The restored folder appears only when it is whole; the genesis is moved aside, then it takes its place."""
    chain, restored = config.data_path / STORE_FOLDER, config.data_path / RESTORED_FOLDER
    aside = config.data_path / GENESIS_FOLDER
    found = restored.is_dir()
    if found:
        if chain.exists():
            shutil.rmtree(aside, ignore_errors=True)
            chain.rename(aside)
        chain.with_name(chain.name + ".acknowledged").unlink(missing_ok=True)
        restored.rename(chain)
        sync_directory(config.data_path)
        forget_fetched(config.data_path / FETCHED_FOLDER)
        _log.info("snapshot_sync.adopted", path=str(chain))
    shutil.rmtree(aside, ignore_errors=True)
    return found
