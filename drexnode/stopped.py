"""The chain of a stopped or killed node, opened to be read and never changed (storage/borrowed.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drexnode.config import NodeConfig
from drexnode.home import read_genesis
from drexnode.recovery import STORE_FOLDER
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument
from ledger.state_tree import StateTree
from primitives.errors import StorageFailure
from primitives.limits import MIB
from storage.borrowed import borrow_database
from storage.chain_store import ChainStore, Tip, open_chain_store
from storage.integrity import check_open
from storage.queries import ChainQueries

_HOT_SET_BYTES = MIB  # a look reads each thing once


@dataclass(frozen=True, slots=True)
class StoppedChain:
    """What lies in a node's data, as of its tip. The quick checks of a start have passed."""

    document: GenesisDocument
    chain_id: bytes
    store: ChainStore
    tree: StateTree
    queries: ChainQueries
    tip: Tip


@contextmanager
def open_stopped(config: NodeConfig, scratch: Path | None = None) -> Iterator[StoppedChain]:
    """Open a stopped node's chain and check it as a start does; `scratch` is for a few MiB of copies.

    Raises `StorageFailure` (STORAGE_LOCKED while it runs, STORAGE_MISSING, STORAGE_CORRUPT, …),
    `InvariantViolation` (SUPPLY_MISMATCH) and `ConfigError`.
    """
    document = read_genesis(config.genesis_path)
    chain_id = chain_id_of(document)
    with borrow_database(config.data_path / STORE_FOLDER, scratch) as folder:
        store = open_chain_store(folder, chain_id, hot_set_bytes=_HOT_SET_BYTES)
        try:
            tree = check_open(store, chain_id, document.parameters.bucket_count)
            tip = store.tip
            if tip is None:
                raise StorageFailure("STORAGE_MISSING", f"{config.data_path} holds no block yet")
            yield StoppedChain(document, chain_id, store, tree, ChainQueries(store, chain_id), tip)
        finally:
            store.close()
