"""Fetches a snapshot from peers into a folder: offers, a manifest that proves itself, chunks from all.

Promises: no chunk is asked for before the manifest's block is proven final from the genesis (the trust path
of `verify-proof`, ledger/trust_path.py), through the pinned validators if there are any; what is kept has the
digest it is named by; memory is bounded by the requests in flight; a silent peer is replaced, a lying one
banned; what was fetched survives a kill and is not fetched again. docs/sync.md.
"""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import trio

from drexnode.snapshot_chunks import ChunkDownload, SnapshotProgress, Stalled
from drexnode.snapshot_peers import SnapshotPeers
from drexnode.snapshot_wire import (
    METHOD_SNAPSHOT_MANIFEST,
    SnapshotOffer,
)
from drexnode.telemetry import get_logger
from ledger.genesis_records import GenesisDocument
from p2p.transport import Offence, PeerId, RequestFailed, Transport
from primitives.errors import DecodeError, DrexError, StorageFailure
from primitives.keys import verify
from primitives.limits import (
    MAX_OFFERED_MANIFEST_BYTES,
    MAX_SNAPSHOT_CHUNK_BYTES,
    SNAPSHOT_ASK_AGAIN_MS,
    SNAPSHOT_NO_OFFER_MS,
    SNAPSHOT_OFFER_WAIT_MS,
)
from storage.disk_space import DiskSpace
from storage.files import read_bounded, replace_file
from storage.snapshot_format import (
    CHUNKS_FOLDER,
    MANIFEST_FILE,
    Manifest,
    SnapshotRefused,
    chunk_path,
    decode_manifest,
    digest_of_chunk,
    digest_of_manifest,
)
from storage.snapshot_restore import check_manifest

DISK_FACTOR = 4  # the chunks, and the database that is made of them
_log = get_logger("snapshots")


class SnapshotUnavailable(DrexError):
    """No peer gave a snapshot that can be used. Codes SNAPSHOT_NO_OFFER; exit 75."""


