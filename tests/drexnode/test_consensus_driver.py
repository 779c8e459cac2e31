"""The driver among real parts: blocks are decided, restarts go on, and a hostile validator ends nobody."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from consensus.evidence import decode_conflict_proof, verify_conflict_proof
from consensus.messages import (
    Decided,
    Prepare,
    Proposal,
    RoundChange,
    encode_message,
    prepare_sighash,
    proposal_sighash,
    round_change_sighash,
)
from drexnode.evidence_store import EvidenceStore
from p2p.memory import MemoryHost
from p2p.transport import Channel
from primitives.block import BlockHeader, block_id
from primitives.certificate import vote_domain
from primitives.errors import InvariantViolation
from primitives.keys import verify
from primitives.limits import EXECUTED_BLOCKS
from tests.drexnode.chain import Chain, certify, genesis_document, key
from tests.drexnode.follower import until
from tests.drexnode.quorum import Member, Quorum, address, open_quorum, peer

pytestmark = pytest.mark.trio


async def test_four_validators_decide_what_is_submitted_to_one(tmp_path: Path) -> None:
    document = genesis_document(outputs=40)
    async with open_quorum(tmp_path, document, 0, 1, 2, 3) as quorum:
        chain = Chain(quorum.members[0].finalizer, document)
        for height in range(1, 4):
            await quorum.members[height].submit(*chain.transfers(5))
            await quorum.reach(height)
        quorum.assert_one_chain()


async def test_a_restarted_validator_votes_again_and_every_validator_restarted_goes_on(
    tmp_path: Path,
) -> None:
    document = genesis_document(outputs=40)
    async with open_quorum(tmp_path, document, 0, 1, 2, 3) as quorum:
        chain = Chain(quorum.members[0].finalizer, document)
        await quorum.members[0].submit(*chain.transfers(3))
        await quorum.reach(1)
        await quorum.stop(3)
        await quorum.members[0].submit(*chain.transfers(3))
        await quorum.reach(2)
        for number in (0, 1, 2):
            await quorum.stop(number)
        for number in range(4):
            await quorum.start(number)
        await quorum.members[2].submit(*chain.transfers(3))
        await quorum.reach(3)
        quorum.assert_one_chain()


async def test_a_block_found_ok_becomes_durable_while_votes_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drexnode.consensus_driver.STORED_AHEAD_TRANSACTIONS", 3)
    document = genesis_document(outputs=40)
    async with open_quorum(tmp_path, document, 0, 3) as quorum:  # no quorum: nobody may COMMIT
        chain = Chain(quorum.members[0].finalizer, document)
        for member in quorum.members.values():
            await member.submit(*chain.transfers(3))
        stores = [member.finalizer.store for member in quorum.members.values()]
        await until(lambda: all(store.undecided for store in stores), 20)
        assert stores[0].undecided == stores[1].undecided
        assert all(member.height == 0 for member in quorum.members.values())


async def test_a_height_without_end_stores_a_few_blocks_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One valid block of 16 MiB a round, for a day of rounds of 30 s, was 46 GB."""
    monkeypatch.setattr("drexnode.consensus_driver.STORED_AHEAD_TRANSACTIONS", 1)
    document = genesis_document(outputs=40)
    async with open_quorum(tmp_path, document, 0) as quorum:
        member = quorum.members[0]
        driver, chain = member.node._driver, Chain(member.finalizer, document)
        assert driver is not None
        store = member.finalizer.store
        for _ in range(3 * EXECUTED_BLOCKS):
            block, executed = chain.build(chain.transfers(1))
            driver._candidates.adopt(executed)
            await driver._work_ahead(block.header)
            await until(lambda: not driver._durable._waiting)
            await trio.sleep(0.02)
        assert len(store.undecided) == EXECUTED_BLOCKS
        assert member.height == 0


async def test_a_lost_watermark_is_followed_by_silence_and_then_by_votes(tmp_path: Path) -> None:
    document = genesis_document(outputs=60)
    async with open_quorum(tmp_path, document, 0, 1, 2, 3) as quorum:
        chain = Chain(quorum.members[0].finalizer, document)
        await quorum.members[0].submit(*chain.transfers(2))
        await quorum.reach(1)
        await quorum.stop(3)
        for slot in (tmp_path / "validator-3" / "mark").glob("slot-*"):
            slot.write_bytes(bytes(1000))
        returned = await quorum.start(3)
        assert returned.signer.in_quarantine
        await until(lambda: len(returned.host.peers()) == 3)
        await trio.sleep(0.5)  # statuses are exchanged: T is 1
        await quorum.members[0].submit(*chain.transfers(2))
        await quorum.reach(2)
        assert returned.signer.in_quarantine
        for height in range(3, 7):
            await quorum.members[0].submit(*chain.transfers(2))
            await quorum.reach(height)
        await until(lambda: not returned.signer.in_quarantine)
        await quorum.stop(2)  # from now on its votes are needed
        await quorum.members[0].submit(*chain.transfers(2))
        await quorum.reach(7)
        quorum.assert_one_chain()


