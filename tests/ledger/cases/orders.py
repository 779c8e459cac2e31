"""Orders: freeze, unfreeze, forced move, pause, and disabled wallets, by BCB and by an asset's authority."""

from __future__ import annotations

from collections.abc import Sequence

from ledger import codes
from ledger.payloads import (
    DisableWallet,
    Freeze,
    Kind,
    Move,
    Pause,
    RestoreWallet,
    Resume,
    Unfreeze,
)
from ledger.transaction import OutPoint, Transaction
from primitives.limits import MAX_AMOUNT
from tests.ledger.cases import invalid, valid
from tests.ledger.world import (
    BANK_A,
    BANK_B,
    BCB,
    BRL,
    DVT_A,
    DVT_B,
    EMISSION_KEYS,
    MET_C,
    WALLET_CO,
    World,
    lock,
)

ORDER = b"order 1"


def freeze(world: World, author: str, signer: str, amount: int = 40, order_id: bytes = ORDER) -> Transaction:
    """Freeze an amount of alice's deposit tokens."""
    payload = Freeze(author, lock("alice"), DVT_A, amount, order_id)
    return world.order(Kind.FREEZE, payload, [signer])


def unfreeze(world: World, actor: str, signer: str, author: str, order_id: bytes = ORDER) -> Transaction:
    """Lift a freeze of alice's deposit tokens."""
    payload = Unfreeze(actor, lock("alice"), DVT_A, author, order_id)
    return world.order(Kind.UNFREEZE, payload, [signer])


def frozen(world: World, author: str = BANK_A, signer: str = "bank-a", amount: int = 40) -> OutPoint:
    """100 of alice's, of which `amount` are frozen."""
    point = world.fund("alice", DVT_A, 100)
    world.apply(freeze(world, author, signer, amount))
    return point


def move(
    world: World, actor: str, signers: Sequence[str], point: OutPoint, outputs: list[tuple[str, int, str]]
) -> Transaction:
    """A forced move of one output."""
    payload = Move(actor, ORDER, ())
    return world.spend([point], outputs, signers, kind=Kind.MOVE, payload=payload)


# --- freeze


@valid
def freeze_by_the_issuing_bank(world: World) -> Transaction:
    return freeze(world, BANK_A, "bank-a")


@valid
def freeze_by_bcb(world: World) -> Transaction:
    return freeze(world, BCB, "bcb-orders")


@valid
def freeze_of_more_than_there_is(world: World) -> Transaction:
    return freeze(world, BCB, "bcb-orders", MAX_AMOUNT)


@valid
def freeze_whose_sum_passes_64_bits(world: World) -> Transaction:
    for number in range(3):
        world.apply(freeze(world, BANK_A, "bank-a", MAX_AMOUNT, b"order %d" % number))
    return freeze(world, BCB, "bcb-orders", MAX_AMOUNT)


@valid
def freeze_of_wholesale_money_by_bcb(world: World) -> Transaction:
    payload = Freeze(BCB, lock("bank-a-cash"), BRL, 40, ORDER)
    return world.order(Kind.FREEZE, payload, ["bcb-orders"])


@valid
def freeze_with_the_order_id_of_another_author(world: World) -> Transaction:
    world.apply(freeze(world, BANK_A, "bank-a"))
    return freeze(world, BCB, "bcb-orders")


@valid
def freeze_again_after_it_was_lifted(world: World) -> Transaction:
    world.apply(freeze(world, BANK_A, "bank-a"))
    world.apply(unfreeze(world, BANK_A, "bank-a", BANK_A))
    return freeze(world, BANK_A, "bank-a")


@invalid(codes.NOT_AUTHORISED)
def freeze_by_another_bank(world: World) -> Transaction:
    return freeze(world, BANK_B, "bank-b")


@invalid(codes.NOT_AUTHORISED)
def freeze_of_wholesale_money_by_a_bank(world: World) -> Transaction:
    payload = Freeze(BANK_A, lock("bank-b-cash"), BRL, 40, ORDER)
    return world.order(Kind.FREEZE, payload, ["bank-a"])


@invalid(codes.NOT_AUTHORISED)
def freeze_in_the_name_of_a_bank_that_did_not_sign(world: World) -> Transaction:
    return freeze(world, BANK_A, "bank-b")


