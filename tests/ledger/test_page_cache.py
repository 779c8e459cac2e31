"""The cache of bucket pages: what it holds is what was put last, and it never holds more than its bound."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.page_cache import PageCache, first_bytes, lower_bytes
from ledger.tree_pages import bucket_page_key

BUCKETS = 16
KEYS = [bucket_page_key(bucket) + below for bucket in range(BUCKETS) for below in (b"", b"\x01", b"\x01\x02")]

puts = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(min_size=1, max_size=300)))


def cost(pages: dict[bytes, bytes]) -> int:
    return sum(first_bytes(page) if len(key) == 5 else lower_bytes(page) for key, page in pages.items())


@given(st.lists(puts, max_size=20), st.sampled_from([0, 300, 5_000, 1 << 20]))
def test_what_is_held_was_put_last_and_fits(
    steps: list[list[tuple[bytes, bytes | None]]], limit: int
) -> None:
    cache, model = PageCache(BUCKETS, limit), dict[bytes, bytes]()
    for step in steps:
        cache.put(step)
        for key, page in step:
            if page is None:
                model.pop(key, None)
            else:
                model[key] = page
        cache.trim()
        held = {key: page for key in KEYS if (page := cache.get(key)) is not None}
        assert held.items() <= model.items()
        assert cache.held_bytes == cost(held) <= limit
        if cost(model) <= limit:
            assert held == model
        model = held


@pytest.mark.parametrize("below", [b"", b"\x01"])
def test_pages_of_one_kind_may_fill_all_of_it(below: bytes) -> None:
    pages = [(bucket_page_key(bucket) + below, bytes(100)) for bucket in range(BUCKETS)]
    cache = PageCache(BUCKETS, cost(dict(pages)))
    cache.put(pages)
    cache.trim()
    assert all(cache.get(key) == page for key, page in pages)


def test_lower_pages_give_way_to_first_ones_at_half_of_the_bound() -> None:
    first = [(bucket_page_key(bucket), bytes(100)) for bucket in range(BUCKETS)]
    lower = [(bucket_page_key(0) + bytes((n,)), bytes(100)) for n in range(BUCKETS)]
    cache = PageCache(BUCKETS, 2 * cost(dict(first)))
    cache.put([*lower, *first])
    cache.trim()
    assert all(cache.get(key) for key, _ in first)
    kept = [key for key, _ in lower if cache.get(key)]
    assert kept == [key for key, _ in lower[-len(kept) :]], "the oldest went"


def test_a_start_fills_it_with_first_pages_until_it_is_full() -> None:
    rows = [(bucket_page_key(bucket), bytes(100)) for bucket in range(BUCKETS)]
    others = [(rows[3][0] + b"\x01", bytes(9)), (bucket_page_key(BUCKETS), bytes(9)), (b"", b"")]
    cache = PageCache(BUCKETS, 10 * first_bytes(bytes(100)))
    assert not cache.load(rows)
    assert [bool(page) for page in cache.first] == [True] * 10 + [False] * 6
    assert cache.held_bytes == cache.limit_bytes
    whole = PageCache(BUCKETS, 1 << 20)
    assert whole.load([*others, *rows, *others])
    assert whole.first == [page for _, page in rows]
    assert whole.held_bytes == cost(dict(rows))


def test_the_hand_lets_pages_go_in_turn_wherever_it_stands() -> None:
    cache = PageCache(BUCKETS, 4 * first_bytes(b"x"))
    numbers = random.Random(5)
    for _ in range(1_000):
        bucket = numbers.randrange(BUCKETS)
        cache.put([(bucket_page_key(bucket), b"x")])
        cache.trim()
        assert sum(page is not None for page in cache.first) <= 4
