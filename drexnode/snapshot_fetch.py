"""Fetches a snapshot from peers into a folder: offers, a manifest that proves itself, chunks from all.

Promises: no chunk is asked for before the manifest's block is proven final from the genesis (the trust path
of `verify-proof`, ledger/trust_path.py), through the pinned validators if there are any; what is kept has the
digest it is named by; memory is bounded by the requests in flight; a silent peer is replaced, a lying one
banned; what was fetched survives a kill and is not fetched again. docs/sync.md.
"""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

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
from drexnode.sync_peers import PeerBook
from drexnode.telemetry import get_logger
from ledger.genesis_records import GenesisDocument
from p2p.transport import Offence, PeerId, RequestCode, RequestFailed, Transport
from primitives.codec import Record, encode
from primitives.errors import DecodeError, DrexError, StorageFailure
from primitives.keys import verify
from primitives.limits import (
    MAX_OFFERED_MANIFEST_BYTES,
    MAX_RESPONSE_BYTES,
    MAX_SNAPSHOT_CHUNK_BYTES,
    SNAPSHOT_ASK_AGAIN_MS,
    SNAPSHOT_NO_OFFER_MS,
    SNAPSHOT_OFFER_WAIT_MS,
    SNAPSHOT_PART_BYTES,
    SNAPSHOT_STALL_MS,
    SYNC_HEDGE_MS,
    SYNC_REQUEST_TIMEOUT_MS,
    SYNC_REQUESTS_IN_FLIGHT,
)
from storage.disk_space import DiskSpace
from storage.files import read_bounded, replace_file
from storage.snapshot_format import (
    CHUNKS_FOLDER,
    MANIFEST_FILE,
    ChunkName,
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


@dataclass(slots=True)
class SnapshotProgress:
    """For people: what is being done, of which height, how far."""

    phase: str = "offers"
    height: int = 0
    done: int = 0
    total: int = 0

    def sentence(self) -> str:
        """One line."""
        if self.phase == "offers":
            return "looking for a peer that offers a snapshot"
        return f"snapshot of block {self.height}: {self.phase}, {self.done} of {self.total}"


class _Stalled(Exception):
    """Nobody serves the rest of what was begun."""


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
        self._transport = transport
        self._document = document
        self._folder = folder
        self._pinned = pinned
        self._floor_bytes = floor_bytes
        self._offers: dict[PeerId, tuple[SnapshotOffer, ...]] = {}
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
            except _Stalled:
                _log.warning(
                    "snapshot_sync.stalled", height=offer.height, reason="nobody serves the rest of it"
                )
                self._offers.clear()
                await trio.sleep(SNAPSHOT_ASK_AGAIN_MS / 1000)

    def blame(self, manifest_digest: bytes, reason: str) -> None:
        """Its chunks do not make the state of its block: whoever handed the manifest over made it up."""
        self._refused.add(manifest_digest)
        for peer in sorted(self._sources.pop(manifest_digest, ())):
            self._transport.report(peer, Offence.LIED, f"snapshot: {reason}")

    # --- offers

    async def _choose(self) -> SnapshotOffer:
        """One that was begun; else the highest that two peers share; else the highest."""
        self.progress.phase = "offers"
        begun = await trio.to_thread.run_sync(self._begun)
        deadline = trio.current_time() + SNAPSHOT_NO_OFFER_MS / 1000
        seen_at: float | None = None
        while True:
            await self._ask_all()
            usable = self._usable()
            now = trio.current_time()
            if usable and seen_at is None:
                seen_at = now
            kept = [offer for offer in usable if offer.manifest == begun]
            if kept:
                return kept[0]
            if usable and (len(self._offers) > 1 or now >= (seen_at or now) + SNAPSHOT_OFFER_WAIT_MS / 1000):
                shared = Counter(offer.content for offer in usable)
                return max(
                    usable, key=lambda offer: (shared[offer.content] > 1, offer.height, offer.manifest)
                )
            if not usable and now >= deadline:
                connected = self._transport.peers()
                raise SnapshotUnavailable(
                    "SNAPSHOT_NO_OFFER",
                    f"none of {len(connected)} connected peers offered a snapshot that can be used; "
                    "let a full node keep some (sync.snapshots), or start with --sync snapshot-or-blocks",
                )
            await trio.sleep(SNAPSHOT_ASK_AGAIN_MS / 1000 / 4)

    def _usable(self) -> list[SnapshotOffer]:
        room = DiskSpace(self._folder).free_bytes - self._floor_bytes
        found = [offer for offers in self._offers.values() for offer in offers]
        usable = [offer for offer in found if offer.manifest not in self._refused and offer.height]
        fitting = [offer for offer in usable if offer.size_bytes * DISK_FACTOR <= room]
        if len(fitting) < len(usable):
            _log.warning("snapshot_sync.no_room", free_bytes=room, offers=len(usable) - len(fitting))
        return fitting

    async def _ask_all(self) -> None:
        connected = {peer.peer_id for peer in self._transport.peers()}
        for gone in self._offers.keys() - connected:
            del self._offers[gone]
        with trio.move_on_after(SNAPSHOT_OFFER_WAIT_MS / 1000):
            async with trio.open_nursery() as nursery:
                for peer in sorted(connected):
                    if not self._offers.get(peer):
                        nursery.start_soon(self._ask_offers, peer)

    async def _ask_offers(self, peer: PeerId) -> None:
        try:
            answer = await self._ask(peer, METHOD_SNAPSHOTS, SnapshotsRequest(1))
            self._offers[peer] = decode_snapshot_message(answer, SnapshotsResponse).offers
        except RequestFailed:
            self._offers.pop(peer, None)
        except DecodeError as error:
            self._transport.report(peer, Offence.INVALID_MESSAGE, f"snapshots: {error.message}")

    def _holders(self, offer: SnapshotOffer) -> list[PeerId]:
        """Who offers the same chunks, as far as their word goes; the manifest's own holders first."""
        exact = [peer for peer, offers in self._offers.items() if offer in offers]
        same = [
            peer
            for peer, offers in self._offers.items()
            if peer not in exact and any(other.content == offer.content for other in offers)
        ]
        return [*sorted(exact), *sorted(same)]

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
        peers = {peer for peer, offers in self._offers.items() if offer in offers}
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
        for peer in [peer for peer, offers in self._offers.items() if offer in offers]:
            try:
                data = await self._whole(peer, METHOD_SNAPSHOT_MANIFEST, offer.manifest, offer.manifest_bytes)
            except (RequestFailed, DecodeError) as error:
                self._charge(peer, error, is_own_word=True)
                self._offers.pop(peer, None)
                continue
            if digest_of_manifest(data) == offer.manifest:
                return data, {peer}
            self._transport.report(peer, Offence.LIED, "snapshot: the manifest is not the one offered")
            self._offers.pop(peer, None)
        raise _Stalled

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
        """Fetch what is missing. Raises `_Stalled`."""
        missing = await trio.to_thread.run_sync(_missing, self._folder, manifest)
        work = _Download(self, offer, manifest, missing)
        self.progress.phase, self.progress.total = "chunks", len(manifest.chunks)
        self.progress.done = len(manifest.chunks) - len(missing)
        _log.info(
            "snapshot_sync.started",
            height=offer.height,
            chunks=len(manifest.chunks),
            missing=len(missing),
            size_bytes=offer.size_bytes,
            peers=len(self._holders(offer)),
        )
        await work.run()

    async def _whole(self, peer: PeerId, method: str, digest: bytes, size: int) -> bytes:
        """All parts of what a digest names, of one peer. Raises `RequestFailed`, `DecodeError`."""
        data = bytearray()
        while len(data) < size:
            answer = await self._ask(peer, method, SnapshotPartRequest(digest, len(data)))
            part = decode_snapshot_message(answer, SnapshotPart).data
            if len(part) != min(SNAPSHOT_PART_BYTES, size - len(data)):
                raise DecodeError("a part has another length than asked for", code="WIRE_COUNT")
            data += part
        return bytes(data)

    async def _ask(self, peer: PeerId, method: str, message: Record) -> bytes:
        return await self._transport.request(
            peer,
            method,
            encode(message),
            timeout_s=SYNC_REQUEST_TIMEOUT_MS / 1000,
            max_response_bytes=MAX_RESPONSE_BYTES,
        )

    def _charge(self, peer: PeerId, error: DrexError, *, is_own_word: bool) -> None:
        """Points for an answer that did not come or can't be read; who offered another owes nothing."""
        if isinstance(error, DecodeError):
            self._transport.report(peer, Offence.INVALID_MESSAGE, f"snapshot: {error.message}")
        elif is_own_word and error.code not in (
            RequestCode.BUSY,
            RequestCode.NOT_CONNECTED,
            RequestCode.DISCONNECTED,
        ):
            self._transport.report(peer, Offence.UNSERVED, f"snapshot: {error.code}")


class _Download:
    """The chunks of one manifest that are missing, asked of every peer that may hold them."""

    def __init__(
        self, fetcher: SnapshotFetcher, offer: SnapshotOffer, manifest: Manifest, missing: list[int]
    ) -> None:
        self._fetcher, self._offer, self._manifest = fetcher, offer, manifest
        self._waiting = deque(missing)
        self._lacking = set(missing)
        self._asked: dict[int, list[tuple[PeerId, float]]] = {}  # what is in flight, of whom, since when
        self._book = PeerBook()
        self._last_came = trio.current_time()
        self._look = trio.Event()

    async def run(self) -> None:
        """Until nothing is lacking. Raises `_Stalled`."""
        for peer in self._fetcher._holders(self._offer):
            self._book.claim(peer, len(self._manifest.chunks), 0, _now_ms())
        async with trio.open_nursery() as nursery:
            while self._lacking:
                self._look = trio.Event()
                if trio.current_time() > self._last_came + SNAPSHOT_STALL_MS / 1000 or not len(self._book):
                    break
                self._plan(nursery.start_soon)
                with trio.move_on_after(SYNC_HEDGE_MS / 1000 / 4):
                    await self._look.wait()
            nursery.cancel_scope.cancel()
        if self._lacking:
            raise _Stalled

    def _plan(self, start: Callable[..., object]) -> None:
        now = trio.current_time()
        while self._in_flight < SYNC_REQUESTS_IN_FLIGHT:
            late = self._late(now)
            if not self._waiting and late is None:
                return
            index = self._waiting[0] if self._waiting else late
            assert index is not None
            exclude = [peer for peer, _ in self._asked.get(index, ())]
            peer = self._book.choose(index, _now_ms(), exclude)
            if peer is None:
                return
            if self._waiting:
                self._waiting.popleft()
            for slow in exclude:
                self._book.slowed(slow)
            self._asked.setdefault(index, []).append((peer, now))
            self._book.asked(peer)
            start(self._fetch, index, peer)

    @property
    def _in_flight(self) -> int:
        return sum(len(asked) for asked in self._asked.values())

    def _late(self, now: float) -> int | None:
        """A chunk that one peer alone was asked for, a while ago, when nothing else is waiting."""
        if self._waiting:
            return None
        late = [
            index
            for index, asked in self._asked.items()
            if len(asked) == 1 and now - asked[0][1] > SYNC_HEDGE_MS / 1000
        ]
        return min(late, default=None)

    async def _fetch(self, index: int, peer: PeerId) -> None:
        name, began = self._manifest.chunks[index], trio.current_time()
        came = False
        try:
            data = await self._fetcher._whole(peer, METHOD_SNAPSHOT_CHUNK, name.digest, name.size_bytes)
            came = self._take(name, peer, data)
            if came and index in self._lacking:
                path = chunk_path(self._fetcher._folder, name.digest)
                await trio.to_thread.run_sync(replace_file, path, data)
                self._lacking.discard(index)
                self._last_came = trio.current_time()
                self._book.delivered(peer, 1, int((self._last_came - began) * 1000))
                self._fetcher.progress.done = len(self._manifest.chunks) - len(self._lacking)
        except (RequestFailed, DecodeError) as error:
            is_exact = self._offer in self._fetcher._offers.get(peer, ())
            self._fetcher._charge(peer, error, is_own_word=is_exact)
            if error.code == RequestCode.REFUSED or isinstance(error, DecodeError):
                self._book.forget(peer)  # it does not hold this snapshot
            elif not self._fetcher._transport.is_connected(peer):
                self._book.forget(peer)
            else:
                self._book.failed(peer, _now_ms())
        finally:
            self._book.answered(peer)
            rest = [entry for entry in self._asked.pop(index, []) if entry[0] != peer]
            if rest:
                self._asked[index] = rest
            elif index in self._lacking:
                self._waiting.appendleft(index)
            self._look.set()

    def _take(self, name: ChunkName, peer: PeerId, data: bytes) -> bool:
        if digest_of_chunk(data) == name.digest:
            return True
        self._fetcher._transport.report(peer, Offence.LIED, "snapshot: a chunk is not what its name says")
        self._book.forget(peer)
        return False


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


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
