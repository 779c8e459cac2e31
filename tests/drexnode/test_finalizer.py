"""The one door to a new height: in order, once, durable before anyone hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from consensus.evidence import decode_conflict_proof, verify_conflict_proof
from drexnode.executor import Executor
from drexnode.metrics import Metrics
from drexnode.recovery import begin_chain
from ledger.block import Block, FinalizedBlock
from ledger.execute import ExecutedBlock, ExecutionContext, execute_block
from ledger.genesis import chain_id_of
from ledger.slices import Slices
from ledger.state import StateDelta, StateReader
from ledger.state_tree import StateTree, TreePatch
from primitives.errors import InvalidBlock, InvariantViolation
from primitives.keys import verify
from storage import tree_rows
from storage.chain_store import PreparedBlock, open_chain_store
from storage.integrity import check_open
from storage.layout import EDITS, after
from storage.verify import verify_store
from tests.drexnode.chain import Chain, genesis_document, open_finalizer

pytestmark = pytest.mark.trio
DOCUMENT = genesis_document(outputs=400)


async def test_who_hears_of_a_block_finds_it_in_store_state_and_tree(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain, heard = Chain(finalizer, DOCUMENT), list[int]()

        def listener(block: FinalizedBlock, executed: object) -> None:
            assert finalizer.head.block_id == block.block.block_id
            assert finalizer.store.tip is not None
            assert finalizer.store.tip.height == block.height
            assert finalizer.tree.root == block.header.state_root
            heard.append(block.height)

        finalizer.on_final(listener)
        await chain.grow(3)
        assert heard == [1, 2, 3]


async def test_consensus_and_catching_up_may_bring_the_same_block(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        heard = list[int]()
        finalizer.on_final(lambda block, executed: heard.append(block.height))
        block, executed = Chain(finalizer, DOCUMENT).build([])
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(finalizer.finalize, block, executed)
        assert heard == [1]


async def test_another_final_block_at_the_heads_height_is_proof_against_its_signers(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        one, one_executed = chain.build([])
        other, other_executed = chain.build(chain.transfers(1))
        await finalizer.finalize(one, one_executed)
        with pytest.raises(InvariantViolation) as caught:
            await finalizer.finalize(other, other_executed)
        assert caught.value.code == "CONFLICTING_FINAL_BLOCK"
        proof = decode_conflict_proof(caught.value.data["proof"])
        verify_conflict_proof(proof, verify)
        assert len(proof.accused) == 3


async def test_a_cancelled_caller_leaves_a_block_final_or_not_begun(tmp_path: Path) -> None:
    """Whoever asked may give up at any moment; store, state, tree and head stay of one height."""
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        for turns in range(14):
            block, executed = chain.build(chain.transfers(20))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(finalizer.finalize, block, executed)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert finalizer.store.tip is not None
            assert finalizer.store.tip.block_id == finalizer.head.block_id
            assert finalizer.tree.root == finalizer.head.header.state_root
            if finalizer.head.height < block.height:
                await finalizer.finalize(block, executed)
            assert finalizer.head.block_id == block.block.block_id


async def test_whoever_waits_for_a_height_gets_the_head_that_reached_it(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain, heads = Chain(finalizer, DOCUMENT), list[int]()

        async def wait(height: int) -> None:
            heads.append((await finalizer.wait_height(height)).height)

        async with trio.open_nursery() as nursery:
            for height in (0, 1, 2):
                nursery.start_soon(wait, height)
            await chain.grow(2)
        assert sorted(heads) == [0, 1, 2]


async def test_a_block_is_executed_once_however_many_ask(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        executor, chain = Executor(finalizer, Metrics()), Chain(finalizer, DOCUMENT)
        block = chain.build(chain.transfers(30))[0].block
        results = list[object]()

        async def execute() -> None:
            results.append(await executor.execute(Block(block.header, block.transactions)))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(execute)
        assert results[0] is results[1]
        assert results[1] is results[2]


async def test_an_execution_that_is_given_up_leaves_room_for_the_next(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        executor, chain = Executor(finalizer, Metrics()), Chain(finalizer, DOCUMENT)
        block = chain.build(chain.transfers(30))[0].block
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.execute, block)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert executor.find(block.block_id) is None
        assert (await executor.execute(block)).state_root == block.header.state_root


async def test_a_decision_goes_on_with_the_execution_of_a_check_that_it_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = list[Block]()

    def counted(
        state: StateReader, tree: StateTree, context: ExecutionContext, block: Block
    ) -> Slices[ExecutedBlock]:
        begun.append(block)
        return execute_block(state, tree, context, block)

    monkeypatch.setattr("drexnode.executor.execute_block", counted)
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        executor, chain = Executor(finalizer, Metrics()), Chain(finalizer, DOCUMENT)
        block = chain.build(chain.transfers(200))[0].block
        await _begin(executor, block)
        assert (await executor.execute(Block(block.header, block.transactions))).block == block
        assert len(begun) == 1


async def test_a_header_with_another_list_is_executed_anew(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        executor, chain = Executor(finalizer, Metrics()), Chain(finalizer, DOCUMENT)
        block = chain.build(chain.transfers(200))[0].block
        reordered = Block(block.header, block.transactions[::-1])
        executor._execution_of(reordered)._drive(until=0)  # a check that was cancelled after one slice
        assert (await executor.execute(block)).state_root == block.header.state_root
        with pytest.raises(InvalidBlock, match="BLOCK_TX_ROOT"):
            await Executor(finalizer, Metrics()).execute(reordered)


async def _begin(executor: Executor, block: Block) -> None:
    """Execute a part of a block, then cancel it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.execute, block)
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert executor.find(block.block_id) is None


