"""The last final blocks in RAM: the newest are always there, and never more than the bounds."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from drexnode.recent_blocks import RecentBlocks
from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock
from primitives.limits import RECENT_BLOCKS
from tests.drexnode.chain import Chain, genesis_document, open_finalizer


async def final_blocks(path: Path, count: int) -> list[tuple[FinalizedBlock, ExecutedBlock]]:
    """So many blocks of two transfers each."""
    document, made = genesis_document(), list[tuple[FinalizedBlock, ExecutedBlock]]()
    with open_finalizer(path, document) as finalizer:
        finalizer.on_final(lambda block, executed: made.append((block, executed)))
        await Chain(finalizer, document).grow(count)
    return made


async def test_the_newest_blocks_are_found_by_height_id_and_body(tmp_path: Path) -> None:
    recent, made = RecentBlocks(), await final_blocks(tmp_path, RECENT_BLOCKS + 3)
    for block, executed in made:
        recent.on_final(block, executed)
    for block, _ in made[3:]:
        found = recent.at(block.height)
        assert found is not None
        assert (found.header, found.certificate) == (block.header, block.certificate)
        assert recent.with_id(block.block.block_id) is found
        for transaction in block.block.transactions:
            assert recent.body(transaction.wtxid) == transaction.raw
    for block, _ in made[:3]:
        assert recent.at(block.height) is None
        assert recent.with_id(block.block.block_id) is None
        assert recent.body(block.block.transactions[0].wtxid) is None


async def test_their_bytes_are_bounded_but_for_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await final_blocks(tmp_path, 6)
    sizes = [sum(len(each.raw) for each in block.block.transactions) for block, _ in made]
    for room, kept in ((sizes[-1] + sizes[-2], 2), (1, 1)):
        monkeypatch.setattr("drexnode.recent_blocks.RECENT_BLOCK_BYTES", room)
        recent = RecentBlocks()
        for block, executed in made:
            recent.on_final(block, executed)
        assert [block for block, _ in made if recent.at(block.height)] == [block for block, _ in made[-kept:]]


async def test_no_decoded_block_is_kept(tmp_path: Path) -> None:
    recent, made = RecentBlocks(), await final_blocks(tmp_path, 2)
    for block, executed in made:
        recent.on_final(block, executed)
    blocks = [weakref.ref(block.block) for block, _ in made]
    heights = [block.height for block, _ in made]
    del made, block, executed
    gc.collect()
    assert [each() for each in blocks] == [None, None]
    assert all(recent.at(height) for height in heights)
