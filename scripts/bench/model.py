"""A model of 4 to 100 validators: block interval and payments a second, from costs measured in the same run.

    python -m scripts.bench.model [--delay-ms 0.25] [--out build/bench/model.json]

Each validator is a machine with one core for its event loop, as here; messages take `--delay-ms` between
machines. A height is played message by message: PROPOSAL, PREPARE and COMMIT to everybody, a queue of work at
each core, the syncs before each vote. Measured first, on this machine: signing, verifying a vote, encoding,
decoding, sending and receiving a small frame over libp2p, the synced append of the vote journal, and the
stages of a payment (`scripts/bench/pipeline.py`). What is missing from the model is said in its output: the
transport of bodies and network bandwidth; bodies cost each validator one receipt whatever the number.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import trio

from consensus.journal import VoteRecord
from consensus.messages import Prepare, decode_message, encode_message, prepare_sighash
from drexnode.telemetry import setup_logging
from ledger.genesis import chain_id_of
from p2p.transport import Channel
from primitives.certificate import vote_domain
from primitives.keys import SigningKey, verify_many
from scripts.bench import p2p, pipeline
from scripts.bench.report import Figures, emit, say, spread
from storage.vote_journal import JournalOwner, VoteJournal

REPEATS = 2_000
SYNCS = 200
FRAMES = 400
FRAME_PAUSE_S = 0.003
FRAME_BYTES = 200
ADMISSION = ("decode", "shape", "signatures", "enter the pool")
FINAL = ("prepare LevelDB's batch", "write it", "apply and settle", "leave the pool")


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds. Of a message: `sign`, `verify`, `encode`, `decode`, `send`, `receive`; `sync`: the wall
    time of a journal's append; of a payment: `admit`, `build`, `execute`, `finalize`."""

    sign: float
    verify: float
    encode: float
    decode: float
    send: float
    receive: float
    sync: float
    admit: float
    build: float
    execute: float
    finalize: float


def measure_costs(transactions: int) -> Costs:
    """Measure everything on this machine, now."""
    say("costs of a vote")
    key, domain = SigningKey(bytes(range(32))), vote_domain(bytes(32), bytes(32))
    sighash = prepare_sighash(domain, 1, 0, bytes(32))
    signature = bytes(key.sign(sighash))
    vote = Prepare(1, 0, 0, signature, bytes(32))
    raw = encode_message(vote)
    check = [(key.public_key, sighash, signature)]
    say("costs of a frame over libp2p")
    send, receive = trio.run(_frame_costs)
    say("costs of a payment")
    stages = _stages(transactions)
    return Costs(
        sign=_cost(lambda: key.sign(prepare_sighash(domain, 1, 0, bytes(32)))),
        verify=_cost(lambda: verify_many(check)),
        encode=_cost(lambda: encode_message(vote)),
        decode=_cost(lambda: decode_message(raw)),
        send=send,
        receive=receive,
        sync=_sync_cost(),
        admit=sum(stages[name] for name in ADMISSION),
        build=stages["build"],
        execute=stages["execute"],
        finalize=sum(stages[name] for name in FINAL),
    )


def _cost(work: Callable[[], object]) -> float:
    begin = time.process_time()
    for _ in range(REPEATS):
        work()
    return round(1e6 * (time.process_time() - begin) / REPEATS, 2)


def _sync_cost() -> float:
    """The median append of a record, by the clock: the disk's sync is most of it."""
    taken = []
    with tempfile.TemporaryDirectory(prefix="drexnode-bench-") as folder:
        journal = VoteJournal(Path(folder), JournalOwner(1, bytes(32), bytes(32)), ())
        for height in range(1, SYNCS + 1):
            record = VoteRecord(1, bytes(32), height, 0, 2, bytes(32), bytes(32), None, b"")
            begin = time.perf_counter()
            journal.append(record)
            taken.append(time.perf_counter() - begin)
        journal.close()
    return round(1e6 * float(spread(taken, 9)["median"]), 1)


async def _frame_costs() -> tuple[float, float]:
    """Processor microseconds of a small frame at its sender and at its receiver."""
    async with p2p.open_cluster(2) as (host, [peer]):
        ours, theirs = time.process_time(), await p2p.used_ms(host, peer)
        for _ in range(FRAMES):
            host.send(peer, Channel.TRANSACTIONS, bytes(FRAME_BYTES))
            await trio.sleep(FRAME_PAUSE_S)
        await trio.sleep(0.3)
        sent = (time.process_time() - ours) * 1e6 / FRAMES
        received = (await p2p.used_ms(host, peer) - theirs) * 1e3 / FRAMES
    return round(sent, 1), round(received, 1)


def _stages(transactions: int) -> dict[str, float]:
    keys = pipeline.make_wallets(min(1_000, transactions))
    document = pipeline.make_document(keys, transactions)
    raws = pipeline.sign(keys, chain_id_of(document), transactions)
    return pipeline.measure(document, raws, min(1_000, transactions))


