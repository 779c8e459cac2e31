"""What no state could make valid: the static checks, OpenCBDC's list among them."""

from __future__ import annotations

from ledger import codes
from ledger.build import make_output
from ledger.locks import AfterHeight, Condition, HashLeaf, KeyLeaf, Threshold, digest_of, threshold
from ledger.payloads import Credential, Freeze, Kind, Move, RegisterParticipant, Role, RotateCondition
from ledger.transaction import Body, OutPoint, Transaction, Witness, make_transaction
from primitives.limits import MAX_AMOUNT, MAX_INPUTS, MAX_OUTPUTS, MAX_PREIMAGES, MAX_SIGNATURES
from tests.ledger.cases import add_invalid, invalid, valid
from tests.ledger.world import (
    BANK_A,
    BCB,
    BRL,
    CHAIN_ID,
    DVT_A,
    DVT_B,
    FREE,
    World,
    key,
    leaf,
    lock,
)

POINT = OutPoint(bytes(32), 0)
FREEZE = Freeze(BANK_A, lock("alice"), DVT_A, 1, b"order")
VAULT = threshold(1, leaf("alice"), leaf("bob"))


@invalid(codes.INPUTS_MISSING)
def transfer_without_inputs(world: World) -> Transaction:
    return world.spend([], [(DVT_A, 1, "bob")], ["alice"])


@invalid(codes.INPUTS_MISSING)
def burn_without_inputs(world: World) -> Transaction:
    return world.spend([], [], ["alice"], kind=Kind.BURN)


@invalid(codes.INPUTS_MISSING)
def interbank_without_inputs(world: World) -> Transaction:
    return world.spend([], [(DVT_B, 1, "bob")], ["alice"], kind=Kind.INTERBANK_TRANSFER)


@invalid(codes.INPUTS_MISSING)
def move_without_inputs(world: World) -> Transaction:
    return world.spend([], [], ["bank-a"], kind=Kind.MOVE, payload=Move(BANK_A, b"o", ()))


@invalid(codes.INPUTS_FORBIDDEN)
def emission_with_an_input(world: World) -> Transaction:
    return world.spend([POINT], [(DVT_A, 1, "bob")], ["bank-a"], kind=Kind.EMISSION)


@invalid(codes.INPUTS_FORBIDDEN)
def freeze_with_an_input(world: World) -> Transaction:
    return world.spend([POINT], [], ["bank-a"], kind=Kind.FREEZE, payload=FREEZE, valid_until=105)


@invalid(codes.INPUT_DUPLICATE)
def duplicate_input(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point, point], [(DVT_A, 200, "bob")], ["alice"])


@invalid(codes.TOO_MANY_INPUTS)
def one_input_too_many(world: World) -> Transaction:
    points = [OutPoint(bytes(32), number) for number in range(MAX_INPUTS + 1)]
    return world.spend(points, [(DVT_A, 1, "bob")], ["alice"])


@invalid(codes.OUTPUTS_MISSING)
def transfer_without_outputs(world: World) -> Transaction:
    return world.spend([world.fund("alice", DVT_A, 100)], [], ["alice"])


@invalid(codes.OUTPUTS_MISSING)
def emission_without_outputs(world: World) -> Transaction:
    return world.spend([], [], ["bank-a"], kind=Kind.EMISSION)


@invalid(codes.OUTPUTS_FORBIDDEN)
def freeze_with_an_output(world: World) -> Transaction:
    return world.spend([], [(DVT_A, 1, "bob")], ["bank-a"], kind=Kind.FREEZE, payload=FREEZE)


@invalid(codes.TOO_MANY_OUTPUTS)
def one_output_too_many(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, MAX_OUTPUTS + 1)
    return world.spend([point], [(DVT_A, 1, "bob")] * (MAX_OUTPUTS + 1), ["alice"])


def _value(amount: int) -> None:
    def make(world: World) -> Transaction:
        return world.spend([world.fund("alice", DVT_A, 100)], [(DVT_A, amount, "bob")], ["alice"])

    add_invalid(f"value {amount}", codes.VALUE_RANGE, make)


for _amount in (0, -1, MAX_AMOUNT + 1, 2**64 - 1):
    _value(_amount)


@invalid(codes.SUM_OVERFLOW)
def outputs_sum_beyond_63_bits(world: World) -> Transaction:
    outputs = [(FREE, MAX_AMOUNT, "alice"), (FREE, 1, "alice")]
    return world.spend([], outputs, ["stn"], kind=Kind.EMISSION)


