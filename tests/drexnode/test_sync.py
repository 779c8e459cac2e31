"""A node catches up from others, follows the tip, and is fooled by nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from drexnode.wire import (
    METHOD_BLOCKS,
    BlockPart,
    BlocksRequest,
    BlocksResponse,
    decode_message,
    encode_message,
)
from p2p.memory import MemoryNetwork
from p2p.transport import Handler, PeerId, RequestRefused
from primitives.errors import InvariantViolation
from primitives.limits import HEAD_REPEAT_MS
from tests.drexnode.chain import Chain, certify, genesis_document
from tests.drexnode.follower import Follower, connect, open_follower, until

pytestmark = pytest.mark.trio
DOCUMENT = genesis_document()


async def test_an_empty_node_catches_up_and_checks_everything(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
        open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
    ):
        await Chain(full.finalizer, DOCUMENT).grow(60, 3)
        await connect(full.host, observer.host)
        await until(lambda: observer.height == 60)
        assert observer.finalizer.head.block_id == full.finalizer.head.block_id
        assert observer.finalizer.tree.root == full.finalizer.head.header.state_root
        assert len(observer.verified) == 180
        assert observer.sync.status().syncing is False
        assert full.height == 60


async def test_a_follower_has_a_new_block_at_once(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
        open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
    ):
        await connect(full.host, observer.host)
        chain, delays = Chain(full.finalizer, DOCUMENT), []
        for _ in range(8):
            block, executed = chain.build(chain.transfers(5))
            await full.finalizer.finalize(block, executed)
            begin = trio.current_time()
            with trio.fail_after(2):
                await observer.finalizer.wait_height(block.height)
            delays.append(trio.current_time() - begin)
            await trio.sleep(0.35)
        assert sorted(delays)[4] < HEAD_REPEAT_MS / 1000, delays  # told, not asked


async def test_followers_learn_of_blocks_from_followers(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
        open_follower(network, "middle", tmp_path / "b", DOCUMENT) as middle,
        open_follower(network, "last", tmp_path / "c", DOCUMENT) as last,
    ):
        known = {host.peer_id: host.listen_addresses for host in (full.host, middle.host, last.host)}
        for host in (full.host, middle.host, last.host):
            host.set_permitted(known)
        full.host.add_persistent(middle.host.peer_id)
        middle.host.add_persistent(last.host.peer_id)
        await until(lambda: len(middle.host.peers()) == 2)
        await Chain(full.finalizer, DOCUMENT).grow(5)
        await until(lambda: last.height == 5)


async def test_a_restarted_node_goes_on_from_its_tip(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full:
        chain = Chain(full.finalizer, DOCUMENT)
        await chain.grow(20)
        async with open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer:
            await connect(full.host, observer.host)
            await until(lambda: observer.height == 20)
        await chain.grow(15)
        async with open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer:
            assert observer.height == 20
            await connect(full.host, observer.host)
            await until(lambda: observer.height == 35)
            assert len(observer.verified) == 30


async def test_the_validator_set_is_followed_through_a_change(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
        open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
    ):
        chain = Chain(full.finalizer, DOCUMENT)
        await chain.grow(3)
        votes = [chain.vote(f"validator-{number}", "validator-3", add=False) for number in range(3)]
        await full.finalizer.finalize(*chain.build(votes))
        assert full.finalizer.head.validators.size == 3
        await chain.grow(30)
        await connect(full.host, observer.host)
        await until(lambda: observer.height == 34)
        assert observer.finalizer.head.validators == full.finalizer.head.validators


async def test_a_block_larger_than_one_answer_is_put_together(tmp_path: Path) -> None:
    network = MemoryNetwork()
    document = genesis_document(outputs=1000)
    async with (
        open_follower(network, "full", tmp_path / "a", document, role="full") as full,
        open_follower(network, "observer", tmp_path / "b", document) as observer,
    ):
        chain = Chain(full.finalizer, document)
        block, executed = chain.build(chain.transfers(1000, note=bytes(256)))
        assert sum(transaction.size for transaction in block.block.transactions) > 600_000
        await full.finalizer.finalize(block, executed)
        await chain.grow(2)
        await connect(full.host, observer.host)
        await until(lambda: observer.height == 3)


# --- villains


class Villain:
    """Serves an honest chain's blocks after `spoil` has had its way with them."""

    def __init__(self, honest: Handler) -> None:
        self.honest = honest
        self.asked = 0

    async def blocks(self, peer: PeerId, payload: bytes) -> bytes:
        self.asked += 1
        answer = decode_message(await self.honest(peer, payload), BlocksResponse)
        return encode_message(BlocksResponse(tuple(self.spoil(part) for part in answer.blocks)))

    def spoil(self, part: BlockPart) -> BlockPart:
        raise NotImplementedError


class FewSeals(Villain):
    def spoil(self, part: BlockPart) -> BlockPart:
        return with_seals(part, part.certificate.seals[:2])


