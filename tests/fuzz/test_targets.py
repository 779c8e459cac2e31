"""Every fuzz target survives random bytes and mutations of valid ones.

Every input in tests/fuzz/corpus is walked too. Longer runs are `make fuzz`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.campaign import read_log
from tests.fuzz.corpus import MAX_KEPT, read_kept, write_kept
from tests.fuzz.mutate import mutate, mutate_value
from tests.fuzz.targets import TARGETS

NAMES = list(TARGETS)
quick = settings(max_examples=150, deadline=None)


@pytest.mark.parametrize("name", NAMES)
@quick
@given(st.binary(max_size=400))
def test_random_bytes_give_a_value_or_a_decode_error(name: str, data: bytes) -> None:
    TARGETS[name].fuzz_one(data)


@pytest.mark.parametrize("name", NAMES)
def test_mutations_of_the_corpus_give_a_value_or_a_decode_error(name: str) -> None:
    target, random = TARGETS[name], Random(name)
    corpus = [*target.corpus(), *read_kept(name)]
    for data in corpus:
        target.fuzz_one(data)
    for _ in range(1_500):
        target.fuzz_one(mutate(random.choice(corpus), random.choice(corpus), random))
    for _ in range(500):
        target.fuzz_one(mutate_value(random.choice(corpus), random))


def test_a_change_of_a_value_is_canonical_again() -> None:
    random, data = Random(1), TARGETS["transaction"].corpus()[0]
    made = {mutate_value(data, random) for _ in range(200)}
    assert len(made) > 50
    for changed in made:
        with contextlib.suppress(msgspec.DecodeError):
            assert msgspec.msgpack.encode(msgspec.msgpack.decode(changed)) == changed


LOG = """#2 INITED cov: 10 ft: 11 corp: 3/9b
#9 NEW    cov: 12 ft: 15 corp: 4/9b
stat::number_of_executed_units: 900
stat::new_units_added:          4
stat::peak_rss_mb:              54
"""


def test_a_run_is_clean_only_when_it_ended_ran_and_found_nothing(tmp_path: Path) -> None:
    report = read_log("x", LOG, (), 0)
    assert (report.executions, report.first, report.last, report.inputs, report.peak_mb) == (
        900,
        10,
        12,
        4,
        54,
    )
    assert report.is_clean
    assert not read_log("x", LOG, (), 77).is_clean
    assert not read_log("x", LOG, (tmp_path / "crash-1",), 0).is_clean
    assert not read_log("x", "", (), 0).is_clean


def test_the_shortest_inputs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.corpus.CORPUS", tmp_path)
    inputs = [bytes(size) for size in range(300)] + [bytes(10_000)]
    assert write_kept("x", inputs) == MAX_KEPT
    assert read_kept("x") == inputs[:MAX_KEPT]
