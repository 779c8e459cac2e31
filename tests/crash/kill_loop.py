"""`python -m tests.crash.kill_loop --count 1000`: kill a storage-only node at random moments, over and over.

After each death everything it promised must be there: votes in journal and watermark, final blocks in the
store, and the tip at a block's boundary with the right root. Prints the seed; keeps the folder on failure.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import tempfile
from pathlib import Path

from storage import failpoints
from tests.crash.machine import Ended, Home, make_blocks, run_check, run_create, run_worker

BLOCKS = 400


def kill_at_random(folder: Path, count: int, seed: int) -> int:
    """Do `count` kills below `folder`; returns how many blocks were final at a kill. Raises on any loss."""
    chance = random.Random(seed)
    blocks = make_blocks(BLOCKS, seed)
    home, generation, finals = Home(folder / "0"), 0, 0
    run_create(home)
    for number in range(count):
        ended = run_worker(home, blocks, kill_after=chance.uniform(0.0, 0.15))
        assert ended.code in (0, -signal.SIGKILL), ended.words
        finals += sum(kind == "final" for kind, _ in ended.promised)
        _judge(run_check(home, blocks, ended.promised, full=number % 10 == 9), f"kill {number}, seed {seed}")
        if ended.code == 0:
            shutil.rmtree(home.folder)
            generation += 1
            home = Home(folder / str(generation))
            run_create(home)
    return finals


def kill_at_every_point(folder: Path, count: int, seed: int) -> dict[str, int]:
    """Die at each named point in turn, `count` times in all; returns the deaths per point."""
    chance = random.Random(seed)
    blocks = make_blocks(BLOCKS, seed)
    home, generation = Home(folder / "0"), 0
    run_create(home)
    deaths = dict.fromkeys(failpoints.NAMES, 0)
    for number in range(count):
        name = failpoints.NAMES[number % len(failpoints.NAMES)]
        passage = 1 if "rotate" in name else chance.randint(1, 8)
        ended = run_worker(home, blocks, failpoint=f"{name}:{passage}")
        assert ended.code in (0, -signal.SIGKILL), ended.words
        deaths[name] += ended.code != 0
        _judge(
            run_check(home, blocks, ended.promised, full=number % 10 == 9), f"{name}:{passage}, seed {seed}"
        )
        if ended.code == 0:
            shutil.rmtree(home.folder)
            generation += 1
            home = Home(folder / str(generation))
            run_create(home)
    return deaths


def _judge(checked: Ended, where: str) -> None:
    assert checked.code == 0, f"{where}: {checked.words}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="kills at random moments")
    parser.add_argument("--points", type=int, default=0, help="deaths at fail points")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    folder = Path(tempfile.mkdtemp(prefix="drexnode-kill-"))
    try:
        finals = kill_at_random(folder / "random", options.count, options.seed)
        print(f"{options.count} kills at random moments, {finals} blocks final before them, nothing lost")
        if options.points:
            deaths = kill_at_every_point(folder / "points", options.points, options.seed)
            print(f"{sum(deaths.values())} deaths at fail points, nothing lost: {deaths}")
    except BaseException:
        print(f"kept {folder}")
        raise
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