class FalseSeal(Villain):
    def spoil(self, part: BlockPart) -> BlockPart:
        (index, seal), *rest = part.certificate.seals
        return with_seals(part, ((index, bytes([seal[0] ^ 1]) + seal[1:]), *rest))


class OtherTransactions(Villain):
    def spoil(self, part: BlockPart) -> BlockPart:
        twice = (part.transactions[0],) * len(part.transactions)
        return BlockPart(part.header, part.certificate, part.first_index, twice)


class Garbage(Villain):
    def spoil(self, part: BlockPart) -> BlockPart:
        junk = (b"\x92\x90\x90",) * len(part.transactions)
        return BlockPart(part.header, part.certificate, part.first_index, junk)


class Mute(Villain):
    async def blocks(self, peer: PeerId, payload: bytes) -> bytes:
        self.asked += 1
        raise RequestRefused("not today")


class Shifted(Villain):
    async def blocks(self, peer: PeerId, payload: bytes) -> bytes:
        self.asked += 1
        asked = decode_message(payload, BlocksRequest)
        moved = BlocksRequest(asked.first_height + 1, 0, asked.count, asked.max_bytes)
        return await self.honest(peer, encode_message(moved))


class NotEvenBytes(Villain):
    async def blocks(self, peer: PeerId, payload: bytes) -> bytes:
        self.asked += 1
        return b"\xc1" * 100


def with_seals(part: BlockPart, seals: tuple[tuple[int, bytes], ...]) -> BlockPart:
    old = part.certificate
    certificate = type(old)(old.version, old.height, old.round, old.block_id, seals)
    return BlockPart(part.header, certificate, part.first_index, part.transactions)


@pytest.mark.parametrize(
    "kind", [FewSeals, FalseSeal, OtherTransactions, Garbage, Mute, Shifted, NotEvenBytes]
)
async def test_a_lying_peer_is_replaced_and_charged(tmp_path: Path, kind: type[Villain]) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
        open_follower(network, "villain", tmp_path / "b", DOCUMENT, role="full") as villain,
        open_follower(network, "observer", tmp_path / "c", DOCUMENT) as observer,
    ):
        lies = kind(villain.server.blocks)
        await Chain(full.finalizer, DOCUMENT).grow(40)
        await connect(full.host, villain.host)
        await until(lambda: villain.height == 40)
        villain.host.hub.handlers[METHOD_BLOCKS] = lies.blocks
        known = {host.peer_id: host.listen_addresses for host in (full.host, villain.host, observer.host)}
        for host in (full.host, villain.host, observer.host):
            host.set_permitted(known)
        observer.host.add_persistent(villain.host.peer_id)
        await until(lambda: lies.asked > 0)
        await trio.sleep(0.05)
        assert observer.height == 0
        assert observer.verified == []
        observer.host.add_persistent(full.host.peer_id)
        await until(lambda: observer.height == 40)
        now_ms = observer.host.hub.now_ms()
        score = observer.host.hub.gate.score(villain.host.peer_id, now_ms)
        assert score > 0 or observer.host.bans()


async def test_a_quorum_that_signed_two_branches_halts_the_node(tmp_path: Path) -> None:
    async def follow_the_other_branch() -> None:
        network = MemoryNetwork()
        async with (
            open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
            open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
        ):
            await Chain(full.finalizer, DOCUMENT).grow(2, 1)
            await Chain(observer.finalizer, DOCUMENT).grow(1, 5)
            await connect(full.host, observer.host)
            await trio.sleep(5)

    with pytest.raises(BaseExceptionGroup) as caught:
        await follow_the_other_branch()
    assert caught.group_contains(InvariantViolation, match="CONFLICTING_CERTIFICATES")


async def test_a_certified_block_that_breaks_the_rules_halts_the_node(tmp_path: Path) -> None:
    async def follow_a_false_state_root() -> None:
        network = MemoryNetwork()
        async with (
            open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
            open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
        ):
            chain = Chain(full.finalizer, DOCUMENT)
            await chain.grow(1)
            serve_false_root(full, chain)
            await connect(full.host, observer.host)
            observer.sync.head_seen(full.host.peer_id, 1)
            await trio.sleep(5)

    with pytest.raises(BaseExceptionGroup) as caught:
        await follow_a_false_state_root()
    assert caught.group_contains(InvariantViolation, match="CERTIFIED_BLOCK_INVALID")


def serve_false_root(node: Follower, chain: Chain) -> None:
    """Let `node` serve its first block with a false state root, signed by a quorum."""
    honest = node.server.blocks

    async def blocks(peer: PeerId, payload: bytes) -> bytes:
        answer = decode_message(await honest(peer, payload), BlocksResponse)
        first = answer.blocks[0]
        fields = [getattr(first.header, name) for name in first.header.__struct_fields__]
        fields[first.header.__struct_fields__.index("state_root")] = bytes(32)
        header = type(first.header)(*fields)
        validators = chain.finalizer.head.validators
        certificate = certify(header, chain.finalizer.chain_id, validators)
        return encode_message(BlocksResponse((BlockPart(header, certificate, 0, first.transactions),)))

    node.host.hub.handlers[METHOD_BLOCKS] = blocks


