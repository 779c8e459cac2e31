"""`drexnode recover` on homes: statements prove themselves, the highest block or lock is carried, and nothing
that a node knows is given up in silence.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from consensus.journal import RECORD_VERSION, VoteRecord
from consensus.messages import PreparedCertificate
from drexnode.cli import main, output
from drexnode.config import NodeConfig, load_config
from drexnode.finalizer import Finalizer
from drexnode.home import create_home
from drexnode.keystore import write_plain_key
from drexnode.recover_apply import StoppedNode
from drexnode.recover_files import read_override_file, read_statement, write_override_file, write_statement
from drexnode.recover_order import propose_override, sign_override
from drexnode.recover_statement import (
    LockRecord,
    RecoveryRefused,
    Statement,
    check_statement,
    decode_statement,
    encode_statement,
    make_statement,
)
from ledger.block import FinalizedBlock
from ledger.genesis import chain_id_of
from ledger.override import Override, OverrideRefused
from ledger.slices import finish
from primitives.block import block_id
from primitives.certificate import STEP_COMMIT
from primitives.errors import DecodeError, StorageFailure
from storage.signing_state import open_signing_state
from storage.watermark import Slot, parse_slot
from tests.drexnode.chain import Chain, key, open_finalizer
from tests.drexnode.overrides import OFFICERS, make_override, members, prepared, recovery_document, signed

DOCUMENT = recovery_document()
CHAIN_ID = chain_id_of(DOCUMENT)


def make_home(path: Path, name: str, role: str = "validator") -> NodeConfig:
    """A home of a devnet's node by the name of its key."""
    seed = key(name).seed if role == "validator" else None
    create_home(path, DOCUMENT, role, key(name.replace("validator", "peer")).seed, seed, {})
    return load_config(path)


