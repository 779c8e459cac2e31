"""Proofs that stand alone: what is true verifies from the genesis or a pinned set, nothing else does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio
from msgspec import structs

from drexnode.home import write_genesis
from drexnode.ledger_api import LedgerApi
from drexnode.proofs import lock_of_output, prove, prove_in_slices
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument
from ledger.locks import key_lock
from ledger.mempool import Mempool
from ledger.proof import (
    Proof,
    Proven,
    Question,
    Subject,
    anchor_of,
    check,
    decode_proof_file,
)
from ledger.transaction import OutPoint
from ledger.trust_path import TrustPath
from ledger.votes import validators_value
from primitives.address import encode_address
from primitives.codec import decode, encode
from primitives.errors import DecodeError, DrexError
from primitives.hashing import tagged_hash
from primitives.keys import verify
from primitives.validators import ValidatorSet
from tests.drexnode.chain import Chain, certify, genesis_document, key, open_finalizer, validator_keys
from tests.drexnode.homes import DOCUMENT, command, done, grow, make_home, refused
from tests.drexnode.overrides import NEW_SET, follow_here, make_override, prepared, recovery_document
from tests.drexnode.random_proofs import DOCUMENT as RANDOM_DOCUMENT
from tests.drexnode.random_proofs import grown, try_proofs

ALICE = key_lock(key("alice").public_key)
BOB = key_lock(key("bob").public_key)
ASSET = "BRL@99990001/DVT"


@dataclass
class Case:
    """A chain whose set changed by votes and by an override, and proofs of its tip."""

    document: GenesisDocument
    spent: OutPoint
    unspent: OutPoint
    sets: list[ValidatorSet]
    prove: Callable[[Question], Proof]


def about(outpoint: OutPoint, lock: bytes) -> Question:
    return Question(Subject.OUTPUT, lock, outpoint.txid + outpoint.index.to_bytes(4, "big"))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    document = recovery_document()
    path = tmp_path_factory.mktemp("proofs")

    async def run() -> Case:
        with open_finalizer(path, document) as finalizer:
            chain, sets = Chain(finalizer, document), [finalizer.head.validators]
            await chain.grow(2, 3)
            head = finalizer.head
            override = make_override(document, head.header, head.certificate, *NEW_SET)
            follow_here(finalizer, override)
            sets.append(finalizer.head.validators)
            await chain.grow(2, 3)
            spent, unspent = OutPoint(finalizer.chain_id, 0), OutPoint(finalizer.chain_id, 60)
            assert lock_of_output(finalizer, spent) == lock_of_output(finalizer, unspent) == ALICE
            questions = [
                about(spent, ALICE),
                about(unspent, ALICE),
                about(unspent, BOB),
                Question(Subject.ADDRESS, BOB, b""),
                Question(Subject.SUPPLY, b"", ASSET.encode()),
            ]
            made = {question: prove(finalizer, question) for question in questions}
            return Case(document, spent, unspent, sets, made.__getitem__)

    return trio.run(run)


def shown(case: Case, proof: Proof, pinned: bytes | None = None, *, genesis: bool = True) -> Proven:
    proof = decode_proof_file(encode(proof))
    return check(proof, anchor_of(proof, case.document if genesis else None, pinned), verify)


def code(case: Case, proof: Proof, pinned: bytes | None = None, *, genesis: bool = True) -> str:
    with pytest.raises(DrexError) as caught:
        shown(case, proof, pinned, genesis=genesis)
    return caught.value.code


def test_what_is_unspent_is_shown_and_what_was_spent_is_shown_absent(case: Case) -> None:
    [output] = shown(case, case.prove(about(case.unspent, ALICE))).outputs
    assert (output.output.asset, output.output.lock) == (ASSET, ALICE)
    assert not shown(case, case.prove(about(case.spent, ALICE))).is_present
    assert not shown(case, case.prove(about(case.unspent, BOB))).is_present


def test_an_address_is_shown_whole(case: Case) -> None:
    outputs = shown(case, case.prove(Question(Subject.ADDRESS, BOB, b""))).outputs
    assert len(outputs) == 12
    assert sum(item.output.amount for item in outputs) == 12


def test_a_spent_output_cannot_be_claimed(case: Case) -> None:
    """The state proof of another output under the question for the spent one."""
    honest, spent = case.prove(about(case.unspent, ALICE)), about(case.spent, ALICE)
    value = honest.state.values[0][1]
    last = decode(honest.state.pages[-1], list[bytes], max_bytes=1 << 20)
    forged = encode([*last, b"o" + spent.name, tagged_hash("drex/value", value)])
    pages = (*honest.state.pages[:-1], forged)
    for state in (
        structs.replace(honest.state, pages=pages, values=((b"o" + spent.name, value),)),
        structs.replace(honest.state, pages=()),
    ):
        assert code(case, structs.replace(honest, question=spent, state=state)) == "PROOF_INVALID"


def test_a_wrong_address_is_refused(case: Case) -> None:
    honest = case.prove(about(case.unspent, ALICE))
    assert code(case, structs.replace(honest, question=about(case.unspent, BOB))) == "PROOF_INVALID"


def test_another_chain_is_refused(case: Case) -> None:
    proof = case.prove(Question(Subject.SUPPLY, b"", ASSET.encode()))
    other = structs.replace(case.document, name="other")
    with pytest.raises(DrexError, match="of chain") as caught:
        anchor_of(proof, other, None)
    assert caught.value.code == "PROOF_OTHER_CHAIN"
    with pytest.raises(DrexError, match="of chain"):
        anchor_of(proof, None, case.sets[0].hash, bytes(32))
    renamed = structs.replace(proof, chain_id=bytes(32))
    assert code(case, renamed, case.sets[1].hash, genesis=False) == "CERTIFICATE_BAD_SEAL"


def test_validators_that_somebody_made_up_are_refused(case: Case) -> None:
    """Whoever makes a set, a header of it and all its seals convinces nobody who pinned another."""
    keys = tuple(sorted(validator_keys(7)))[:4]
    liars = ValidatorSet(0, keys)
    honest = case.prove(Question(Subject.SUPPLY, b"", ASSET.encode()))
    header = structs.replace(honest.header, validators_hash=liars.hash)
    certificate = certify(header, honest.chain_id, liars)
    made_up = structs.replace(
        honest, header=header, certificate=certificate, first=validators_value(liars), path=TrustPath()
    )
    assert code(case, made_up) == "PROOF_OTHER_CHAIN"
    assert code(case, structs.replace(made_up, first=honest.first)) == "TRUST_STRANGERS"
    assert code(case, made_up, case.sets[1].hash, genesis=False) == "TRUST_NOT_PINNED"
    assert shown(case, made_up, liars.hash, genesis=False).is_present  # for whoever pins the liars


def test_a_pinned_set_needs_no_genesis_unless_an_override_follows(case: Case) -> None:
    proof = case.prove(Question(Subject.SUPPLY, b"", ASSET.encode()))
    first, second = (found.hash for found in case.sets)
    assert shown(case, proof, second, genesis=False).is_present
    assert shown(case, proof, second).is_present
    assert shown(case, proof, first).is_present
    assert code(case, proof, first, genesis=False) == "OVERRIDE_UNPROVEN"
    assert code(case, proof, bytes(32)) == "TRUST_NOT_PINNED"


def test_an_override_that_the_recovery_did_not_sign_is_refused(case: Case) -> None:
    proof = case.prove(Question(Subject.SUPPLY, b"", ASSET.encode()))
    [override] = proof.path.overrides
    alone = structs.replace(override, signatures=override.signatures[:1])
    path = structs.replace(proof.path, overrides=(alone,))
    assert code(case, structs.replace(proof, path=path)) == "OVERRIDE_NOT_AUTHORISED"
    assert code(case, structs.replace(proof, path=TrustPath())) == "TRUST_STRANGERS"


def test_an_override_with_another_certificate_than_was_signed_is_malformed(case: Case) -> None:
    proof = case.prove(Question(Subject.SUPPLY, b"", ASSET.encode()))
    [override] = proof.path.overrides
    locked = prepared(override.header, proof.chain_id, case.sets[0])
    path = structs.replace(proof.path, overrides=(structs.replace(override, certificate=locked),))
    with pytest.raises(DecodeError) as caught:
        decode_proof_file(encode(structs.replace(proof, path=path)))
    assert caught.value.code == "OVERRIDE_MALFORMED"


def test_a_quorum_of_seals_is_needed(case: Case) -> None:
    proof = case.prove(Question(Subject.SUPPLY, b"", ASSET.encode()))
    certificate = structs.replace(proof.certificate, seals=proof.certificate.seals[:2])
    assert code(case, structs.replace(proof, certificate=certificate)) == "CERTIFICATE_NO_QUORUM"


def test_random_proofs_hold_and_spoiled_ones_do_not(tmp_path: Path) -> None:
    """`python -m tests.drexnode.random_proofs --count 10000` is the long run."""
    with open_finalizer(tmp_path, RANDOM_DOCUMENT) as finalizer:
        trio.run(grown, finalizer)
        figures = try_proofs(finalizer, 200, seed=7)
    assert figures.present > 20
    assert figures.absent > 20
    assert figures.spoiled == 20


def test_before_the_first_block_nothing_is_proven(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, genesis_document()) as finalizer, pytest.raises(DrexError) as caught:
        prove(finalizer, Question(Subject.SUPPLY, b"", ASSET.encode()))
    assert caught.value.code == "PROOF_NO_BLOCK"


# --- on the event loop


def many_outputs(path: Path, test: Callable[[LedgerApi, Chain], Awaitable[None]]) -> None:
    """Carry `test` out on a chain in which alice owns 2,000 outputs."""
    document = genesis_document(outputs=2_000)

    async def run() -> None:
        with open_finalizer(path, document) as finalizer:
            chain = Chain(finalizer, document)
            await chain.grow(1, 1)
            await test(LedgerApi(finalizer, Mempool(), lambda: 0), chain)

    trio.run(run)


def test_a_large_proof_is_made_page_by_page(tmp_path: Path) -> None:
    async def test(api: LedgerApi, chain: Chain) -> None:
        slices = prove_in_slices(chain.finalizer, Question(Subject.ADDRESS, ALICE, b""))
        turns, proof = 0, None
        while proof is None:
            try:
                next(slices)
                turns += 1
            except StopIteration as stop:
                proof = stop.value
        assert turns == len(proof.state.pages) > 2_000 // 64
        assert proof == await api.prove(Question(Subject.ADDRESS, ALICE, b""))

    many_outputs(tmp_path, test)


def test_a_proof_that_a_block_overtakes_is_of_the_new_block(tmp_path: Path) -> None:
    async def test(api: LedgerApi, chain: Chain) -> None:
        proofs: list[Proof] = []

        async def ask() -> None:
            proofs.append(await api.prove(Question(Subject.ADDRESS, ALICE, b"")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(chain.grow, 1, 1)
        height = chain.finalizer.head.height
        assert proofs[0].header.height in (height - 1, height)
        anchor = anchor_of(proofs[0], chain.document, None)
        assert len(check(decode_proof_file(encode(proofs[0])), anchor, verify).outputs) >= 2_000

    many_outputs(tmp_path, test)


def test_blocks_that_always_overtake_a_proof_make_the_node_busy(tmp_path: Path) -> None:
    async def test(api: LedgerApi, chain: Chain) -> None:
        finalizer = chain.finalizer

        async def overtake() -> None:
            while True:
                finalizer.head = replace(finalizer.head)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(overtake)
            with pytest.raises(DrexError) as caught:
                await api.prove(Question(Subject.ADDRESS, ALICE, b""))
            nursery.cancel_scope.cancel()
        assert caught.value.code == "NODE_BUSY"

    many_outputs(tmp_path, test)


# --- as its user does it


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = make_home(tmp_path)
    grow(made, 5, transfers=3)
    return made


def test_a_proof_is_written_and_checked_from_files_alone(home: Path, tmp_path: Path) -> None:
    genesis, file = home / "genesis.json", tmp_path / "bob.proof"
    bob = encode_address(DOCUMENT.address_prefix, BOB)
    done("inspect", "proof", "address", bob, "--home", home, "--out", file)
    facts = done("verify-proof", file, "--genesis", genesis, "--address-is", bob)
    assert (facts["height"], facts["present"], len(facts["outputs"])) == (5, True, 15)
    pinned = facts["validators_hash"]
    assert done("verify-proof", file, "--validators-hash", pinned)["outputs"] == facts["outputs"]
    alice = encode_address(DOCUMENT.address_prefix, ALICE)
    assert refused("verify-proof", file, "--genesis", genesis, "--address-is", alice) == (
        6,
        "PROOF_OTHER_SUBJECT",
    )
    assert refused("verify-proof", file, "--genesis", genesis, "--min-height", 6) == (6, "PROOF_STALE")
    assert refused("verify-proof", file, "--validators-hash", "00" * 32) == (6, "TRUST_NOT_PINNED")
    assert refused("verify-proof", tmp_path / "none", "--genesis", genesis) == (2, "PROOF_UNREADABLE")
    assert refused("verify-proof", genesis, "--genesis", genesis) == (6, "PROOF_MALFORMED")
    assert refused("inspect", "proof", "address", bob, "--home", home, "--out", file) == (8, "FILE_EXISTS")


def test_a_spent_output_is_told_by_the_exit_code(home: Path, tmp_path: Path) -> None:
    genesis, file = home / "genesis.json", tmp_path / "spent.proof"
    name = f"{chain_id_of(DOCUMENT).hex()}:0"
    done("inspect", "proof", "output", name, "--home", home, "--out", file)
    assert command("verify-proof", file, "--genesis", genesis)[0] == 6
    facts = done("verify-proof", file, "--genesis", genesis, "--absent", "--output-is", name)
    assert (facts["present"], facts["outputs"]) == (False, [])
    other = tmp_path / "other.json"
    write_genesis(other, structs.replace(DOCUMENT, name="other"))
    assert refused("verify-proof", file, "--genesis", other) == (6, "PROOF_OTHER_CHAIN")


def test_an_output_nobody_knows_needs_an_address(home: Path, tmp_path: Path) -> None:
    name = f"{'11' * 32}:0"
    arguments = ("inspect", "proof", "output", name, "--home", home, "--out", tmp_path / "p")
    assert refused(*arguments)[1] == "PROOF_NEEDS_ADDRESS"