@invalid(codes.NOT_AUTHORISED)
def freeze_by_bcbs_registry_authority(world: World) -> Transaction:
    return freeze(world, BCB, "bcb-registry")


@invalid(codes.NOT_AUTHORISED)
def freeze_by_a_client(world: World) -> Transaction:
    return freeze(world, BANK_A, "alice")


@invalid(codes.ORDER_EXISTS)
def freeze_with_an_order_id_that_stands(world: World) -> Transaction:
    world.apply(freeze(world, BANK_A, "bank-a"))
    return freeze(world, BANK_A, "bank-a", 50)


@invalid(codes.REPLAYED)
def the_same_freeze_again_after_it_was_lifted(world: World) -> Transaction:
    first = world.apply(freeze(world, BANK_A, "bank-a"))
    world.apply(unfreeze(world, BANK_A, "bank-a", BANK_A))
    return first


@invalid(codes.EXPIRED)
def the_same_freeze_again_when_it_was_forgotten(world: World) -> Transaction:
    first = world.apply(freeze(world, BANK_A, "bank-a"))
    world.height = first.body.valid_until + 1
    return first


@invalid(codes.ASSET_UNKNOWN)
def freeze_of_an_unknown_asset(world: World) -> Transaction:
    payload = Freeze(BCB, lock("alice"), "X:AAAA1111/NONE", 40, ORDER)
    return world.order(Kind.FREEZE, payload, ["bcb-orders"])


@invalid(codes.WITNESS_UNUSED)
def freeze_that_a_client_signed_too(world: World) -> Transaction:
    payload = Freeze(BANK_A, lock("alice"), DVT_A, 40, ORDER)
    return world.order(Kind.FREEZE, payload, ["bank-a", "alice"])


# --- what is frozen stays


@valid
def transfer_down_to_what_is_frozen(world: World) -> Transaction:
    return world.spend([frozen(world)], [(DVT_A, 60, "bob"), (DVT_A, 40, "alice")], ["alice"])


@invalid(codes.FROZEN)
def transfer_one_centavo_below_what_is_frozen(world: World) -> Transaction:
    return world.spend([frozen(world)], [(DVT_A, 61, "bob"), (DVT_A, 39, "alice")], ["alice"])


@invalid(codes.FROZEN)
def transfer_below_the_sum_of_two_freezes(world: World) -> Transaction:
    point = frozen(world)
    world.apply(freeze(world, BCB, "bcb-orders", 30))
    return world.spend([point], [(DVT_A, 31, "bob"), (DVT_A, 69, "alice")], ["alice"])


@invalid(codes.FROZEN)
def burn_of_what_is_frozen(world: World) -> Transaction:
    return world.spend([frozen(world)], [], ["alice", "bank-a"], kind=Kind.BURN)


@valid
def transfer_to_a_frozen_wallet(world: World) -> Transaction:
    frozen(world, amount=MAX_AMOUNT)
    return world.spend([world.fund("bob", DVT_A, 5)], [(DVT_A, 5, "alice")], ["bob"])


@valid
def transfer_of_another_asset_than_the_frozen_one(world: World) -> Transaction:
    payload = Freeze(BANK_A, lock("bob"), DVT_A, MAX_AMOUNT, ORDER)
    world.apply(world.order(Kind.FREEZE, payload, ["bank-a"]))
    return world.spend([world.fund("bob", DVT_B, 5)], [(DVT_B, 5, "bia")], ["bob"])


@valid
def frozen_wallet_joins_its_outputs(world: World) -> Transaction:
    points = [frozen(world), world.fund("alice", DVT_A, 7)]
    return world.spend(points, [(DVT_A, 107, "alice")], ["alice"])


@valid
def transfer_after_the_freeze_was_lifted(world: World) -> Transaction:
    point = frozen(world)
    world.apply(unfreeze(world, BANK_A, "bank-a", BANK_A))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"])


# --- unfreeze


@valid
def unfreeze_by_its_author(world: World) -> Transaction:
    frozen(world)
    return unfreeze(world, BANK_A, "bank-a", BANK_A)


@valid
def unfreeze_of_a_banks_order_by_bcb(world: World) -> Transaction:
    frozen(world)
    return unfreeze(world, BCB, "bcb-orders", BANK_A)


@invalid(codes.NOT_AUTHORISED)
def unfreeze_of_bcbs_order_by_the_bank(world: World) -> Transaction:
    frozen(world, BCB, "bcb-orders")
    return unfreeze(world, BANK_A, "bank-a", BCB)


