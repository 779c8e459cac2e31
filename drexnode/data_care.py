"""Looking after the data of a stopped node: scan it whole, or put a damaged database aside.

Promise: votes and the sign watermark are never touched, and nothing is deleted: a repaired node has no chain,
keeps the damaged one beside it, and fetches the chain from its peers at its next start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from drexnode.config import ConfigError, NodeConfig
from drexnode.home import read_genesis
from drexnode.recovery import STORE_FOLDER
from drexnode.retention import check_prune
from ledger.genesis import chain_id_of
from primitives.errors import StorageFailure
from primitives.keys import verify
from primitives.limits import MIB
from storage.chain_store import open_chain_store
from storage.integrity import check_open
from storage.leveldb import open_database
from storage.prune import prune
from storage.queries import ChainQueries
from storage.tables import damaged_parts
from storage.verify import Report, verify_store


def scan_chain(config: NodeConfig, progress: Callable[[str, int], None]) -> Report:
    """Check everything a stopped node has stored against everything else; damage is in the report.

    Every certificate's signatures are checked. Raises `StorageFailure`
    (STORAGE_LOCKED while the node runs, STORAGE_MISSING) and `ConfigError`.
    """
    document = read_genesis(config.genesis_path)
    chain_id = chain_id_of(document)
    folder = config.data_path / STORE_FOLDER
    report = Report()
    for part in damaged_parts(folder) if folder.is_dir() else ():
        report.find(part)
    try:
        store = open_chain_store(folder, chain_id, hot_set_bytes=config.storage.hot_set_bytes)
    except StorageFailure as error:
        if error.code != "STORAGE_CORRUPT":
            raise
        report.find(error.message)
        return report
    try:
        check_open(store, chain_id, document.parameters.bucket_count)
        found = verify_store(
            store,
            chain_id,
            document.parameters.bucket_count,
            validators_at=ChainQueries(store, chain_id).validators_at,
            verify=verify,
            genesis_outputs={
                chain_id + place.to_bytes(4, "big"): (output.lock, output.asset.encode())
                for place, output in enumerate(document.outputs)
            },
            progress=progress,
        )
    except StorageFailure as error:
        report.find(error.message)
        return report
    finally:
        store.close()
    found.findings[:0] = report.findings
    return found


def prune_chain(config: NodeConfig, kept_blocks: int, progress: Callable[[str, int, int], None]) -> int:
    """Let the bodies of a stopped node's old blocks go and give their room back; the lowest height that has
    bodies now.

    Raises `DrexError` (PRUNE_ARCHIVE, PRUNE_TOO_FEW) and `StorageFailure` (STORAGE_LOCKED, …)."""
    check_prune(config, kept_blocks)
    chain_id = chain_id_of(read_genesis(config.genesis_path))
    store = open_chain_store(
        config.data_path / STORE_FOLDER, chain_id, hot_set_bytes=config.storage.hot_set_bytes
    )
    try:
        prune(store.database, kept_blocks, progress=progress)
    finally:
        store.close()
    store = open_chain_store(config.data_path / STORE_FOLDER, chain_id, hot_set_bytes=MIB)
    try:
        store.database.compact()  # in a new store: what the view of the old one shows can't go
        return max(1, ChainQueries(store, chain_id).pruned_below)
    finally:
        store.close()


def set_chain_aside(config: NodeConfig) -> Path:
    """Move a stopped node's database aside; returns where it is now.

    Raises `StorageFailure` (STORAGE_LOCKED, STORAGE_MISSING), and `ConfigError` (REPAIR_NO_PEERS) for a node
    that could fetch the chain from nobody: its data is the only copy it knows of.
    """
    document = read_genesis(config.genesis_path)
    if len(document.nodes) < 2 and not config.p2p.peers:
        raise ConfigError("REPAIR_NO_PEERS", "this node knows no peer that could give the chain back")
    folder = config.data_path / STORE_FOLDER
    if not folder.is_dir():
        raise StorageFailure("STORAGE_MISSING", f"{folder} does not exist: there is nothing to repair")
    _check_stopped(folder)
    aside = folder.with_name(f"{STORE_FOLDER}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    mark = folder.with_name(STORE_FOLDER + ".acknowledged")
    folder.rename(aside)
    if mark.exists():
        mark.rename(aside / "acknowledged")
    return aside


def _check_stopped(folder: Path) -> None:
    """Raises `StorageFailure` (STORAGE_LOCKED) while a process has the database open."""
    try:
        open_database(folder).close()
    except StorageFailure as error:
        if error.code == "STORAGE_LOCKED":
            raise
