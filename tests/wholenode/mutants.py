"""Rules taken out one at a time: the simulation must notice, within a stated number of schedules.

Each patches one spot of the node while it holds, and says which plots show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import drexnode.bodies
import primitives.validators
import storage.leveldb
import storage.signing_state
import storage.vote_journal
import storage.watermark
from drexnode.admission import Admission
from drexnode.dissemination import Dissemination
from drexnode.finalizer import Finalizer
from drexnode.sync_pipeline import BlockPipeline
from storage.chain_store import ChainStore
from storage.vote_journal import JournalContents
from storage.watermark import WatermarkContents


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken rule, where it is looked for, and within how many schedules it must be found."""

    patch: Callable[[], AbstractContextManager[Any]]
    plots: tuple[str, ...]
    within: int


@contextmanager
def _cache_by_txid() -> Iterator[None]:
    """What was verified is remembered by its txid, which leaves the witness out."""
    bodies = drexnode.bodies.Bodies

    def is_verified(self: Any, wtxid: bytes) -> bool:
        verified = {body.txid for body in self._row if body.wtxid not in self._unverified}
        asked = self._by_wtxid.get(wtxid)
        return asked is not None and asked.txid in verified

    with mock.patch.object(bodies, "is_verified", is_verified):
        yield


def _witness_unchecked_in_blocks() -> AbstractContextManager[Any]:
    async def verify_nothing(self: Admission, transactions: Any) -> None:
        return None

    return mock.patch.object(Admission, "verify_bodies", verify_nothing)


def _quorum_minus_one() -> AbstractContextManager[Any]:
    return mock.patch.object(primitives.validators, "quorum_size", lambda size: -(-2 * size // 3) - 1)


def _journal_not_synced() -> AbstractContextManager[Any]:
    return mock.patch.object(storage.vote_journal, "sync_data", return_value=None)


def _watermark_not_synced() -> AbstractContextManager[Any]:
    return mock.patch.object(storage.watermark, "sync_data", return_value=None)


def _watermark_ignored() -> AbstractContextManager[Any]:
    recover = storage.signing_state.recover_signing_state

    def without_watermark(journal: JournalContents, watermark: WatermarkContents) -> Any:
        slots = tuple(
            None if slot is None else storage.watermark.Slot(1, b"", b"", n, None)
            for n, slot in enumerate(watermark.slots)
        )
        return recover(journal, WatermarkContents(slots))  # type: ignore[arg-type]

    return mock.patch.object(storage.signing_state, "recover_signing_state", without_watermark)


def _chain_not_synced() -> AbstractContextManager[Any]:
    def unsynced(self: storage.leveldb.Database) -> storage.leveldb.Batch:
        return storage.leveldb.Batch(self._engine.write_batch(sync=False))

    return mock.patch.object(storage.leveldb.Database, "batch", unsynced)


@contextmanager
def _final_before_written() -> Iterator[None]:
    """Whoever listens hears of a block before it is durable."""
    finalize, advance = Finalizer.finalize, Finalizer._advance

    async def early(self: Finalizer, block: Any, executed: Any) -> None:
        if block.height == self.head.height + 1:
            self._listeners[0](block, executed)
        await finalize(self, block, executed)

    with mock.patch.multiple(Finalizer, finalize=early, _advance=advance):
        yield


def _voted_bodies_not_stored() -> AbstractContextManager[Any]:
    return mock.patch.object(ChainStore, "write_bodies", return_value=None)


def _seals_unchecked() -> AbstractContextManager[Any]:
    async def trust(self: BlockPipeline, links: Any) -> Any:
        return links, None

    return mock.patch.object(BlockPipeline, "_split_at_bad_seal", trust)


def _unfinished_not_offered_again() -> AbstractContextManager[Any]:
    """What was lost on the way is never sent again, and nobody pushes his pool."""
    return mock.patch.multiple(
        Dissemination, push=lambda *_: None, spread=lambda self, transactions, *, own: None
    )


MUTANTS: dict[str, Mutant] = {
    "cache by txid instead of wtxid": Mutant(_cache_by_txid, ("false_witness_proposer",), 10),
    "witness unchecked in blocks": Mutant(_witness_unchecked_in_blocks, ("false_witness_proposer",), 10),
    "seals unchecked in sync": Mutant(_seals_unchecked, ("lying_server",), 30),
    "quorum minus one": Mutant(_quorum_minus_one, ("one_way_links", "bad_links", "crashes"), 30),
    "journal not synced": Mutant(_journal_not_synced, ("calm",), 1),
    "watermark not synced": Mutant(_watermark_not_synced, ("calm",), 1),
    "watermark ignored": Mutant(_watermark_ignored, ("journals_lost",), 100),
    "chain not synced": Mutant(_chain_not_synced, ("crashes", "power_cut_on_all"), 20),
    "final before written": Mutant(_final_before_written, ("crashes", "slow_disks"), 50),
    "bodies of a vote not stored": Mutant(_voted_bodies_not_stored, ("calm",), 1),
    "transactions never spread": Mutant(_unfinished_not_offered_again, ("silent_proposer", "bad_links"), 30),
}

__all__ = ["MUTANTS", "Mutant"]
