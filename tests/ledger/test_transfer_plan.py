"""A transfer's plan, kept from admission to the block: carried out only where it is still right."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from unittest import mock

import pytest
from hypothesis import given

from ledger import mempool, plain_transfer
from ledger.mempool import Mempool, NewEntry
from ledger.payloads import DisableWallet, Freeze, Kind, Pause
from ledger.plain_transfer import plain_share
from ledger.registry import wallet_key
from ledger.slices import finish
from ledger.state import OUTPUT, RULE_CATEGORIES, StateView, TransferPlan
from ledger.transaction import Transaction, decode_transaction
from tests.ledger.cases.encoding import plain
from tests.ledger.play import Player
from tests.ledger.test_invariants import play, seeds, start
from tests.ledger.test_plain_transfer import Remembering, applied, general_outcome, is_well_formed
from tests.ledger.world import BANK_A, CHAIN_ID, DVT_A, ISSUER_KEYS, World, lock

KINDS = ("transfer", "transfer", "transfer", "steal", "joint", "freeze", "unfreeze", "registry_act", "emit")
NEVER = AssertionError("the plan was worked out again")


class Chain:
    """A world of one-transaction blocks that keeps what is known of its rules, as the store does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.base = Remembering(world)

    def admit(self, transaction: Transaction) -> str | None:
        """Whose share it takes; a plain transfer keeps its plan."""
        return plain_share(StateView(self.base), transaction, self.world.height)

    def judge(self, transaction: Transaction) -> str:
        """The code in a block on the tip; both ways, with the plan and without, must agree."""
        view = StateView(self.base)
        code = applied(view, self.world, transaction)
        assert (code, dict(view.delta().changes)) == general_outcome(self.world, transaction)
        return code

    def close(self, transaction: Transaction) -> str:
        """Judge it, and make it final if it was accepted."""
        code = self.judge(transaction)
        if not code:
            before = dict(self.world.state.entries)
            self.world.apply(transaction)
            after = self.world.state.entries
            changed = {key for key in before | after if before.get(key) != after.get(key)}
            if any(key[:1] in RULE_CATEGORIES for key in changed):
                self.base = Remembering(self.world)
        return code


def admitted() -> tuple[Chain, Transaction]:
    """A chain and a plain transfer of alice's that waits with its plan."""
    world = World.genesis()
    chain, transaction = Chain(world), plain(world)
    assert chain.admit(transaction) == BANK_A
    return chain, transaction


@play
@given(seeds)
def test_a_plan_kept_while_others_spend_and_change_the_rules_never_serves_wrongly(seed: int) -> None:
    world, random = start(), Random(seed)
    player, chain, waiting = Player(world, random), Chain(world), list[Transaction]()
    for _ in range(60):
        attempt = player.attempt(KINDS)
        if is_well_formed(attempt):
            chain.admit(attempt)
            waiting.append(attempt)
        if waiting and random.random() < 0.6:
            chain.close(waiting.pop(random.randrange(len(waiting))))
        if random.random() < 0.1:
            world.height += 1
    for transaction in waiting:
        chain.close(transaction)


@play
@given(seeds)
def test_plans_in_one_block_with_all_else_never_serve_wrongly(seed: int) -> None:
    """Admitted on the tip, then all in one block, in another order, on one view."""
    world, random = start(), Random(seed)
    player, chain = Player(world, random), Chain(world)
    attempts = [player.attempt(KINDS) for _ in range(40)]
    batch = [attempt for attempt in attempts if is_well_formed(attempt)]
    for transaction in batch:
        chain.admit(transaction)
    random.shuffle(batch)
    planned, general = StateView(chain.base), StateView(world.state)
    for transaction in batch:
        found = applied(planned, world, transaction)
        with mock.patch("ledger.apply.try_plain_transfer", return_value=False):
            assert found == applied(general, world, transaction)
        assert planned.delta().changes == general.delta().changes


def test_a_kept_plan_is_carried_out_and_not_worked_out_again() -> None:
    chain, transaction = admitted()
    with mock.patch.object(plain_transfer, "_plan", side_effect=NEVER):
        assert chain.judge(transaction) == ""


def test_a_transaction_that_was_never_admitted_needs_no_plan() -> None:
    chain, transaction = admitted()
    fetched = decode_transaction(transaction.raw, CHAIN_ID)
    assert fetched.plan is None
    assert {fetched} == {transaction}
    assert chain.judge(fetched) == ""
    assert fetched.plan is None


def test_an_input_spent_meanwhile_is_a_double_spend() -> None:
    chain, transaction = admitted()
    rival = chain.world.spend(
        transaction.body.inputs, [(DVT_A, 500, "ana")], ["alice"], reference=b"the other way"
    )
    assert chain.close(rival) == ""
    assert chain.judge(transaction) == "TX_DOUBLE_SPEND"


def test_an_input_that_the_same_block_spends_is_a_double_spend() -> None:
    chain, transaction = admitted()
    rival = chain.world.spend(transaction.body.inputs, [(DVT_A, 500, "ana")], ["alice"])
    view = StateView(chain.base)
    assert [applied(view, chain.world, each) for each in (rival, transaction)] == ["", "TX_DOUBLE_SPEND"]


def test_an_input_that_holds_something_else_is_read_again() -> None:
    chain, transaction = admitted()
    (point,) = transaction.body.inputs
    chain.world.state.entries[OUTPUT + point.txid + point.index.to_bytes(4, "big")] = (
        lock("bob") + (500).to_bytes(8, "big") + DVT_A.encode()
    )
    assert chain.judge(transaction) == "TX_NOT_AUTHORISED"


