"""`python -m tests.crash.power_cuts --count 500`: what a power cut may leave on the disk, and a start on it.

A storage-only node works under a preloaded library (recorder.c, built with the system's C compiler) that
writes down every change to its files and every sync. From any prefix of that record a crash image is made:
what was synced is whole; of what was written later a random subset of 4 KiB pages is there, a file may be
shorter, and of the creations, renames and removals since the last sync a random prefix has happened. The node
must start on each image with everything it had promised. The record also shows the order itself: each vote's
journal and watermark syncs before its promise, each block's log sync before it is called final.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from storage import leveldb
from tests.crash.machine import Home, Promise, create, make_blocks, run_check, work

BLOCKS = 120
PROMISES = "promises"
_PAGE = 4096


@dataclass(frozen=True)
class Step:
    """One recorded change. See recorder.c for `kind`; paths are relative to the home."""

    kind: str
    path: str
    second: str
    offset: int
    data: bytes


@dataclass
class FileImage:
    """A file as it would be after a power cut: synced bytes, and later writes page by page."""

    synced: bytes = b""
    current: bytearray = field(default_factory=bytearray)

    def write(self, offset: int, data: bytes) -> None:
        """A write that has not been synced."""
        if len(self.current) < offset:
            self.current += bytes(offset - len(self.current))
        self.current[offset : offset + len(data)] = data

    def after_cut(self, chance: random.Random) -> bytes:
        """The synced bytes with a random subset of the later pages."""
        length = len(self.current)
        if length > len(self.synced) and chance.random() < 0.5:
            length = chance.randint(len(self.synced), length)
        left = bytearray(self.synced[:length].ljust(length, b"\0"))
        keep = chance.random()
        for start in range(0, length, _PAGE):
            if chance.random() < keep:
                left[start : start + _PAGE] = self.current[start : min(start + _PAGE, length)]
        return bytes(left)


def build_recorder(folder: Path) -> Path | None:
    """Compile the library; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "recorder.so"
    source = Path(__file__).with_name("recorder.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl", "-lpthread"],
        check=True,
    )
    return library


def record_run(folder: Path, library: Path, seed: int) -> list[Step]:
    """Let a node work under the recorder; what it did."""
    log, home = folder / "record", folder / "home"
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "DREXNODE_RECORD_ROOT": str(home),
        "DREXNODE_RECORD_LOG": str(log),
    }
    command = [sys.executable, "-m", "tests.crash.power_cuts", "--work", str(home), "--seed", str(seed)]
    subprocess.run(command, env=environment, check=True)
    return read_record(log.read_bytes(), home)


def read_record(data: bytes, home: Path) -> list[Step]:
    """The steps of a record."""
    steps, at = [], 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return data[at - size : at]

    def number(size: int) -> int:
        return int.from_bytes(take(size), "little")

    def name() -> str:
        text = take(number(4)).decode()
        return os.path.relpath(text, home) if text else ""

    while at < len(data):
        kind = take(1).decode()
        path, second, offset = name(), name(), number(8)
        steps.append(Step(kind, path, second, offset, take(number(4))))
    return steps


def work_recorded(home: Home, seed: int) -> None:
    """The node that is recorded: promises go to a file, so that they stand in the record in order."""
    leveldb.DB_WRITE_BUFFER_BYTES = 1 << 16  # type: ignore[attr-defined]
    create(home)
    with (home.folder / PROMISES).open("wb", buffering=0) as told:
        work(home, make_blocks(BLOCKS, seed), lambda promise: _tell(told.fileno(), promise))


def _tell(descriptor: int, promise: Promise) -> None:
    os.write(descriptor, f"{promise[0]} {promise[1]}\n".encode())


def crash_image(steps: list[Step], folder: Path, chance: random.Random) -> list[Promise]:
    """Write the files that a power cut after `steps` may leave below `folder`; the promises made by then."""
    files: dict[str, FileImage] = {}
    durable: dict[str, FileImage] = {}
    later: list[tuple[Step, FileImage | None]] = []  # changes of names that no sync has committed
    promised: list[Promise] = []
    for step in steps:
        if step.path == PROMISES:
            promised += [(kind, int(place)) for kind, place in (row.split() for row in _rows(step))]
            continue
        _change(files, step)
        if step.kind in "CRU":
            later.append((step, files.get(step.path)))
        if step.kind == "S":
            image = files[step.path]
            image.synced = bytes(image.current)
        if step.kind in "SD":  # a sync commits the file system's journal, with all changes of names before it
            _rename_all(durable, later)
            later.clear()
    _rename_all(durable, later[: chance.randint(0, len(later))])
    for path, image in sorted(durable.items()):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(image.after_cut(chance))
    return promised


