"""What goes wrong in the safety phase: links, machines, disks, clocks, joiners, the set of validators,
twins."""

from __future__ import annotations

from collections.abc import Callable

import trio

from primitives.limits import DISK_FLOOR_BYTES
from tests.wholenode import villains
from tests.wholenode.machine import Machine
from tests.wholenode.stage import TWIN, VALIDATORS, Stage, Wish, make_machine, vote

Plot = Callable[[Stage], None]
HOUR_MS = 3_600_000


def calm(stage: Stage) -> None:
    """Nothing: the schedule that all others are compared with."""


def bad_links(stage: Stage) -> None:
    """Loss, duplication, reordering, stragglers, all at once."""
    weather, dice = stage.network.weather, stage.world.random
    weather.loss = dice.choice((0.0, 0.02, 0.1, 0.3))
    weather.duplication = dice.choice((0.0, 0.1, 0.5))
    weather.max_delay_s = dice.choice((0.01, 0.05, 0.2))
    weather.straggle = dice.choice((0.0, 0.02, 0.2))


def slower_than_timeouts(stage: Stage) -> None:
    """A round trip takes longer than the first timeout."""
    weather = stage.network.weather
    weather.min_delay_s, weather.max_delay_s = 0.7, stage.world.random.choice((0.9, 1.5))


def split_in_halves(stage: Stage) -> None:
    """The network in two, several times, healed between."""
    for _ in range(2):
        numbers = [machine.number for machine in stage.machines]
        stage.world.random.shuffle(numbers)
        half = stage.world.random.choice((2, 3))
        stage.at(stage.moment(), stage.network.split, numbers[:half], numbers[half:])
        stage.at(stage.moment(), stage.network.heal)


def rotating_isolation(stage: Stage) -> None:
    """One machine after another is cut off."""
    period_s = stage.world.random.choice((0.2, 0.4, 0.8))
    for place in range(int(stage.safety_s / period_s)):
        number = stage.machines[place % len(stage.machines)].number
        stage.at(place * period_s, stage.network.heal)
        stage.at(place * period_s, stage.network.isolate, number)


def one_way_links(stage: Stage) -> None:
    """Some hear whom they can't reach."""
    pairs = [(a, b) for a in range(VALIDATORS) for b in range(VALIDATORS) if a != b]
    for _ in range(3):
        stage.at(stage.moment(), stage.network.block, stage.world.random.sample(pairs, 3))
        stage.at(stage.moment(), stage.network.heal)


def crashes(stage: Stage) -> None:
    """Machines die at any moment: between two events, in mid-turn of their tasks, in a call to the disk."""
    dice = stage.world.random
    for machine in stage.machines:
        machine.faults.restart_after_s = dice.choice((0.02, 0.2, 0.8))
        for _ in range(dice.randrange(3)):
            match dice.randrange(3):
                case 0:
                    stage.at(stage.moment(), machine.crash)
                case 1:
                    stage.at(stage.moment(), _crash_in_turn, stage, machine, dice.randrange(1, 40))
                case _:
                    stage.at(stage.moment(), _crash_in_disk_call, machine, dice.randrange(1, 30))


def _crash_in_turn(stage: Stage, machine: Machine, turns: int) -> None:
    async def wait_and_crash() -> None:
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        machine.crash()

    stage.nursery.start_soon(wait_and_crash)


def _crash_in_disk_call(machine: Machine, calls: int) -> None:
    if machine.is_on:
        machine.files.cut_at = machine.files.calls + calls


def power_cut_on_all(stage: Stage) -> None:
    """All machines at once, twice."""
    for _ in range(2):
        moment_s = stage.moment()
        for machine in stage.machines:
            stage.at(moment_s, machine.cut_power)


def decided_one_isolated(stage: Stage) -> None:
    """The machine that is ahead is cut off, all others lose their power."""

    def strike() -> None:
        ahead = max(stage.machines[:VALIDATORS], key=lambda machine: machine.height)
        stage.network.isolate(ahead.number)
        for machine in stage.machines:
            if machine is not ahead:
                machine.cut_power()

    for _ in range(2):
        stage.at(stage.moment(), strike)
        stage.at(stage.moment(), stage.network.heal)


def slow_disks(stage: Stage) -> None:
    """One disk takes its time, or all do; machines crash meanwhile."""
    dice = stage.world.random
    count = dice.choice((1, 1, VALIDATORS))
    for machine in dice.sample(stage.machines[:VALIDATORS], count):
        machine.faults.slow_s = dice.choice((0.02, 0.1, 0.3))
    crashes(stage)


def bad_disks(stage: Stage) -> None:
    """Calls fail with an input/output error: the node stops and is started again."""
    dice = stage.world.random

    def spoil(machine: Machine) -> None:
        machine.files.fail_at = machine.files.calls + dice.randrange(1, 30)

    for machine in stage.machines:
        stage.oracle.disk_faulty.add(machine.number)
        for _ in range(dice.randrange(3)):
            stage.at(stage.moment(), spoil, machine)


