"""The inputs kept for each target: one text file a target, one input a line, in hex.

They begin from what `tests/fuzz/targets.py` makes from vectors and examples; `python -m tests.fuzz.campaign
--keep` adds inputs that walked a branch no other walks, the shortest ones first and only a few.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
MAX_KEPT = 60
MAX_KEPT_BYTES = 600


def read_kept(name: str) -> list[bytes]:
    """The committed inputs of a target."""
    path = CORPUS / f"{name}.hex"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def write_kept(name: str, inputs: Iterable[bytes]) -> int:
    """Keep the shortest of `inputs`; returns how many."""
    short = sorted(
        {data for data in inputs if len(data) <= MAX_KEPT_BYTES}, key=lambda data: (len(data), data)
    )
    lines = [data.hex() for data in short[:MAX_KEPT]]
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.hex").write_text("".join(f"{line}\n" for line in lines))
    return len(lines)


def spread(inputs: Iterable[bytes], folder: Path) -> None:
    """Write inputs as libFuzzer reads them: a file each, named by its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
