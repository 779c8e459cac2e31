"""Locks that are more than a key: vaults, escrows, hashed time locks, height and time windows."""

from __future__ import annotations

from ledger import codes
from ledger.locks import (
    AfterHeight,
    AfterTime,
    BeforeHeight,
    BeforeTime,
    Condition,
    HashLeaf,
    digest_of,
    threshold,
)
from ledger.payloads import DisableWallet, Freeze, Kind
from ledger.transaction import OutPoint, Transaction
from tests.ledger.cases import add_invalid, add_valid, invalid, valid
from tests.ledger.world import BANK_A, BRL, DVT_A, FREE, World, leaf, lock

SECRET = b"a secret of thirty-two bytes ...."
VAULT = threshold(2, leaf("alice"), leaf("ana"), leaf("bob"))
TIMEOUT_MS = 1_800_000_600_000
HTLC = threshold(
    1,
    threshold(2, HashLeaf(digest_of(SECRET)), leaf("bob")),
    threshold(2, AfterTime(TIMEOUT_MS), leaf("alice")),
)


def locked(world: World, condition: Condition, asset: str = DVT_A) -> OutPoint:
    """100 of alice's under a condition's lock, its condition shown in the payload."""
    owner = "alice" if asset != BRL else "bank-a-cash"
    point = world.fund(owner, asset, 100)
    payload = () if asset == FREE else (condition,)
    return world.apply(world.spend([point], [(asset, 100, condition)], [owner], payload=payload)).outpoint(0)


@valid
def lock_in_a_vault(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, VAULT)], ["alice"], payload=(VAULT,))


@valid
def emission_into_an_escrow(world: World) -> Transaction:
    return world.spend([], [(DVT_A, 100, VAULT)], ["bank-a"], kind=Kind.EMISSION, payload=(VAULT,))


@valid
def lock_in_two_vaults(world: World) -> Transaction:
    other = threshold(2, leaf("alice"), leaf("bob"))
    point = world.fund("alice", DVT_A, 100)
    outputs = [(DVT_A, 60, VAULT), (DVT_A, 40, other)]
    return world.spend([point], outputs, ["alice"], payload=(VAULT, other))


@invalid(codes.WALLET_NOT_ENABLED)
def vault_whose_condition_is_not_shown(world: World) -> Transaction:
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, VAULT)], ["alice"])


@invalid(codes.WALLET_NOT_ENABLED)
def vault_with_a_strangers_key(world: World) -> Transaction:
    vault = threshold(2, leaf("alice"), leaf("stranger"))
    point = world.fund("alice", DVT_A, 100)
    return world.spend([point], [(DVT_A, 100, vault)], ["alice"], payload=(vault,))


@invalid(codes.WALLET_NOT_ENABLED)
def wholesale_money_in_a_vault_with_a_clients_key(world: World) -> Transaction:
    vault = threshold(1, leaf("alice"), leaf("bank-a-cash"))
    point = world.fund("bank-a-cash", BRL, 100)
    return world.spend([point], [(BRL, 100, vault)], ["bank-a-cash"], payload=(vault,))


@valid
def vault_opened_by_two_of_three(world: World) -> Transaction:
    return world.spend([locked(world, VAULT)], [(DVT_A, 100, "bob")], ["alice", "bob"], conditions=[VAULT])


@valid
def vault_opened_by_all_three(world: World) -> Transaction:
    point = locked(world, VAULT)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice", "ana", "bob"], conditions=[VAULT])


@valid
def vault_burned_with_the_issuer(world: World) -> Transaction:
    point = locked(world, VAULT)
    return world.spend([point], [], ["alice", "bob", "bank-a"], kind=Kind.BURN, conditions=[VAULT])


@valid
def vault_beside_a_key_lock(world: World) -> Transaction:
    points = [locked(world, VAULT), world.fund("alice", DVT_A, 5)]
    return world.spend(points, [(DVT_A, 105, "bob")], ["alice", "bob"], conditions=[VAULT])


@invalid(codes.LOCK_UNSATISFIED)
def vault_opened_by_one_of_three(world: World) -> Transaction:
    return world.spend([locked(world, VAULT)], [(DVT_A, 100, "bob")], ["alice"], conditions=[VAULT])


@invalid(codes.WITNESS_MISSING)
def vault_opened_without_its_condition(world: World) -> Transaction:
    points = [locked(world, VAULT), world.fund("alice", DVT_A, 5)]
    return world.spend(points, [(DVT_A, 105, "bob")], ["alice"])


@invalid(codes.WITNESS_MISSING)
def vault_opened_with_another_condition(world: World) -> Transaction:
    other = threshold(1, leaf("alice"), leaf("ana"), leaf("bob"))
    return world.spend([locked(world, VAULT)], [(DVT_A, 100, "bob")], ["alice"], conditions=[other])


@invalid(codes.WALLET_NOT_ENABLED)
def vault_opened_by_a_disabled_key(world: World) -> Transaction:
    point = locked(world, VAULT)
    world.apply(world.act(BANK_A, DisableWallet(BANK_A, lock("ana"), b"o"), ["bank-a"]))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice", "ana"], conditions=[VAULT])


@valid
def vault_opened_beside_a_disabled_key(world: World) -> Transaction:
    point = locked(world, VAULT)
    world.apply(world.act(BANK_A, DisableWallet(BANK_A, lock("ana"), b"o"), ["bank-a"]))
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice", "bob"], conditions=[VAULT])