def _rows(step: Step) -> list[str]:
    return step.data.decode().splitlines() if step.kind == "W" else []


def _change(files: dict[str, FileImage], step: Step) -> None:
    """Carry a step out on the files as the running process sees them."""
    match step.kind:
        case "C":
            files[step.path] = FileImage()
        case "W":
            files[step.path].write(step.offset, step.data)
        case "T":
            image = files[step.path]
            del image.current[step.offset :]
            image.synced = image.synced[: step.offset]
        case "R" if step.path in files:  # not LevelDB's text log, which the recorder does not follow
            files[step.second] = files.pop(step.path)
        case "U":
            files.pop(step.path, None)


def _rename_all(durable: dict[str, FileImage], changes: list[tuple[Step, FileImage | None]]) -> None:
    """Carry changes of names out on the durable directory."""
    for step, image in changes:
        if step.kind == "C" and image is not None:
            durable[step.path] = image
        elif step.kind == "R" and step.path in durable:
            durable[step.second] = durable.pop(step.path)
        elif step.kind == "U":
            durable.pop(step.path, None)


def check_order(steps: list[Step]) -> tuple[int, int]:
    """Every promise stands behind the syncs it rests on; returns how many votes and final blocks it saw.

    A vote: the journal and a slot were written and synced since the promise before. A final block: LevelDB's
    log was. And nothing in them is unsynced at that moment. Raises `AssertionError`.
    """
    votes = finals = 0
    unsynced: set[str] = set()
    synced: list[str] = []
    for step in steps:
        if step.path == PROMISES:
            for row in _rows(step):
                kinds = [_kind(path) for path in synced]
                needed = ["journal", "slot"] if row.startswith("vote") else ["log"]
                assert [kind for kind in kinds if kind in needed][-len(needed) :] == needed, (row, synced)
                assert not {path for path in unsynced if _kind(path) in ("journal", "slot", "log")}, (
                    row,
                    unsynced,
                )
                votes += row.startswith("vote")
                finals += row.startswith("final")
            synced.clear()
        elif step.kind == "W":
            unsynced.add(step.path)
        elif step.kind == "S":
            unsynced.discard(step.path)
            synced.append(step.path)
    return votes, finals


def _kind(path: str) -> str:
    name = Path(path).name
    if name.startswith("slot-"):
        return "slot"
    return {".journal": "journal", ".log": "log"}.get(Path(path).suffix, "other")


def cut_many(folder: Path, library: Path, count: int, seed: int) -> tuple[int, int, int]:
    """Record a run, then start on `count` crash images of it; (votes, final blocks, torn logs)."""
    chance = random.Random(seed)
    steps = record_run(folder, library, seed)
    votes, finals = check_order(steps)
    blocks = make_blocks(BLOCKS, seed)
    torn = 0
    begun = next(place for place, step in enumerate(steps) if step.path == PROMISES)
    for number in range(count):
        home = Home(folder / f"image-{number}")
        length = chance.randint(begun, len(steps))
        promised = crash_image(steps[:length], home.folder, chance)
        checked = run_check(home, blocks, promised, full=number % 10 == 0)
        assert checked.code == 0, f"image {number}, {length} steps, seed {seed}: {checked.words}"
        torn += any(home.chain.parent.glob("chain.torn-*"))
        shutil.rmtree(home.folder)
    return votes, finals, torn


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work_recorded(Home(options.work), options.seed)
        return
    print(f"seed {options.seed}")
    folder = Path(tempfile.mkdtemp(prefix="drexnode-cuts-"))
    library = build_recorder(folder)
    if library is None:
        raise SystemExit("a C compiler is needed to build the recorder")
    try:
        votes, finals, torn = cut_many(folder, library, options.count, options.seed)
    except BaseException:
        print(f"kept {folder}")
        raise
    shutil.rmtree(folder)
    print(f"{votes} votes and {finals} final blocks were synced before they were promised")
    print(f"{options.count} crash images, {torn} of them with a torn log, nothing lost")


if __name__ == "__main__":
    main()
