"""Real validators in one process go on under an override: a lock made final, and above what they signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.journal import RECORD_VERSION, VoteRecord
from consensus.messages import PreparedCertificate, round_change_sighash
from drexnode.finalizer import Finalizer
from ledger.override import Override
from primitives.certificate import STEP_COMMIT, STEP_ROUND_CHANGE, vote_domain
from storage.signing_state import open_signing_state
from storage.validator_rows import write_override
from tests.drexnode.chain import Chain, key, open_finalizer
from tests.drexnode.follower import until
from tests.drexnode.overrides import make_override, prepared, recovery_document
from tests.drexnode.quorum import Quorum, open_quorum

pytestmark = pytest.mark.trio
DOCUMENT = recovery_document()
NEW_SET = ("validator-0", "validator-4")


async def decide_one_block_and_lose_three(quorum: Quorum) -> None:
    chain = Chain(quorum.members[0].finalizer, DOCUMENT)
    await quorum.members[0].submit(*chain.transfers(2))
    await quorum.reach(1)
    for number in range(4):
        await quorum.stop(number)


def remember(
    home: Path,
    finalizer: Finalizer,
    step: int,
    round: int,
    lock: PreparedCertificate | None,
    validators_hash: bytes | None = None,
) -> None:
    """What validator-0 has signed last, at height 2, in the old set or the named one."""
    public_key = key("validator-0").public_key
    state = open_signing_state(home / "data" / "votes", home / "mark", finalizer.chain_id, public_key)
    validators_hash = validators_hash or finalizer.head.header.next_validators_hash
    voted = None if lock is None else lock.block_id
    payload = round_change_sighash(vote_domain(finalizer.chain_id, validators_hash), 2, round, None)
    state.record(VoteRecord(RECORD_VERSION, validators_hash, 2, round, step, payload, voted, lock, b""))
    state.close()


async def go_on(quorum: Quorum, override: Override, height: int) -> None:
    """Start both members of the new set; blocks come up to `height`."""
    first = await quorum.start(0)
    await quorum.start(4)
    await until(lambda: len(first.host.peers()) == 1)
    chain = Chain(first.finalizer, DOCUMENT)
    chain.transfers(30)  # coins that are spent or not
    while first.height < height:
        before = first.height
        await first.submit(*chain.transfers(1))
        await quorum.reach(before + 1, 40)
    quorum.assert_one_chain()
    header = first.finalizer.queries.header(override.height + 1)
    assert header is not None
    assert header.validators_hash == override.validators.hash


async def test_a_block_that_was_locked_on_is_final_first_and_the_new_set_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "validator-0"
    async with open_quorum(tmp_path, DOCUMENT, 0, 1, 2, 3) as quorum:
        await decide_one_block_and_lose_three(quorum)
        with open_finalizer(home / "data", DOCUMENT) as finalizer:
            chain = Chain(finalizer, DOCUMENT)
            chain.transfers(10)
            block, _ = chain.build(chain.transfers(3))
            proof = prepared(block.header, finalizer.chain_id, finalizer.head.validators, round=1)
            lock = PreparedCertificate(1, block.block.block_id, block.header, proof.seals)
            remember(home, finalizer, STEP_COMMIT, 1, lock)
            finalizer.store.write_bodies(block.block)
            override = make_override(DOCUMENT, block.header, proof, *NEW_SET)
            write_override(finalizer.store.database, override)
        await go_on(quorum, override, 4)
        for member in quorum.members.values():
            certificate = member.finalizer.queries.certificate(2)
            assert certificate is not None
            assert (certificate.version, certificate.block_id) == (2, block.block.block_id)


@pytest.mark.parametrize("step", [STEP_ROUND_CHANGE, STEP_COMMIT])
async def test_a_survivor_signs_above_what_it_signed_in_the_old_set(tmp_path: Path, step: int) -> None:
    home = tmp_path / "validator-0"
    async with open_quorum(tmp_path, DOCUMENT, 0, 1, 2, 3) as quorum:
        await decide_one_block_and_lose_three(quorum)
        with open_finalizer(home / "data", DOCUMENT) as finalizer:
            remember(home, finalizer, step, 3, None)
            head = finalizer.head
            override = make_override(DOCUMENT, head.header, head.certificate, *NEW_SET)
            write_override(finalizer.store.database, override)
        await go_on(quorum, override, 3)
        certificate = quorum.members[0].finalizer.queries.certificate(2)
        assert certificate is not None
        assert certificate.round > 3


async def test_a_lock_of_the_old_set_is_not_claimed_in_the_new_one_after_a_restart(tmp_path: Path) -> None:
    home = tmp_path / "validator-0"
    async with open_quorum(tmp_path, DOCUMENT, 0, 1, 2, 3) as quorum:
        await decide_one_block_and_lose_three(quorum)
        with open_finalizer(home / "data", DOCUMENT) as finalizer:
            chain, head = Chain(finalizer, DOCUMENT), finalizer.head
            chain.transfers(10)
            block, _ = chain.build(chain.transfers(3))
            proof = prepared(block.header, finalizer.chain_id, head.validators, round=1)
            lock = PreparedCertificate(1, block.block.block_id, block.header, proof.seals)
            override = make_override(DOCUMENT, head.header, head.certificate, *NEW_SET)
            remember(home, finalizer, STEP_COMMIT, 1, lock)  # given up by --abandon-lock
            remember(home, finalizer, STEP_ROUND_CHANGE, 2, None, override.validators.hash)
            write_override(finalizer.store.database, override)
        await go_on(quorum, override, 3)