async def test_a_validator_voted_out_follows_and_signs_nothing(tmp_path: Path) -> None:
    document = genesis_document(outputs=40)
    async with open_quorum(tmp_path, document, 0, 1, 2, 3) as quorum:
        chain = Chain(quorum.members[0].finalizer, document)
        votes = [chain.vote(f"validator-{voter}", "validator-3", add=False) for voter in range(3)]
        await quorum.members[0].submit(*votes)
        await until(lambda: quorum.members[0].finalizer.head.validators.size == 3)
        await quorum.reach(quorum.members[0].height)
        removed = quorum.members[3]
        before = removed.signer._state.last
        for _ in range(2):
            await quorum.members[3].submit(*chain.transfers(2))
            await quorum.reach(quorum.members[0].height + 1)
        quorum.assert_one_chain()
        assert removed.signer._state.last == before
        assert all(not info.score for info in quorum.members[0].host.peers())


# --- a validator played by the test


class Villain:
    """Validator 3, which says what it wants. `peers` are the honest ones."""

    def __init__(self, quorum: Quorum, host: MemoryHost) -> None:
        self.quorum = quorum
        self.host = host
        self.key = key("validator-3")

    @property
    def height(self) -> int:
        return self.quorum.members[0].height + 1

    @property
    def index(self) -> int:
        index = self.quorum.members[0].finalizer.head.validators.index_of(self.key.public_key)
        assert index is not None
        return index

    def prepare(self, name: bytes, round: int = 0) -> bytes:
        head = self.quorum.members[0].finalizer
        domain = vote_domain(head.chain_id, head.head.validators.hash)
        signature = self.key.sign(prepare_sighash(domain, self.height, round, name))
        return encode_message(Prepare(self.height, round, self.index, signature, name))

    def say(self, data: bytes) -> None:
        self.host.broadcast([peer(number) for number in range(3)], Channel.CONSENSUS, data)


async def open_villain(quorum: Quorum, nursery: trio.Nursery) -> Villain:
    """Connect it to the others, as the registry permits."""

    async def run(task_status: trio.TaskStatus[MemoryHost]) -> None:  # type: ignore[name-defined]
        async with quorum.network.open_host(key("peer-3").seed) as host:
            host.set_permitted({peer(number): (address(number),) for number in range(3)})
            for number in range(3):
                host.add_persistent(peer(number))
            task_status.started(host)
            await trio.sleep_forever()

    host: MemoryHost = await nursery.start(run)
    await until(lambda: len(host.peers()) == 3)
    return Villain(quorum, host)


async def test_garbage_from_a_validator_stops_nobody(tmp_path: Path) -> None:
    document, random = genesis_document(outputs=60), Random(11)
    async with open_quorum(tmp_path, document, 0, 1, 2) as quorum, trio.open_nursery() as nursery:
        villain = await open_villain(quorum, nursery)
        chain = Chain(quorum.members[0].finalizer, document)
        honest = [villain.prepare(bytes(32)), encode_round_change(villain), encode_proposal(villain)]
        for height in range(1, 4):
            for _ in range(300):
                data = bytearray(random.choice(honest))
                for _ in range(random.randrange(1, 6)):
                    data[random.randrange(len(data))] = random.randrange(256)
                villain.say(bytes(data[: random.randrange(1, len(data) + 1)]))
            villain.say(random.randbytes(3_000_000))
            for member in quorum.members.values():
                member.host.lift_ban(villain.host.peer_id)
            await quorum.members[0].submit(*chain.transfers(3))
            await quorum.reach(height)
        quorum.assert_one_chain()
        nursery.cancel_scope.cancel()


async def test_a_validator_that_prepares_a_hundred_blocks_at_one_step_leaves_one_proof(
    tmp_path: Path,
) -> None:
    document = genesis_document(outputs=40)
    async with open_quorum(tmp_path, document, 0, 1, 2) as quorum, trio.open_nursery() as nursery:
        villain = await open_villain(quorum, nursery)
        for number in range(100):
            villain.say(villain.prepare(bytes([number]) * 32))
        folder = tmp_path / "validator-0" / "data" / "evidence"
        await until(lambda: len(EvidenceStore(folder).kept) == 1)
        (evidence,) = EvidenceStore(folder).kept
        assert evidence.validator == villain.key.public_key
        await until(lambda: bool(quorum.members[0].host.bans()))  # it went on and on
        chain = Chain(quorum.members[0].finalizer, document)
        await quorum.members[0].submit(*chain.transfers(3))
        await quorum.reach(1)
        nursery.cancel_scope.cancel()