async def test_an_execution_is_superseded_by_the_decision_of_its_height(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        executor, chain = Executor(finalizer, Metrics()), Chain(finalizer, DOCUMENT)
        slow = chain.build(chain.transfers(200))[0].block
        decided, executed = chain.build([])
        codes = list[str]()

        async def execute() -> None:
            try:
                await executor.execute(slow)
            except InvalidBlock as error:
                codes.append(error.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(execute)
            await trio.lowlevel.checkpoint()
            await finalizer.finalize(decided, executed)
        assert codes in (["BLOCK_SUPERSEDED"], [])
        assert executor.find(slow.block_id) is None


async def test_the_trees_pages_are_saved_now_and_then_and_a_start_finds_the_same_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_rows, "TREE_EDITS_PER_TURN", 120)  # a block makes some 40, a third of a turn
    waiting = []
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        for _ in range(12):
            await chain.grow(1)
            rows = finalizer.store.database.scan(EDITS, after(EDITS))
            waiting.append(len({key[1:9] for key, _ in rows}))
        root = finalizer.tree.root
    assert max(waiting) in (2, 3), waiting
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        assert finalizer.tree.root == root


async def test_a_large_genesis_is_saved_as_pages_before_the_node_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_rows, "TREE_EDITS_PER_TURN", 400)
    chain_id, buckets = chain_id_of(DOCUMENT), DOCUMENT.parameters.bucket_count
    store = open_chain_store(tmp_path / "chain", chain_id, hot_set_bytes=1 << 20, create=True)
    begin_chain(store, check_open(store, chain_id, buckets), DOCUMENT)
    assert list(store.database.scan(EDITS, after(EDITS))) == []
    assert verify_store(store, chain_id, buckets).findings == []
    store.close()


async def test_a_batch_prepared_ahead_is_the_one_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain, prepared = Chain(finalizer, DOCUMENT), list[bytes]()
        prepare = finalizer.store.prepare

        def counting(block: Block, delta: StateDelta, patch: TreePatch) -> Slices[PreparedBlock]:
            prepared.append(block.block_id)
            return prepare(block, delta, patch)

        monkeypatch.setattr(finalizer.store, "prepare", counting)
        block, executed = chain.build(chain.transfers(20))
        await finalizer.prepare_ahead(executed)
        assert finalizer.head.height == 0
        await finalizer.finalize(block, executed)
        assert prepared == [block.block.block_id]
        assert finalizer.head.block_id == block.block.block_id


async def test_a_preparation_that_was_given_up_half_way_is_carried_on(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        for turns in range(6):
            block, executed = chain.build(chain.transfers(40))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(finalizer.prepare_ahead, executed)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            await finalizer.finalize(block, executed)
            assert finalizer.tree.root == block.header.state_root


async def test_a_block_prepared_ahead_gives_way_to_the_one_that_was_decided(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        _, candidate = chain.build(chain.transfers(5))
        decided, executed = chain.build([])
        await finalizer.prepare_ahead(candidate)
        await finalizer.finalize(decided, executed)
        await finalizer.prepare_ahead(candidate)  # of a height that is over: nothing to prepare
        following, executed = chain.build(chain.transfers(5))
        await finalizer.finalize(following, executed)
        assert finalizer.head.height == 2
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        assert finalizer.head.block_id == following.block.block_id
