"""Backups of a stopped node's chain, and nodes from backups (`drexnode backup`; docs/storage.md, "Backups").

Promises: a restored chain is executed block by block from the genesis, or from a certified state, and ends at
the root that the signed list names, or nothing is left of it; votes and watermark are neither saved nor
restored, so a validator that restores signs above what its own machine remembers, or not at all.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from drexnode.config import NodeConfig
from drexnode.home import read_genesis
from drexnode.keystore import read_plain_key
from drexnode.rebuild import ChainBuilder, ReplayDiffers, SourceBlock, open_builder
from drexnode.recovery import STORE_FOLDER
from drexnode.snapshots import check_may_restore
from drexnode.stopped import open_stopped
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument
from ledger.override import OverrideRefused
from primitives.keys import SigningKey, verify
from primitives.limits import MAX_MANIFEST_BYTES
from storage.backup_format import BASE_FOLDER, BackupList, BackupRefused, read_list, read_segment
from storage.backup_writer import write_backup
from storage.disk_space import DiskSpace
from storage.files import read_bounded, sync_directory, write_failed
from storage.snapshot_format import (
    MANIFEST_FILE,
    SnapshotRefused,
    digest_of_manifest,
    read_chunks,
    read_manifest,
)
from storage.snapshot_restore import restore_snapshot

Progress = Callable[[str, int, int], None]


def backup_key(config: NodeConfig) -> SigningKey:
    """The key that signs a home's backups: that of its libp2p identity. Raises `KeyFailure`."""
    return SigningKey(read_plain_key(config.peer_key_path).seed)


def create_backup(
    config: NodeConfig, folder: Path, progress: Progress, *, new_base: bool = False
) -> BackupList:
    """Make or extend the backup in `folder` from a stopped node's data.

    Raises `BackupRefused`, `StorageFailure` (STORAGE_LOCKED while the node runs) and `ConfigError`."""
    with open_stopped(config) as chain:
        return write_backup(
            chain.store.state.view,
            chain.chain_id,
            folder.absolute(),
            backup_key(config),
            verify,
            new_base=new_base,
            progress=progress,
            floor_bytes=config.storage.free_floor_bytes,
        )


def open_backup(config: NodeConfig, folder: Path, signer: bytes | None = None) -> BackupList:
    """The list of a backup that `signer` (the home's own key) made of the home's chain.

    Raises `BackupRefused` (BACKUP_MISSING, BACKUP_FOREIGN, BACKUP_OTHER_SIGNER, …) and `ConfigError`."""
    contents = read_list(folder, verify)
    if contents is None:
        message = f"{folder} holds no backup (no signed list: it may never have been finished)"
        raise BackupRefused("BACKUP_MISSING", message, path=str(folder))
    chain_id = chain_id_of(read_genesis(config.genesis_path))
    if contents.chain_id != chain_id:
        message = f"the backup is of chain {contents.chain_id.hex()}, the genesis of {chain_id.hex()}"
        raise BackupRefused("BACKUP_FOREIGN", message)
    expected = bytes(backup_key(config).public_key) if signer is None else signer
    if contents.signer != expected:
        message = (
            f"the backup is signed by {contents.signer.hex()}, not by {expected.hex()}; if that is the node "
            "you trust, name it with --signer"
        )
        raise BackupRefused("BACKUP_OTHER_SIGNER", message, signer=contents.signer.hex())
    return contents


def verify_backup(
    config: NodeConfig, folder: Path, progress: Progress, *, signer: bytes | None = None, scratch: Path | None
) -> BackupList:
    """Restore a backup into a folder under `scratch` that is thrown away. Raises as `restore_backup` does."""
    contents = open_backup(config, folder, signer)
    document = read_genesis(config.genesis_path)
    with tempfile.TemporaryDirectory(prefix="drexnode-verify-", dir=scratch) as temporary:
        _rebuild(contents, folder, document, Path(temporary) / STORE_FOLDER, config, progress, floor_bytes=0)
    return contents


def restore_backup(
    config: NodeConfig, folder: Path, progress: Progress, *, signer: bytes | None = None
) -> BackupList:
    """Give a stopped node without a chain that of a backup.

    Raises `BackupRefused`, `SnapshotRefused`, `ReplayDiffers`, `StorageFailure` and `ConfigError`."""
    check_may_restore(config)
    contents = open_backup(config, folder, signer)
    document = read_genesis(config.genesis_path)
    path = config.data_path / STORE_FOLDER
    growing = path.with_name(path.name + ".building")
    marks = [item.with_name(item.name + ".acknowledged") for item in (path, growing)]
    try:
        shutil.rmtree(growing, ignore_errors=True)
        marks[1].unlink(missing_ok=True)
        config.data_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _rebuild(
            contents, folder, document, growing, config, progress, floor_bytes=config.storage.free_floor_bytes
        )
        marks[1].replace(marks[0])
        growing.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise write_failed(growing, error) from error
    finally:
        shutil.rmtree(growing, ignore_errors=True)
        marks[1].unlink(missing_ok=True)
    return contents


def _rebuild(
    contents: BackupList,
    folder: Path,
    document: GenesisDocument,
    target: Path,
    config: NodeConfig,
    progress: Progress,
    *,
    floor_bytes: int,
) -> None:
    """Make the database `target` from a backup, and compare its end with the list's."""
    if contents.base is not None:
        _restore_base(contents, folder, document, target, progress, floor_bytes)
    builder = open_builder(
        target, document, hot_set_bytes=config.storage.hot_set_bytes, signatures=False
    )  # the quorum's certificates stand for the signatures
    space = DiskSpace(target.parent, floor_bytes=floor_bytes, low_bytes=floor_bytes)
    try:
        _follow_overrides(builder, contents)
        for name in contents.segments:
            space.check()
            for block in read_segment(folder, name):
                builder.append(
                    SourceBlock(block.header, block.certificate, [bytes(raw) for raw in block.transactions])
                )
                progress("blocks", builder.height - contents.first + 1, contents.height - contents.first + 1)
        tip = builder.store.tip
        assert tip is not None
        if (tip.height, tip.block_id, builder.state_root) != (
            contents.height,
            contents.block_id,
            contents.state_root,
        ):
            message = f"the blocks end at {tip.height} {tip.block_id.hex()}, not where the list says"
            raise ReplayDiffers("REPLAY_DIFFERS", message, height=tip.height)
    finally:
        builder.store.close()


def _follow_overrides(builder: ChainBuilder, contents: BackupList) -> None:
    for override in contents.overrides:
        try:
            builder.follow(override)
        except OverrideRefused as error:
            raise BackupRefused("BACKUP_MALFORMED", f"an override in it is not valid: {error}") from error


def _restore_base(
    contents: BackupList,
    folder: Path,
    document: GenesisDocument,
    target: Path,
    progress: Progress,
    floor_bytes: int,
) -> None:
    base = contents.base
    assert base is not None
    place = folder / f"{BASE_FOLDER}-{base.height}"
    data = read_bounded(place / MANIFEST_FILE, MAX_MANIFEST_BYTES)
    if data is None or digest_of_manifest(data) != base.digest:
        message = f"{place} is missing or another snapshot than the list names; use another backup"
        raise SnapshotRefused("SNAPSHOT_MALFORMED", message)
    manifest = read_manifest(place)
    chunks = read_chunks(place, manifest)
    restore_snapshot(
        manifest, chunks, document, target, verify=verify, progress=progress, floor_bytes=floor_bytes
    )
