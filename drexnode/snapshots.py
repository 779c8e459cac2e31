"""Snapshots of a stopped node's state: make, check, restore (`drexnode snapshot`; docs/storage.md).

A running node makes its own (drexnode/maintenance.py). Promise: what is restored was certified by this
chain's validators, whoever handed it over.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from drexnode.config import ConfigError, NodeConfig
from drexnode.home import read_genesis
from drexnode.recovery import STORE_FOLDER
from drexnode.stopped import open_stopped
from primitives.errors import StorageFailure
from primitives.keys import verify
from storage.snapshot_format import Manifest, read_chunks, read_manifest
from storage.snapshot_restore import check_manifest, restore_snapshot
from storage.snapshot_writer import write_snapshot

Progress = Callable[[str, int, int], None]


def create_snapshot(config: NodeConfig, folder: Path, progress: Progress) -> Manifest:
    """Write the state of a stopped node's tip to `folder`, which must not exist.

    Raises `StorageFailure` (STORAGE_LOCKED while the node runs), `SnapshotRefused` and `ConfigError`."""
    with open_stopped(config) as chain:
        return write_snapshot(
            chain.store.state.view,
            chain.chain_id,
            folder.absolute(),
            progress=progress,
            floor_bytes=config.storage.free_floor_bytes,
        )


def verify_snapshot(
    genesis: Path, folder: Path, progress: Progress, *, quick: bool = False, scratch: Path | None = None
) -> Manifest:
    """Check a snapshot against a genesis document: its block is final, every chunk is whole and, unless
    `quick`, the chunks make the certified state root (in a database under `scratch` that is thrown away).

    Raises `SnapshotRefused`, `StorageFailure`, `InvariantViolation` and `ConfigError`."""
    document, manifest = read_genesis(genesis), read_manifest(folder)
    if not quick:
        with tempfile.TemporaryDirectory(prefix="drexnode-verify-", dir=scratch) as temporary:
            restore_snapshot(
                manifest,
                read_chunks(folder, manifest),
                document,
                Path(temporary) / STORE_FOLDER,
                verify=verify,
                progress=progress,
            )
        return manifest
    check_manifest(manifest, document, verify)
    done = 0
    for entries in read_chunks(folder, manifest):
        done += len(entries)
        progress("entries", done, manifest.entries)
    return manifest


def restore_home(config: NodeConfig, folder: Path, progress: Progress) -> Manifest:
    """Give a stopped node without a chain the snapshot in `folder`.

    Raises `StorageFailure` (STORAGE_EXISTS, …), `SnapshotRefused`, `InvariantViolation` and `ConfigError`."""
    document, manifest = read_genesis(config.genesis_path), read_manifest(folder)
    check_may_restore(config)
    restore_snapshot(
        manifest,
        read_chunks(folder, manifest),
        document,
        config.data_path / STORE_FOLDER,
        verify=verify,
        progress=progress,
        floor_bytes=config.storage.free_floor_bytes,
    )
    return manifest


def check_may_restore(config: NodeConfig) -> None:
    """A validator without the memory of what it signed gets no chain: it would sign what it signed before.

    Raises `ConfigError` (HOME_NO_WATERMARK) and `StorageFailure` (STORAGE_EXISTS)."""
    folder = config.data_path / STORE_FOLDER
    if folder.exists():
        message = f"{folder} exists and is not overwritten; `drexnode repair` sets it aside"
        raise StorageFailure("STORAGE_EXISTS", message, path=str(folder))
    if config.node.role == "validator" and not config.watermark_path.is_dir():
        message = (
            f"{config.watermark_path} is missing: what this key has signed is not known. Bring the watermark "
            "from the machine that signed last, or let the other validators vote a new key in"
        )
        raise ConfigError("HOME_NO_WATERMARK", message, path=str(config.watermark_path))
