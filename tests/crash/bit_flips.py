"""`python -m tests.crash.bit_flips --count 500`: flip a bit anywhere in a node's files; none goes unnoticed.

A flip counts as noticed when opening, the checks at start, or `verify` report it, or when the vote recovery
says so. Left out is what holds no data: LevelDB's text log and the zeros behind a watermark slot's record.
Prints the seed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from primitives.errors import DrexError
from storage.chain_store import open_chain_store
from storage.integrity import check_open
from storage.signing_state import Quarantine, open_signing_state
from storage.tables import damaged_parts
from storage.verify import verify_store
from tests.crash.machine import KEY, Home, make_blocks, run_compact, run_create, run_in_child, run_worker
from tests.storage.chains import BUCKETS, CHAIN_ID, Made

BLOCKS = 150


@dataclass(frozen=True)
class Flip:
    """One trial: where, and how it was noticed."""

    file: str
    position: int
    noticed: str


def make_home(folder: Path) -> tuple[Home, list[Made]]:
    """A stopped node with tables, a log, a manifest, a journal and a watermark."""
    home, blocks = Home(folder), make_blocks(BLOCKS)
    run_create(home)
    for part, write_buffer_bytes in ((blocks[:-20], 1 << 16), (blocks, 1 << 23)):
        ended = run_worker(home, part, write_buffer_bytes=write_buffer_bytes)
        assert ended.code == 0, ended.words
        if part is not blocks:
            run_compact(home)  # so that no half-made table, which nobody reads, lies about
    assert list(home.chain.glob("*.ldb"))
    assert next(home.chain.glob("*.log")).stat().st_size
    return home, blocks


def flip_one(home: Home, copy: Path, chance: random.Random) -> Flip:
    """Copy the home, flip a bit, and look at it as a start and `verify` would."""
    shutil.copytree(home.folder, copy)
    victim = chance.choice(sorted(path for path in copy.rglob("*") if path.is_file() and _used_bytes(path)))
    data = bytearray(victim.read_bytes())
    position = chance.randrange(_used_bytes(victim))
    data[position] ^= 1 << chance.randrange(8)
    victim.write_bytes(data)
    noticed = run_in_child(lambda: _look(Home(copy))).words
    shutil.rmtree(copy)
    flip = Flip(str(victim.relative_to(copy)), position, noticed)
    assert noticed, f"{flip} went unnoticed"
    return flip


def _look(home: Home) -> str:
    """What a start and `verify` notice; empty for nothing."""
    try:
        signing = open_signing_state(home.journal, home.watermark, CHAIN_ID, KEY)
        signing.close()
        if isinstance(signing.recovery, Quarantine):
            return signing.recovery.reason
        if signing.recovery.note:
            return signing.recovery.note
        forgiven = damaged_parts(home.chain)  # before an open, whose compaction may replace the table
        store = open_chain_store(home.chain, CHAIN_ID, hot_set_bytes=1 << 24)
        try:
            check_open(store, CHAIN_ID, BUCKETS)
            report = verify_store(store, CHAIN_ID, BUCKETS)
            return "; ".join((*forgiven, *store.database.recovered, *report.findings))
        finally:
            store.close()
    except DrexError as error:
        return str(error)


def _used_bytes(path: Path) -> int:
    """How much of a file is data."""
    if path.name in ("LOG", "LOG.old"):
        return 0
    if path.name.startswith("slot-"):
        return 44 + int.from_bytes(path.read_bytes()[8:12], "big")
    return path.stat().st_size


def flip_many(folder: Path, count: int, seed: int) -> list[Flip]:
    """`count` trials. Raises `AssertionError` for a flip that nobody noticed though it is read."""
    chance = random.Random(seed)
    home, _ = make_home(folder / "home")
    return [flip_one(home, folder / "copy", chance) for _ in range(count)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="drexnode-flips-") as folder:
        flips = flip_many(Path(folder), options.count, options.seed)
    kinds = Counter(flip.file.rsplit("/", 1)[1].split("-")[0].rpartition(".")[2] for flip in flips)
    print(f"{len(flips)} flips, all noticed: {dict(sorted(kinds.items()))}")


if __name__ == "__main__":
    main()
