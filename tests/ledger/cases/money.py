"""Emission, transfer and burn: balance, supply, holders, replay, double spend."""

from __future__ import annotations

from ledger import codes
from ledger.locks import Condition, HashLeaf, digest_of, threshold
from ledger.payloads import (
    DisableWallet,
    Holders,
    Kind,
    RegisterAsset,
    RegisterLock,
    RemoveLock,
    SetReserveLock,
    UpdateAsset,
)
from ledger.transaction import OutPoint, Transaction
from primitives.limits import MAX_AMOUNT
from tests.ledger.cases import invalid, valid
from tests.ledger.world import (
    BANK_A,
    BCB,
    BRL,
    DVT_A,
    DVT_B,
    DVT_SMALL,
    EMISSION_KEYS,
    FREE,
    MET_C,
    REPLAY_WINDOW,
    STN,
    WALLET_CO,
    World,
    leaf,
    lock,
)

# --- emission


@valid
def emission_of_wholesale_money_by_two_of_three(world: World) -> Transaction:
    return world.emission(BRL, 1_000_000, "bank-a-cash", EMISSION_KEYS[:2])


@valid
def emission_signed_by_all_three(world: World) -> Transaction:
    return world.emission(BRL, 1_000_000, "bank-a-cash", EMISSION_KEYS)


@invalid(codes.NOT_AUTHORISED)
def emission_signed_by_one_of_three(world: World) -> Transaction:
    return world.emission(BRL, 1_000_000, "bank-a-cash", EMISSION_KEYS[:1])


@invalid(codes.NOT_AUTHORISED)
def emission_of_wholesale_money_by_a_bank(world: World) -> Transaction:
    return world.emission(BRL, 1_000_000, "bank-a-cash", ["bank-a"])


@invalid(codes.NOT_AUTHORISED)
def emission_of_wholesale_money_by_the_registry_authority(world: World) -> Transaction:
    return world.emission(BRL, 1_000_000, "bank-a-cash", ["bcb-registry"])


@invalid(codes.WITNESS_UNUSED)
def emission_with_a_strangers_signature_besides(world: World) -> Transaction:
    return world.emission(BRL, 1_000_000, "bank-a-cash", [*EMISSION_KEYS[:2], "alice"])


@valid
def emission_of_deposit_tokens_by_their_bank(world: World) -> Transaction:
    return world.emission(DVT_A, 500, "alice", ["bank-a"])


@valid
def emission_to_many_outputs(world: World) -> Transaction:
    outputs: list[tuple[str, int, str | bytes | Condition]] = [(DVT_A, 10 + n, "alice") for n in range(20)]
    return world.spend([], outputs, ["bank-a"], kind=Kind.EMISSION)


@invalid(codes.NOT_AUTHORISED)
def emission_of_deposit_tokens_by_another_bank(world: World) -> Transaction:
    return world.emission(DVT_A, 500, "alice", ["bank-b"])


@invalid(codes.NOT_AUTHORISED)
def emission_of_deposit_tokens_by_bcb(world: World) -> Transaction:
    return world.emission(DVT_A, 500, "alice", EMISSION_KEYS[:2])


@invalid(codes.WALLET_NOT_ENABLED)
def emission_to_a_stranger(world: World) -> Transaction:
    return world.emission(DVT_A, 500, "stranger", ["bank-a"])


@invalid(codes.REFERENCE_USED)
def emission_with_a_used_reference(world: World) -> Transaction:
    world.apply(world.emission(DVT_A, 500, "alice", ["bank-a"], reference=b"same"))
    return world.emission(DVT_A, 400, "alice", ["bank-a"], reference=b"same")


@invalid(codes.REFERENCE_USED)
def emission_with_a_used_reference_a_thousand_blocks_later(world: World) -> Transaction:
    world.apply(world.emission(DVT_A, 500, "alice", ["bank-a"], reference=b"same"))
    world.height += 1000
    return world.emission(DVT_A, 500, "alice", ["bank-a"], reference=b"same")


@valid
def emission_with_a_reference_used_for_another_asset(world: World) -> Transaction:
    world.apply(world.emission(DVT_A, 500, "alice", ["bank-a"], reference=b"same"))
    return world.emission(DVT_B, 500, "bob", ["bank-b"], reference=b"same")