@contextmanager
def chain_of(config: NodeConfig) -> Iterator[tuple[Finalizer, Chain]]:
    with open_finalizer(config.data_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        chain.transfers(finalizer.head.height)  # the coins that the blocks before have spent, one each
        yield finalizer, chain


def extend(finalizer: Finalizer, chain: Chain, blocks: int) -> None:
    """Make blocks final without an event loop."""
    for _ in range(blocks):
        block, executed = chain.build(chain.transfers(1))
        store(finalizer, block, executed)


def store(finalizer: Finalizer, block: FinalizedBlock, executed: Any) -> None:
    made = finish(finalizer.store.prepare(block.block, executed.delta, executed.patch))
    finalizer.store.write(made, block.certificate)
    finalizer.store.apply(made)
    finalizer.tree.commit(executed.patch)
    finalizer._advance(block, executed)


def lock_on(
    config: NodeConfig, name: str, chain: Chain, round: int, *, bodies: bool = True, count: int = 1
) -> bytes:
    """Let a validator be locked on a block of the next height; returns its id."""
    finalizer = chain.finalizer
    block, _ = chain.build(chain.transfers(count))
    validators = finalizer.head.validators
    proof = prepared(block.header, CHAIN_ID, validators, round=round)
    lock = PreparedCertificate(round, block.block.block_id, block.header, proof.seals)
    record = VoteRecord(
        RECORD_VERSION,
        validators.hash,
        block.height,
        round,
        STEP_COMMIT,
        bytes(32),
        block.block.block_id,
        lock,
        b"",
    )
    state = open_signing_state(
        config.data_path / "votes", config.watermark_path, CHAIN_ID, key(name).public_key
    )
    state.record(record)
    state.close()
    if bodies:
        finalizer.store.write_bodies(block.block)
    return bytes(block.block.block_id)


def refused(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises((RecoveryRefused, OverrideRefused)) as error:
        call(*arguments, **options)
    return str(error.value.code)


def apply_code(config: NodeConfig, override: Override, **options: bool) -> str:
    node = StoppedNode(config)
    try:
        return refused(node.plan, override, **options)
    finally:
        node.close()


def apply(config: NodeConfig, override: Override, **options: bool) -> tuple[str, ...]:
    node = StoppedNode(config)
    try:
        plan = node.plan(override, **options)
        node.apply(override)
        assert node.plan(override, **options).is_applied or not plan.is_applied
    finally:
        node.close()
    return plan.steps


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    """validator-0, at height 3."""
    made = make_home(tmp_path / "validator-0", "validator-0")
    with chain_of(made) as (finalizer, chain):
        extend(finalizer, chain, 3)
    return made


# --- statements


def test_a_statement_proves_tip_and_lock(config: NodeConfig) -> None:
    with chain_of(config) as (_, chain):
        locked = lock_on(config, "validator-0", chain, 4)
    statement = make_statement(config)
    check_statement(statement, DOCUMENT)
    assert decode_statement(encode_statement(statement)) == statement
    lock = statement.body.lock
    assert statement.height == 3
    assert lock is not None
    assert (lock.round, bytes(block_id(lock.header)), lock.holds_bodies) == (4, locked, True)


def test_a_lock_on_a_block_that_was_decided_meanwhile_is_no_lock(config: NodeConfig) -> None:
    with chain_of(config) as (finalizer, chain):
        lock_on(config, "validator-0", chain, 0)
        extend(finalizer, chain, 1)
    assert make_statement(config).body.lock is None


def test_making_a_statement_changes_nothing(config: NodeConfig) -> None:
    with chain_of(config) as (_, chain):
        lock_on(config, "validator-0", chain, 1)
    folders = (config.data_path / "votes", config.watermark_path)
    before = {path: path.read_bytes() for folder in folders for path in folder.iterdir()}
    assert len(before) >= 3
    make_statement(config)
    assert before == {path: path.read_bytes() for path in before}


def test_a_lost_memory_of_votes_is_said_and_a_signers_own_home_is_read(
    config: NodeConfig, tmp_path: Path
) -> None:
    with chain_of(config) as (_, chain):
        locked = lock_on(config, "validator-0", chain, 2)
    signer_home = tmp_path / "signer"
    shutil.copytree(config.home, signer_home)
    for slot in config.watermark_path.glob("slot-*"):
        slot.unlink()
    assert refused(make_statement, config) == "RECOVER_NO_MEMORY"
    assert make_statement(config, memory_is_lost=True).body.lock is None
    lock = make_statement(config, load_config(signer_home)).body.lock
    assert lock is not None
    assert bytes(block_id(lock.header)) == locked
    override = propose_override(DOCUMENT, [make_statement(config, memory_is_lost=True)], members())
    override = signed(override, *OFFICERS[:2])
    assert apply_code(config, override) == "RECOVER_NO_MEMORY"
    apply(config, override, abandon_lock=True)


def test_a_slot_that_may_have_held_the_lock_is_not_missed_in_silence(config: NodeConfig) -> None:
    with chain_of(config) as (_, chain):
        lock_on(config, "validator-0", chain, 2)
    with_lock = max(config.watermark_path.glob("slot-*"), key=lambda slot: parse(slot).sequence)
    with_lock.write_bytes(b"lost")
    make_statement(config)  # the journal is above the other slot: nothing is missed
    shutil.rmtree(config.votes_path)
    assert refused(make_statement, config) == "RECOVER_NO_MEMORY"
    assert make_statement(config, memory_is_lost=True).body.lock is None


def parse(slot: Path) -> Slot:
    found = parse_slot(slot.read_bytes(), int(slot.name[-1]))
    assert found is not None
    return found


def put_chain_back(config: NodeConfig) -> None:
    """An earlier copy of the data, with the votes as they are."""
    shutil.rmtree(config.home / "earlier" / "votes", ignore_errors=True)
    if config.votes_path.is_relative_to(config.data_path):
        shutil.copytree(config.votes_path, config.home / "earlier" / "votes")
    shutil.rmtree(config.data_path)
    (config.home / "earlier").rename(config.data_path)


def test_a_validator_whose_chain_was_put_back_does_not_state_less_than_it_has_seen(
    config: NodeConfig,
) -> None:
    with chain_of(config) as (finalizer, chain):
        shutil.copytree(config.data_path, config.home / "earlier")
        extend(finalizer, chain, 1)
        lock_on(config, "validator-0", chain, 0)
    assert make_statement(config).body.lock is not None
    put_chain_back(config)
    assert refused(make_statement, config) == "RECOVER_BEHIND"
    assert make_statement(config, memory_is_lost=True).height == 3


def test_an_empty_home_has_nothing_to_state(tmp_path: Path) -> None:
    empty = make_home(tmp_path, "validator-1")
    with pytest.raises(StorageFailure, match="STORAGE_MISSING"):
        make_statement(empty)


@pytest.mark.parametrize("what", ["signature", "tip", "set", "first set", "lock", "lock's quorum", "foreign"])
def test_a_false_statement_is_refused(config: NodeConfig, what: str) -> None:
    with chain_of(config) as (_, chain):
        lock_on(config, "validator-0", chain, 4)
    body = make_statement(config).body
    assert body.certificate is not None
    assert body.lock is not None
    changed = {
        "signature": body,
        "tip": structs.replace(body, certificate=structs.replace(body.certificate, round=5)),
        "set": structs.replace(body, validators=structs.replace(body.validators, epoch=1)),
        "first set": structs.replace(body, validators=structs.replace(body.validators, keys=(bytes(32),))),
        "lock": structs.replace(body, lock=structs.replace(body.lock, header=body.header)),
        "lock's quorum": structs.replace(
            body, lock=structs.replace(body.lock, prepares=body.lock.prepares[:2])
        ),
        "foreign": structs.replace(body, chain_id=bytes(32)),
    }[what]
    statement = resigned(changed) if what != "signature" else Statement(changed, bytes(64))
    expected = {"signature": "STATEMENT_BAD_SIGNATURE", "foreign": "STATEMENT_FOREIGN"}
    assert refused(check_statement, statement, DOCUMENT) == expected.get(what, "STATEMENT_UNPROVEN")
    assert refused(propose_override, DOCUMENT, [statement], members()) == expected.get(
        what, "STATEMENT_UNPROVEN"
    )


def resigned(body: Any) -> Statement:
    from drexnode.recover_statement import _hash_statement
    from primitives.codec import encode

    return Statement(body, key("peer-0").sign(_hash_statement(encode(body))))


def test_garbage_is_no_statement() -> None:
    for data in (b"", b"\x92\xc0\xc0", bytes(1 << 20)):
        with pytest.raises(DecodeError):
            decode_statement(data)


# --- the proposal


def test_the_highest_tip_and_above_it_the_highest_lock_are_carried(tmp_path: Path) -> None:
    behind = make_home(tmp_path / "b", "validator-1")
    with chain_of(behind) as (finalizer, chain):
        extend(finalizer, chain, 2)
        lock_on(behind, "validator-1", chain, 9)  # of height 3, which another one has decided
    first, second = make_home(tmp_path / "c", "validator-2"), make_home(tmp_path / "d", "validator-3")
    names = []
    for home, name, round in ((first, "validator-2", 1), (second, "validator-3", 3)):
        with chain_of(home) as (finalizer, chain):
            extend(finalizer, chain, 3)
            names.append(lock_on(home, name, chain, round, count=round))
    tip = make_home(tmp_path / "a", "full-0", "full")
    with chain_of(tip) as (finalizer, chain):
        extend(finalizer, chain, 3)
    without = propose_override(DOCUMENT, [make_statement(home) for home in (behind, tip)], members())
    assert (without.height, without.rests_on_lock, without.order.epoch) == (3, False, 1)
    statements = [make_statement(home) for home in (behind, tip, first, second)]
    override = propose_override(DOCUMENT, statements, members())
    assert (override.height, override.rests_on_lock) == (4, True)
    assert override.block_id == names[1]
    assert override.decided_height == 3


def test_a_lock_whose_bodies_nobody_holds_stops_the_proposal(config: NodeConfig) -> None:
    with chain_of(config) as (_, chain):
        lock_on(config, "validator-0", chain, 0, bodies=False)
    assert (
        refused(propose_override, DOCUMENT, [make_statement(config)], members()) == "RECOVER_BODIES_MISSING"
    )


def test_two_decided_blocks_of_one_height_stop_the_proposal(config: NodeConfig, tmp_path: Path) -> None:
    other = make_home(tmp_path / "other", "validator-1")
    with chain_of(other) as (finalizer, chain):
        extend(finalizer, chain, 2)
        block, executed = chain.build(chain.transfers(5))
        store(finalizer, block, executed)
    statements = [make_statement(config), make_statement(other)]
    assert refused(propose_override, DOCUMENT, statements, members()) == "RECOVER_CONFLICT"


def test_two_locks_of_one_round_on_different_blocks_stop_the_proposal(tmp_path: Path) -> None:
    statements = []
    for name, count in (("validator-1", 1), ("validator-2", 2)):
        home = make_home(tmp_path / name, name)
        with chain_of(home) as (finalizer, chain):
            extend(finalizer, chain, 3)
            lock_on(home, name, chain, 5, count=count)
        statements.append(make_statement(home))
    assert refused(propose_override, DOCUMENT, statements, members()) == "RECOVER_CONFLICT"


def test_a_set_that_makes_no_sense_is_not_proposed(config: NodeConfig) -> None:
    statements = [make_statement(config)]
    one = members("validator-4")
    same_peer = structs.replace(members("validator-5")[0], peer_id=one[0].peer_id)
    for wrong in ((*one, *one), (*one, same_peer), ()):
        assert refused(propose_override, DOCUMENT, statements, wrong) == "RECOVER_SET_INVALID"
    assert refused(propose_override, DOCUMENT, [], one) == "RECOVER_NO_STATEMENTS"


def test_only_members_of_the_recovery_condition_sign(config: NodeConfig) -> None:
    override = propose_override(DOCUMENT, [make_statement(config)], members())
    assert refused(sign_override, override, DOCUMENT, key("alice")) == "OVERRIDE_NO_MEMBER"
    foreign = structs.replace(override, order=structs.replace(override.order, chain_id=bytes(32)))
    assert refused(sign_override, foreign, DOCUMENT, key(OFFICERS[0])) == "OVERRIDE_FOREIGN"
    for name in OFFICERS[:2]:
        override = sign_override(override, DOCUMENT, key(name))
    assert override == signed(override, *OFFICERS[:2])


# --- applying


def test_an_override_of_the_own_tip_is_applied_once(config: NodeConfig) -> None:
    override = signed(propose_override(DOCUMENT, [make_statement(config)], members()), *OFFICERS[:2])
    steps = apply(config, override)
    assert any("from block 4 on" in step for step in steps)
    node = StoppedNode(config)
    try:
        assert node.plan(override).is_applied
        assert node._finalizer.head.validators == override.validators
    finally:
        node.close()


def test_what_a_node_knows_better_is_not_given_up(config: NodeConfig, tmp_path: Path) -> None:
    with chain_of(config) as (finalizer, _):
        head, queries = finalizer.head, finalizer.queries
        lower_header, lower_certificate = queries.header(2), queries.certificate(2)
    assert lower_header is not None
    lower = make_override(DOCUMENT, lower_header, lower_certificate)
    assert apply_code(config, lower) == "OVERRIDE_LOWER_TIP"
    other_header = structs.replace(head.header, timestamp_ms=head.header.timestamp_ms + 1)
    other = prepared(other_header, CHAIN_ID, head.validators)
    assert apply_code(config, make_override(DOCUMENT, other_header, other)) == "OVERRIDE_OTHER_BLOCK"
    few = prepared(head.header, CHAIN_ID, head.validators, seals=2)
    assert apply_code(config, make_override(DOCUMENT, head.header, few)) == "OVERRIDE_BAD_PROOF"
    used = make_override(DOCUMENT, head.header, head.certificate, epoch=5)
    apply(config, used)
    again = make_override(DOCUMENT, head.header, head.certificate, "validator-1", epoch=5)
    assert apply_code(config, again) == "OVERRIDE_EPOCH"
    apply(config, make_override(DOCUMENT, head.header, head.certificate, "validator-1", epoch=6))


def test_a_lock_that_is_not_carried_is_given_up_only_when_told(config: NodeConfig) -> None:
    with chain_of(config) as (finalizer, chain):
        lock_on(config, "validator-0", chain, 2)
        head = finalizer.head
        other, _ = chain.build(chain.transfers(3))
    decided = make_override(DOCUMENT, head.header, head.certificate)
    assert apply_code(config, decided) == "OVERRIDE_LOCK_NOT_CARRIED"
    weaker = make_override(DOCUMENT, other.header, prepared(other.header, CHAIN_ID, head.validators, round=1))
    assert apply_code(config, weaker) == "OVERRIDE_LOCK_NOT_CARRIED"
    stronger = make_override(
        DOCUMENT, other.header, prepared(other.header, CHAIN_ID, head.validators, round=3)
    )
    assert any("fetched from a peer" in step for step in apply(config, stronger))
    apply(config, decided, abandon_lock=True)


def test_a_lock_counts_although_the_chain_of_its_home_is_behind(config: NodeConfig) -> None:
    with chain_of(config) as (finalizer, chain):
        shutil.copytree(config.data_path, config.home / "earlier")
        extend(finalizer, chain, 2)
        lock_on(config, "validator-0", chain, 2)
        head = finalizer.head
    put_chain_back(config)
    decided = make_override(DOCUMENT, head.header, head.certificate)
    assert apply_code(config, decided) == "OVERRIDE_LOCK_NOT_CARRIED"
    apply(config, decided, abandon_lock=True)


def test_the_own_lock_is_carried_and_made_final_from_the_own_disk(config: NodeConfig) -> None:
    with chain_of(config) as (_, chain):
        lock_on(config, "validator-0", chain, 2)
    override = signed(propose_override(DOCUMENT, [make_statement(config)], members()), *OFFICERS[1:])
    assert any("from this node's disk" in step for step in apply(config, override))


def test_a_node_behind_or_empty_takes_it_and_catches_up(config: NodeConfig, tmp_path: Path) -> None:
    override = signed(propose_override(DOCUMENT, [make_statement(config)], members()), *OFFICERS[:2])
    empty = make_home(tmp_path / "empty", "full-1", "full")
    assert any("catch up from block 0" in step for step in apply(empty, override))
    member = make_home(tmp_path / "member", "validator-4")
    assert "this node is one of them" in apply(member, override)


# --- files and commands


def test_files_carry_records_and_nothing_else_is_read(config: NodeConfig, tmp_path: Path) -> None:
    statement, path = make_statement(config), tmp_path / "s.json"
    write_statement(path, statement)
    assert read_statement(path) == statement
    assert refused(write_statement, path, statement) == "RECOVER_FILE_EXISTS"
    override = propose_override(DOCUMENT, [statement], members())
    write_override_file(tmp_path / "o.json", override, DOCUMENT)
    document = json.loads((tmp_path / "o.json").read_text())
    (tmp_path / "o.json").write_text(json.dumps({**document, "height": 99}))
    assert read_override_file(tmp_path / "o.json") == override
    assert refused(read_statement, tmp_path / "o.json") == "RECOVER_FILE"
    for content in ("", "[]", "{", '{"type": "drexnode-recovery-override", "version": 1, "record": "zz"}'):
        path.write_text(content)
        assert refused(read_override_file, path) == "RECOVER_FILE"
    path.write_text(json.dumps({**document, "record": "93"}))
    assert refused(read_override_file, path) == "OVERRIDE_MALFORMED"


def run(*arguments: str | Path) -> int:
    return main.run([str(argument) for argument in arguments])


def test_the_commands_from_statement_to_apply(
    config: NodeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, statement, order = tmp_path / "validator-0", tmp_path / "s.json", tmp_path / "o.json"
    genesis = home / "genesis.json"
    assert run("recover", "statement", "--home", home, "--out", statement) == output.OK
    names = [f"{member.public_key.hex()}={peer(member.peer_id)}" for member in members("validator-4")]
    propose = ("recover", "propose", statement, "--genesis", genesis, "--validator", names[0], "--out", order)
    assert run(*propose) == output.OK
    assert "bears no failure" in capsys.readouterr().err
    assert run(*propose) == output.UNSAFE
    assert run("recover", "apply", order, "--home", home, "--yes") == output.UNSAFE
    assert "OVERRIDE_NOT_AUTHORISED" in capsys.readouterr().err
    for name in OFFICERS[:2]:
        seed = tmp_path / f"{name}.key"
        write_plain_key(seed, key(name).seed)
        sign = ("recover", "sign", order, "--genesis", genesis, "--key-file", seed)
        assert run(*sign) == output.UNSAFE  # nobody is asked without a terminal
        assert run(*sign, "--yes") == output.OK
    capsys.readouterr()
    assert run("recover", "show", order, "--genesis", genesis, "-o", "json") == output.OK
    shown = json.loads(capsys.readouterr().out)
    assert (shown["height"], shown["missing"], len(shown["signed_by"])) == (3, None, 2)
    assert run("recover", "apply", order, "--home", home) == output.UNSAFE
    assert "RECOVER_CONFIRM_NEEDED" in capsys.readouterr().err
    assert run("recover", "apply", order, "--home", home, "--yes", "-o", "json") == output.OK
    assert json.loads(capsys.readouterr().out)["was_applied_before"] is False
    assert run("recover", "sign", order, "--genesis", genesis) == output.USAGE
    assert (
        run("recover", "propose", statement, "--genesis", genesis, "--validator", "x", "--out", "n")
        == output.USAGE
    )


def peer(peer_id: bytes) -> str:
    from drexnode.recover_files import peer_text

    return peer_text(peer_id)


def test_a_lock_record_is_the_proof_an_override_carries() -> None:
    override = make_override(DOCUMENT, *_locked())
    certificate = override.certificate
    assert certificate is not None
    record = LockRecord(certificate.round, override.header, certificate.seals, holds_bodies=True)
    assert record.certificate() == certificate


def _locked() -> tuple[Any, Any]:
    from tests.ledger.test_override import HEADER, LOCKED

    return HEADER, LOCKED.certificate