class SnapshotFetcher:
    """One fetching. `folder` holds what came, of this run or of one before."""

    def __init__(
        self,
        transport: Transport,
        document: GenesisDocument,
        folder: Path,
        progress: SnapshotProgress,
        *,
        pinned: bytes | None = None,
        floor_bytes: int = 0,
    ) -> None:
        self.progress = progress
        self._peers = SnapshotPeers(transport)
        self._document = document
        self._folder = folder
        self._pinned = pinned
        self._floor_bytes = floor_bytes
        self._refused: set[bytes] = set()
        self._sources: dict[bytes, set[PeerId]] = {}  # of manifests that proved their block

    async def fetch(self) -> Manifest:
        """Return once manifest and all chunks are in the folder. Raises `SnapshotUnavailable`
        (SNAPSHOT_NO_OFFER) and `StorageFailure`."""
        await trio.to_thread.run_sync(
            partial(self._folder.joinpath(CHUNKS_FOLDER).mkdir, parents=True, exist_ok=True)
        )
        while True:
            offer = await self._choose()
            try:
                manifest = await self._manifest(offer)
                if manifest is not None:
                    await self._chunks(offer, manifest)
                    return manifest
            except Stalled:
                _log.warning(
                    "snapshot_sync.stalled", height=offer.height, reason="nobody serves the rest of it"
                )
                self._peers.offers.clear()
                await trio.sleep(SNAPSHOT_ASK_AGAIN_MS / 1000)

    def blame(self, manifest_digest: bytes, reason: str) -> None:
        """Its chunks do not make the state of its block: whoever handed the manifest over made it up."""
        self._refused.add(manifest_digest)
        for peer in sorted(self._sources.pop(manifest_digest, ())):
            self._peers.transport.report(peer, Offence.LIED, f"snapshot: {reason}")

    # --- offers

    async def _choose(self) -> SnapshotOffer:
        """One that was begun; else the highest that two peers share; else the highest."""
        self.progress.phase = "offers"
        begun = await trio.to_thread.run_sync(self._begun)
        deadline = trio.current_time() + SNAPSHOT_NO_OFFER_MS / 1000
        seen_at: float | None = None
        while True:
            await self._peers.ask_all()
            usable = self._usable()
            now = trio.current_time()
            if usable and seen_at is None:
                seen_at = now
            kept = [offer for offer in usable if offer.manifest == begun]
            if kept:
                return kept[0]
            if usable and (
                len(self._peers.offers) > 1 or now >= (seen_at or now) + SNAPSHOT_OFFER_WAIT_MS / 1000
            ):
                shared = Counter(offer.content for offer in usable)
                return max(
                    usable, key=lambda offer: (shared[offer.content] > 1, offer.height, offer.manifest)
                )
            if not usable and now >= deadline:
                connected = self._peers.transport.peers()
                raise SnapshotUnavailable(
                    "SNAPSHOT_NO_OFFER",
                    f"none of {len(connected)} connected peers offered a snapshot that can be used; "
                    "let a full node keep some (sync.snapshots), or start with --sync snapshot-or-blocks",
                )
            await trio.sleep(SNAPSHOT_ASK_AGAIN_MS / 1000 / 4)

    def _usable(self) -> list[SnapshotOffer]:
        room = DiskSpace(self._folder).free_bytes - self._floor_bytes
        found = [offer for offers in self._peers.offers.values() for offer in offers]
        usable = [offer for offer in found if offer.manifest not in self._refused and offer.height]
        fitting = [offer for offer in usable if offer.size_bytes * DISK_FACTOR <= room]
        if len(fitting) < len(usable):
            _log.warning("snapshot_sync.no_room", free_bytes=room, offers=len(usable) - len(fitting))
        return fitting

    # --- manifest

    def _begun(self) -> bytes | None:
        data = read_bounded(self._folder / MANIFEST_FILE, MAX_OFFERED_MANIFEST_BYTES)
        return None if data is None else digest_of_manifest(data)

    async def _manifest(self, offer: SnapshotOffer) -> Manifest | None:
        """The manifest of an offer, proven; None when it is false, or another than offered."""
        self.progress.phase, self.progress.height = "manifest", offer.height
        self.progress.done, self.progress.total = 0, offer.manifest_bytes
        path = self._folder / MANIFEST_FILE
        data = await trio.to_thread.run_sync(read_bounded, path, MAX_OFFERED_MANIFEST_BYTES)
        peers = {peer for peer, offers in self._peers.offers.items() if offer in offers}
        if data is None or digest_of_manifest(data) != offer.manifest:
            data, peers = await self._fetch_manifest(offer)
        self._sources.setdefault(offer.manifest, set()).update(peers)
        try:
            manifest = await trio.to_thread.run_sync(self._check, data, offer)
        except (SnapshotRefused, DecodeError) as error:
            _log.warning("snapshot_sync.refused", height=offer.height, code=error.code, reason=error.message)
            self.blame(offer.manifest, error.code)
            return None
        await trio.to_thread.run_sync(replace_file, path, data)
        return manifest

    async def _fetch_manifest(self, offer: SnapshotOffer) -> tuple[bytes, set[PeerId]]:
        for peer in [peer for peer, offers in self._peers.offers.items() if offer in offers]:
            try:
                data = await self._peers.whole(
                    peer, METHOD_SNAPSHOT_MANIFEST, offer.manifest, offer.manifest_bytes
                )
            except (RequestFailed, DecodeError) as error:
                self._peers.charge(peer, error, is_own_word=True)
                self._peers.offers.pop(peer, None)
                continue
            if digest_of_manifest(data) == offer.manifest:
                return data, {peer}
            self._peers.transport.report(peer, Offence.LIED, "snapshot: the manifest is not the one offered")
            self._peers.offers.pop(peer, None)
        raise Stalled

    def _check(self, data: bytes, offer: SnapshotOffer) -> Manifest:
        """In a thread. Raises `SnapshotRefused`."""
        manifest = decode_manifest(data)
        found = (manifest.height, manifest.header.state_root, manifest.size_bytes, len(manifest.chunks))
        if found != offer.content:
            raise SnapshotRefused(
                "SNAPSHOT_MALFORMED", "the manifest describes another snapshot than offered"
            )
        check_manifest(manifest, self._document, verify, pinned=self._pinned)
        return manifest

    # --- chunks

    async def _chunks(self, offer: SnapshotOffer, manifest: Manifest) -> None:
        """Fetch what is missing. Raises `Stalled`."""
        missing = await trio.to_thread.run_sync(_missing, self._folder, manifest)
        work = ChunkDownload(self._peers, self._folder, offer, manifest, missing, self.progress)
        self.progress.phase, self.progress.total = "chunks", len(manifest.chunks)
        self.progress.done = len(manifest.chunks) - len(missing)
        _log.info(
            "snapshot_sync.started",
            height=offer.height,
            chunks=len(manifest.chunks),
            missing=len(missing),
            size_bytes=offer.size_bytes,
            peers=len(self._peers.holders(offer)),
        )
        await work.run()


def _missing(folder: Path, manifest: Manifest) -> list[int]:
    """In a thread: places of chunks that do not lie there whole. What belongs to another snapshot goes."""
    wanted = {name.digest.hex() for name in manifest.chunks}
    for path in (folder / CHUNKS_FOLDER).iterdir():
        if path.name not in wanted:
            path.unlink()
    found = []
    for place, name in enumerate(manifest.chunks):
        try:
            data = read_bounded(chunk_path(folder, name.digest), MAX_SNAPSHOT_CHUNK_BYTES)
        except StorageFailure as error:
            if error.code != "STORAGE_CORRUPT":
                raise
            data = None
        if data is None or digest_of_chunk(data) != name.digest:
            found.append(place)
    return found


def forget_fetched(folder: Path) -> None:
    """Remove what was fetched. Blocking."""
    shutil.rmtree(folder, ignore_errors=True)