@invalid(codes.REPLAYED)
def the_same_emission_twice(world: World) -> Transaction:
    return world.apply(world.emission(DVT_A, 500, "alice", ["bank-a"]))


@invalid(codes.SUPPLY_OVERFLOW)
def emission_of_more_than_63_bits_in_all(world: World) -> Transaction:
    world.fund("alice", FREE, MAX_AMOUNT)
    return world.emission(FREE, 1, "alice", ["stn"])


@invalid(codes.SUPPLY_OVERFLOW)
def emission_of_more_than_63_bits_in_all_after_a_burn(world: World) -> Transaction:
    point = world.fund("alice", FREE, MAX_AMOUNT)
    world.apply(world.spend([point], [], ["alice"], kind=Kind.BURN))
    return world.emission(FREE, 1, "alice", ["stn"])


def _capped(world: World, cap: int) -> None:
    world.apply(world.act(BCB, UpdateAsset(DVT_A, cap, 1), ["bcb-registry"]))


@valid
def emission_up_to_the_cap(world: World) -> Transaction:
    _capped(world, 500)
    return world.emission(DVT_A, 500, "alice", ["bank-a"])


@invalid(codes.CAP_EXCEEDED)
def emission_above_the_cap(world: World) -> Transaction:
    _capped(world, 500)
    return world.emission(DVT_A, 501, "alice", ["bank-a"])


@valid
def emission_up_to_the_cap_after_a_burn(world: World) -> Transaction:
    _capped(world, 500)
    point = world.fund("alice", DVT_A, 500)
    world.apply(world.spend([point], [(DVT_A, 300, "alice")], ["alice", "bank-a"], kind=Kind.BURN))
    return world.emission(DVT_A, 200, "alice", ["bank-a"])


@valid
def emission_of_e_money_up_to_its_reserve(world: World) -> Transaction:
    world.fund("reserve", BRL, 500)
    return world.emission(MET_C, 500, "caio", ["wallet-co"])


@invalid(codes.NOT_BACKED)
def emission_of_e_money_beyond_its_reserve(world: World) -> Transaction:
    world.fund("reserve", BRL, 500)
    return world.emission(MET_C, 501, "caio", ["wallet-co"])


@invalid(codes.ASSET_UNKNOWN)
def emission_of_an_unregistered_asset(world: World) -> Transaction:
    return world.emission("X:AAAA1111/NONE", 500, "alice", ["bank-a"])


@valid
def emission_of_a_bond_by_the_treasury(world: World) -> Transaction:
    bond = "TPF:BRSTNCLTN7D3"
    act = RegisterAsset(bond, STN, 0, None, 1, Holders.PARTICIPANTS, STN, False, False, b"")
    world.apply(world.act(BCB, act, ["bcb-registry"]))
    return world.emission(bond, 10, "bank-a-cash", ["stn"])


# --- transfer


@valid
def transfer_with_change(world: World) -> Transaction:
    world.fund("alice", DVT_A, 500)
    return world.transfer("alice", "bob", DVT_A, 120)


@valid
def transfer_that_joins_three_outputs(world: World) -> Transaction:
    for amount in (100, 200, 300):
        world.fund("alice", DVT_A, amount)
    return world.transfer("alice", "bob", DVT_A, 600)


@valid
def transfer_that_splits_into_ten(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 10, "alice")] * 10, ["alice"])


@valid
def transfer_back_to_the_sender(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "alice")], ["alice"])