def full_disks(stage: Stage) -> None:
    """Disks get full: first there is little room, then too little, then none."""
    dice = stage.world.random

    def fill(machine: Machine, free_bytes: int) -> None:
        machine.files.free_bytes = free_bytes

    for machine in dice.sample(stage.machines, dice.randrange(1, 4)):
        stage.oracle.disk_faulty.add(machine.number)
        machine.faults.restart_after_s = 0.5
        stage.at(
            stage.moment(), fill, machine, dice.choice((DISK_FLOOR_BYTES * 3 // 2, DISK_FLOOR_BYTES // 2))
        )
        stage.at(stage.moment(), fill, machine, 0)


def clock_steps(stage: Stage) -> None:
    """Clocks are set forth and back: one by an hour, all a little."""
    dice = stage.world.random

    def step(machine: Machine, offset_ms: int) -> None:
        machine.faults.clock_offset_ms = offset_ms

    wrong = dice.choice(stage.machines[:VALIDATORS])
    for _ in range(3):
        stage.at(stage.moment(), step, wrong, dice.choice((-HOUR_MS, HOUR_MS)))
        stage.at(stage.moment(), step, dice.choice(stage.machines), dice.choice((-450, 0, 200, 450)))


def late_joiners(stage: Stage) -> None:
    """Full node and observer, and perhaps a validator, come when there is a chain already."""
    dice = stage.world.random
    late = stage.machines[VALIDATORS:] + (
        [dice.choice(stage.machines[:VALIDATORS])] if dice.random() < 0.5 else []
    )
    for machine in late:
        machine.faults.stays_down = True
        stage.at(0.5 + stage.moment(), stage.join, machine)
    if dice.random() < 0.5:
        bad_links(stage)


def many_down(stage: Stage) -> None:
    """More than f validators are down most of the time."""
    dice = stage.world.random
    for machine in dice.sample(stage.machines[:VALIDATORS], 2 + dice.randrange(2)):
        machine.faults.restart_after_s = stage.safety_s
        stage.at(stage.moment() / 2, machine.crash)


def twins(stage: Stage) -> None:
    """One validator's key on two machines, each of which some others are connected to."""
    dice = stage.world.random
    twin = make_machine(stage.world, stage.network, stage.oracle, TWIN, twin_of=0)
    stage.add_twin(twin)
    stage.oracle.liars.add(0)
    if dice.random() < 0.5:
        bad_links(stage)
    for _ in range(3):
        stage.at(stage.moment(), stage.reshuffle_links, 0)


def churn(stage: Stage) -> None:
    """A validator is voted out and in again while machines crash."""
    dice = stage.world.random
    subject = dice.randrange(VALIDATORS)
    times = sorted(stage.moment() for _ in range(2))
    for moment_s, add in zip(times, (False, True), strict=True):
        for voter in range(VALIDATORS):
            raw = vote(voter, subject, add=add, until=60)
            wish = Wish("vote", raw, b"", is_valid=False)
            for machine in dice.sample(stage.machines[:VALIDATORS], 2):
                stage.at(moment_s + dice.random() * 0.1, stage.submit, wish, machine)
    if dice.random() < 0.6:
        crashes(stage)


def silent_proposer(stage: Stage) -> None:
    """One validator never proposes a transaction, to the end of the schedule."""
    dice = stage.world.random
    dice.choice(stage.machines[:VALIDATORS]).villain = villains.hide_transactions
    if dice.random() < 0.5:
        bad_links(stage)


def false_witness_proposer(stage: Stage) -> None:
    """One validator proposes each transaction's body with a witness that does not verify."""
    dice = stage.world.random
    machine = dice.choice(stage.machines[:VALIDATORS])
    machine.villain = villains.propose_false_witnesses
    stage.oracle.liars.add(machine.number)


def lying_server(stage: Stage) -> None:
    """Who joins late is served blocks by everybody, and false ones by one."""
    dice = stage.world.random
    liar = dice.choice(stage.takers)
    liar.villain = villains.serve_false_blocks
    stage.oracle.liars.add(liar.number)
    for machine in stage.machines[VALIDATORS:]:
        if machine is not liar:
            machine.faults.stays_down = True
            stage.at(0.5 + stage.moment() * 0.8, stage.join, machine)
    for machine in dice.sample(stage.machines[:VALIDATORS], 2):
        stage.at(stage.moment(), machine.crash)


def journals_lost(stage: Stage) -> None:
    """Journals vanish while machines are down; the watermarks lie elsewhere."""
    crashes(stage)

    def lose(machine: Machine) -> None:
        machine.cut_power()
        machine.lose_journal()

    for machine in stage.machines[:VALIDATORS]:
        stage.at(stage.moment(), lose, machine)


HONEST: tuple[Plot, ...] = (
    bad_links,
    slower_than_timeouts,
    split_in_halves,
    rotating_isolation,
    one_way_links,
    crashes,
    power_cut_on_all,
    decided_one_isolated,
    slow_disks,
    bad_disks,
    full_disks,
    clock_steps,
    late_joiners,
    many_down,
    churn,
    silent_proposer,
    journals_lost,
)


def worst_of_all(stage: Stage) -> None:
    """Three plots at once."""
    for plot in stage.world.random.sample(HONEST, 3):
        plot(stage)


WITH_FOLLOWERS = frozenset({"late_joiners", "lying_server"})
"""Those that need full node and observer; the others have both, one or none."""

LINK_PLOTS = frozenset(
    plot.__name__
    for plot in (
        calm,
        churn,
        clock_steps,
        crashes,
        late_joiners,
        lying_server,
        many_down,
        power_cut_on_all,
        rotating_isolation,
        split_in_halves,
    )
)
"""Those that ask nothing of the network but cuts and delays."""

PLOTS: dict[str, Plot] = {
    plot.__name__: plot for plot in (*HONEST, calm, false_witness_proposer, lying_server, twins, worst_of_all)
}
