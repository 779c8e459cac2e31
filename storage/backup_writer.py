"""Makes or extends a backup from one frozen view of the database, while the node goes on.

Promises: only blocks that are not yet there are read and written; the signed list is replaced last, so a kill
leaves the backup that was there before (and perhaps files that the next one removes); memory stays at a
segment; the disk is never filled below the floor.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Raw

from primitives.block import block_id
from primitives.certificate import Verify
from primitives.codec import encode
from primitives.errors import StorageFailure
from primitives.keys import SigningKey
from primitives.limits import MAX_MANIFEST_BYTES, MAX_SEGMENT_BLOCKS, SEGMENT_BYTES
from storage import failpoints
from storage.backup_format import (
    BACKUP_VERSION,
    BASE_FOLDER,
    BLOCKS_FOLDER,
    BackupList,
    BackupRefused,
    Base,
    SegmentName,
    StoredFinal,
    digest_of_segment,
    read_list,
    read_segment,
    segment_path,
    write_list,
)
from storage.disk_space import DiskSpace
from storage.files import read_bounded, replace_file, sync_directory, write_failed
from storage.layout import META_PRUNED, META_TIP, TipRow, read_row
from storage.leveldb import Reader
from storage.snapshot_format import MANIFEST_FILE as SNAPSHOT_MANIFEST
from storage.snapshot_format import SnapshotRefused, digest_of_manifest
from storage.snapshot_writer import certificate_at, header_at, write_snapshot
from storage.stored_block import read_block
from storage.validator_rows import read_overrides

Progress = Callable[[str, int, int], None]


def write_backup(
    view: Reader,
    chain_id: bytes,
    folder: Path,
    key: SigningKey,
    verify: Verify,
    *,
    new_base: bool = False,
    progress: Progress = lambda what, done, total: None,
    pause: Callable[[], None] = lambda: None,
    floor_bytes: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> BackupList:
    """Bring the backup in `folder` (made when missing) up to the view's tip. `new_base` begins it anew from
    the state of the tip, as does a view whose first blocks are gone. Blocking.

    Raises `BackupRefused` (BACKUP_FOREIGN, BACKUP_OTHER_SIGNER, BACKUP_AHEAD, BACKUP_STOPPED, …) and
    `StorageFailure`.
    """
    work = _Work(view, chain_id, folder, key, verify, progress, pause, floor_bytes, stop)
    try:
        return work.run(new_base)
    except OSError as error:
        raise write_failed(folder, error) from error
    except SnapshotRefused as error:
        raise BackupRefused("BACKUP_STOPPED", f"its base was not made: {error.message}") from error


class _Work:
    def __init__(
        self,
        view: Reader,
        chain_id: bytes,
        folder: Path,
        key: SigningKey,
        verify: Verify,
        progress: Progress,
        pause: Callable[[], None],
        floor_bytes: int,
        stop: Callable[[], bool],
    ) -> None:
        self._view, self._chain_id, self._folder, self._key = view, chain_id, folder, key
        self._verify, self._progress, self._pause, self._stop = verify, progress, pause, stop
        self._floor_bytes = floor_bytes

    def run(self, new_base: bool) -> BackupList:
        row = self._view.get(META_TIP)
        if row is None:
            raise StorageFailure("STORAGE_MISSING", "there is no block yet; start the node once")
        tip = read_row(row, TipRow, "the tip row")
        before = self._before(tip)
        kept_from = int.from_bytes(self._view.get(META_PRUNED) or b"", "big")
        (self._folder / BLOCKS_FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
        if before is None or new_base or before.height + 1 < kept_from:
            base = self._write_base(tip.height) if new_base or kept_from > 1 else None
            segments: list[SegmentName] = []
        else:
            base, segments = before.base, list(before.segments)
        segments += self._write_blocks(segments, 1 if base is None else base.height + 1, tip.height)
        contents = BackupList(
            BACKUP_VERSION,
            self._chain_id,
            bytes(self._key.public_key),
            0 if before is None else before.sequence + 1,
            base,
            tuple(read_overrides(self._view)),
            tuple(segments),
            tip.height,
            tip.block_id,
            tip.state_root,
        )
        sync_directory(self._folder / BLOCKS_FOLDER)
        failpoints.reach("backup.before_list")
        write_list(self._folder, contents, self._key)
        self._sweep(contents)
        return contents

    def _before(self, tip: TipRow) -> BackupList | None:
        """What the folder holds, if it is this node's backup of this chain."""
        before = read_list(self._folder, self._verify)
        if before is None:
            return None
        if before.chain_id != self._chain_id:
            message = f"{self._folder} is a backup of chain {before.chain_id.hex()}; choose another folder"
            raise BackupRefused("BACKUP_FOREIGN", message)
        if before.signer != bytes(self._key.public_key):
            message = f"{self._folder} is another node's backup; choose another folder"
            raise BackupRefused("BACKUP_OTHER_SIGNER", message, signer=before.signer.hex())
        if before.height > tip.height:
            message = f"the backup is at block {before.height}, this node at {tip.height}"
            raise BackupRefused("BACKUP_AHEAD", f"{message}: let it catch up first")
        if block_id(header_at(self._view, before.height)) != before.block_id:
            message = f"block {before.height} of the backup is another one than this node's"
            raise BackupRefused("BACKUP_FOREIGN", f"{message}; stop and investigate")
        return before

    def _write_base(self, height: int) -> Base:
        name = f"{BASE_FOLDER}-{height}"
        shutil.rmtree(self._folder / name, ignore_errors=True)  # left by a kill before the list
        write_snapshot(
            self._view,
            self._chain_id,
            self._folder / name,
            progress=self._progress,
            pause=self._pause,
            floor_bytes=self._floor_bytes,
            stop=self._stop,
        )
        manifest = read_bounded(self._folder / name / SNAPSHOT_MANIFEST, MAX_MANIFEST_BYTES)
        assert manifest is not None
        return Base(digest_of_manifest(manifest), height)

    def _write_blocks(self, segments: list[SegmentName], first: int, last: int) -> Iterator[SegmentName]:
        """Segments of the blocks that `segments` lack; a small last one is taken out of it and written
        anew."""
        start = segments[-1].last + 1 if segments else first
        waiting: list[StoredFinal] = []
        if start <= last and segments and segments[-1].size_bytes < SEGMENT_BYTES:
            waiting = read_segment(self._folder, segments[-1])
            segments.pop()
        space = DiskSpace(self._folder, floor_bytes=self._floor_bytes, low_bytes=self._floor_bytes)
        size = sum(len(encode(block)) for block in waiting)
        for height in range(start, last + 1):
            if self._stop():
                raise BackupRefused("BACKUP_STOPPED", "the node stops; make the backup again")
            block = self._block(height)
            waiting.append(block)
            size += len(encode(block))
            self._pause()
            if size >= SEGMENT_BYTES or len(waiting) >= MAX_SEGMENT_BLOCKS:
                space.check()
                yield self._write_segment(waiting)
                waiting, size = [], 0
            self._progress("blocks", height - first + 1, last - first + 1)
        if waiting:
            space.check()
            yield self._write_segment(waiting)

    def _block(self, height: int) -> StoredFinal:
        header = header_at(self._view, height)
        stored = read_block(self._view, height, block_id(header))
        if stored is None:
            message = f"block {height} is not whole; run `drexnode verify`, then `drexnode repair`"
            raise StorageFailure("STORAGE_CORRUPT", message)
        return StoredFinal(
            header, certificate_at(self._view, height), [Raw(raw) for raw in stored.transactions]
        )

    def _write_segment(self, blocks: list[StoredFinal]) -> SegmentName:
        data = encode(blocks)
        name = SegmentName(
            digest_of_segment(data), blocks[0].header.height, blocks[-1].header.height, len(data)
        )
        replace_file(segment_path(self._folder, name.digest), data)
        failpoints.reach("backup.after_segment")
        return name

    def _sweep(self, contents: BackupList) -> None:
        """Remove what the list no longer names. What cannot be removed does no harm."""
        named = {segment.digest.hex() for segment in contents.segments}
        with suppress(OSError):
            for path in (self._folder / BLOCKS_FOLDER).iterdir():
                if path.name not in named:
                    path.unlink()
            for path in self._folder.glob(f"{BASE_FOLDER}-*"):
                if contents.base is None or path.name != f"{BASE_FOLDER}-{contents.base.height}":
                    shutil.rmtree(path, ignore_errors=True)