@valid
def hashed_time_lock_claimed_with_the_secret(world: World) -> Transaction:
    point = locked(world, HTLC)
    return world.spend([point], [(DVT_A, 100, "bob")], ["bob"], conditions=[HTLC], preimages=[SECRET])


@invalid(codes.LOCK_UNSATISFIED)
def hashed_time_lock_claimed_without_the_secret(world: World) -> Transaction:
    return world.spend([locked(world, HTLC)], [(DVT_A, 100, "bob")], ["bob"], conditions=[HTLC])


@invalid(codes.WITNESS_UNUSED)
def hashed_time_lock_claimed_with_a_wrong_secret(world: World) -> Transaction:
    point = locked(world, HTLC)
    world.timestamp_ms = TIMEOUT_MS
    return world.spend([point], [(DVT_A, 100, "alice")], ["alice"], conditions=[HTLC], preimages=[b"wrong"])


@invalid(codes.LOCK_UNSATISFIED)
def hashed_time_lock_claimed_by_a_finder_of_the_secret(world: World) -> Transaction:
    point = locked(world, HTLC)
    return world.spend([point], [(DVT_A, 100, "alice")], ["alice"], conditions=[HTLC], preimages=[SECRET])


@valid
def hashed_time_lock_refunded_at_its_time(world: World) -> Transaction:
    point = locked(world, HTLC)
    world.timestamp_ms = TIMEOUT_MS
    return world.spend([point], [(DVT_A, 100, "alice")], ["alice"], conditions=[HTLC])


@invalid(codes.LOCK_UNSATISFIED)
def hashed_time_lock_refunded_a_millisecond_early(world: World) -> Transaction:
    point = locked(world, HTLC)
    world.timestamp_ms = TIMEOUT_MS - 1
    return world.spend([point], [(DVT_A, 100, "alice")], ["alice"], conditions=[HTLC])


def _window(name: str, leaf_condition: Condition, height: int, timestamp_ms: int, *, opens: bool) -> None:
    condition = threshold(2, leaf("alice"), leaf_condition)

    def make(world: World) -> Transaction:
        point = locked(world, condition)
        world.height, world.timestamp_ms = height, timestamp_ms
        return world.spend([point], [(DVT_A, 100, "bob")], ["alice"], conditions=[condition])

    if opens:
        add_valid(name, make)
    else:
        add_invalid(name, codes.LOCK_UNSATISFIED, make)


_window("after_height 150 at 149", AfterHeight(150), 149, TIMEOUT_MS, opens=False)
_window("after_height 150 at 150", AfterHeight(150), 150, TIMEOUT_MS, opens=True)
_window("before_height 150 at 149", BeforeHeight(150), 149, TIMEOUT_MS, opens=True)
_window("before_height 150 at 150", BeforeHeight(150), 150, TIMEOUT_MS, opens=False)
_window("after_time t at t - 1", AfterTime(TIMEOUT_MS), 150, TIMEOUT_MS - 1, opens=False)
_window("after_time t at t", AfterTime(TIMEOUT_MS), 150, TIMEOUT_MS, opens=True)
_window("before_time t at t - 1", BeforeTime(TIMEOUT_MS), 150, TIMEOUT_MS - 1, opens=True)
_window("before_time t at t", BeforeTime(TIMEOUT_MS), 150, TIMEOUT_MS, opens=False)


@valid
def secret_alone_for_an_asset_that_anybody_may_hold(world: World) -> Transaction:
    puzzle = threshold(1, leaf("alice"), HashLeaf(digest_of(SECRET)))
    points = [locked(world, puzzle, FREE), world.fund("nobody", FREE, 1)]
    return world.spend(points, [(FREE, 101, "nobody")], ["nobody"], conditions=[puzzle], preimages=[SECRET])


@valid
def sixteen_leaves_at_depth_four(world: World) -> Transaction:
    clock = threshold(1, threshold(1, AfterHeight(1), *(AfterHeight(n) for n in range(2, 15))))
    deep = threshold(2, clock, threshold(2, leaf("alice"), leaf("bob")))
    point = locked(world, deep)
    return world.spend([point], [(DVT_A, 100, "bob")], ["alice", "bob"], conditions=[deep])


@invalid(codes.FROZEN)
def frozen_holder_locks_money_in_a_vault_with_its_key(world: World) -> Transaction:
    world.fund("alice", DVT_A, 900)
    freeze = Freeze(BANK_A, lock("alice"), DVT_A, 10, b"order")
    world.apply(world.order(Kind.FREEZE, freeze, ["bank-a"]))
    point = world.outputs("alice", DVT_A)[0][0]
    outputs: list[tuple[str, int, str | bytes | Condition]] = [(DVT_A, 100, VAULT), (DVT_A, 800, "alice")]
    return world.spend([point], outputs, ["alice"], payload=(VAULT,))


@invalid(codes.FROZEN)
def somebody_else_locks_money_in_a_vault_with_a_frozen_key(world: World) -> Transaction:
    point = world.fund("bob", DVT_A, 100)
    freeze = Freeze(BANK_A, lock("alice"), DVT_A, 10, b"order")
    world.apply(world.order(Kind.FREEZE, freeze, ["bank-a"]))
    return world.spend([point], [(DVT_A, 100, VAULT)], ["bob"], payload=(VAULT,))
