"""`python -m tests.crash.full_disk --disk DIR`: fill a small file system under a storage-only node.

`DIR` is a file system of a few MiB made for this. The node must stop with its storage code each time it is
started, and once there is room again nothing it promised is missing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.crash.machine import EXIT_STORAGE, Home, Promise, make_blocks, run_check, run_create, run_worker

BALLAST_BYTES = 5 << 20


def fill(disk: Path) -> int:
    """Run into the full disk three times, free it, and go on; returns how many blocks were final before."""
    home, blocks = Home(disk / "home"), make_blocks(400)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    run_create(home)
    promised: list[Promise] = []
    for _ in range(3):  # a node that is started again while the disk is full only fails again
        ended = run_worker(home, blocks)
        promised += ended.promised
        assert ended.code == EXIT_STORAGE, ended
        assert "STORAGE_" in ended.words
    ballast.unlink()
    checked = run_check(home, blocks, promised, full=True)
    assert checked.code == 0, checked.words
    ended = run_worker(home, blocks)
    assert ended.code == 0, ended.words
    checked = run_check(home, blocks, ended.promised, full=True)
    assert checked.code == 0, checked.words
    return sum(kind == "final" for kind, _ in promised)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disk", type=Path, required=True)
    finals = fill(parser.parse_args().disk)
    assert finals, "the disk was full before the first block"
    print(f"{finals} blocks were final before the disk was full, nothing lost")


if __name__ == "__main__":
    main()