def freeze_alice(world: World) -> Transaction:
    return world.order(Kind.FREEZE, Freeze(BANK_A, lock("alice"), DVT_A, 450, b"order"), ["bank-a"])


def pause(world: World) -> Transaction:
    return world.act(BANK_A, Pause(DVT_A, b"order"), ["bank-a"])


def disable_payee(world: World) -> Transaction:
    return world.act(BANK_A, DisableWallet(BANK_A, lock("bob"), b"order"), ["bank-a"])


def disable_payer(world: World) -> Transaction:
    return world.act(BANK_A, DisableWallet(BANK_A, lock("alice"), b"order"), ["bank-a"])


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (freeze_alice, "TX_FROZEN"),
        (pause, "TX_PAUSED"),
        (disable_payee, "TX_WALLET_NOT_ENABLED"),
        (disable_payer, "TX_WALLET_NOT_ENABLED"),
    ],
)
@pytest.mark.parametrize("same_block", [False, True])
def test_rules_that_changed_meanwhile_hold(
    order: Callable[[World], Transaction], code: str, same_block: bool
) -> None:
    chain, transaction = admitted()
    act = order(chain.world)
    if same_block:
        view = StateView(chain.base)
        assert [applied(view, chain.world, each) for each in (act, transaction)] == ["", code]
    else:
        assert chain.close(act) == ""
        assert chain.judge(transaction) == code


def test_a_plan_does_not_outlive_its_validity() -> None:
    world = World.genesis()
    point = world.fund("alice", DVT_A, 500)
    chain = Chain(world)
    brief = world.spend([point], [(DVT_A, 500, "bob")], ["alice"], valid_until=world.height + 1)
    assert chain.admit(brief) == BANK_A
    world.height += 1
    assert chain.judge(brief) == ""
    world.height += 1
    assert chain.judge(brief) == "TX_EXPIRED"


def test_what_builds_on_a_pending_parent_has_no_plan_and_follows_it_in_a_block() -> None:
    chain, parent = admitted()
    child = chain.world.spend([parent.outpoint(0)], [(DVT_A, 120, "ana")], ["bob"])
    assert chain.admit(child) is None
    assert child.plan is None
    view = StateView(chain.base)
    assert [applied(view, chain.world, each) for each in (parent, child)] == ["", ""]
    assert OUTPUT + parent.txid + bytes(4) not in view.delta().changes


def test_what_a_refused_act_wrote_to_the_rules_is_undone_and_plans_are_right_again() -> None:
    chain, transaction = admitted()
    view = StateView(chain.base)
    view.savepoint()
    view.put(wallet_key(BANK_A, lock("bob")), b"\x01")
    assert not view.fits(kept_plan(transaction))
    view.rollback()
    with mock.patch.object(plain_transfer, "_plan", side_effect=NEVER):
        assert applied(view, chain.world, transaction) == ""


def test_money_that_moves_otherwise_in_a_block_leaves_its_plans_right() -> None:
    chain, transaction = admitted()
    view = StateView(chain.base)
    emission = chain.world.emission(DVT_A, 7, "ana", ISSUER_KEYS[DVT_A])
    assert applied(view, chain.world, emission) == ""
    assert view.fits(kept_plan(transaction))


def kept_plan(transaction: Transaction) -> TransferPlan:
    assert transaction.plan is not None
    return transaction.plan


def entries_of(*transactions: Transaction) -> list[NewEntry]:
    return [NewEntry(transaction, BANK_A) for transaction in transactions]


def test_a_plan_is_let_go_with_the_entry_however_it_leaves() -> None:
    chain, transaction = admitted()
    pool = Mempool()
    pool.add(entries_of(transaction), 1, chain.world.height)
    assert pool.spender_of(transaction.body.inputs[0]) is transaction
    kept_plan(transaction)
    pool.refuse(transaction, "TX_FROZEN", "now it is", 2)
    assert transaction.plan is None
    chain.admit(transaction)
    pool.add(entries_of(transaction), 3, chain.world.height)
    finish(pool.finalise([transaction], chain.world.height + 1, 4))
    assert transaction.plan is None
    assert pool.spender_of(transaction.body.inputs[0]) is None


def test_the_pool_keeps_no_plan_of_what_it_refuses() -> None:
    chain, transaction = admitted()
    rival = chain.world.spend(transaction.body.inputs, [(DVT_A, 500, "ana")], ["alice"])
    chain.admit(rival)
    report = Mempool().add(entries_of(transaction, rival), 1, chain.world.height)
    assert [refused.code for refused in report.refused] == ["TX_DOUBLE_SPEND"]
    assert rival.plan is None


def test_a_pool_keeps_a_bounded_number_of_plans() -> None:
    world = World.genesis()
    points = [world.fund("alice", DVT_A, 10) for _ in range(4)]
    payments = [world.spend([point], [(DVT_A, 10, "bob")], ["alice"]) for point in points]
    chain, pool = Chain(world), Mempool()
    with mock.patch.object(mempool, "MEMPOOL_PLANS", 2):
        for payment in payments:
            chain.admit(payment)
            pool.add(entries_of(payment), 1, world.height)
    assert [payment.plan is not None for payment in payments] == [True, True, False, False]
    assert [pool.spender_of(point) for point in points] == payments
    finish(pool.finalise(payments, world.height + 1, 2))
    assert [pool.spender_of(point) for point in points] == [None] * 4
