"""A chain made again from its blocks: certificates checked, signatures verified, every block executed.

Promise: a block becomes part of the new chain only if it continues it, was decided by the validators that the
blocks before it name (or an override of the genesis's recovery condition), and executes to the state root of
its header. Nothing of the source is believed but what its genesis proves. Blocking; for tools.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drexnode.header_chain import HeaderChain
from drexnode.recovery import begin_chain, head_of
from ledger.block import Block
from ledger.checks import verify_signatures
from ledger.execute import ExecutionContext, execute_block
from ledger.genesis import chain_id_of, ledger_parameters
from ledger.genesis_records import GenesisDocument
from ledger.override import Override, Overrides, check_override
from ledger.slices import finish
from ledger.state_tree import StateTree
from ledger.transaction import decode_transaction
from primitives.block import BlockHeader, BlockId
from primitives.certificate import CommitCertificate
from primitives.errors import DrexError, StorageFailure
from primitives.keys import verify, verify_many
from storage.chain_store import ChainStore, open_chain_store
from storage.integrity import check_open
from storage.queries import ChainQueries
from storage.validator_rows import read_overrides, write_override

Progress = Callable[[str, int, int], None]


class ReplayDiffers(DrexError):
    """A block that does not make what its header says. Code REPLAY_DIFFERS; `height` names it."""


@dataclass(frozen=True, slots=True)
class SourceBlock:
    """A final block as some source holds it; nothing of it is trusted."""

    header: BlockHeader
    certificate: CommitCertificate
    transactions: Sequence[bytes]


class ChainBuilder:
    """Extends one store, block by block."""

    def __init__(
        self, store: ChainStore, tree: StateTree, document: GenesisDocument, *, signatures: bool = True
    ) -> None:
        """Go on from the store's tip, or begin with the genesis. `signatures` of transactions are verified,
        or taken as verified by the quorum that decided."""
        self.store, self.tree = store, tree
        self._document = document
        self._chain_id = chain_id_of(document)
        self._signatures = signatures
        if store.tip is None:
            begin_chain(store, tree, document)
        self._overrides: Overrides = read_overrides(store.database)
        head = head_of(store, self._chain_id)
        self._chain = HeaderChain(self._chain_id, head.header, head.validators, self._overrides)

    @property
    def height(self) -> int:
        """Of the last block."""
        return self._chain.height

    @property
    def state_root(self) -> bytes:
        """After the last block."""
        return self.tree.root

    def follow(self, override: Override) -> None:
        """Take an override along, before the block after the one it names. Raises `OverrideRefused`."""
        check_override(override, self._document, self._chain_id, verify)
        write_override(self.store.database, override)
        self._overrides.add(override)

    def append(self, source: SourceBlock) -> BlockId:
        """Check, execute and commit the next block. Raises `ReplayDiffers`, and `StorageFailure` of the
        store that is built."""
        mark = self._chain.mark()
        try:
            return self._append(source)
        except StorageFailure:
            raise
        except DrexError as error:
            self._chain.return_to(mark)
            height = source.header.height
            message = f"block {height} does not follow from the blocks before it: {error}"
            raise ReplayDiffers("REPLAY_DIFFERS", message, height=height, cause=error.code) from error

    def _append(self, source: SourceBlock) -> BlockId:
        header, before = source.header, self._chain.header
        validators = self._chain.validators
        checks = self._chain.link(header, source.certificate)
        if not all(verify_many(checks)):
            raise DrexError("CERTIFICATE_BAD_SEAL", "a seal of its certificate is false")
        transactions = tuple(decode_transaction(raw, self._chain_id) for raw in source.transactions)
        if self._signatures:
            for transaction in transactions:
                verify_signatures(transaction, verify_many)
        block = Block(header, transactions)
        context = ExecutionContext(
            before, validators, self._document.parameters, ledger_parameters(self._document)
        )
        executed = finish(execute_block(self.store.state, self.tree, context, block))
        self.store.commit(block, source.certificate, executed.delta, executed.patch)
        self.tree.commit(executed.patch)
        self.store.pages.save_if_due(self.tree)
        self._chain.reset(header, executed.next_validators)
        return block.block_id


def open_builder(
    folder: Path, document: GenesisDocument, *, hot_set_bytes: int, signatures: bool = True
) -> ChainBuilder:
    """A builder of the store in `folder`, begun there if nothing is. Close its `store`.

    Raises `StorageFailure`."""
    chain_id = chain_id_of(document)
    store = open_chain_store(folder, chain_id, hot_set_bytes=hot_set_bytes, create=True)
    try:
        tree = check_open(store, chain_id, document.parameters.bucket_count)
        return ChainBuilder(store, tree, document, signatures=signatures)
    except BaseException:
        store.close()
        raise


def read_source(queries: ChainQueries, height: int) -> SourceBlock:
    """A stored block as a source. Raises `StorageFailure` (STORAGE_CORRUPT), `QueryError` (BLOCK_PRUNED)."""
    stored, certificate = queries.block(height), queries.certificate(height)
    if stored is None or certificate is None:
        message = f"block {height} is not whole; run `drexnode verify`, then `drexnode repair`"
        raise StorageFailure("STORAGE_CORRUPT", message)
    return SourceBlock(stored.header, certificate, stored.transactions)
