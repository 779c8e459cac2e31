"""Recovery overrides between nodes: an empty node follows through them, one that was there refuses until they
are applied, and nobody is fooled by a forged one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from drexnode.chain_api import ChainApi
from drexnode.executor import Executor
from drexnode.header_chain import HeaderChain
from drexnode.metrics import Metrics
from drexnode.override_start import finish_override
from drexnode.permits import Permits
from drexnode.range_parts import FetchedBlock
from drexnode.wire import (
    METHOD_OVERRIDES,
    OverridesRequest,
    OverridesResponse,
    decode_message,
    encode_message,
)
from ledger.block import FinalizedBlock
from ledger.override import Override, Overrides, encode_override, finality_checks
from ledger.state import NODE
from p2p.memory import MemoryNetwork
from p2p.transport import PeerId, RequestRefused
from primitives.certificate import CERTIFICATE_VERSION
from primitives.errors import InvalidBlock, InvariantViolation
from primitives.keys import verify
from storage.layout import OVERRIDE, VALIDATOR_SET, after
from storage.verify import verify_store
from tests.drexnode.chain import Chain, certify, key, open_finalizer
from tests.drexnode.follower import Follower, connect, open_follower, until
from tests.drexnode.overrides import (
    NEW_SET,
    OFFICERS,
    follow_here,
    make_override,
    prepared,
    recovery_document,
)

pytestmark = pytest.mark.trio
DOCUMENT = recovery_document()


async def go_on_under_override(full: Follower, chain: Chain, blocks: int) -> Override:
    """The chain of `full` goes on with a new set after its tip."""
    head = full.finalizer.head
    override = make_override(DOCUMENT, head.header, head.certificate)
    follow_here(full.finalizer, override)
    await chain.grow(blocks)
    return override


async def make_lock_final(full: Follower, chain: Chain) -> Override:
    """A block that was locked on, and never decided, becomes final by an override."""
    head = full.finalizer.head
    locked, executed = chain.build(chain.transfers(3))
    proof = prepared(locked.header, full.finalizer.chain_id, head.validators, round=2)
    override = make_override(DOCUMENT, locked.header, proof)
    follow_here(full.finalizer, override)
    await full.finalizer.finalize(FinalizedBlock(locked.block, proof), executed)
    return override


async def test_an_empty_node_follows_the_chain_through_an_override(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
        open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
    ):
        chain = Chain(full.finalizer, DOCUMENT)
        await chain.grow(6)
        override = await go_on_under_override(full, chain, 6)
        await connect(full.host, observer.host)
        await until(lambda: observer.height == 12)
        assert observer.finalizer.head.block_id == full.finalizer.head.block_id
        assert observer.finalizer.head.validators == override.validators
        sets = [observer.finalizer.queries.validators_at(height) for height in range(13)]
        assert [found.epoch for found in sets if found is not None] == [0] * 7 + [1] * 6
        report = verify_store(
            observer.finalizer.store, observer.finalizer.chain_id, DOCUMENT.parameters.bucket_count,
            validators_at=observer.finalizer.queries.validators_at, verify=verify,
        )  # fmt: skip
        assert not [
            finding for finding in report.findings if "outpoint" not in finding and "certif" in finding
        ]
    with open_finalizer(tmp_path / "b", DOCUMENT) as again:  # a restart still knows it
        assert [known.order for known in again.overrides] == [override.order]


async def test_an_empty_node_follows_through_a_lock_that_an_override_made_final(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
        open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
    ):
        chain = Chain(full.finalizer, DOCUMENT)
        await chain.grow(4)
        override = await make_lock_final(full, chain)
        await chain.grow(3)
        await connect(full.host, observer.host)
        await until(lambda: observer.height == 8)
        finalizer = observer.finalizer
        certificates = [finalizer.queries.certificate(height) for height in range(1, 9)]
        assert [found.version for found in certificates if found is not None] == [1, 1, 1, 1, 2, 1, 1, 1]
        for height, certificate in enumerate(certificates, 1):
            header, validators = finalizer.queries.header(height), finalizer.queries.validators_at(height)
            assert header is not None
            assert certificate is not None
            assert validators is not None
            checks = finality_checks(header, certificate, finalizer.chain_id, validators, finalizer.overrides)
            assert all(verify(*check) for check in checks)
        assert finalizer.head.validators == override.validators


async def test_a_node_that_was_there_refuses_until_it_is_applied(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full:
        chain = Chain(full.finalizer, DOCUMENT)
        async with open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer:
            await chain.grow(3)
            await connect(full.host, observer.host)
            await until(lambda: observer.height == 3)
            override = await go_on_under_override(full, chain, 3)
            await until(lambda: observer.overrides.missing() is not None)
            missing = observer.overrides.missing()
            assert missing is not None
            assert missing.code == "OVERRIDE_NOT_APPLIED"
            assert "drexnode recover apply" in missing.message
            await chain.grow(1)
            await trio.sleep(0.05)
            assert observer.height == 3
            assert not observer.host.bans()
            assert observer.sync.status().target_height == 3
        with open_finalizer(tmp_path / "b", DOCUMENT) as finalizer:
            follow_here(finalizer, override)
        async with open_follower(network, "again", tmp_path / "b", DOCUMENT) as observer:
            await connect(full.host, observer.host)
            await until(lambda: observer.height == 7)
            assert observer.overrides.missing() is None


@pytest.mark.parametrize("signers", [OFFICERS[:1], (OFFICERS[0], "alice"), ()])
async def test_a_forged_override_is_followed_by_nobody_and_charged(
    tmp_path: Path, signers: tuple[str, ...]
) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "villain", tmp_path / "a", DOCUMENT, role="full") as villain,
        open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
    ):
        chain = Chain(villain.finalizer, DOCUMENT)
        await chain.grow(3)
        head = villain.finalizer.head
        follow_here(
            villain.finalizer, make_override(DOCUMENT, head.header, head.certificate, signers=signers)
        )
        await chain.grow(2)
        await connect(villain.host, observer.host)
        await until(lambda: bool(observer.host.bans()))
        assert observer.height <= 3
        assert len(observer.finalizer.overrides) == 0


async def test_a_peer_that_gives_nonsense_for_overrides_is_charged(tmp_path: Path) -> None:
    network = MemoryNetwork()

    async def nonsense(peer: PeerId, payload: bytes) -> bytes:
        return encode_message(OverridesResponse((b"nonsense",)))

    async with (
        network.open_host(key("villain").seed) as villain,
        open_follower(network, "observer", tmp_path, DOCUMENT) as observer,
    ):
        villain.register_handler(METHOD_OVERRIDES, nonsense)
        await connect(villain, observer.host)
        while not observer.host.bans():
            await observer.overrides.ask(villain.peer_id)
        assert len(observer.finalizer.overrides) == 0


async def test_overrides_are_served_from_a_height_on(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full:
        chain = Chain(full.finalizer, DOCUMENT)
        await chain.grow(2)
        first = await go_on_under_override(full, chain, 2)
        head = full.finalizer.head
        second = make_override(DOCUMENT, head.header, head.certificate, *NEW_SET[:2], epoch=2)
        follow_here(full.finalizer, second)
        assert ChainApi(full.finalizer).overrides() == (first, second)
        asked = PeerId("asker")
        for start, expected in ((0, [first, second]), (3, [second]), (5, [])):
            answer = await full.overrides.serve(asked, encode_message(OverridesRequest(start)))
            found = decode_message(answer, OverridesResponse).overrides
            assert list(found) == [encode_override(override) for override in expected]
        with pytest.raises(RequestRefused):
            await full.overrides.serve(asked, b"nonsense")


async def test_a_block_after_an_unknown_override_makes_its_server_be_asked(tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        open_follower(network, "full", tmp_path / "a", DOCUMENT, role="full") as full,
        open_follower(network, "observer", tmp_path / "b", DOCUMENT) as observer,
    ):
        await connect(full.host, observer.host)
        with open_finalizer(tmp_path / "c", DOCUMENT) as elsewhere:
            chain = Chain(elsewhere, DOCUMENT)
            await chain.grow(2)
            tip = elsewhere.head
            override = make_override(DOCUMENT, tip.header, tip.certificate)
            full.finalizer.overrides.add(override)
            follow_here(elsewhere, override)
            block, _ = chain.build(chain.transfers(1))
        raws = tuple(transaction.raw for transaction in block.block.transactions)
        fetched = FetchedBlock(block.header, block.certificate, raws, full.host.peer_id, 0)
        error = InvalidBlock("BLOCK_VALIDATORS", "it names another validator set")
        found = await observer.overrides.explain(fetched, tip.header, error)
        assert found.code == "OVERRIDE_LEARNT"
        assert observer.finalizer.overrides.at(2) is not None
        assert (await observer.overrides.explain(fetched, tip.header, error)) is error
        assert (await observer.overrides.explain(fetched, block.header, error)) is error


@pytest.mark.parametrize("kind", [VALIDATOR_SET, OVERRIDE])
async def test_a_lost_row_of_who_decided_is_found_by_the_scan(tmp_path: Path, kind: bytes) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        await chain.grow(2)
        head = finalizer.head
        follow_here(finalizer, make_override(DOCUMENT, head.header, head.certificate))
        await chain.grow(2)
        database = finalizer.store.database
        batch = database.batch()
        batch.delete(next(database.scan(kind, after(kind)))[0])
        database.write(batch)
        await chain.grow(1)
        report = verify_store(
            finalizer.store, finalizer.chain_id, DOCUMENT.parameters.bucket_count,
            validators_at=finalizer.queries.validators_at, verify=verify,
        )  # fmt: skip
        assert any("the validator set that decided it is missing" in finding for finding in report.findings)


async def test_headers_follow_the_override_and_no_other_block_of_its_height(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain, start = Chain(finalizer, DOCUMENT), finalizer.head
        named, executed = chain.build(chain.transfers(1))
        other, _ = chain.build(chain.transfers(2))
        override = make_override(DOCUMENT, named.header, named.certificate)
        headers = HeaderChain(finalizer.chain_id, start.header, start.validators, Overrides([override]))
        with pytest.raises(InvalidBlock, match="OVERRIDE_CONTRADICTED"):
            headers.link(other.header, other.certificate)
        assert (headers.height, headers.validators) == (0, start.validators)
        before = headers.mark()
        assert all(verify(*check) for check in headers.link(named.header, named.certificate))
        assert headers.validators == override.validators
        finalizer.overrides.add(override)
        await finalizer.finalize(named, executed)
        following, _ = chain.build(chain.transfers(1))
        assert all(verify(*check) for check in headers.link(following.header, following.certificate))
        headers.return_to(before)
        assert (headers.height, headers.validators, headers.next_is_known) == (0, start.validators, True)


async def test_a_quorum_that_decides_against_an_override_halts_the_node(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        named, _ = chain.build(chain.transfers(1))
        other, executed = chain.build(chain.transfers(2))
        finalizer.overrides.add(make_override(DOCUMENT, named.header, named.certificate))
        with pytest.raises(InvariantViolation, match="OVERRIDE_CONTRADICTED"):
            await finalizer.finalize(other, executed)
        assert finalizer.head.height == 0


async def test_a_block_that_becomes_final_meanwhile_makes_the_override_the_operators_matter(
    tmp_path: Path,
) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        block, executed = chain.build(chain.transfers(1))
        override = make_override(DOCUMENT, block.header, block.certificate)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(finalizer.finalize, block, executed)
            while not finalizer._one_at_a_time.locked():
                await trio.lowlevel.checkpoint()
            assert not await finalizer.follow_override(override)
        assert len(finalizer.overrides) == 0
        assert finalizer.head.validators.epoch == 0


async def test_an_override_of_a_used_epoch_halts_who_would_follow_it(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        await chain.grow(1)
        head = finalizer.head
        follow_here(finalizer, make_override(DOCUMENT, head.header, head.certificate, epoch=3))
        block, executed = chain.build(chain.transfers(1))
        finalizer.overrides.add(make_override(DOCUMENT, block.header, block.certificate, epoch=3))
        with pytest.raises(InvariantViolation, match="OVERRIDE_EPOCH"):
            await finalizer.finalize(block, executed)


async def test_who_holds_the_locked_block_makes_it_final_at_the_first_start(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        await chain.grow(2)
        locked, _ = chain.build(chain.transfers(2))
        proof = prepared(locked.header, finalizer.chain_id, finalizer.head.validators)
        executor = Executor(finalizer, Metrics())
        await finish_override(finalizer, executor, lambda _: locked.block)
        assert finalizer.head.height == 2  # no override, nothing to do
        override = make_override(DOCUMENT, locked.header, proof)
        follow_here(finalizer, override)
        await finish_override(finalizer, executor, lambda _: None)
        assert finalizer.head.height == 2  # the block is not here
        await finish_override(finalizer, executor, lambda _: locked.block)
        assert finalizer.head.block_id == locked.block.block_id
        assert finalizer.head.validators == override.validators


@pytest.mark.parametrize("fault", ["too few", "commits"])
async def test_a_lock_without_its_proof_is_not_made_final(tmp_path: Path, fault: str) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        locked, _ = chain.build(chain.transfers(2))
        proof = prepared(locked.header, finalizer.chain_id, finalizer.head.validators, seals=2)
        if fault == "commits":
            made = certify(locked.header, finalizer.chain_id, finalizer.head.validators)
            proof = type(proof)(2, proof.height, proof.round, proof.block_id, made.seals)
        follow_here(finalizer, make_override(DOCUMENT, locked.header, proof))
        with pytest.raises(InvariantViolation, match="OVERRIDE_BAD_PROOF"):
            await finish_override(finalizer, Executor(finalizer, Metrics()), lambda _: locked.block)
        assert finalizer.head.height == 0


async def test_appointed_validators_are_permitted_and_speak_for_their_keys(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        await chain.grow(1)
        head = finalizer.head
        entries = list(finalizer.queries.state_entries(NODE, 100))
        override = make_override(DOCUMENT, head.header, head.certificate)
        follow_here(finalizer, override)
        permits = Permits(entries, finalizer.head.validators, PeerId("me"), {}, finalizer.overrides)
        assert len(permits.other_validators()) == 4
        for member in override.order.validators:
            peer = permits.peer_of_validator(member.public_key)
            assert peer in permits.permitted()
        assert permits.peer_of_validator(key("validator-0").public_key) is None
        assert head.certificate is not None
        assert head.certificate.version == CERTIFICATE_VERSION
