"""The short way of plain transfers and the general way never differ: same verdict, same changes."""

from __future__ import annotations

from random import Random
from unittest import mock

from hypothesis import given

from ledger import apply as rules
from ledger.checks import check_stateless
from ledger.payloads import Kind
from ledger.state import StateView
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
