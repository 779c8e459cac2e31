"""A recovery override: its bytes, who may sign it, and what follows for sets and for the state."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from msgspec import structs

from ledger.genesis import chain_id_of
from ledger.override import (
    Override,
    OverrideRefused,
    Overrides,
    OverrideValidator,
    check_override,
    decode_override,
    encode_override,
    finality_checks,
    missing_signers,
    override_sighash,
    proof_hash,
)
from ledger.proposers import Suspension
from ledger.state import SUSPENSION, VOTE, StateView
from ledger.votes import VOTE_REMOVE, apply_votes, cast_vote, read_validators, validators_value
from primitives.block import BlockHeader, block_id
from primitives.certificate import verify_certificate
from primitives.codec import encode
from primitives.errors import DecodeError, InvalidBlock
from primitives.keys import PublicKey, verify
from primitives.limits import MAX_OVERRIDE_BYTES, MAX_VALIDATORS
from primitives.validators import ValidatorSet
from tests.drexnode.chain import certify, validator_keys
from tests.drexnode.overrides import OFFICERS, make_override, members, prepared, recovery_document, signed

DOCUMENT = recovery_document()
SET = ValidatorSet(0, tuple(sorted(PublicKey(key) for key in validator_keys(4))))
HEADER = BlockHeader(
    1, 7, bytes(32), 1_700_000_000_000, SET.keys[0], 0, bytes(32), b"\x01" * 32, SET.hash, SET.hash
)

CHAIN_ID = chain_id_of(DOCUMENT)
DECIDED = make_override(DOCUMENT, HEADER, certify(HEADER, CHAIN_ID, SET))
LOCKED = make_override(DOCUMENT, HEADER, prepared(HEADER, CHAIN_ID, SET))


def refusal(override: Override) -> str:
    with pytest.raises(OverrideRefused) as refused:
        check_override(override, DOCUMENT, CHAIN_ID, verify)
    return refused.value.code


def test_the_bytes_of_an_override_are_frozen() -> None:
    assert override_sighash(DECIDED.order).hex() == FROZEN_SIGHASH
    assert sha256(encode_override(DECIDED)).hexdigest() == FROZEN_DECIDED
    assert sha256(encode_override(LOCKED)).hexdigest() == FROZEN_LOCKED
    assert decode_override(encode_override(DECIDED)) == DECIDED


FROZEN_SIGHASH = "c0d1e7e473ec6df63cf68f25768347eecad015e9d67c1b83ebad176a75982f4e"
FROZEN_DECIDED = "d5285d01a404279b601c975535a8dc32c6c2d1d371e1939658c9a529514fd4b3"
FROZEN_LOCKED = "09a2b1622610ee8d0e298e510be19a9fbe5a2d367e54a3fe276877a84f17c811"


def test_the_signed_order_says_whether_the_block_was_decided_or_locked_on() -> None:
    for override, version in ((DECIDED, 2), (LOCKED, 1)):
        assert override.certificate is not None
        other = structs.replace(override.certificate, version=version)
        with pytest.raises(DecodeError, match="not the one that was signed"):
            decode_override(encode_override(structs.replace(override, certificate=other)))
        order = structs.replace(override.order, proof=proof_hash(other))
        assert refusal(structs.replace(override, order=order, certificate=other)) == "OVERRIDE_BAD_SIGNATURE"


def test_two_of_three_recovery_keys_make_it_valid_and_one_does_not() -> None:
    for signers in (OFFICERS[:2], OFFICERS[1:], OFFICERS):
        check_override(signed(DECIDED, *signers), DOCUMENT, CHAIN_ID, verify)
    for few in ((), OFFICERS[:1], OFFICERS[2:]):
        assert refusal(signed(DECIDED, *few)) == "OVERRIDE_NOT_AUTHORISED"
    assert "2 of 3 needed" in (missing_signers(signed(DECIDED), DOCUMENT.recovery) or "")


def test_a_stranger_or_a_false_signature_spoils_it() -> None:
    assert refusal(signed(DECIDED, *OFFICERS[:2], "alice")) == "OVERRIDE_BAD_SIGNATURE"
    (first, _), (second, seal) = DECIDED.signatures
    false = structs.replace(DECIDED, signatures=((first, bytes(64)), (second, seal)))
    assert refusal(false) == "OVERRIDE_BAD_SIGNATURE"


def test_signatures_of_one_order_say_nothing_of_another() -> None:
    order = structs.replace(DECIDED.order, epoch=2)
    assert refusal(structs.replace(DECIDED, order=order)) == "OVERRIDE_BAD_SIGNATURE"
    foreign = structs.replace(DECIDED.order, chain_id=bytes(32))
    assert refusal(structs.replace(DECIDED, order=foreign)) == "OVERRIDE_FOREIGN"


def test_the_set_is_not_smaller_than_the_genesis_asks_for() -> None:
    demanding = structs.replace(DOCUMENT, parameters=structs.replace(DOCUMENT.parameters, min_validators=5))
    with pytest.raises(OverrideRefused, match="OVERRIDE_TOO_FEW"):
        check_override(DECIDED, demanding, CHAIN_ID, verify)


@pytest.mark.parametrize(
    "change",
    [
        lambda o: structs.replace(o, header=structs.replace(o.header, timestamp_ms=1)),
        lambda o: structs.replace(o, certificate=None),
        lambda o: structs.replace(o, certificate=structs.replace(o.certificate, height=8)),
        lambda o: structs.replace(o, certificate=structs.replace(o.certificate, version=2)),
        lambda o: structs.replace(o, certificate=structs.replace(o.certificate, round=1)),
        lambda o: structs.replace(o, certificate=structs.replace(o.certificate, seals=())),
        lambda o: structs.replace(o, signatures=o.signatures[::-1]),
        lambda o: structs.replace(o, signatures=(o.signatures[0],) * 2),
        lambda o: structs.replace(o, signatures=((b"short", bytes(64)),)),
        lambda o: structs.replace(o, order=structs.replace(o.order, version=2)),
        lambda o: structs.replace(
            o, order=structs.replace(o.order, validators=members("validator-1", "validator-2")[::-1])
        ),
        lambda o: structs.replace(o, order=structs.replace(o.order, validators=members("validator-1") * 2)),
    ],
)
def test_what_is_not_whole_does_not_decode(change) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DecodeError):
        decode_override(encode_override(change(DECIDED)))
    assert refusal(change(DECIDED)) == "OVERRIDE_MALFORMED"  # nor is it followed from inside a backup


def test_no_bytes_raise_anything_but_a_decode_error() -> None:
    source, data = random.Random(8), encode_override(LOCKED)
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(source.randrange(1, 4)):
            changed[source.randrange(len(changed))] = source.randrange(256)
        del changed[source.randrange(1, len(changed) + 1) :]
        try:
            decode_override(bytes(changed))
        except DecodeError:
            continue
    with pytest.raises(DecodeError):
        decode_override(bytes(MAX_OVERRIDE_BYTES + 1))


def test_the_largest_override_fits_its_bound() -> None:
    keys = [index.to_bytes(32, "big") for index in range(MAX_VALIDATORS)]
    assert DECIDED.certificate is not None
    seals = tuple((index, bytes(64)) for index in range(MAX_VALIDATORS))
    certificate = structs.replace(DECIDED.certificate, seals=seals)
    order = structs.replace(
        DECIDED.order,
        validators=tuple(OverrideValidator(key, key + key) for key in keys),
        proof=proof_hash(certificate),
    )
    signatures = tuple((key, bytes(64)) for key in keys[:16])
    largest = Override(order, HEADER, certificate, signatures)
    assert decode_override(encode_override(largest)) == largest


def test_the_highest_epoch_of_a_height_counts() -> None:
    later = make_override(DOCUMENT, HEADER, DECIDED.certificate, "validator-1", epoch=2)
    for known in (Overrides([DECIDED, later]), Overrides([later, DECIDED])):
        assert len(known) == 1
        assert known.validators_after(HEADER) == later.validators
    other = structs.replace(HEADER, timestamp_ms=2)
    assert Overrides([DECIDED]).validators_after(other) is None
    assert Overrides([DECIDED]).contradicts(7, block_id(other))
    assert not Overrides([DECIDED]).contradicts(7, block_id(HEADER))
    assert not Overrides([DECIDED]).contradicts(8, block_id(other))


def test_prepares_make_final_only_the_block_that_an_override_names() -> None:
    proof, name = prepared(HEADER, CHAIN_ID, SET), block_id(HEADER)
    checks = finality_checks(HEADER, proof, CHAIN_ID, SET, Overrides([LOCKED]))
    assert all(verify(*check) for check in checks)
    for known in (Overrides(), Overrides([DECIDED])):
        with pytest.raises(InvalidBlock, match="CERTIFICATE_NOT_COMMITS"):
            finality_checks(HEADER, proof, CHAIN_ID, SET, known)
    with pytest.raises(InvalidBlock, match="CERTIFICATE_NOT_COMMITS"):
        verify_certificate(proof, CHAIN_ID, SET, name, 7, verify)
    fewer = prepared(HEADER, CHAIN_ID, SET, seals=2)
    with pytest.raises(InvalidBlock, match="CERTIFICATE_NO_QUORUM"):
        finality_checks(HEADER, fewer, CHAIN_ID, SET, Overrides([LOCKED]))
    commits = finality_checks(HEADER, certify(HEADER, CHAIN_ID, SET), CHAIN_ID, SET, Overrides([LOCKED]))
    assert all(verify(*check) for check in commits)


def test_the_state_takes_the_new_set_and_forgets_those_who_left() -> None:
    class Nothing:
        def get(self, key: bytes) -> bytes | None:
            return None

    view = StateView(Nothing())
    view.put(b"y", validators_value(SET))
    gone, stays = SET.keys[0], SET.keys[1]
    new = ValidatorSet(1, (stays,))
    for voter in (gone, stays):
        cast_vote(view, SET, voter, SET.keys[2], VOTE_REMOVE, 100, 8)
        view.put(SUSPENSION + voter, encode(Suspension(1, 50)))
    assert apply_votes(view, new, 8, 1) == new
    assert read_validators(view) == new
    assert view.get(VOTE + SET.keys[2] + gone) is None
    assert view.get(SUSPENSION + gone) is None
    assert view.get(SUSPENSION + stays) is not None
