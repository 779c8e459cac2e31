"""Kill a validator at every point between journal, vote, decide and store; it must never sign twice.

Four real engines run on a simulated network that loses messages. The first one's votes are made durable by
the real signing state, journal and watermark, in a directory. At each fail point of `storage` a forked
process with the same open files writes the vote and dies there by SIGKILL; at the points between (a locked
block is stored, a vote is signed, a block is decided, a block is stored) the machine loses what was not
durable. Then the validator starts again on its files, and the same oracle judges as in all schedules. On
top: after a COMMIT every ROUND_CHANGE of the height carries its block or a later one, and each signed vote
is read back from disk.

    python -m tests.crash.vote_kills --count 500 --seed 1
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consensus.effects import Decide, Persist, StoreBlock
from consensus.inputs import SigningFailed, VoteSigned
from consensus.journal import VoteRecord
from primitives.certificate import STEP_COMMIT, STEP_ROUND_CHANGE
from storage import failpoints
from storage.signing_state import (
    Quarantine,
    RecoveredSigner,
    SigningRefused,
    SigningState,
    open_signing_state,
)
from storage.vote_journal import read_journal
from storage.watermark import create_watermark, read_watermark
from tests.simulator import chain
from tests.simulator.node import Node
from tests.simulator.oracle import Oracle, Violation
from tests.simulator.stage import TIMES
from tests.simulator.world import World

VOTE_POINTS = (
    "journal.before_append",
    "journal.after_append",
    "journal.after_sync",
    "watermark.before_write",
    "watermark.after_write",
    "watermark.after_sync",
)
START_POINT = "journal.after_rotate"  # the restart writes both memories anew, and dies in between
HOST_POINTS = ("block stored", "vote signed", "block decided", "chain stored")
POINTS = (*VOTE_POINTS, START_POINT, *HOST_POINTS)
HEIGHTS = 25  # so many in one world, then the next seed
SIMULATED_MS = 600_000


class KilledValidator(Node):
    """A validator on real files that dies at the points of its plan, one after another."""

    home: Path
    kills: Counter[str]
    limit: int

    def prepare(self, home: Path, kills: Counter[str], limit: int) -> None:
        """Make its watermark; `kills` counts its deaths, at most `limit` in all."""
        self.home, self.kills, self.limit = home, kills, limit
        self.state: SigningState | None = None
        self.locks: dict[int, tuple[int, bytes]] = {}  # height -> round and block of the last signed COMMIT
        self.carried = 0
        create_watermark(home / "watermark", chain.CHAIN_ID, self.key)

    # --- dying

    @property
    def point(self) -> str:
        """Where it dies next: the points take turns."""
        return POINTS[self.kills.total() % len(POINTS)]

    def _is_due(self, point: str) -> bool:
        """True at the planned point, every third time or so: the network must get on between deaths."""
        if point != self.point or self.kills.total() >= self.limit:
            return False
        if point != START_POINT and self.world.random.random() > 0.35:
            return False
        self.kills[point] += 1
        return True

    def crash(self, restart: bool = True) -> None:
        super().crash(restart)
        if self.state is not None:
            self.state.close()  # closes descriptors, writes nothing
            self.state = None

    def _open(self) -> SigningState:
        return open_signing_state(self.home / "journal", self.home / "watermark", chain.CHAIN_ID, self.key)

    def recover_signer(self) -> RecoveredSigner | Quarantine:
        if self._is_due(START_POINT):
            die_in_fork(START_POINT, self._open)
        self.state = self._open()
        return self.state.recovery

    # --- signing

    def _sign(self, effect: Persist) -> None:
        record, state = effect.record, self.state
        assert state is not None
        if self.point == START_POINT and self.world.random.random() < 0.35:
            self.crash()  # the death that is due comes at the restart
            return
        is_new = state.last is None or record.position > state.last.position
        if is_new and self.point in VOTE_POINTS and self._is_due(point := self.point):
            die_in_fork(point, lambda: state.record(record))
            self.crash()
            return
        try:
            state.record(record)
        except SigningRefused as refused:
            self.feed(SigningFailed(effect.token, refused.code))
            return
        self.disk.last = record
        self._note_lock(record)
        signature = chain.sign(self.key, record.payload_hash)
        durable = self._is_on_disk(record)
        self.world.oracle.on_sign(self.number, self.key, record.position, record.payload_hash, durable)
        if self._is_due("vote signed"):
            self.crash()
        else:
            self.feed(VoteSigned(effect.token, signature))

    def _is_on_disk(self, record: VoteRecord) -> bool:
        journal, slot = (
            read_journal(self.home / "journal").last,
            read_watermark(self.home / "watermark").newest,
        )
        if journal is None or slot is None or slot.record is None:
            return False
        return {journal.payload_hash, slot.record.payload_hash} == {record.payload_hash}

    def _note_lock(self, record: VoteRecord) -> None:
        held = self.locks.get(record.height)
        if record.step == STEP_ROUND_CHANGE and held is not None:
            self.carried += 1
            if record.lock is None or not record.lock.is_complete or record.lock.round < held[0]:
                raise Violation(
                    f"lock lost: ROUND_CHANGE {record.position} after a COMMIT of round {held[0]}"
                )
            if record.lock.round == held[0] and record.lock.block_id != held[1]:
                raise Violation(f"lock lost: ROUND_CHANGE {record.position} names another block")
        if record.step == STEP_COMMIT:
            assert record.block_id is not None
            self.locks[record.height] = (record.round, record.block_id)

    # --- the points between

    def _on_store(self, effect: StoreBlock) -> None:
        super()._on_store(effect)
        if self._is_due("block stored"):
            self.crash()

    def _on_decide(self, effect: Decide) -> None:
        if self._is_due("block decided"):
            self.crash()
            return
        super()._on_decide(effect)
        if self.state is not None and len(self.disk.chain) > effect.header.height:
            self.state.height_decided(effect.header.height)
            if self._is_due("chain stored"):
                self.crash()


class Forgetful(KilledValidator):
    """Starts with new memories each time: the campaign must notice."""

    def recover_signer(self) -> RecoveredSigner | Quarantine:
        for path in (*(self.home / "watermark").iterdir(), *(self.home / "journal").glob("*")):
            path.unlink()
        create_watermark(self.home / "watermark", chain.CHAIN_ID, self.key)
        return super().recover_signer()


def die_in_fork(point: str, action: Callable[[], Any]) -> None:
    """Do `action` in a forked process that is killed at the fail point; it must get there."""
    child = os.fork()
    if child == 0:
        try:
            failpoints.arm(point)
            action()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise AssertionError(f"the fail point {point} was not reached: status {status}")


def run_world(
    seed: int,
    home: Path,
    kills: Counter[str],
    limit: int,
    kind: type[KilledValidator] = KilledValidator,
) -> KilledValidator:
    """One network up to `HEIGHTS` or until all kills are made. Raises `Violation`."""
    world = World(seed, Oracle(chain.CHAIN_ID))
    victim = kind(world, 0, 0, 4, TIMES)
    victim.prepare(home, kills, limit)
    world.nodes += [victim, *(Node(world, number, number, 4, TIMES) for number in range(1, 4))]
    victim.faults.restart_after_ms = world.random.choice((5, 100))
    world.network.loss = world.random.choice((0.05, 0.1, 0.2))
    for node in world.nodes:
        world.after(0, node.boot)
    for number in range(HEIGHTS):
        world.after(
            400 * number, world.nodes[number % 4].add_transactions, (chain.plain_transaction(number),)
        )

    def is_over() -> bool:
        return kills.total() >= limit or min(len(node.disk.chain) for node in world.nodes) > HEIGHTS

    if not world.run(SIMULATED_MS, is_over) and kills.total() < limit:
        raise Violation(f"liveness: seed {seed} did not reach height {HEIGHTS}")
    if victim.state is not None:
        victim.state.close()
    return victim


def campaign(count: int, seed: int, kind: type[KilledValidator] = KilledValidator) -> str:
    """`count` kills, the points in turn; what was seen. Raises `Violation`."""
    kills: Counter[str] = Counter()
    heights = carried = 0
    for world_seed in itertools.count(seed):
        if kills.total() >= count:
            break
        with tempfile.TemporaryDirectory(prefix="vote-kills-") as home:
            victim = run_world(world_seed, Path(home), kills, count, kind)
        heights += len(victim.disk.chain) - 1
        carried += victim.carried
        print(f"\r{kills.total():5} of {count} kills, {heights} heights", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    lines = [f"{kills[point]:6}  {point}" for point in POINTS]
    summary = (
        f"{kills.total()} kills over {heights} heights: no position was signed twice, every signed vote "
        f"was on disk, {carried} ROUND_CHANGEs after a COMMIT carried its lock"
    )
    return "\n".join([*lines, summary])


def main(arguments: list[str] | None = None) -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.vote_kills", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="how many kills")
    parser.add_argument("--seed", type=int, default=1, help="the first world's seed")
    parser.add_argument(
        "--forget", action="store_true", help="lose all votes at each start: must be reported as a violation"
    )
    options = parser.parse_args(arguments)
    try:
        print(campaign(options.count, options.seed, Forgetful if options.forget else KilledValidator))
    except Violation as violation:
        print(f"VIOLATION  {violation}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