@invalid(codes.SUM_OVERFLOW)
def outputs_sum_past_64_bits_to_a_small_number(world: World) -> Transaction:
    outputs = [(FREE, MAX_AMOUNT, "alice"), (FREE, MAX_AMOUNT, "alice"), (FREE, 102, "alice")]
    return world.spend([world.fund("alice", FREE, 100)], outputs, ["alice"])


def _asset_name(name: str) -> None:
    def make(world: World) -> Transaction:
        return world.spend([world.fund("alice", DVT_A, 100)], [(name, 100, "bob")], ["alice"])

    add_invalid(f"asset name {name!r}", codes.ASSET_NAME, make)


for _asset in (
    "",
    "brl",
    "BRL\n",
    "BRL@AAAA111/DVT",
    "BRL@AAAA1111/XYZ",
    "BRL@aaaa1111/DVT",
    "TPF:BRSTNCLTN7D",
    "X:AAAA1111/",
    "X:AAAA1111/ABCDEFGHIJKLMNOPQ",
    "X:AAAA1111/É",
    "A" * 200,
):
    _asset_name(_asset)


@invalid(codes.NOTE_TOO_LONG)
def note_of_257_bytes(world: World) -> Transaction:
    body = world.body(
        Kind.TRANSFER, [world.fund("alice", DVT_A, 100)], [make_output(DVT_A, 100, lock("bob"), bytes(257))]
    )
    return world.sign(body, ["alice"])


@valid
def note_of_256_bytes(world: World) -> Transaction:
    body = world.body(
        Kind.TRANSFER, [world.fund("alice", DVT_A, 100)], [make_output(DVT_A, 100, lock("bob"), bytes(256))]
    )
    return world.sign(body, ["alice"])


@invalid(codes.REFERENCE_TOO_LONG)
def reference_of_65_bytes(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], reference=bytes(65))


@valid
def reference_of_64_bytes(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], reference=bytes(64))


@valid
def transfer_without_a_reference(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], reference=b"")


@invalid(codes.REFERENCE_MISSING)
def emission_without_a_reference(world: World) -> Transaction:
    return world.emission(DVT_A, 100, "alice", ["bank-a"], reference=b"")


@invalid(codes.UNBALANCED)
def emission_of_two_assets(world: World) -> Transaction:
    outputs = [(DVT_A, 100, "alice"), (DVT_B, 100, "bob")]
    return world.spend([], outputs, ["bank-a", "bank-b"], kind=Kind.EMISSION)


@invalid(codes.VALIDITY_RANGE)
def valid_from_above_valid_until(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], valid_from=101, valid_until=100)


@invalid(codes.VALIDITY_MISSING)
def emission_valid_for_ever(world: World) -> Transaction:
    return world.emission(DVT_A, 100, "alice", ["bank-a"], valid_until=0)


@invalid(codes.VALIDITY_MISSING)
def freeze_valid_for_ever(world: World) -> Transaction:
    return world.order(Kind.FREEZE, FREEZE, ["bank-a"], valid_until=0)


@invalid(codes.WITNESS_MISSING)
def no_signature(world: World) -> Transaction:
    return world.spend([world.fund("alice", DVT_A, 100)], [(DVT_A, 100, "bob")], [])


def _witness(world: World, witness: Witness) -> Transaction:
    """A transfer of alice's with a witness put together by hand."""
    return make_transaction(_body(world), witness, CHAIN_ID)


def _body(world: World) -> Body:
    point = world.fund("alice", DVT_A, 100)
    return world.body(Kind.TRANSFER, [point], [make_output(DVT_A, 100, lock("bob"))])


@invalid(codes.WITNESS_ORDER)
def signatures_unsorted(world: World) -> Transaction:
    signed = world.sign(_body(world), ["alice", "bob"])
    return make_transaction(
        signed.body, Witness(tuple(reversed(signed.witness.signatures)), (), ()), CHAIN_ID
    )


@invalid(codes.WITNESS_ORDER)
def signature_twice(world: World) -> Transaction:
    signed = world.sign(_body(world), ["alice"])
    return make_transaction(signed.body, Witness(signed.witness.signatures * 2, (), ()), CHAIN_ID)


@invalid(codes.WITNESS_ORDER)
def conditions_unsorted(world: World) -> Transaction:
    signed = world.sign(_body(world), ["alice"], [VAULT, AfterHeight(3)])
    witness = signed.witness
    changed = Witness(witness.signatures, tuple(reversed(witness.conditions)), ())
    return make_transaction(signed.body, changed, CHAIN_ID)


