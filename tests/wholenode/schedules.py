"""One schedule: a seed plays a plot on whole nodes, the faults end, and all that was promised must come
true.

Four validators, and in most a full node, an observer or both, begin (or join) with the genesis; clients
bring six groups of transfers, double spends and false witnesses to random nodes while the plot does its
harm for about two seconds; then cuts heal, machines stay up, and within `LIVENESS_S` every valid
transaction must be final on every machine, and every machine must be at one tip.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import trio

from ledger.genesis import chain_id_of
from p2p.identity import peer_id_from_seed
from tests.wholenode.links import LinkNetwork
from tests.wholenode.machine import Machine
from tests.wholenode.network import SimNetwork
from tests.wholenode.oracle import Oracle, Violation
from tests.wholenode.plots import LINK_PLOTS, PLOTS, WITH_FOLLOWERS, Plot
from tests.wholenode.seams import ERRORS, cheap_signatures, simulated_machine
from tests.wholenode.stage import TWIN, VALIDATORS, Stage, genesis, make_machine, validator_set, wishes
from tests.wholenode.world import World

LIVENESS_S = 120.0
REAL_SIGNATURES_EVERY = 16
LINKS_EVERY = 16
GROUPS = 6


@dataclass(frozen=True, slots=True)
class Result:
    """What a schedule was and did."""

    seed: int
    plot: str
    links: bool
    trace: int
    heights: int
    messages: int
    starts: int
    stops: int
    highest_round: int
    epochs: int
    transactions: int
    simulated_s: float


def run_schedule(seed: int, plot: str | None = None, *, links: bool | None = None) -> Result:
    """Play a schedule; `links` chooses the network, by default the seed does.

    Raises `Violation`, or whatever a node raised that it should not have."""
    world = World(seed)
    names = sorted(PLOTS)
    name = plot or names[seed % len(names)]
    cheap = world.random.randrange(REAL_SIGNATURES_EVERY) != 0
    by_chance = name in LINK_PLOTS and world.random.randrange(LINKS_EVERY) == 0
    links = by_chance if links is None else links
    with cheap_signatures() if cheap else nullcontext():
        return _play(world, seed, name, cheap=cheap, links=links)


def _play(world: World, seed: int, name: str, *, cheap: bool, links: bool) -> Result:
    document = genesis()
    outputs = [(output.asset, output.value, output.lock) for output in document.outputs]
    oracle = Oracle(chain_id_of(document), outputs, validator_set(), cheap=cheap)
    both = tuple(range(VALIDATORS, TWIN))
    followers = both if name in WITH_FOLLOWERS else world.random.choice(((), both[:1], both[1:], both))
    network = LinkNetwork(world) if links else SimNetwork(world)
    machines: list[Machine] = []

    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        async with trio.open_nursery() as nursery:
            machines.extend(
                make_machine(world, network, oracle, number) for number in (*range(VALIDATORS), *followers)
            )
            groups = world.random.sample(wishes(cheap), GROUPS)
            stage = Stage(world, network, oracle, machines, groups, nursery)
            await _direct(stage, PLOTS[name])
            nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint()
        left = trio.lowlevel.current_statistics().tasks_living
        if left > before:
            raise Violation(f"{left - before} tasks go on after every node ended")

    with simulated_machine(world):
        world.run(main)
    return Result(
        seed,
        name,
        links,
        world.trace,
        max(oracle.blocks, default=0),
        network.delivered,
        sum(machine.starts for machine in machines),
        oracle.stops,
        oracle.highest_round,
        oracle.epochs,
        len(oracle.final_at),
        world.now_s,
    )


async def _direct(stage: Stage, plot: Plot) -> None:
    dice = stage.world.random
    plot(stage)
    for machine in stage.machines:
        if not machine.faults.stays_down:
            stage.boot(machine)
    for group in stage.groups:
        moment_s = 0.3 + stage.moment() * 0.9
        for wish in group:
            for machine in dice.sample(stage.takers, dice.choice((1, 1, 2, 3))):
                stage.at(moment_s + dice.random() * 0.05, stage.submit, wish, machine)
            moment_s += dice.random() * 0.3
    await trio.sleep(stage.safety_s)
    await _heal(stage)
    stage.oracle.check_end(stage.machines)
    names = {str(peer_id_from_seed(machine.peer.seed)): machine.number for machine in stage.machines}
    charged = {(by, str(peer), int(what)): why for (by, peer, what), why in stage.network.reports.items()}
    stage.oracle.check_reports(charged, names)
    _check_logs(stage)


async def _heal(stage: Stage) -> None:
    """End the faults; submit again what no living node promised; wait until all is final everywhere."""
    for machine in stage.machines:
        machine.faults.slow_s, machine.faults.clock_offset_ms = 0.0, 0
        machine.files.cut_at = machine.files.fail_at = None
        stage.join(machine)
        machine.restart_soon()
    for twin in stage.twins:
        twin.faults.stays_down = True
        twin.crash()
    stage.network.calm()
    honest = [machine for machine in stage.takers if machine.villain is None]
    deadline_s = stage.world.now_s + LIVENESS_S
    again_s = stage.world.now_s + 1.0
    while not _is_settled(stage):
        await trio.sleep(0.1)
        if stage.world.now_s >= again_s:
            again_s = stage.world.now_s + 1.0
            for wish in stage.late_wishes():
                if wish.raw not in stage.promised:  # one honest node's yes is enough
                    stage.submit(wish, stage.world.random.choice(honest), promises=True)
        if stage.world.now_s > deadline_s:
            raise Violation(_what_is_missing(stage))


def _is_settled(stage: Stage) -> bool:
    top = max(stage.oracle.blocks, default=0)
    return (
        top > 0
        and not stage.late_wishes()
        and all(machine.is_running and machine.height == top for machine in stage.machines)
    )


def _what_is_missing(stage: Stage) -> str:
    heights = ", ".join(f"{machine.name} {machine.height}" for machine in stage.machines)
    late = ", ".join(wish.name for wish in stage.late_wishes())
    since = f"{LIVENESS_S:.0f} s after the faults ended"
    return f"not settled {since}: heights {heights}; not final: {late or 'nothing'}"


def _check_logs(stage: Stage) -> None:
    for event, fields in ERRORS:
        if event not in stage.oracle.expected_errors:
            raise Violation(f"logged as an error: {event} {fields}")