@valid
def transfer_to_the_issuers_own_lock(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bank-a-cash")], ["alice"])


@valid
def transfer_of_an_asset_that_anybody_may_hold(world: World) -> Transaction:
    world.fund("stranger", FREE, 100)
    return world.transfer("stranger", "nobody", FREE, 30)


@valid
def transfer_from_two_senders(world: World) -> Transaction:
    points = [world.fund("alice", DVT_A, 100), world.fund("ana", DVT_A, 50)]
    return world.spend(points, [(DVT_A, 150, "bob")], ["alice", "ana"])


@valid
def swap_of_two_assets_between_two_wallets(world: World) -> Transaction:
    points = [world.fund("alice", FREE, 7), world.fund("bob", DVT_A, 500)]
    return world.spend(points, [(FREE, 7, "bob"), (DVT_A, 500, "alice")], ["alice", "bob"])


@valid
def delivery_against_wholesale_money(world: World) -> Transaction:
    points = [world.fund("bank-a-cash", FREE, 7), world.fund("bank-b-cash", BRL, 900)]
    outputs = [(FREE, 7, "bank-b-cash"), (BRL, 700, "bank-a-cash"), (BRL, 200, "bank-b-cash")]
    return world.spend(points, outputs, ["bank-a-cash", "bank-b-cash"])


@invalid(codes.WITNESS_MISSING)
def swap_that_one_side_did_not_sign(world: World) -> Transaction:
    points = [world.fund("alice", FREE, 7), world.fund("bob", DVT_A, 500)]
    return world.spend(points, [(FREE, 7, "bob"), (DVT_A, 500, "alice")], ["alice"])


@invalid(codes.UNBALANCED)
def swap_one_centavo_short(world: World) -> Transaction:
    points = [world.fund("alice", FREE, 7), world.fund("bob", DVT_A, 500)]
    return world.spend(points, [(FREE, 7, "bob"), (DVT_A, 499, "alice")], ["alice", "bob"])


@invalid(codes.UNBALANCED)
def transfer_of_one_centavo_more_than_the_input(world: World) -> Transaction:
    return world.spend([world.fund("alice", DVT_A, 100)], [(DVT_A, 101, "bob")], ["alice"])


@invalid(codes.UNBALANCED)
def transfer_of_one_centavo_less_than_the_input(world: World) -> Transaction:
    return world.spend([world.fund("alice", DVT_A, 100)], [(DVT_A, 99, "bob")], ["alice"])


@invalid(codes.UNBALANCED)
def transfer_of_another_asset_than_the_input(world: World) -> Transaction:
    return world.spend([world.fund("bob", DVT_A, 100)], [(DVT_B, 100, "bob")], ["bob"])


@invalid(codes.UNKNOWN_OUTPUT)
def transfer_of_an_output_that_never_was(world: World) -> Transaction:
    return world.spend([OutPoint(bytes(32), 0)], [(DVT_A, 100, "bob")], ["alice"])


@invalid(codes.UNKNOWN_OUTPUT)
def transfer_of_an_output_beyond_the_last(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([OutPoint(point.txid, 1)], [(DVT_A, 100, "bob")], ["alice"])


@invalid(codes.DOUBLE_SPEND)
def the_same_transfer_twice(world: World) -> Transaction:
    return world.apply(world.spend([world.fund("alice", DVT_A, 100)], [(DVT_A, 100, "bob")], ["alice"]))


@invalid(codes.DOUBLE_SPEND)
def a_second_transfer_of_the_same_output(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    world.apply(world.spend([point], [(DVT_A, 100, "bob")], ["alice"]))
    return world.spend([point], [(DVT_A, 100, "ana")], ["alice"])


@invalid(codes.WITNESS_MISSING)
def transfer_that_only_one_of_two_senders_signed(world: World) -> Transaction:
    points = [world.fund("bob", DVT_A, 100), world.fund("alice", DVT_A, 100)]
    return world.spend(points, [(DVT_A, 200, "bob")], ["bob"])


@invalid(codes.NOT_AUTHORISED)
def transfer_signed_by_another_key_than_its_owners(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["bob"])


@invalid(codes.NOT_AUTHORISED)
def transfer_that_one_of_two_senders_and_a_stranger_signed(world: World) -> Transaction:
    points = [world.fund("bob", DVT_A, 100), world.fund("alice", DVT_A, 100)]
    return world.spend(points, [(DVT_A, 200, "bob")], ["bob", "stranger"])


@invalid(codes.NOT_AUTHORISED)
def transfer_with_a_vault_opened_and_an_owner_replaced_by_a_stranger(world: World) -> Transaction:
    vault = threshold(1, leaf("alice"), leaf("bob"))
    held = world.spend([world.fund("bob", DVT_A, 100)], [(DVT_A, 100, vault)], ["bob"], payload=(vault,))
    points = [world.apply(held).outpoint(0), world.fund("alice", DVT_A, 100)]
    return world.spend(points, [(DVT_A, 200, "bob")], ["bob", "stranger"], conditions=[vault])


@invalid(codes.NOT_AUTHORISED)
def burn_signed_by_the_issuer_and_another_key_than_its_owners(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 40, "alice")], ["bank-a", "bob"], kind=Kind.BURN)


@invalid(codes.WITNESS_MISSING)
def burn_signed_by_the_issuer_alone(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 40, "alice")], ["bank-a"], kind=Kind.BURN)