@invalid(codes.WITNESS_ORDER)
def preimages_unsorted(world: World) -> Transaction:
    signed = world.sign(_body(world), ["alice"])
    return make_transaction(signed.body, Witness(signed.witness.signatures, (), (b"b", b"a")), CHAIN_ID)


@invalid(codes.TOO_MANY_SIGNATURES)
def one_signature_too_many(world: World) -> Transaction:
    pairs = tuple((number.to_bytes(32, "big"), bytes(64)) for number in range(MAX_SIGNATURES + 1))
    return _witness(world, Witness(pairs, (), ()))


@invalid(codes.PREIMAGE_LENGTH)
def preimage_of_65_bytes(world: World) -> Transaction:
    return world.sign(_body(world), ["alice"], preimages=[bytes(65)])


@invalid(codes.PREIMAGE_LENGTH)
def preimage_of_no_bytes(world: World) -> Transaction:
    return world.sign(_body(world), ["alice"], preimages=[b""])


@invalid(codes.WITNESS_UNUSED)
def one_preimage_too_many(world: World) -> Transaction:
    preimages = [number.to_bytes(2, "big") for number in range(MAX_PREIMAGES + 1)]
    return world.sign(_body(world), ["alice"], preimages=preimages)


@invalid(codes.WITNESS_UNUSED)
def move_that_reveals_a_condition(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend(
        [point],
        [(DVT_A, 100, "bob")],
        ["bank-a"],
        kind=Kind.MOVE,
        payload=Move(BANK_A, b"o", ()),
        conditions=[VAULT],
    )


@invalid(codes.WITNESS_UNUSED)
def emission_that_reveals_a_condition(world: World) -> Transaction:
    body = world.body(Kind.EMISSION, [], [make_output(DVT_A, 100, lock("alice"))])
    return world.sign(body, ["bank-a"], [VAULT])


BAD_CONDITIONS: dict[str, Condition] = {
    "threshold 0 of 1": Threshold(0, (leaf("alice"),)),
    "threshold 2 of 1": Threshold(2, (leaf("alice"),)),
    "threshold of nothing": Threshold(0, ()),
    "threshold negative": Threshold(-1, (leaf("alice"),)),
    "same child twice": Threshold(1, (leaf("alice"), leaf("alice"))),
    "children unsorted": Threshold(1, tuple(reversed(VAULT.conditions))),
    "depth 5": threshold(1, threshold(1, threshold(1, threshold(1, leaf("alice"))))),
    "17 children": threshold(1, leaf("alice"), *(AfterHeight(number) for number in range(16))),
    "18 leaves in two branches": threshold(
        1,
        threshold(1, leaf("alice"), *(AfterHeight(number) for number in range(8))),
        threshold(1, leaf("bob"), *(AfterHeight(number) for number in range(8))),
    ),
    "a key leaf alone": KeyLeaf(key("alice").public_key),
}


def _bad_condition(name: str) -> None:
    condition = BAD_CONDITIONS[name]
    add_invalid(
        f"witness condition: {name}",
        codes.CONDITION_INVALID,
        lambda world: world.sign(_body(world), ["alice"], [condition]),
    )


for _name in BAD_CONDITIONS:
    _bad_condition(_name)


@invalid(codes.CONDITION_INVALID)
def payload_condition_of_no_output(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], payload=(VAULT,))


@invalid(codes.CONDITION_INVALID)
def payload_condition_too_deep(world: World) -> Transaction:
    point, deep = world.fund("alice", DVT_A, 100), BAD_CONDITIONS["depth 5"]
    return world.spend([point], [(DVT_A, 100, deep)], ["alice"], payload=(deep,))


@invalid(codes.CONDITION_INVALID)
def payload_condition_of_a_key_lock(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], payload=(leaf("bob"),))


@invalid(codes.CONDITION_INVALID)
def participant_condition_that_a_secret_satisfies(world: World) -> Transaction:
    condition = threshold(1, leaf("new"), HashLeaf(digest_of(b"secret")))
    act = RegisterParticipant("EEEE5555", "New", Role.BANK, condition, b"", "")
    return world.act(BCB, act, ["bcb-registry"])


@invalid(codes.CONDITION_INVALID)
def participant_condition_with_threshold_zero(world: World) -> Transaction:
    act = RotateCondition(BANK_A, Credential.OWN, Threshold(0, (leaf("new"),)))
    return world.act(BANK_A, act, ["bank-a"])


@valid
def wholesale_transfer_of_the_largest_amount(world: World) -> Transaction:
    point = world.fund("bank-a-cash", BRL, MAX_AMOUNT)
    return world.spend([point], [(BRL, MAX_AMOUNT, "bank-b-cash")], ["bank-a-cash"])
