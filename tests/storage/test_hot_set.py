"""The hot set: bounded, right, and complete when all fits."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from primitives.limits import HOT_SET_SHARDS
from storage.chain_store import open_chain_store
from storage.hot_set import HotSet, entry_bytes
from tests.storage.chains import ASSET, CHAIN_ID, SyntheticChain, commit

KEYS = st.binary(min_size=1, max_size=6)
VALUES = st.binary(min_size=0, max_size=40)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=120))
def test_with_room_for_all_it_is_a_map(steps: list[tuple[bytes, bytes | None]]) -> None:
    kept, model = HotSet(1 << 30), dict[bytes, bytes]()
    for number, (key, value) in enumerate(steps):
        if number % 3 == 0:
            kept.apply([(key, (None, value))])
        elif value is None:
            kept.remove(key)
        else:
            kept.put(key, value)
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value
    assert {key: kept.get(key) for key, _ in steps} == {key: model.get(key) for key, _ in steps}
    assert kept.entries == len(model)
    assert kept.bytes == sum(entry_bytes(key, value) for key, value in model.items())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=200), st.integers(0, 3000))
def test_it_never_exceeds_its_bound_and_never_answers_wrong(
    steps: list[tuple[bytes, bytes | None]], limit: int
) -> None:
    kept, model = HotSet(limit), dict[bytes, bytes]()
    for number, (key, value) in enumerate(steps):
        if number % 2:
            kept.apply([(key, (None, value))])
        elif value is None:
            kept.remove(key)
        else:
            kept.put(key, value)
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value
        assert kept.bytes <= limit
        assert kept.get(key) in (None, model.get(key))
    assert all(kept.get(key) in (None, model.get(key)) for key, _ in steps)
    assert 0 <= kept.entries <= len(model)


@given(st.dictionaries(KEYS, VALUES, max_size=60), st.integers(0, 12_000))
def test_a_load_begins_anew_and_stops_at_the_bound(rows: dict[bytes, bytes], limit: int) -> None:
    kept = HotSet(limit)
    kept.put(b"before", b"")
    assert kept.load(iter(rows.items())) is (sum(entry_bytes(*row) for row in rows.items()) <= limit)
    there = {key: value for key in rows if (value := kept.get(key)) is not None}
    assert list(there.items()) == list(rows.items())[: len(there)]
    assert kept.entries == len(there)
    assert kept.bytes == sum(entry_bytes(*row) for row in there.items()) <= limit
    assert b"before" in rows or kept.get(b"before") is None


def test_what_is_read_again_and_again_stays_while_the_rest_goes() -> None:
    kept = HotSet(400 * entry_bytes(bytes(8), bytes(8)))
    favourite = b"favorite"
    kept.put(favourite, bytes(8))
    for number in range(50_000):
        kept.put(number.to_bytes(8, "big"), bytes(8))
        if number % 50 == 0:
            assert kept.get(favourite) is not None


def test_a_miss_is_an_answer_only_while_the_set_is_complete(tmp_path: Path) -> None:
    store = open_chain_store(tmp_path / "chain", CHAIN_ID, hot_set_bytes=1 << 24, create=True)
    store.state.warm()
    chain = SyntheticChain()
    for made in chain.blocks(10):
        commit(store, made)
    store.close()
    large = open_chain_store(tmp_path / "chain", CHAIN_ID, hot_set_bytes=1 << 24)
    assert large.state.warm() == {ASSET.encode(): sum(amount for *_, amount in chain.unspent)}
    assert large.state.figures().is_complete
    assert large.state.figures().entries == len(chain.state)
    assert large.state.get(b"o" + bytes(36)) is None
    large.close()
    small = open_chain_store(tmp_path / "chain", CHAIN_ID, hot_set_bytes=5000)
    assert small.state.warm() == {}
    assert not small.state.figures().is_complete
    assert {key: small.state.get(key) for key in chain.state} == chain.state
    assert small.state.figures().bytes <= 5000
    small.close()


def test_shards_are_a_power_of_two() -> None:
    assert HOT_SET_SHARDS & (HOT_SET_SHARDS - 1) == 0
