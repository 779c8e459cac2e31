"""Every fuzz target survives random bytes and mutations of valid ones.

Longer runs are `python -m tests.fuzz`.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutate
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
    corpus = target.corpus()
    for data in corpus:
        target.fuzz_one(data)
    for _ in range(1_500):
        target.fuzz_one(mutate(random.choice(corpus), random.choice(corpus), random))
