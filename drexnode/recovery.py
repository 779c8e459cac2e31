"""From files to a running chain: LevelDB opens, what is stored is checked, the tip becomes the head.

An empty store gets the genesis block. Everything here blocks and runs once, before the network starts.
"""

from __future__ import annotations

from drexnode.config import NodeConfig
from drexnode.finalizer import Finalizer, Head
from drexnode.metrics import Metrics
from drexnode.protocol_guard import check_protocol
from drexnode.telemetry import get_logger
from ledger.block import Block
from ledger.genesis import chain_id_of, make_genesis_state
from ledger.genesis_records import GenesisDocument
from ledger.state_tree import StateTree
from ledger.votes import read_validators
from primitives.errors import InvariantViolation, StorageFailure
from storage.chain_store import ChainStore, open_chain_store
from storage.disk_space import DiskSpace
from storage.integrity import check_open
from storage.queries import ChainQueries

STORE_FOLDER = "chain"
_log = get_logger("recovery")


def open_chain(config: NodeConfig, document: GenesisDocument, metrics: Metrics) -> Finalizer:
    """Open, check and (a new node) begin the chain of `document`.

    Raises `StorageFailure` for a disk or data that can't be used, `InvariantViolation` when the stored chain
    is not the document's or its books differ.
    """
    chain_id = chain_id_of(document)
    space = disk_space(config)
    space.give_up_reserve()
    space.check()
    store = open_chain_store(
        config.data_path / STORE_FOLDER,
        chain_id,
        hot_set_bytes=config.storage.hot_set_bytes,
        cache_bytes=config.storage.cache_bytes,
        create=True,
    )
    try:
        tree = check_open(
            store, chain_id, document.parameters.bucket_count, tree_bytes=config.storage.tree_bytes
        )
        if store.tip is None:
            begin_chain(store, tree, document)
        head = head_of(store, chain_id)
        check_protocol(store.state, head.height + 1)
        store.state.reopen()
    except BaseException:
        store.close()
        raise
    space.take_reserve()
    for what in store.database.recovered:
        _log.warning("chain.recovered", what=what)
    _log.info(
        "chain.opened", height=head.height, id=head.block_id.hex()[:16], state_root=tree.root.hex()[:16]
    )
    return Finalizer(store, tree, document, head, metrics)


def disk_space(config: NodeConfig) -> DiskSpace:
    """The room of the data directory's disk, with the configured floor."""
    floor = config.storage.free_floor_bytes
    return DiskSpace(config.data_path, floor_bytes=floor, low_bytes=2 * floor)


def begin_chain(store: ChainStore, tree: StateTree, document: GenesisDocument) -> None:
    """Store the genesis block in an empty store. Raises `StorageFailure`."""
    genesis = make_genesis_state(document, tree)
    store.commit(Block(genesis.header, ()), None, genesis.delta, genesis.patch)
    tree.commit(genesis.patch)
    store.pages.save_if_due(tree)


def head_of(store: ChainStore, chain_id: bytes) -> Head:
    """The head that a store's tip makes. Raises `StorageFailure` (STORAGE_CORRUPT)."""
    tip = store.tip
    if tip is None:
        raise InvariantViolation("CHAIN_EMPTY", "a store without a genesis block")
    certificate = ChainQueries(store, chain_id).certificate(tip.height)
    if certificate is None and tip.height > 0:
        raise StorageFailure("STORAGE_CORRUPT", f"block {tip.height} lacks its certificate")
    return Head(tip.header, tip.block_id, certificate, read_validators(store.state))
