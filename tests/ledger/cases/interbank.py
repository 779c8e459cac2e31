"""Interbank transfers: three assets move in one transaction, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from ledger import codes
from ledger.locks import Condition
from ledger.payloads import (
    DisableWallet,
    Kind,
    Pause,
    SetConsent,
    SetSettlementLock,
    UpdateAsset,
    UpdateParticipant,
)
from ledger.transaction import OutPoint, Transaction
from tests.ledger.cases import add_invalid, invalid, valid
from tests.ledger.world import (
    BANK_A,
    BANK_B,
    BCB,
    BRL,
    DVT_A,
    DVT_B,
    DVT_SMALL,
    FREE,
    MET_C,
    SMALL_BANK,
    World,
    lock,
)

Outputs = Sequence[tuple[str, int, str | bytes | Condition]]
SIGNERS = ("alice", "bank-a-cash", "bank-a", "bank-b")
OUTPUTS: Outputs = (
    (DVT_A, 380, "alice"),
    (DVT_B, 120, "bia"),
    (BRL, 120, "bank-b-cash"),
    (BRL, 880, "bank-a-cash"),
)


def points(world: World) -> list[OutPoint]:
    """500 of alice's with bank A, and 1000 of bank A's cash."""
    return [world.fund("alice", DVT_A, 500), world.fund("bank-a-cash", BRL, 1000)]


def interbank(
    world: World,
    outputs: Outputs = OUTPUTS,
    signers: Sequence[str] = SIGNERS,
    inputs: list[OutPoint] | None = None,
) -> Transaction:
    """120 from alice at bank A to bia at bank B."""
    inputs = points(world) if inputs is None else inputs
    return world.spend(inputs, outputs, signers, kind=Kind.INTERBANK_TRANSFER)


@valid
def interbank_transfer(world: World) -> Transaction:
    return interbank(world)


@valid
def interbank_transfer_of_two_payers_to_two_payees(world: World) -> Transaction:
    inputs = [*points(world), world.fund("ana", DVT_A, 50)]
    outputs: Outputs = (
        (DVT_A, 410, "alice"),
        (DVT_B, 100, "bia"),
        (DVT_B, 40, "bob"),
        (BRL, 140, "bank-b-cash"),
        (BRL, 860, "bank-a-cash"),
    )
    return interbank(world, outputs, (*SIGNERS, "ana"), inputs)


@valid
def interbank_transfer_with_standing_consent(world: World) -> Transaction:
    world.apply(world.act(BANK_B, SetConsent(DVT_B, True), ["bank-b"]))
    return interbank(world, signers=SIGNERS[:3])


@valid
def interbank_transfer_signed_in_spite_of_standing_consent(world: World) -> Transaction:
    world.apply(world.act(BANK_B, SetConsent(DVT_B, True), ["bank-b"]))
    return interbank(world)


@invalid(codes.NOT_AUTHORISED)
def interbank_transfer_after_consent_was_withdrawn(world: World) -> Transaction:
    world.apply(world.act(BANK_B, SetConsent(DVT_B, True), ["bank-b"]))
    world.apply(world.act(BANK_B, SetConsent(DVT_B, False), ["bank-b"]))
    return interbank(world, signers=SIGNERS[:3])


def _without(place: int, code: str) -> None:
    signers = [name for number, name in enumerate(SIGNERS) if number != place]
    add_invalid(
        f"interbank transfer that {SIGNERS[place]} did not sign",
        code,
        lambda world: interbank(world, signers=signers),
    )


_without(0, codes.WITNESS_MISSING)
_without(1, codes.WITNESS_MISSING)
_without(2, codes.NOT_AUTHORISED)
_without(3, codes.NOT_AUTHORISED)


def _changed(place: int, change: int, code: str) -> None:
    outputs = list(OUTPUTS)
    asset, amount, owner = outputs[place]
    outputs[place] = (asset, amount + change, owner)
    add_invalid(
        f"interbank transfer with output {place} off by {change:+}",
        code,
        lambda world: interbank(world, outputs),
    )


for _place in range(4):
    for _change in (-1, 1):
        _changed(_place, _change, codes.UNBALANCED)


def _pair_changed(first: int, second: int, code: str) -> None:
    """One centavo from one output to another: any two amounts, both ways."""
    outputs = list(OUTPUTS)
    asset, amount, owner = outputs[first]
    outputs[first] = (asset, amount + 1, owner)
    asset, amount, owner = outputs[second]
    outputs[second] = (asset, amount - 1, owner)
    add_invalid(
        f"interbank transfer with a centavo from output {second} to output {first}",
        code,
        lambda world: interbank(world, outputs),
    )


for _first in range(4):
    for _second in range(4):
        if _first != _second:
            legs_of_cash = {_first, _second} == {2, 3}
            balanced_retail = {_first, _second} == {0, 1}
            _pair_changed(
                _first,
                _second,
                codes.INTERBANK_SHAPE if legs_of_cash or balanced_retail else codes.UNBALANCED,
            )


def _dropped(place: int, code: str) -> None:
    outputs = [output for number, output in enumerate(OUTPUTS) if number != place]
    add_invalid(f"interbank transfer without output {place}", code, lambda world: interbank(world, outputs))


_dropped(0, codes.UNBALANCED)
_dropped(1, codes.INTERBANK_SHAPE)
_dropped(2, codes.UNBALANCED)
_dropped(3, codes.UNBALANCED)


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_without_its_retail_input(world: World) -> Transaction:
    return interbank(world, OUTPUTS[1:], SIGNERS[1:], [world.fund("bank-a-cash", BRL, 1000)])


@invalid(codes.UNBALANCED)
def interbank_transfer_without_its_cash_input(world: World) -> Transaction:
    return interbank(world, inputs=[world.fund("alice", DVT_A, 500)])


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_without_any_cash(world: World) -> Transaction:
    inputs = [world.fund("alice", DVT_A, 500)]
    return interbank(world, OUTPUTS[:2], ("alice", "bank-a", "bank-b"), inputs)


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_whose_cash_goes_elsewhere(world: World) -> Transaction:
    outputs = (*OUTPUTS[:2], (BRL, 120, "wallet-co-cash"), OUTPUTS[3])
    return interbank(world, outputs)


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_paid_from_another_banks_cash(world: World) -> Transaction:
    inputs = [world.fund("alice", DVT_A, 500), world.fund("wallet-co-cash", BRL, 120)]
    return interbank(world, OUTPUTS[:3], ("alice", "wallet-co-cash", "bank-a", "bank-b"), inputs)


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_whose_change_goes_to_another_client(world: World) -> Transaction:
    return interbank(world, ((DVT_A, 380, "bob"), *OUTPUTS[1:]))


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_inside_one_bank(world: World) -> Transaction:
    outputs = ((DVT_A, 380, "alice"), (DVT_A, 120, "bob"), *OUTPUTS[2:])
    return interbank(world, outputs)


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_with_a_fourth_asset(world: World) -> Transaction:
    inputs = [*points(world), world.fund("alice", FREE, 5)]
    return interbank(world, (*OUTPUTS, (FREE, 5, "alice")), inputs=inputs)


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_of_something_else_than_retail_money(world: World) -> Transaction:
    inputs = [world.fund("alice", FREE, 120), world.fund("bank-a-cash", BRL, 1000)]
    return interbank(world, OUTPUTS[1:], inputs=inputs)


@invalid(codes.WALLET_NOT_ENABLED)
def interbank_transfer_to_somebody_who_is_no_client(world: World) -> Transaction:
    return interbank(world, (OUTPUTS[0], (DVT_B, 120, "alice"), *OUTPUTS[2:]))


@invalid(codes.WALLET_NOT_ENABLED)
def interbank_transfer_of_a_disabled_payer(world: World) -> Transaction:
    inputs = points(world)
    world.apply(world.act(BCB, DisableWallet(BANK_A, lock("alice"), b"o"), ["bcb-orders"]))
    return interbank(world, inputs=inputs)


@invalid(codes.PAUSED)
def interbank_transfer_while_the_receiving_asset_is_paused(world: World) -> Transaction:
    inputs = points(world)
    world.apply(world.act(BANK_B, Pause(DVT_B, b"o"), ["bank-b"]))
    return interbank(world, inputs=inputs)


@invalid(codes.CAP_EXCEEDED)
def interbank_transfer_above_the_receiving_cap(world: World) -> Transaction:
    world.apply(world.act(BCB, UpdateAsset(DVT_B, 119, 1), ["bcb-registry"]))
    return interbank(world)


@valid
def interbank_transfer_from_e_money_to_a_deposit(world: World) -> Transaction:
    inputs = [world.fund("caio", MET_C, 100), world.outputs("reserve", BRL)[0][0]]
    outputs: Outputs = ((DVT_B, 100, "bia"), (BRL, 100, "bank-b-cash"))
    return interbank(world, outputs, ("caio", "reserve", "wallet-co", "bank-b"), inputs)


@valid
def interbank_transfer_from_a_deposit_to_e_money(world: World) -> Transaction:
    outputs: Outputs = (
        (DVT_A, 380, "alice"),
        (MET_C, 120, "caio"),
        (BRL, 120, "reserve"),
        (BRL, 880, "bank-a-cash"),
    )
    return interbank(world, outputs, ("alice", "bank-a-cash", "bank-a", "wallet-co"))


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_to_e_money_that_misses_its_reserve(world: World) -> Transaction:
    outputs: Outputs = (
        (DVT_A, 380, "alice"),
        (MET_C, 120, "caio"),
        (BRL, 120, "wallet-co-cash"),
        (BRL, 880, "bank-a-cash"),
    )
    return interbank(world, outputs, ("alice", "bank-a-cash", "bank-a", "wallet-co"))


@valid
def interbank_transfer_of_an_indirect_bank(world: World) -> Transaction:
    inputs = [world.fund("davi", DVT_SMALL, 100), world.fund("bank-b-cash", BRL, 100)]
    outputs: Outputs = ((DVT_A, 100, "alice"), (BRL, 100, "bank-a-cash"))
    return interbank(world, outputs, ("davi", "bank-b-cash", "small-bank", "bank-a"), inputs)


@valid
def interbank_transfer_between_a_sponsor_and_its_bank(world: World) -> Transaction:
    inputs = [world.fund("davi", DVT_SMALL, 100), world.fund("bank-b-cash", BRL, 70)]
    outputs: Outputs = ((DVT_B, 100, "bia"), (BRL, 70, "bank-b-cash"))
    return interbank(world, outputs, ("davi", "bank-b-cash", "small-bank", "bank-b"), inputs)


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_between_a_sponsor_and_its_bank_without_the_sponsors_cash(world: World) -> Transaction:
    inputs = [world.fund("davi", DVT_SMALL, 100)]
    return interbank(world, ((DVT_B, 100, "bia"),), ("davi", "small-bank", "bank-b"), inputs)


@invalid(codes.REGISTRY_RULE)
def interbank_transfer_to_a_bank_without_a_cash_lock(world: World) -> Transaction:
    world.apply(world.act(BCB, UpdateParticipant(SMALL_BANK, "Small", ""), ["bcb-registry"]))
    outputs = (OUTPUTS[0], (DVT_SMALL, 120, "davi"), *OUTPUTS[2:])
    return interbank(world, outputs, ("alice", "bank-a-cash", "bank-a", "small-bank"))


@valid
def interbank_transfer_to_a_new_settlement_lock(world: World) -> Transaction:
    world.apply(world.act(BANK_B, SetSettlementLock(BANK_B, lock("new-cash")), ["bank-b"]))
    return interbank(world, (*OUTPUTS[:2], (BRL, 120, "new-cash"), OUTPUTS[3]))


@invalid(codes.INTERBANK_SHAPE)
def interbank_transfer_to_a_former_settlement_lock(world: World) -> Transaction:
    world.apply(world.act(BANK_B, SetSettlementLock(BANK_B, lock("new-cash")), ["bank-b"]))
    return interbank(world)


@invalid(codes.NOT_AUTHORISED)
def interbank_transfer_signed_by_the_wrong_bank(world: World) -> Transaction:
    return interbank(world, signers=("alice", "bank-a-cash", "bank-a", "wallet-co"))
