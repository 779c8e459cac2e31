"""What must hold (docs/ledger.md), each line a property over random play, judged by an independent referee.

`tests/ledger/mutants.py` takes the rules out one by one and shows that these properties then fail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.apply import apply_transaction
from ledger.checks import check_stateless, verify_signatures
from ledger.state import StateView
from ledger.transaction import Transaction
from primitives.errors import InvalidTransaction
from primitives.keys import verify_many
from tests.ledger.play import Player
from tests.ledger.referee import Referee
from tests.ledger.world import Dict, World

STEPS = 25
EXAMPLES = 25

EVERYTHING = (
    *("emit", "transfer", "burn", "interbank", "freeze", "unfreeze", "move", "registry_act"),
    *("vault", "again", "forge", "steal", "joint", "vote"),
)

Judge = Callable[[World, Transaction], None]
play = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)
seeds = st.integers(min_value=0, max_value=2**32)


def _funded() -> World:
    world = World.genesis()
    Player(world, Random(0)).fund()
    return world


_START = _funded()  # made before any rule is taken out


def start() -> World:
    """A funded world of its own, copied from the one made at import."""
    world = World(Dict(), serial=_START.serial)
    world.state.entries = dict(_START.state.entries)
    return world


def accepts(world: World, transaction: Transaction) -> bool:
    """Apply what is valid; a refusal must change nothing."""
    entries = dict(world.state.entries)
    try:
        world.apply(transaction)
    except InvalidTransaction:
        assert world.state.entries == entries, "a refused transaction changed the state"
        return False
    return True


def watch(seed: int, judge: str, moves: Sequence[str] = (), steps: int = STEPS) -> None:
    """Play `steps` attempts and let the referee's `judge` look at each accepted one."""
    world = start()
    player, referee = Player(world, Random(seed)), Referee(world)
    check: Judge = getattr(referee, judge)
    for _ in range(steps):
        transaction = player.attempt(moves)
        if accepts(world, transaction):
            check(world, transaction)
            referee.observe(world, transaction)
        if player.random.random() < 0.1:
            world.advance(player.random.randint(1, 8))
            referee.before = dict(world.state.entries)


@play
@given(seeds)
def test_emitted_minus_burned_is_the_sum_of_unspent(seed: int) -> None:
    watch(seed, "check_supply")


@play
@given(seeds)
def test_each_kind_changes_supply_as_its_row_says(seed: int) -> None:
    watch(seed, "check_balanced", ("emit", "transfer", "burn", "move", "move", "interbank", "freeze"))


@play
@given(seeds)
def test_interbank_moves_three_assets_whole_and_leaves_retail_unchanged(seed: int) -> None:
    watch(seed, "check_interbank", ("interbank", "interbank", "emit", "transfer"))


@play
@given(seeds)
def test_no_output_is_spent_twice(seed: int) -> None:
    watch(seed, "check_spent_once", ("transfer", "again", "burn", "move", "interbank"))


@play
@given(seeds)
def test_no_act_of_the_holder_goes_below_what_is_frozen(seed: int) -> None:
    watch(seed, "check_frozen", ("freeze", "freeze", "transfer", "steal", "burn", "move", "unfreeze"))


@play
@given(seeds)
def test_circulating_e_money_is_at_most_its_reserve(seed: int) -> None:
    watch(seed, "check_backed", ("emit", "transfer", "move", "burn", "registry_act", "interbank"))


@play
@given(seeds)
def test_nobody_without_authority_changes_anything(seed: int) -> None:
    watch(seed, "check_authority", (*EVERYTHING, "registry_act", "registry_act"))


@play
@given(seeds)
def test_no_authorised_act_applies_twice(seed: int) -> None:
    watch(
        seed,
        "check_once",
        ("emit", *["freeze"] * 4, "unfreeze", "registry_act", "vote", "again", "again"),
        60,
    )


@play
@given(seeds)
def test_a_refused_transaction_changes_nothing(seed: int) -> None:
    """Inside a block too: what a refusal leaves behind is what was there, key by key."""
    world = start()
    player = Player(world, Random(seed))
    view = StateView(world.state)
    for _ in range(STEPS):
        transaction = player.attempt()
        before = dict(view.delta().changes)
        try:
            check_stateless(transaction)
            verify_signatures(transaction, verify_many)
            apply_transaction(view, transaction, world.context)
        except InvalidTransaction:
            assert dict(view.delta().changes) == before


@play
@given(seeds)
def test_replay_from_genesis_gives_the_same_state(seed: int) -> None:
    """The accepted transactions alone, in their blocks, make the same entries."""
    world = start()
    player = Player(world, Random(seed))
    history: list[tuple[int, Transaction]] = []
    for _ in range(STEPS):
        transaction = player.attempt()
        if accepts(world, transaction):
            history.append((world.height, transaction))
        world.advance(player.random.randint(0, 1))
    again = start()
    for height, transaction in history:
        again.advance(height - again.height)
        again.apply(transaction)
    again.advance(world.height - again.height)
    assert digest(again) == digest(world)


def digest(world: World) -> str:
    """One hash over every entry of the state, in order."""
    hasher = hashlib.sha256()
    for name, value in sorted(world.state.entries.items()):
        hasher.update(len(name).to_bytes(2, "big") + name + len(value).to_bytes(4, "big") + value)
    return hasher.hexdigest()


def test_the_player_gets_a_fair_share_of_attempts_accepted() -> None:
    """A property over attempts that are all refused would prove nothing."""
    kinds = []
    for seed in range(20):
        world = start()
        player = Player(world, Random(seed))
        attempts = (player.attempt() for _ in range(STEPS))
        kinds += [transaction.kind for transaction in attempts if accepts(world, transaction)]
    assert len(kinds) >= 20 * STEPS // 5
    assert len(set(kinds)) >= 8