class Cluster:
    """One height of `size` validators, in microseconds since its beginning."""

    def __init__(self, size: int, payments: int, costs: Costs, delay_us: float) -> None:
        self.size, self.quorum = size, size - (size - 1) // 3
        self._payments, self._costs, self._delay_us = payments, costs, delay_us
        self._free = [0.0] * size  # when each core has nothing left to do
        self.busy = [0.0] * size
        self._queue: list[tuple[float, int, int, str]] = []
        self._order = 0
        self._seen: list[dict[str, int]] = [{"PREPARE": 0, "COMMIT": 0} for _ in range(size)]
        self._valid = [False] * size
        self._committed = [False] * size
        self.final = [0.0] * size

    def play(self) -> float:
        """Until everybody has the block; the moment at which a quorum has it, when the next begins."""
        costs = self._costs
        voting = costs.sign + costs.encode
        self._work(0, 0.0, self._payments * costs.build + voting)
        self._broadcast(0, "PROPOSAL", self._free[0] + costs.sync)
        self._valid[0] = True
        self._vote(0, "PREPARE", self._free[0])
        while self._queue:
            moment, _, place, message = heapq.heappop(self._queue)
            self._receive(place, message, moment)
        return sorted(self.final)[self.quorum - 1]

    def _work(self, place: int, moment: float, cost: float) -> float:
        begin = max(moment, self._free[place])
        self._free[place] = begin + cost
        self.busy[place] += cost
        return self._free[place]

    def _broadcast(self, place: int, message: str, moment: float) -> None:
        for other in range(self.size):
            if other != place:
                left = self._work(place, moment, self._costs.send)
                self._order += 1
                heapq.heappush(self._queue, (left + self._delay_us, self._order, other, message))

    def _vote(self, place: int, message: str, moment: float) -> None:
        """Sign, make it durable, tell everybody; the own vote counts as well."""
        signed = self._work(place, moment, self._costs.sign + self._costs.encode)
        self._broadcast(place, message, signed + self._costs.sync)
        self._count(place, message, signed + self._costs.sync)

    def _receive(self, place: int, message: str, moment: float) -> None:
        costs = self._costs
        done = self._work(place, moment, costs.receive + costs.decode + costs.verify)
        if message != "PROPOSAL":
            self._count(place, message, done)
            return
        done = self._work(place, done, self._payments * costs.execute)
        self._valid[place] = True
        self._vote(place, "PREPARE", done)

    def _count(self, place: int, message: str, moment: float) -> None:
        self._seen[place][message] += 1
        seen = self._seen[place]
        if self._valid[place] and not self._committed[place] and seen["PREPARE"] >= self.quorum:
            self._committed[place] = True
            self._vote(place, "COMMIT", moment)
        if self._committed[place] and not self.final[place] and seen["COMMIT"] >= self.quorum:
            finished = self._work(place, moment, self._payments * self._costs.finalize)
            self.final[place] = finished + self._costs.sync


def predict(size: int, payments: int, costs: Costs, delay_us: float, pace_us: float) -> Figures:
    """Block interval, payments a second, and what limits them. A core admits the next block's payments in
    the time that consensus leaves it: the interval is the longest of pace, path and work."""
    cluster = Cluster(size, payments, costs, delay_us)
    path = cluster.play()
    votes = Cluster(size, 0, costs, delay_us)
    votes.play()
    work = max(cluster.busy) + payments * costs.admit
    found = {"pace": pace_us, "messages and syncs on the way": path, "work of a core": work}
    limit = max(found, key=lambda name: found[name])
    interval = found[limit]
    return {
        "validators": size,
        "payments_a_block": payments,
        "block_interval_ms": round(interval / 1000, 1),
        "tx_per_s": round(1e6 * payments / interval),
        "limited_by": limit,
        "path_ms": round(path / 1000, 1),
        "core_ms_a_block": round(work / 1000, 1),
        "core_ms_a_block_votes_alone": round(max(votes.busy) / 1000, 1),
        "messages_a_block_and_validator": 2 * (size - 1) + 1,
    }


def curve(
    sizes: Sequence[int], blocks: Sequence[int], costs: Costs, delay_us: float, pace_us: float
) -> Figures:
    """Every number of validators with every size of block."""
    return {
        str(payments): [predict(size, payments, costs, delay_us, pace_us) for size in sizes]
        for payments in blocks
    }


@click.command(epilog="Example: python -m scripts.bench.model --out build/bench/model.json")
@click.option("--validators", "sizes", multiple=True, type=click.IntRange(4, 200),
              default=(4, 7, 10, 25, 50, 100), show_default=True)  # fmt: skip
@click.option("--block", "blocks", multiple=True, type=int, default=(1, 1_000, 4_000), show_default=True)
@click.option("--delay-ms", default=0.25, show_default=True, help="From one machine to another.")
@click.option("--pace-ms", default=50.0, show_default=True, help="The shortest interval that nodes keep.")
@click.option("--transactions", default=4_000, show_default=True, help="To measure a payment's stages.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(
    sizes: tuple[int, ...], blocks: tuple[int, ...], delay_ms: float, pace_ms: float, transactions: int,
    out: Path | None,
) -> None:  # fmt: skip
    """Measure the costs, play the heights."""
    setup_logging("error")
    costs = measure_costs(transactions)
    results = {
        "costs_us": asdict(costs),
        "curve": curve(sizes, blocks, costs, 1000 * delay_ms, 1000 * pace_ms),
        "left_out": "bandwidth, and the way of the bodies: each validator receives each body once",
    }
    emit({"validators": sizes, "blocks": blocks, "delay_ms": delay_ms, "pace_ms": pace_ms}, results, out)


if __name__ == "__main__":
    main()