@invalid(codes.WITNESS_UNUSED)
def transfer_signed_by_a_stranger_besides(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice", "stranger"])


@invalid(codes.WITNESS_UNUSED)
def transfer_with_a_preimage_for_nothing(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], preimages=[b"secret"])


@invalid(codes.WITNESS_UNUSED)
def transfer_with_a_condition_for_nothing(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    vault = threshold(1, leaf("alice"), leaf("bob"))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], conditions=[vault])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_to_a_stranger(world: World) -> Transaction:
    return world.spend([world.fund("alice", DVT_A, 100)], [(DVT_A, 100, "stranger")], ["alice"])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_to_a_client_of_another_bank_only(world: World) -> Transaction:
    return world.spend([world.fund("alice", DVT_A, 100)], [(DVT_A, 100, "bia")], ["alice"])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_of_deposit_tokens_to_another_banks_lock(world: World) -> Transaction:
    return world.spend([world.fund("alice", DVT_A, 100)], [(DVT_A, 100, "bank-b-cash")], ["alice"])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_of_wholesale_money_to_a_client(world: World) -> Transaction:
    return world.spend([world.fund("bank-a-cash", BRL, 100)], [(BRL, 100, "alice")], ["bank-a-cash"])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_to_a_disabled_wallet(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    world.apply(world.act(BANK_A, DisableWallet(BANK_A, lock("bob"), b"o"), ["bank-a"]))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_from_a_disabled_wallet(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    world.apply(world.act(BANK_A, DisableWallet(BANK_A, lock("alice"), b"o"), ["bank-a"]))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_from_a_lock_that_was_removed(world: World) -> Transaction:
    world.apply(world.act(BANK_A, RegisterLock(BANK_A, lock("desk")), ["bank-a"]))
    point = world.fund("desk", BRL, 100)
    world.apply(world.act(BANK_A, RemoveLock(BANK_A, lock("desk")), ["bank-a"]))
    return world.spend([point], [(BRL, 100, "bank-b-cash")], ["desk"])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_to_a_secret_alone(world: World) -> Transaction:
    secret = threshold(1, leaf("bob"), HashLeaf(digest_of(b"secret")))
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, secret)], ["alice"], payload=(secret,))


def _min_value(world: World) -> OutPoint:
    point = world.fund("alice", DVT_A, 100)
    world.apply(world.act(BCB, UpdateAsset(DVT_A, None, 10), ["bcb-registry"]))
    return point


@invalid(codes.DUST)
def transfer_that_leaves_dust(world: World) -> Transaction:
    return world.spend([_min_value(world)], [(DVT_A, 91, "bob"), (DVT_A, 9, "alice")], ["alice"])


@valid
def transfer_that_leaves_the_smallest_output(world: World) -> Transaction:
    return world.spend([_min_value(world)], [(DVT_A, 90, "bob"), (DVT_A, 10, "alice")], ["alice"])


@invalid(codes.NOT_YET_VALID)
def transfer_one_block_early(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], valid_from=world.height + 1)


@invalid(codes.EXPIRED)
def transfer_one_block_late(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], valid_until=world.height - 1)


@valid
def transfer_in_its_only_block(world: World) -> Transaction:
    point, height = world.fund("alice", DVT_A, 100), world.height
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], valid_from=height, valid_until=height)


@invalid(codes.VALIDITY_TOO_LONG)
def emission_valid_beyond_the_replay_window(world: World) -> Transaction:
    return world.emission(DVT_A, 100, "alice", ["bank-a"], valid_until=world.height + REPLAY_WINDOW + 1)


