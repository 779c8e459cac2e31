"""What goes wrong in the safety phase, by chance: network, machines, disks, clocks, the set itself."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from tests.simulator import chain
from tests.simulator.stage import SAFETY_MS, Stage


def random_faults(stage: Stage) -> None:
    """Loss, duplication, reordering, stragglers, all at once."""
    network, dice = stage.world.network, stage.world.random
    network.loss = dice.choice((0.0, 0.02, 0.1, 0.3))
    network.duplication = dice.choice((0.0, 0.1, 0.5))
    network.max_delay = dice.choice((10, 50, 200))
    network.straggle = dice.choice((0.0, 0.02, 0.2))


def split_in_halves(stage: Stage) -> None:
    """2/2, several times, healed between."""
    random_faults(stage)
    for _ in range(3):
        members = list(range(len(stage.nodes)))
        stage.world.random.shuffle(members)
        half = len(members) // 2
        stage.at(stage.moment(), stage.world.network.split, set(members[:half]), set(members[half:]))
        stage.at(stage.moment(), stage.world.network.blocked.clear)


def rotating_isolation(stage: Stage) -> None:
    """One node after another is cut off."""
    period = stage.world.random.choice((100, 250, 600))
    for i in range(SAFETY_MS // period):
        stage.at(i * period, stage.world.network.isolate, i % stage.size, len(stage.nodes))


def one_way_links(stage: Stage) -> None:
    """Some hear whom they can't reach."""
    pairs = [(a, b) for a in range(stage.size) for b in range(stage.size) if a != b]
    for _ in range(6):
        chosen = stage.world.random.sample(pairs, stage.size)
        stage.at(stage.moment(), stage.world.network.blocked.update, chosen)
        stage.at(stage.moment(), stage.world.network.blocked.clear)


def crashes(stage: Stage) -> None:
    """Power cuts at any moment, many of them in the middle of a vote."""
    dice = stage.world.random
    if dice.random() < 0.5:
        random_faults(stage)
    for node in stage.nodes:
        node.faults.crash_in_vote = dice.choice((0.0, 0.01, 0.1))
        node.faults.restart_after_ms = dice.choice((5, 100, 900))
        for _ in range(dice.randrange(4)):
            stage.at(stage.moment(), node.crash)


def power_cut_on_all(stage: Stage) -> None:
    """Everybody at once, again and again."""
    for _ in range(stage.world.random.randrange(1, 6)):
        moment = stage.moment()
        for node in stage.nodes:
            node.faults.restart_after_ms = stage.world.random.choice((5, 5, 200))
            stage.at(moment, node.crash)


def decided_one_isolated(stage: Stage) -> None:
    """Whoever is ahead is cut off, and the others restart."""

    def strike() -> None:
        ahead = max(stage.nodes, key=lambda node: len(node.disk.chain))
        stage.world.network.isolate(ahead.number, len(stage.nodes))
        for node in stage.nodes:
            if node is not ahead:
                node.crash()

    for _ in range(3):
        stage.at(stage.moment(), strike)
        stage.at(stage.moment(), stage.world.network.blocked.clear)


def clocks(stage: Stage) -> None:
    """Clocks that are wrong, and run fast or slow."""
    dice = stage.world.random
    for node in stage.nodes:
        node.faults.clock_rate = dice.choice((0.5, 0.9, 1.0, 1.1, 3.0))
    stage.nodes[dice.randrange(stage.size)].faults.clock_offset_ms = dice.choice((-3_600_000, 3_600_000, 400))
    random_faults(stage)


def slow_disk(stage: Stage) -> None:
    """One validator's disk takes its time; all may crash."""
    stage.nodes[stage.world.random.randrange(stage.size)].faults.sync_ms = stage.world.random.choice(
        (50, 300)
    )
    crashes(stage)


def clock_steps(stage: Stage) -> None:
    """Clocks are set forth and back while the network runs: by an hour for up to f, a little for all.

    A quorum whose clocks are an hour ahead moves the chain's time there, and all wait for it: no fault of
    consensus, and more than f."""
    dice = stage.world.random

    def step(number: int, offset: int) -> None:
        stage.nodes[number].faults.clock_offset_ms = offset

    for _ in range(8):
        stage.at(stage.moment(), step, dice.randrange(stage.size), dice.choice((-450, 0, 200, 450)))
        stage.at(stage.moment(), step, dice.randrange(stage.faulty), dice.choice((-3_600_000, 3_600_000)))


def journals_lost(stage: Stage) -> None:
    """Journals vanish or rot while machines are down; the watermarks lie elsewhere."""
    crashes(stage)

    def lose(number: int) -> None:
        stage.nodes[number].crash()
        if stage.nodes[number].disk.has_whole_watermark:
            stage.nodes[number].disk.lose_journal()

    for node in stage.nodes:
        node.faults.journal_rot = 0.3
        stage.at(stage.moment(), lose, node.number)


def signers_unreachable(stage: Stage) -> None:
    """The signing processes can't be reached now and then."""
    dice = stage.world.random
    for node in stage.nodes:
        node.faults.signer_fails = dice.choice((0.0, 0.05, 0.4))
    if dice.random() < 0.5:
        random_faults(stage)


def watermarks_rot(stage: Stage) -> None:
    """Up to f validators find a slot of their watermark bad: quarantine, unless the journal knows more."""
    crashes(stage)
    for node in stage.world.random.sample(stage.nodes[: stage.size], stage.faulty):
        node.faults.slot_rot = 0.5


def many_down(stage: Stage) -> None:
    """More than f are down for most of the time, then back."""
    for node in stage.nodes[: stage.faulty + 1 + stage.world.random.randrange(2)]:
        node.faults.restart_after_ms = SAFETY_MS
        stage.at(stage.world.random.randrange(500), node.crash)


def slower_than_timeouts(stage: Stage) -> None:
    """The round trip is longer than the first timeouts."""
    network = stage.world.network
    network.min_delay, network.max_delay = 120, stage.world.random.choice((200, 500))


def churn(stage: Stage) -> None:
    """Validators leave and return while some crash."""
    crashes(stage)
    for number in range(stage.world.random.randrange(1, 6)):
        toggle = chain.toggle_transaction(number, stage.world.random.randrange(stage.size))
        stage.at(stage.moment(), stage.nodes[number % stage.size].add_transactions, (toggle,))


def down_for_an_hour(stage: Stage) -> None:
    """More than f are gone for an hour; who stays repeats its ROUND_CHANGE and nothing else."""
    stage.safety_ms = 3_600_000
    for node in stage.nodes:
        node.config = structs.replace(node.config, resend_interval_ms=1000)
    for node in stage.nodes[: stage.faulty + 1]:
        node.faults.restart_after_ms = stage.safety_ms
        stage.at(stage.world.random.randrange(500), node.crash)


HONEST_PLOTS: list[Callable[[Stage], None]] = [
    random_faults,
    split_in_halves,
    rotating_isolation,
    one_way_links,
    crashes,
    power_cut_on_all,
    decided_one_isolated,
    clocks,
    clock_steps,
    slow_disk,
    journals_lost,
    signers_unreachable,
    many_down,
    slower_than_timeouts,
    churn,
]


def worst_of_all(stage: Stage) -> None:
    """A few plots at once."""
    for plot in stage.world.random.sample(HONEST_PLOTS, 3):
        plot(stage)
