"""Writes a snapshot from one frozen view of the database, chunk by chunk, while the node goes on.

Promises: memory stays at a chunk and the list of their names; the folder appears under its name only when it
is whole and synced (what a kill leaves is `NAME.partial`, which the next one begins anew); the disk is never
filled below the floor; nothing of the node's own data is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import structs

from ledger.trust_path import HandOver, TrustPath, hand_over
from primitives.block import BlockHeader, decode_header
from primitives.certificate import CommitCertificate, decode_certificate
from primitives.codec import encode
from primitives.errors import StorageFailure
from primitives.limits import INTEGRITY_PARENTS, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_ROWS_PER_PAUSE
from storage import failpoints
from storage.disk_space import DiskSpace
from storage.files import replace_file, sync_directory, write_failed
from storage.layout import (
    CERTIFICATE,
    HEADER,
    META_TIP,
    STATE,
    VALIDATOR_SET,
    TipRow,
    after,
    damaged_row,
    height_key,
    read_row,
)
from storage.leveldb import Reader
from storage.snapshot_format import (
    CHUNKS_FOLDER,
    MANIFEST_FILE,
    SNAPSHOT_VERSION,
    ChunkName,
    Entry,
    Manifest,
    Parent,
    SnapshotRefused,
    chunk_path,
    digest_of_chunk,
    encode_manifest,
)
from storage.validator_rows import decode_set, read_overrides, read_validators_at

Progress = Callable[[str, int, int], None]


def write_snapshot(
    view: Reader,
    chain_id: bytes,
    folder: Path,
    *,
    progress: Progress = lambda what, done, total: None,
    pause: Callable[[], None] = lambda: None,
    floor_bytes: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Write the state of `view`'s tip to `folder`, which must not exist. Blocking; `pause` is called every
    few hundred rows, `stop` before every chunk (then SNAPSHOT_STOPPED).

    Raises `SnapshotRefused` (SNAPSHOT_EXISTS, SNAPSHOT_STOPPED, SNAPSHOT_NO_PATH) and `StorageFailure`; what
    was written is removed.
    """
    if folder.exists():
        message = f"{folder} exists and is not overwritten; choose another name"
        raise SnapshotRefused("SNAPSHOT_EXISTS", message, path=str(folder))
    partial = folder.with_name(folder.name + ".partial")
    space = DiskSpace(folder.parent, floor_bytes=floor_bytes, low_bytes=floor_bytes)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        (partial / CHUNKS_FOLDER).mkdir(parents=True, mode=0o700)
        manifest = _describe(view, chain_id)
        chunks: list[ChunkName] = []
        done = 0
        for entries in _in_chunks(view, pause):
            if stop():
                raise SnapshotRefused("SNAPSHOT_STOPPED", "the node stops; make the snapshot again")
            space.check()
            chunks.append(_write_chunk(partial, entries))
            failpoints.reach("snapshot.after_chunk")
            done += len(entries)
            progress("entries", done, 0)
        manifest = structs.replace(manifest, chunks=tuple(chunks), entries=done)
        replace_file(partial / MANIFEST_FILE, encode_manifest(manifest))
        sync_directory(partial / CHUNKS_FOLDER)
        failpoints.reach("snapshot.before_rename")
        partial.rename(folder)
        sync_directory(folder.parent)
    except OSError as error:
        raise write_failed(partial, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _describe(view: Reader, chain_id: bytes) -> Manifest:
    """The manifest of the view's tip, without chunks."""
    row = view.get(META_TIP)
    if row is None:
        raise StorageFailure("STORAGE_MISSING", "there is no block yet; start the node once")
    header = header_at(view, read_row(row, TipRow, "the tip row").height)
    tail = []
    for height in range(max(0, header.height - INTEGRITY_PARENTS), header.height):
        certificate = certificate_at(view, height) if height else None
        tail.append(Parent(header_at(view, height), certificate))
    certificate = certificate_at(view, header.height) if header.height else None
    path = trust_path_to(view, header)
    return Manifest(SNAPSHOT_VERSION, chain_id, header, certificate, tuple(tail), path, (), 0)


def trust_path_to(view: Reader, header: BlockHeader) -> TrustPath:
    """The way from the genesis to the validators that decided `header`. Raises `SnapshotRefused`
    (SNAPSHOT_NO_PATH) where a step was not kept, and `StorageFailure`."""
    overrides = tuple(item for item in read_overrides(view) if item.height <= header.height)
    links: list[HandOver] = []
    for key, value in view.scan(height_key(VALIDATOR_SET, 2), height_key(VALIDATOR_SET, header.height + 1)):
        height, validators = int.from_bytes(key[1:9], "big") - 1, decode_set(value)
        last = header_at(view, height)
        if last.validators_hash != validators.hash:  # else the state follows an override
            links.append(hand_over(last, certificate_at(view, height), validators))
    if read_validators_at(view, header) is None:
        message = f"this node has not kept which validators decided block {header.height}"
        raise SnapshotRefused("SNAPSHOT_NO_PATH", f"{message}; use a node that synced with this release")
    return TrustPath(tuple(links), overrides)


def _in_chunks(view: Reader, pause: Callable[[], None]) -> Iterator[list[Entry]]:
    entries: list[Entry] = []
    size, cut = 0, len(STATE)
    for count, (key, value) in enumerate(view.scan(STATE, after(STATE)), 1):
        entries.append((key[cut:], value))
        size += len(key) + len(value) + 6
        if size >= SNAPSHOT_CHUNK_BYTES:
            yield entries
            entries, size = [], 0
        if count % SNAPSHOT_ROWS_PER_PAUSE == 0:
            pause()
    if entries:
        yield entries


def _write_chunk(folder: Path, entries: list[Entry]) -> ChunkName:
    data = encode(entries)
    digest = digest_of_chunk(data)
    replace_file(chunk_path(folder, digest), data)
    return ChunkName(digest, len(entries), len(data))


def header_at(view: Reader, height: int) -> BlockHeader:
    """A stored header. Raises `StorageFailure` (STORAGE_CORRUPT)."""
    row = view.get(height_key(HEADER, height))
    if row is None:
        raise damaged_row(f"the header of block {height} is missing")
    return decode_header(row)


def certificate_at(view: Reader, height: int) -> CommitCertificate:
    """A stored certificate. Raises `StorageFailure` (STORAGE_CORRUPT)."""
    row = view.get(height_key(CERTIFICATE, height))
    if row is None:
        raise damaged_row(f"the certificate of block {height} is missing")
    return decode_certificate(row)