@valid
def emission_valid_to_the_end_of_the_replay_window(world: World) -> Transaction:
    return world.emission(DVT_A, 100, "alice", ["bank-a"], valid_until=world.height + REPLAY_WINDOW)


# --- burn


@valid
def burn_of_wholesale_money_with_the_issuer(world: World) -> Transaction:
    point = world.fund("bank-a-cash", BRL, 100)
    return world.spend([point], [], ["bank-a-cash", *EMISSION_KEYS[:2]], kind=Kind.BURN)


@valid
def burn_with_change(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 60, "alice")], ["alice", "bank-a"], kind=Kind.BURN)


@valid
def burn_beside_a_balanced_asset(world: World) -> Transaction:
    points = [world.fund("alice", DVT_A, 100), world.fund("alice", FREE, 5)]
    return world.spend(points, [(FREE, 5, "bob")], ["alice", "bank-a"], kind=Kind.BURN)


@valid
def burn_of_an_asset_that_needs_no_issuer(world: World) -> Transaction:
    return world.spend([world.fund("alice", FREE, 5)], [], ["alice"], kind=Kind.BURN)


@invalid(codes.NOT_AUTHORISED)
def burn_without_the_issuer(world: World) -> Transaction:
    return world.spend([world.fund("alice", DVT_A, 100)], [], ["alice"], kind=Kind.BURN)


@invalid(codes.WITNESS_MISSING)
def burn_by_the_issuer_alone(world: World) -> Transaction:
    return world.spend([world.fund("alice", DVT_A, 100)], [], ["bank-a"], kind=Kind.BURN)


@invalid(codes.UNBALANCED)
def burn_of_nothing(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, "alice")], ["alice", "bank-a"], kind=Kind.BURN)


@invalid(codes.UNBALANCED)
def burn_of_two_assets(world: World) -> Transaction:
    points = [world.fund("alice", DVT_A, 100), world.fund("alice", FREE, 5)]
    return world.spend(points, [], ["alice", "bank-a"], kind=Kind.BURN)


@invalid(codes.UNBALANCED)
def burn_that_creates_another_asset(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(FREE, 5, "alice")], ["alice", "bank-a"], kind=Kind.BURN)


@valid
def burn_of_e_money(world: World) -> Transaction:
    point = world.fund("caio", MET_C, 100)
    return world.spend([point], [], ["caio", "wallet-co"], kind=Kind.BURN)


# --- reserves of e-money


@invalid(codes.NOT_BACKED)
def withdrawal_of_the_reserve(world: World) -> Transaction:
    world.fund("caio", MET_C, 100)
    return world.transfer("reserve", "wallet-co-cash", BRL, 1)


@valid
def withdrawal_of_what_the_reserve_holds_beyond(world: World) -> Transaction:
    world.fund("caio", MET_C, 100)
    world.fund("reserve", BRL, 40)
    return world.transfer("reserve", "wallet-co-cash", BRL, 40)


@invalid(codes.NOT_BACKED)
def reserve_pointed_to_an_empty_lock(world: World) -> Transaction:
    world.fund("caio", MET_C, 100)
    return world.act(WALLET_CO, SetReserveLock(MET_C, lock("empty")), ["wallet-co"])


@valid
def reserve_pointed_to_a_filled_lock(world: World) -> Transaction:
    world.fund("caio", MET_C, 100)
    world.apply(world.act(WALLET_CO, RegisterLock(WALLET_CO, lock("filled")), ["wallet-co"]))
    world.fund("filled", BRL, 100)
    return world.act(WALLET_CO, SetReserveLock(MET_C, lock("filled")), ["wallet-co"])


@invalid(codes.NOT_BACKED)
def burn_of_wholesale_money_out_of_the_reserve(world: World) -> Transaction:
    world.fund("caio", MET_C, 100)
    point = world.outputs("reserve", BRL)[0][0]
    return world.spend([point], [], ["reserve", *EMISSION_KEYS[:2]], kind=Kind.BURN)


@valid
def transfer_by_an_indirect_banks_client(world: World) -> Transaction:
    world.fund("davi", DVT_SMALL, 10)
    return world.spend([world.outputs("davi", DVT_SMALL)[0][0]], [(DVT_SMALL, 10, "davi")], ["davi"])
