"""A block that a vote made durable outlives a restart: it is held, and served to whoever must propose it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from drexnode.candidates import Candidates
from drexnode.finalizer import Finalizer
from tests.drexnode.chain import Chain, genesis_document, open_finalizer


def candidates(finalizer: Finalizer) -> Candidates:
    """Candidates of a node whose pool is empty, as after a restart."""
    nothing: Any = None
    admission = cast(Any, SimpleNamespace(lookup=lambda wtxid: None))
    return Candidates(
        transport=nothing,
        admission=admission,
        executor=nothing,
        finalizer=finalizer,
        now_ms=lambda: 0,
        holders=lambda: (),
    )


def test_a_locked_block_is_served_after_a_restart(tmp_path: Path) -> None:
    """Found by killing a whole network under load: only the store of one validator held the locked block, it
    told others its list and not its bodies, and no proposer could go on with it."""
    document = genesis_document(outputs=8)
    with open_finalizer(tmp_path, document) as finalizer:
        block = Chain(finalizer, document).build(_transfers(finalizer, document))[0].block
        finalizer.store.write_bodies(block)
    with open_finalizer(tmp_path, document) as finalizer:
        held = candidates(finalizer)
        assert held.find(block.block_id) is None
        held.restore()
        assert held.find(block.block_id) == block
        assert [held.body(wtxid) for wtxid in block.wtxids] == list(block.transactions)
        held.start_height(block.height)
        assert held.find(block.block_id) == block
        held.start_height(block.height + 1)
        assert held.find(block.block_id) is None
        assert held.body(block.wtxids[0]) is None


def _transfers(finalizer: Finalizer, document: Any) -> Any:
    return Chain(finalizer, document).transfers(3)
