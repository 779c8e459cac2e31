"""Makes a database from a snapshot: each chunk checked by its digest, the whole by the state root.

Promises: the database appears under its name only when the state it holds has the root that validators of
this chain certified, and the checks of a start have passed; until then it grows in `NAME.restoring`, which
the next restore begins anew; memory stays at a batch of entries and the tree's cache. Votes and watermark are
never touched: a validator that restores signs above what it has signed, or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from ledger.genesis import chain_id_of, genesis_validators
from ledger.genesis_records import GenesisDocument
from ledger.override import OverrideRefused, encode_override
from ledger.state import OUTPUT
from ledger.state_tree import StateTree
from ledger.trust_path import Anchor
from ledger.votes import validators_value
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate, Verify
from primitives.codec import encode
from primitives.errors import DecodeError, InvalidBlock, InvariantViolation, StorageFailure
from primitives.limits import RESTORE_ROWS_PER_BATCH
from storage import failpoints
from storage.block_rows import unspent_row
from storage.books import book_row
from storage.chain_store import open_chain_store
from storage.disk_space import DiskSpace
from storage.files import sync_directory, write_failed
from storage.integrity import check_open
from storage.layout import (
    CERTIFICATE,
    HEADER,
    HEIGHT_OF_BLOCK,
    META_BASE,
    META_PRUNED,
    META_TIP,
    OVERRIDE,
    PAGE,
    STATE,
    VALIDATOR_SET,
    TipRow,
    height_key,
)
from storage.leveldb import Batch, Database, open_database
from storage.schema import schema_rows
from storage.snapshot_format import Entry, Manifest, SnapshotRefused
from storage.tree_rows import TreePages

Progress = Callable[[str, int, int], None]


def check_manifest(
    manifest: Manifest, document: GenesisDocument, verify: Verify, *, pinned: bytes | None = None
) -> None:
    """Refuse a snapshot whose block is not final on this chain; with `pinned` (a validators_hash) also one
    whose way from the genesis does not pass those validators. Raises `SnapshotRefused` (SNAPSHOT_FOREIGN,
    SNAPSHOT_NOT_FINAL)."""
    chain_id = chain_id_of(document)
    if manifest.chain_id != chain_id:
        message = f"the snapshot is of chain {manifest.chain_id.hex()}, the genesis of {chain_id.hex()}"
        raise SnapshotRefused("SNAPSHOT_FOREIGN", message)
    if manifest.certificate is None:
        message = "a snapshot of the genesis alone has nothing to restore; start the node"
        raise SnapshotRefused("SNAPSHOT_NOT_FINAL", message)
    try:
        manifest.path.check_block(document, verify, manifest.header, manifest.certificate)
        if pinned is not None:
            anchor = Anchor.of_genesis(document, pinned)
            manifest.path.check_block_from(anchor, verify, manifest.header, manifest.certificate)
    except (InvalidBlock, OverrideRefused, DecodeError) as error:
        message = f"block {manifest.height} of the snapshot is not final on this chain: {error}"
        raise SnapshotRefused("SNAPSHOT_NOT_FINAL", message, cause=error.code) from error


def restore_snapshot(
    manifest: Manifest,
    chunks: Iterator[list[Entry]],
    document: GenesisDocument,
    path: Path,
    *,
    verify: Verify,
    progress: Progress = lambda what, done, total: None,
    floor_bytes: int = 0,
) -> None:
    """Make the database `path`, which must not exist, from a manifest and its chunks in order. Blocking.

    Raises `SnapshotRefused` (SNAPSHOT_FOREIGN, SNAPSHOT_NOT_FINAL, SNAPSHOT_CHUNK, SNAPSHOT_ROOT),
    `StorageFailure` (STORAGE_EXISTS, …) and `InvariantViolation` (SUPPLY_MISMATCH); nothing is left then.
    """
    check_manifest(manifest, document, verify)
    if path.exists():
        message = f"{path} exists; to give it up: drexnode repair sets it aside"
        raise StorageFailure("STORAGE_EXISTS", message, path=str(path))
    growing = path.with_name(path.name + ".restoring")
    space = DiskSpace(path.parent, floor_bytes=floor_bytes, low_bytes=floor_bytes)
    mark, growing_mark = (item.with_name(item.name + ".acknowledged") for item in (path, growing))
    try:
        shutil.rmtree(growing, ignore_errors=True)
        growing_mark.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _fill(growing, manifest, chunks, document, space, progress)
        _check(growing, document)
        failpoints.reach("restore.before_rename")
        growing_mark.unlink(missing_ok=True)
        mark.unlink(missing_ok=True)  # of a chain that was given up
        growing.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise write_failed(growing, error) from error
    finally:
        shutil.rmtree(growing, ignore_errors=True)
        growing_mark.unlink(missing_ok=True)


def _fill(
    folder: Path,
    manifest: Manifest,
    chunks: Iterator[list[Entry]],
    document: GenesisDocument,
    space: DiskSpace,
    progress: Progress,
) -> None:
    database = open_database(folder, create=True)
    try:
        tree = StateTree(document.parameters.bucket_count, TreePages(database))
        sums: dict[bytes, int] = {}
        done = 0
        for entries in _batches(chunks):
            space.check()
            _put_entries(database, tree, entries, sums)
            failpoints.reach("restore.after_batch")
            done += len(entries)
            progress("entries", done, manifest.entries)
        if tree.root != manifest.header.state_root:
            message = (
                f"the entries make the root {tree.root.hex()}, block {manifest.height} has "
                f"{manifest.header.state_root.hex()}: they are not its state; fetch the snapshot anew"
            )
            raise SnapshotRefused("SNAPSHOT_ROOT", message, height=manifest.height)
        batch = database.batch()
        for key, value in schema_rows(manifest.chain_id):
            batch.put(key, value)
        for asset, amount in sorted(sums.items()):
            batch.put(*book_row(asset, amount))
        _put_blocks(batch, manifest, document)
        database.write(batch)
    finally:
        database.close()


def _put_entries(database: Database, tree: StateTree, entries: list[Entry], sums: dict[bytes, int]) -> None:
    batch, output = database.batch(), OUTPUT[0]
    for key, value in entries:
        batch.put(STATE + key, value)
        if key[0] == output:
            batch.put(unspent_row(key, value), b"")
            asset = value[40:]
            sums[asset] = sums.get(asset, 0) + int.from_bytes(value[32:40], "big")
    patch = tree.apply({key: (None, value) for key, value in entries})
    for page_key, page in patch.page_writes():
        if page is None:
            batch.delete(PAGE + page_key)
        else:
            batch.put(PAGE + page_key, page)
    database.write(batch)
    tree.commit(patch)


def _put_blocks(batch: Batch, manifest: Manifest, document: GenesisDocument) -> None:
    """Tip, the blocks before it, and who decided when."""
    path, header = manifest.path, manifest.header
    first = manifest.height - len(manifest.tail)
    for link in path.hand_overs:
        _put_header(batch, link.header, link.certificate)
        batch.put(height_key(VALIDATOR_SET, link.height + 1), link.validators)
    for parent in manifest.tail:
        _put_header(batch, parent.header, parent.certificate)
    _put_header(batch, header, manifest.certificate)
    for override in path.overrides:
        batch.put(height_key(OVERRIDE, override.height), encode_override(override))
    batch.put(height_key(VALIDATOR_SET, 1), validators_value(genesis_validators(document)))
    name = block_id(header)
    batch.put(META_BASE, first.to_bytes(8, "big"))
    batch.put(META_PRUNED, (manifest.height + 1).to_bytes(8, "big"))
    batch.put(META_TIP, encode(TipRow(manifest.height, name, header.state_root)))


def _put_header(batch: Batch, header: BlockHeader, certificate: CommitCertificate | None) -> None:
    batch.put(height_key(HEADER, header.height), encode(header))
    batch.put(HEIGHT_OF_BLOCK + block_id(header), header.height.to_bytes(8, "big"))
    if certificate is not None:
        batch.put(height_key(CERTIFICATE, header.height), encode(certificate))


def _check(folder: Path, document: GenesisDocument) -> None:
    """What a start checks: tip, parents, root of the stored tree, both supply books."""
    chain_id = chain_id_of(document)
    store = open_chain_store(folder, chain_id, hot_set_bytes=1 << 20)
    try:
        tree = check_open(store, chain_id, document.parameters.bucket_count)
        if store.tip is None or tree.root != store.tip.header.state_root:
            raise InvariantViolation("STATE_ROOT_MISMATCH", "the restored tree is not the one that was made")
    finally:
        store.close()


def _batches(chunks: Iterator[list[Entry]]) -> Iterator[list[Entry]]:
    waiting: list[Entry] = []
    for entries in chunks:
        waiting += entries
        if len(waiting) >= RESTORE_ROWS_PER_BATCH:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
