"""The long replay in short: every kind, and other hash seeds end with the same bytes.

The million is `make replay-million`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.payloads import Kind
from primitives.errors import DecodeError, InvalidBlock, InvalidTransaction
from tests.ledger.million import make, replay, run_fresh

MANY = 3_000


def test_two_fresh_processes_with_other_hash_seeds_end_with_the_same_digest(tmp_path: Path) -> None:
    path = tmp_path / "blocks"
    made = make(path, MANY)
    assert sum(made["kinds"].values()) == MANY
    assert set(made["kinds"]) == {kind.name for kind in Kind}
    given = ("--step", "replay", "--file", str(path), "--signatures")
    digests = {run_fresh(*given, hash_seed=hash_seed)["digest"] for hash_seed in (1, 4242)}
    assert digests == {made["digest"]}


def test_a_changed_block_does_not_replay(tmp_path: Path) -> None:
    path = tmp_path / "blocks"
    make(path, 500)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises((DecodeError, InvalidBlock, InvalidTransaction)):
        replay(path, signatures=True)
