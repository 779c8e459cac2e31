"""`python -m tests.crash.failing_syncs --count 200`: the n-th sync of a storage-only node fails with EIO.

A preloaded library (failing_sync.c, built with the system's C compiler) lets one fsync or fdatasync fail:
of LevelDB's log, tables, manifest or folder, of the vote journal, or of the watermark. The node must stop
with its storage code and promise nothing more, and after a restart everything it had promised is there.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.crash.machine import EXIT_STORAGE, Home, make_blocks, run_check, run_create, run_worker

BLOCKS = 400
_READY = "DREXNODE_FAILING_SYNCS"  # set for the process that the library is preloaded into


def build_library(folder: Path) -> Path:
    """Compile the library. Raises `RuntimeError` where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("a C compiler is needed (cc or gcc)")
    library = folder / "failing_sync.so"
    source = Path(__file__).with_name("failing_sync.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-lpthread"]
    subprocess.run(command, check=True)
    return library


def kind_of(path: str, home: Home) -> str:
    """Which of the node's memories a file belongs to."""
    if Path(path).is_relative_to(home.watermark):
        return "watermark"
    if Path(path).is_relative_to(home.journal):
        return "vote journal"
    if not Path(path).is_relative_to(home.chain):
        return "elsewhere"
    kinds = {".log": "LevelDB log", ".ldb": "LevelDB table"}
    return kinds.get(Path(path).suffix, "LevelDB manifest and folder")


def fail_one_after_another(folder: Path, count: int, seed: int) -> tuple[Counter[str], int]:
    """Let `count` syncs fail; returns whose they were, and how many blocks were final before. Raises on any
    loss, and when the node goes on."""
    chance = random.Random(seed)
    library = ctypes.CDLL(None)
    library.failed_sync.restype = ctypes.c_char_p
    blocks = make_blocks(BLOCKS, seed)
    generation, finals, hit = 0, 0, Counter[str]()
    home = Home(folder / "0")
    run_create(home)
    while hit.total() < count:
        number = chance.randint(1, 60)
        note = folder / "failed"

        def arm(promised_by: Home = home, number: int = number) -> None:
            library.fail_sync(str(promised_by.folder).encode(), number)

        def tell(note: Path = note) -> None:
            note.write_bytes(library.failed_sync())

        ended = run_worker(home, blocks, before=arm, after=tell)
        where = f"sync {number}, seed {seed}, {home.folder}"
        failed = note.read_text()
        assert (ended.code == EXIT_STORAGE) == bool(failed) or _is_last(ended.promised), (where, ended)
        assert ended.code in (0, EXIT_STORAGE), (where, ended.words)
        finals += sum(kind == "final" for kind, _ in ended.promised)
        if failed:
            hit[kind_of(failed, home)] += 1
        checked = run_check(home, blocks, ended.promised, full=hit.total() % 10 == 9)
        assert checked.code == 0, f"{where}: {checked.words}"
        if ended.code == 0:
            shutil.rmtree(home.folder)
            generation += 1
            home = Home(folder / str(generation))
            run_create(home)
    return hit, finals


def _is_last(promised: tuple[tuple[str, int], ...]) -> bool:
    """The end came while LevelDB still wrote a table behind it: nothing was left to be refused."""
    return ("final", BLOCKS - 1) in promised


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="syncs that fail")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="drexnode-syncs-"))
    if _READY not in os.environ:
        environment = os.environ | {"LD_PRELOAD": str(build_library(folder)), _READY: "1"}
        command = [sys.executable, "-m", "tests.crash.failing_syncs", "--count", str(options.count)]
        code = subprocess.run([*command, "--seed", str(options.seed)], env=environment).returncode
        shutil.rmtree(folder)
        sys.exit(code)
    print(f"seed {options.seed}")
    try:
        hit, finals = fail_one_after_another(folder, options.count, options.seed)
    except BaseException:
        print(f"kept {folder}")
        raise
    shutil.rmtree(folder)
    words = f"{hit.total()} syncs failed, {finals} blocks final before them, nothing lost"
    print(f"{words}: {dict(sorted(hit.items()))}")


if __name__ == "__main__":
    main()