async def test_the_far_future_is_no_reason_to_stop(tmp_path: Path) -> None:
    """Heights and rounds at their bounds, timestamps of a far future, lists of nothing."""
    document = genesis_document(outputs=40)
    async with open_quorum(tmp_path, document, 0, 1, 2) as quorum, trio.open_nursery() as nursery:
        villain = await open_villain(quorum, nursery)
        for round in (0, 1, 3, 2**31 - 1):
            villain.say(villain.prepare(bytes(32), round))
            villain.say(encode_round_change(villain, round))
            villain.say(encode_proposal(villain, round, timestamp_ms=2**53 - 1))
        for height in (2, 3, 12, 2**62):
            villain.say(encode_round_change(villain, 1, height=height))
        chain = Chain(quorum.members[0].finalizer, document)
        await quorum.members[0].submit(*chain.transfers(3))
        await quorum.reach(1)
        nursery.cancel_scope.cancel()


async def test_contradicting_certificates_stop_the_node_with_a_proof(tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await _decide_and_contradict(tmp_path)
    (error,) = {str(found): found for found in leaves(caught.value)}.values()
    assert isinstance(error, InvariantViolation)
    assert error.code == "CONFLICTING_CERTIFICATES"
    proof = decode_conflict_proof(error.data["proof"])
    verify_conflict_proof(proof, verify)
    assert len(proof.accused) >= 2
    assert all(key.hex() in error.message for key in proof.accused)


async def _decide_and_contradict(path: Path) -> None:
    document = genesis_document(outputs=40)
    async with open_quorum(path, document, 0, 1, 2) as quorum, trio.open_nursery() as nursery:
        villain = await open_villain(quorum, nursery)
        finalizer = quorum.members[0].finalizer
        chain = Chain(finalizer, document)
        twin = chain.build([])[0].header
        certificate = certify(twin, finalizer.chain_id, finalizer.head.validators)
        await quorum.members[0].submit(*chain.transfers(3))
        await quorum.reach(1)
        villain.say(encode_message(Decided(1, twin, certificate)))
        await trio.sleep(10)


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for item in error.exceptions for leaf in leaves(item)]
    return [error]


def encode_round_change(villain: Villain, round: int = 1, *, height: int | None = None) -> bytes:
    finalizer = villain.quorum.members[0].finalizer
    domain = vote_domain(finalizer.chain_id, finalizer.head.validators.hash)
    at = villain.height if height is None else height
    signature = villain.key.sign(round_change_sighash(domain, at, round, None))
    return encode_message(RoundChange(at, round, villain.index, signature, None, None, ()))


def encode_proposal(villain: Villain, round: int = 0, *, timestamp_ms: int = 0) -> bytes:
    finalizer = villain.quorum.members[0].finalizer
    head, domain = finalizer.head, vote_domain(finalizer.chain_id, finalizer.head.validators.hash)
    header = BlockHeader(
        version=head.header.version,
        height=head.height + 1,
        parent_id=head.block_id,
        timestamp_ms=timestamp_ms or head.header.timestamp_ms + 1,
        proposer=villain.key.public_key,
        tx_count=0,
        tx_root=bytes(32),
        state_root=bytes(32),
        validators_hash=head.validators.hash,
        next_validators_hash=head.validators.hash,
    )
    signature = villain.key.sign(proposal_sighash(domain, header.height, round, block_id(header)))
    return encode_message(Proposal(header.height, round, villain.index, signature, header, (), (), ()))


async def test_metrics_of_consensus_move(tmp_path: Path) -> None:
    """Rounds, phases, margin, seals that came and seals that did not, with one validator of four dead."""
    document = genesis_document(outputs=80)
    async with open_quorum(tmp_path, document, 0, 1, 2) as quorum:
        chain, member = Chain(quorum.members[0].finalizer, document), quorum.members[0]
        height = 0
        while (figures := read_figures(member)).get("qbft_round_changes_total", 0) == 0:
            height += 1
            assert height < 12, "a dead proposer costs a round at its first turn"
            await member.submit(*chain.transfers(2))
            await quorum.reach(height)
        assert figures["qbft_phase_seconds_count"] >= 3 * height
        assert figures["qbft_quorum_margin"] == 0
        assert figures["validator_missed_total"] >= height
        assert figures["validator_last_signed_height"] > 0
        assert figures["sign_seconds_count"] >= 2 * height
        assert "qbft_round" in figures
        await quorum.stop(2)
        await until(lambda: read_figures(member)["qbft_quorum_margin"] == -1)


def read_figures(member: Member) -> dict[str, float]:
    """Every metric by name, without prefix, summed over its labels."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(member.node.api.metrics_text().decode()):
        for sample in family.samples:
            name = sample.name.removeprefix("drex_")
            found[name] = found.get(name, 0) + sample.value
    return found
