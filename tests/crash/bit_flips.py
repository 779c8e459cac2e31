"""`python -m tests.crash.bit_flips --count 500`: flip one bit anywhere in a node's files; none goes unnoticed.

A flip counts as noticed when opening, the checks at start, or `verify` report it, or when the vote recovery
says so. What is not noticed must be a place that nobody reads: LevelDB's text log, its lock file, the padding
of a table's footer, the unused rest of a watermark slot. Prints the seed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from primitives.errors import DrexError
from storage.chain_store import open_chain_store
from storage.integrity import check_open
from storage.signing_state import Quarantine, open_signing_state
from storage.verify import verify_store
from tests.crash.machine import KEY, Home, make_blocks, run_create, run_worker
from tests.storage.chains import BUCKETS, CHAIN_ID, Made

BLOCKS = 150
_FOOTER_BYTES = 48
_MAGIC_BYTES = 8


@dataclass(frozen=True)
class Flip:
    """One trial: where, and how it was noticed (None: not at all)."""

    file: str
    position: int
    noticed: str | None


def make_home(folder: Path) -> tuple[Home, list[Made]]:
    """A stopped node with tables, a log, a manifest, a journal and a watermark."""
    home, blocks = Home(folder), make_blocks(BLOCKS)
    run_create(home)
    ended = run_worker(home, blocks)
    assert ended.code == 0, ended.words
    assert list(home.chain.glob("*.ldb"))
    return home, blocks


def flip_one(home: Home, copy: Path, chance: random.Random) -> Flip:
    """Copy the home, flip a bit, and look at it as a start and `verify` would."""
    shutil.copytree(home.folder, copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file() and path.stat().st_size)
    victim = chance.choice(files)
    data = bytearray(victim.read_bytes())
    position = chance.randrange(len(data))
    data[position] ^= 1 << chance.randrange(8)
    victim.write_bytes(data)
    noticed = _look(Home(copy))
    shutil.rmtree(copy)
    flip = Flip(str(victim.relative_to(copy)), position, noticed)
    assert noticed or _is_unread(victim.name, position, bytes(data)), f"{flip} went unnoticed"
    return flip


def _look(home: Home) -> str | None:
    try:
        signing = open_signing_state(home.journal, home.watermark, CHAIN_ID, KEY)
        signing.close()
        if isinstance(signing.recovery, Quarantine):
            return signing.recovery.reason
        if signing.recovery.note:
            return signing.recovery.note
        store = open_chain_store(home.chain, CHAIN_ID, hot_set_bytes=1 << 24)
        try:
            check_open(store, CHAIN_ID, BUCKETS)
            report = verify_store(store, CHAIN_ID, BUCKETS)
            return "; ".join((*store.database.recovered, *report.findings)) or None
        finally:
            store.close()
    except DrexError as error:
        return str(error)


def _is_unread(name: str, position: int, data: bytes) -> bool:
    if name in ("LOG", "LOG.old", "LOCK"):
        return True
    if name.endswith(".ldb"):
        footer = data[-_FOOTER_BYTES:-_MAGIC_BYTES]
        handles = 0
        for _ in range(4):  # two block handles, each two varints; what follows is padding
            while footer[handles] & 0x80:
                handles += 1
            handles += 1
        return len(data) - _FOOTER_BYTES + handles <= position < len(data) - _MAGIC_BYTES
    if name.startswith("slot-"):
        return position >= 44 + int.from_bytes(data[8:12], "big")
    return False


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
    noticed = [flip for flip in flips if flip.noticed]
    print(f"{len(flips)} flips, {len(noticed)} noticed, {len(flips) - len(noticed)} in places nobody reads")


if __name__ == "__main__":
    main()
