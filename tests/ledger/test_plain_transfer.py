"""The short way of plain transfers and the general way never differ: same verdict, same changes."""

from __future__ import annotations

from random import Random
from unittest import mock

from hypothesis import given

from ledger import apply as rules
from ledger import plain_transfer
from ledger.checks import check_stateless
from ledger.payloads import Kind
from ledger.plain_transfer import plain_share
from ledger.quota import charged_to
from ledger.state import RULE_CATEGORIES, RuleFacts, StateView
from ledger.transaction import Transaction
from primitives.errors import InvalidTransaction
from tests.ledger.cases import VALID
from tests.ledger.cases.encoding import plain
from tests.ledger.play import Player
from tests.ledger.test_cases import as_transaction
from tests.ledger.test_invariants import accepts, play, seeds, start
from tests.ledger.world import World

Outcome = tuple[str, dict[bytes, tuple[bytes | None, bytes | None]]]


def outcome(world: World, transaction: Transaction) -> Outcome:
    """The code ("" when accepted) and the changes."""
    view = StateView(world.state)
    try:
        check_stateless(transaction)
        rules.apply_transaction(view, transaction, world.context)
    except InvalidTransaction as error:
        return error.code, dict(view.delta().changes)
    return "", dict(view.delta().changes)


def general_outcome(world: World, transaction: Transaction) -> Outcome:
    with mock.patch.object(rules, "try_plain_transfer", return_value=False):
        return outcome(world, transaction)


@play
@given(seeds)
def test_both_ways_agree_on_random_transfers(seed: int) -> None:
    world = start()
    player = Player(world, Random(seed))
    for _ in range(40):
        attempt = player.attempt(("transfer", "transfer", "steal", "joint", "freeze", "registry_act", "emit"))
        if attempt.kind is Kind.TRANSFER:
            assert outcome(world, attempt) == general_outcome(world, attempt)
        accepts(world, attempt)


def test_both_ways_agree_on_every_named_transfer() -> None:
    for case in VALID:
        world = World.genesis()
        transaction = as_transaction(case.make(world))
        if transaction.kind is Kind.TRANSFER:
            assert outcome(world, transaction) == general_outcome(world, transaction), case.name


def test_a_plain_transfer_takes_the_short_way() -> None:
    world = World.genesis()
    transaction = plain(world)
    with mock.patch.object(rules, "read_flow", side_effect=AssertionError("the general way was taken")):
        assert outcome(world, transaction)[0] == ""


@play
@given(seeds)
def test_what_one_transfer_finds_out_never_serves_another_wrongly(seed: int) -> None:
    """One view through a whole block, with its facts, against the general way on a view of its own."""
    world = start()
    player, shared, general = Player(world, Random(seed)), StateView(world.state), StateView(world.state)
    kinds = ("transfer", "transfer", "transfer", "steal", "joint", "freeze", "registry_act", "emit", "vote")
    for _ in range(40):
        attempt = player.attempt(kinds)
        found = applied(shared, world, attempt)
        with mock.patch.object(rules, "try_plain_transfer", return_value=False):
            assert found == applied(general, world, attempt)
        assert shared.delta().changes == general.delta().changes


def applied(view: StateView, world: World, transaction: Transaction) -> str:
    """The code ("" when accepted), the view changed accordingly."""
    try:
        check_stateless(transaction)
        rules.apply_transaction(view, transaction, world.context)
    except InvalidTransaction as error:
        return error.code
    return ""


def is_well_formed(transaction: Transaction) -> bool:
    """What admission has checked before."""
    try:
        check_stateless(transaction)
    except InvalidTransaction:
        return False
    return True


@play
@given(seeds)
def test_a_share_is_given_only_to_what_a_block_would_take(seed: int) -> None:
    world = start()
    player = Player(world, Random(seed))
    for _ in range(40):
        attempt = player.attempt(("transfer", "transfer", "steal", "joint", "freeze", "registry_act", "emit"))
        view = StateView(world.state)
        share = plain_share(view, attempt, world.context.height) if is_well_formed(attempt) else None
        assert not view.delta().changes
        if share is not None:
            assert share == charged_to(world.state, attempt, lambda _: None)
            assert outcome(world, attempt)[0] == ""
        accepts(world, attempt)


class Remembering:
    """A world's state that keeps facts over blocks, as the store does."""

    def __init__(self, world: World) -> None:
        self.get = world.state.get
        self.shared_facts = RuleFacts()


@play
@given(seeds)
def test_facts_kept_over_blocks_never_serve_wrongly(seed: int) -> None:
    """A block a transaction; what it found out is dropped when it changed an entry of the rules."""
    world = start()
    player, base = Player(world, Random(seed)), Remembering(world)
    for _ in range(40):
        attempt = player.attempt(("transfer", "transfer", "steal", "joint", "freeze", "registry_act", "emit"))
        view = StateView(base)
        code = applied(view, world, attempt)
        assert (code, dict(view.delta().changes)) == general_outcome(world, attempt)
        if any(key[:1] in RULE_CATEGORIES for key in view.delta().changes):
            base.shared_facts = RuleFacts()
        accepts(world, attempt)


def kept(facts: RuleFacts) -> int:
    return sum(len(each.holders) + len(each.payers) + len(each.charged) for each in facts.values())


@play
@given(seeds)
def test_what_is_kept_of_all_assets_together_is_bounded_and_forgetting_changes_no_answer(seed: int) -> None:
    world = start()
    player, base, most = Player(world, Random(seed)), Remembering(world), 0
    with mock.patch.object(plain_transfer, "FACTS_LOCKS", 4):
        for _ in range(40):
            attempt = player.attempt(("transfer",))
            if is_well_formed(attempt):
                share = plain_share(StateView(base), attempt, world.context.height)
                assert share in (None, charged_to(world.state, attempt, lambda _: None))
                view = StateView(base)
                assert (applied(view, world, attempt), dict(view.delta().changes)) == general_outcome(
                    world, attempt
                )
            assert kept(base.shared_facts) == base.shared_facts.locks
            most = max(most, base.shared_facts.locks)
            accepts(world, attempt)
    assert 3 <= most <= 4 + 3 * 3  # what one transfer adds: its payer and the holders