# --- validators


async def test_a_validator_leaves_the_next_height_to_its_consensus_for_a_while(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "one", tmp_path / "a", DOCUMENT, role="validator") as one,
        open_follower(network, "two", tmp_path / "b", DOCUMENT, role="validator", patience_ms=400) as two,
    ):
        await Chain(one.finalizer, DOCUMENT).grow(1)
        await connect(one.host, two.host)
        await until(lambda: two.sync.status().target_height == 1)
        await trio.sleep(0.1)
        assert two.height == 0
        await until(lambda: two.height == 1)


async def test_a_validator_out_of_the_set_follows_without_patience(tmp_path: Path) -> None:
    """One that was voted out stayed a second behind, which is ten blocks, and called itself not ready."""
    network = MemoryNetwork()
    async with (
        open_follower(network, "one", tmp_path / "a", DOCUMENT, role="validator") as one,
        open_follower(
            network, "two", tmp_path / "b", DOCUMENT, role="validator", patience_ms=60_000, decides=False
        ) as two,
    ):
        await Chain(one.finalizer, DOCUMENT).grow(1)
        await connect(one.host, two.host)
        await until(lambda: two.height == 1)


async def test_one_liar_cannot_tell_a_node_that_it_is_behind_and_two_validators_of_four_can(
    tmp_path: Path,
) -> None:
    """A permitted peer that announced far heads and served none had a validator close its pool: at its turn
    it proposed nothing, and the round was lost."""
    validators = [PeerId(f"validator-{number}") for number in range(3)]
    liar = PeerId("liar")
    async with open_follower(
        MemoryNetwork(), "one", tmp_path, DOCUMENT, role="validator", validators=validators
    ) as one:
        assert len(one.finalizer.head.validators.keys) == 4
        one.sync.tip_claimed(liar, 900)
        assert one.sync.status().target_height == 900  # nobody else was heard yet
        for validator in validators:
            one.sync.tip_claimed(validator, 0)
        one.sync.head_seen(liar, 1_000)
        assert one.sync.status().target_height == 0
        one.sync.tip_claimed(validators[0], 2_000)  # one of four may lie
        assert one.sync.status().target_height == 0
        one.sync.tip_claimed(validators[1], 50)
        assert one.sync.status().target_height == 50
        one.sync.tip_claimed(validators[2], 60)
        assert one.sync.status().target_height == 60


async def test_a_validator_fetches_at_once_what_consensus_asks_for(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "one", tmp_path / "a", DOCUMENT, role="validator") as one,
        open_follower(network, "two", tmp_path / "b", DOCUMENT, role="validator", patience_ms=60_000) as two,
    ):
        await Chain(one.finalizer, DOCUMENT).grow(1)
        await connect(one.host, two.host)
        two.sync.request_sync(2, one.host.peer_id)
        await until(lambda: two.height == 1)


async def test_who_voted_for_a_block_is_not_charged_for_not_having_stored_it_yet(tmp_path: Path) -> None:
    """A COMMIT that arrives before the proposal has consensus ask its author for the block. At ten blocks a
    second honest validators earned a ban by being asked a few milliseconds early."""
    network = MemoryNetwork()
    async with (
        open_follower(network, "one", tmp_path / "a", DOCUMENT, role="validator") as one,
        open_follower(network, "two", tmp_path / "b", DOCUMENT, role="validator") as two,
    ):
        await connect(one.host, two.host)
        await until(lambda: two.heads.peer(one.host.peer_id) is not None)
        two.sync.request_sync(2, one.host.peer_id)
        await trio.sleep(0.2)
        assert [info.score for info in two.host.peers()] == [0]
        await Chain(one.finalizer, DOCUMENT).grow(1)
        two.sync.request_sync(2, one.host.peer_id)
        await until(lambda: two.height == 1)


async def test_consensus_and_sync_may_finish_the_same_height(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "one", tmp_path / "a", DOCUMENT, role="full") as one,
        open_follower(network, "two", tmp_path / "b", DOCUMENT) as two,
    ):
        chain = Chain(one.finalizer, DOCUMENT)
        made = [chain.build(chain.transfers(2))]
        await one.finalizer.finalize(*made[0])
        await connect(one.host, two.host)
        for _ in range(20):
            made.append(chain.build(chain.transfers(2)))
            await one.finalizer.finalize(*made[-1])
            if two.height + 1 == made[-1][0].height:
                executed = await two.executor.execute(made[-1][0].block)
                await two.finalizer.finalize(made[-1][0], executed)
        await until(lambda: two.height == 21)
        assert two.finalizer.head.block_id == one.finalizer.head.block_id