@invalid(codes.NOT_AUTHORISED)
def unfreeze_signed_by_the_holder(world: World) -> Transaction:
    frozen(world)
    return unfreeze(world, BANK_A, "alice", BANK_A)


@invalid(codes.ORDER_UNKNOWN)
def unfreeze_of_an_order_that_does_not_stand(world: World) -> Transaction:
    return unfreeze(world, BANK_A, "bank-a", BANK_A)


@invalid(codes.ORDER_UNKNOWN)
def unfreeze_of_the_banks_own_order_id_where_bcbs_stands(world: World) -> Transaction:
    frozen(world, BCB, "bcb-orders")
    return unfreeze(world, BANK_A, "bank-a", BANK_A)


@invalid(codes.ORDER_UNKNOWN)
def unfreeze_twice(world: World) -> Transaction:
    frozen(world)
    world.apply(unfreeze(world, BANK_A, "bank-a", BANK_A))
    return unfreeze(world, BCB, "bcb-orders", BANK_A)


# --- move


@valid
def move_by_bcb(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return move(world, BCB, ["bcb-orders"], point, [(DVT_A, 100, "bob")])


@valid
def move_by_the_issuing_bank(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return move(world, BANK_A, ["bank-a"], point, [(DVT_A, 70, "bob"), (DVT_A, 30, "alice")])


@valid
def forced_burn_by_the_issuing_bank(world: World) -> Transaction:
    return move(world, BANK_A, ["bank-a"], world.fund("alice", DVT_A, 100), [])


@valid
def forced_burn_of_wholesale_money_by_bcbs_orders(world: World) -> Transaction:
    return move(world, BCB, ["bcb-orders"], world.fund("bank-a-cash", BRL, 100), [])


@valid
def move_by_a_bank_of_what_it_froze_itself(world: World) -> Transaction:
    return move(world, BANK_A, ["bank-a"], frozen(world), [(DVT_A, 100, "bob")])


@valid
def move_by_bcb_of_what_bcb_froze(world: World) -> Transaction:
    point = frozen(world, BCB, "bcb-orders")
    return move(world, BCB, ["bcb-orders"], point, [(DVT_A, 100, "bob")])


@valid
def move_by_a_bank_down_to_what_bcb_froze(world: World) -> Transaction:
    point = frozen(world, BCB, "bcb-orders")
    return move(world, BANK_A, ["bank-a"], point, [(DVT_A, 60, "bob"), (DVT_A, 40, "alice")])


@invalid(codes.FROZEN)
def move_by_a_bank_of_what_bcb_froze(world: World) -> Transaction:
    point = frozen(world, BCB, "bcb-orders")
    return move(world, BANK_A, ["bank-a"], point, [(DVT_A, 61, "bob"), (DVT_A, 39, "alice")])


@valid
def move_from_a_disabled_wallet_of_a_paused_asset(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    world.apply(world.act(BANK_A, DisableWallet(BANK_A, lock("alice"), ORDER), ["bank-a"]))
    world.apply(world.act(BANK_A, Pause(DVT_A, ORDER), ["bank-a"]))
    return move(world, BANK_A, ["bank-a"], point, [(DVT_A, 100, "bob")])


@invalid(codes.NOT_AUTHORISED)
def move_by_another_bank(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return move(world, BANK_B, ["bank-b"], point, [(DVT_A, 100, "bob")])


@invalid(codes.NOT_AUTHORISED)
def move_that_nobody_in_authority_signed(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return move(world, BANK_A, ["alice"], point, [(DVT_A, 100, "bob")])


@invalid(codes.NOT_AUTHORISED)
def move_of_two_banks_assets_by_one_of_them(world: World) -> Transaction:
    points = [world.fund("bob", DVT_A, 100), world.fund("bob", DVT_B, 50)]
    payload = Move(BANK_A, ORDER, ())
    return world.spend(points, [(DVT_A, 100, "alice")], ["bank-a"], kind=Kind.MOVE, payload=payload)


@invalid(codes.WITNESS_UNUSED)
def move_that_the_holder_signed_too(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return move(world, BANK_A, ["bank-a", "alice"], point, [(DVT_A, 100, "bob")])


@invalid(codes.UNBALANCED)
def move_that_creates_money(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return move(world, BANK_A, ["bank-a"], point, [(DVT_A, 101, "bob")])


@invalid(codes.WALLET_NOT_ENABLED)
def move_to_a_stranger(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return move(world, BANK_A, ["bank-a"], point, [(DVT_A, 100, "stranger")])


@invalid(codes.NOT_BACKED)
def move_by_bcb_out_of_a_reserve(world: World) -> Transaction:
    world.fund("caio", MET_C, 100)
    point = world.outputs("reserve", BRL)[0][0]
    return move(world, BCB, ["bcb-orders"], point, [(BRL, 100, "bank-a-cash")])


@valid
def forced_burn_of_e_money(world: World) -> Transaction:
    return move(world, WALLET_CO, ["wallet-co"], world.fund("caio", MET_C, 100), [])


# --- pause


def paused(world: World, actor: str = BANK_A, signer: str = "bank-a") -> OutPoint:
    """100 of alice's, then a pause."""
    point = world.fund("alice", DVT_A, 100)
    world.apply(world.act(actor, Pause(DVT_A, ORDER), [signer]))
    return point


@valid
def pause_by_the_issuing_bank(world: World) -> Transaction:
    return world.act(BANK_A, Pause(DVT_A, ORDER), ["bank-a"])


@valid
def pause_of_wholesale_money_by_bcb(world: World) -> Transaction:
    return world.act(BCB, Pause(BRL, ORDER), ["bcb-orders"])


@valid
def pause_by_two_authors(world: World) -> Transaction:
    paused(world)
    return world.act(BCB, Pause(DVT_A, ORDER), ["bcb-orders"])


@invalid(codes.NOT_AUTHORISED)
def pause_by_another_bank(world: World) -> Transaction:
    return world.act(BANK_B, Pause(DVT_A, ORDER), ["bank-b"])


@invalid(codes.NOT_AUTHORISED)
def pause_by_bcbs_registry_authority(world: World) -> Transaction:
    return world.act(BCB, Pause(DVT_A, ORDER), ["bcb-registry"])


@invalid(codes.ORDER_EXISTS)
def pause_of_what_its_author_paused(world: World) -> Transaction:
    paused(world)
    return world.act(BANK_A, Pause(DVT_A, b"order 2"), ["bank-a"])


@invalid(codes.PAUSED)
def transfer_of_a_paused_asset(world: World) -> Transaction:
    return world.spend([paused(world)], [(DVT_A, 100, "bob")], ["alice"])


@invalid(codes.PAUSED)
def emission_of_a_paused_asset(world: World) -> Transaction:
    paused(world)
    return world.emission(DVT_A, 1, "alice", ["bank-a"])


@invalid(codes.PAUSED)
def burn_of_a_paused_asset(world: World) -> Transaction:
    return world.spend([paused(world)], [], ["alice", "bank-a"], kind=Kind.BURN)


@invalid(codes.PAUSED)
def emission_of_paused_wholesale_money(world: World) -> Transaction:
    world.apply(world.act(BCB, Pause(BRL, ORDER), ["bcb-orders"]))
    return world.emission(BRL, 1, "bank-a-cash", EMISSION_KEYS[:2])


@valid
def freeze_of_a_paused_asset(world: World) -> Transaction:
    paused(world)
    return freeze(world, BANK_A, "bank-a")


@valid
def transfer_after_the_pause_was_lifted(world: World) -> Transaction:
    point = paused(world)
    world.apply(world.act(BANK_A, Resume(DVT_A, BANK_A, ORDER), ["bank-a"]))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"])


@invalid(codes.PAUSED)
def transfer_while_bcbs_pause_still_stands(world: World) -> Transaction:
    point = paused(world)
    world.apply(world.act(BCB, Pause(DVT_A, ORDER), ["bcb-orders"]))
    world.apply(world.act(BANK_A, Resume(DVT_A, BANK_A, ORDER), ["bank-a"]))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"])


@valid
def resume_of_a_banks_pause_by_bcb(world: World) -> Transaction:
    paused(world)
    return world.act(BCB, Resume(DVT_A, BANK_A, ORDER), ["bcb-orders"])


@invalid(codes.NOT_AUTHORISED)
def resume_of_bcbs_pause_by_the_bank(world: World) -> Transaction:
    paused(world, BCB, "bcb-orders")
    return world.act(BANK_A, Resume(DVT_A, BCB, ORDER), ["bank-a"])


@invalid(codes.ORDER_UNKNOWN)
def resume_of_what_is_not_paused(world: World) -> Transaction:
    return world.act(BANK_A, Resume(DVT_A, BANK_A, ORDER), ["bank-a"])


# --- disabled wallets


def disabled(world: World, actor: str = BANK_A, signer: str = "bank-a") -> OutPoint:
    """100 of alice's, then her wallet disabled."""
    point = world.fund("alice", DVT_A, 100)
    world.apply(world.act(actor, DisableWallet(BANK_A, lock("alice"), ORDER), [signer]))
    return point


@valid
def wallet_disabled_by_its_bank(world: World) -> Transaction:
    return world.act(BANK_A, DisableWallet(BANK_A, lock("alice"), ORDER), ["bank-a"])


@valid
def wallet_disabled_by_bcb_too(world: World) -> Transaction:
    disabled(world)
    return world.act(BCB, DisableWallet(BANK_A, lock("alice"), ORDER), ["bcb-orders"])


@invalid(codes.NOT_AUTHORISED)
def wallet_disabled_by_another_bank(world: World) -> Transaction:
    return world.act(BANK_B, DisableWallet(BANK_A, lock("alice"), ORDER), ["bank-b"])


@invalid(codes.NOT_AUTHORISED)
def wallet_disabled_by_bcbs_registry_authority(world: World) -> Transaction:
    return world.act(BCB, DisableWallet(BANK_A, lock("alice"), ORDER), ["bcb-registry"])


@invalid(codes.NOT_REGISTERED)
def wallet_disabled_that_is_not_enabled(world: World) -> Transaction:
    return world.act(BANK_A, DisableWallet(BANK_A, lock("stranger"), ORDER), ["bank-a"])


@invalid(codes.ORDER_EXISTS)
def wallet_disabled_twice_by_one_author(world: World) -> Transaction:
    disabled(world)
    return world.act(BANK_A, DisableWallet(BANK_A, lock("alice"), ORDER), ["bank-a"])


@valid
def transfer_after_the_wallet_was_restored(world: World) -> Transaction:
    point = disabled(world)
    world.apply(world.act(BANK_A, RestoreWallet(BANK_A, lock("alice"), BANK_A, ORDER), ["bank-a"]))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"])


@valid
def wallet_of_a_banks_order_restored_by_bcb(world: World) -> Transaction:
    disabled(world)
    return world.act(BCB, RestoreWallet(BANK_A, lock("alice"), BANK_A, ORDER), ["bcb-orders"])


@invalid(codes.NOT_AUTHORISED)
def wallet_of_bcbs_order_restored_by_the_bank(world: World) -> Transaction:
    disabled(world, BCB, "bcb-orders")
    return world.act(BANK_A, RestoreWallet(BANK_A, lock("alice"), BCB, ORDER), ["bank-a"])


@invalid(codes.ORDER_UNKNOWN)
def wallet_restored_for_an_author_who_did_not_disable_it(world: World) -> Transaction:
    disabled(world, BCB, "bcb-orders")
    return world.act(BANK_A, RestoreWallet(BANK_A, lock("alice"), BANK_A, ORDER), ["bank-a"])


@invalid(codes.ORDER_UNKNOWN)
def wallet_restored_in_another_banks_name(world: World) -> Transaction:
    disabled(world)
    return world.act(BANK_B, RestoreWallet(BANK_A, lock("alice"), BANK_B, ORDER), ["bank-b"])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_while_bcb_still_disables_the_wallet(world: World) -> Transaction:
    point = disabled(world)
    world.apply(world.act(BCB, DisableWallet(BANK_A, lock("alice"), ORDER), ["bcb-orders"]))
    world.apply(world.act(BANK_A, RestoreWallet(BANK_A, lock("alice"), BANK_A, ORDER), ["bank-a"]))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice"])


@invalid(codes.WALLET_NOT_ENABLED)
def transfer_from_a_settlement_lock_that_bcb_disabled(world: World) -> Transaction:
    point = world.fund("bank-a-cash", BRL, 100)
    world.apply(world.act(BCB, DisableWallet(BANK_A, lock("bank-a-cash"), ORDER), ["bcb-orders"]))
    return world.spend([point], [(BRL, 100, "bank-b-cash")], ["bank-a-cash"])
