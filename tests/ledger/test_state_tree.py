"""The state tree against a recomputation from nothing that follows docs/encodings.md and shares no code."""

from __future__ import annotations

import random
from hashlib import sha256

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.slices import Slices, finish
from ledger.state import StateDelta
from ledger.state_tree import StateTree, TreePatch
from primitives.errors import InvariantViolation

State = dict[bytes, bytes]
Changes = dict[bytes, tuple[bytes | None, bytes | None]]


def tagged(tag: str, data: bytes) -> bytes:
    head = sha256(tag.encode()).digest()
    return sha256(head + head + data).digest()


def naive_root(state: State, bucket_count: int) -> bytes:
    """The root of `state`, written as the specification says it, slowly."""
    buckets: list[dict[bytes, bytes]] = [{} for _ in range(bucket_count)]
    for key, value in state.items():
        if key[:1] == b"o":
            place = value[:32]
        elif key[:1] == b"b":
            place = key[1:33]
        else:
            place = tagged("drex/key", key)
        buckets[int.from_bytes(place, "big") * bucket_count >> 256][key] = tagged("drex/value", value)
    level = [naive_bucket(bucket, 0) for bucket in buckets]
    while len(level) > 1:
        level = [tagged("drex/tree", b"".join(level[i : i + 16])) for i in range(0, len(level), 16)]
    return level[0]


def naive_bucket(entries: dict[bytes, bytes], depth: int) -> bytes:
    if not entries:
        return bytes(32)
    if len(entries) <= 64:
        flat = [part for key in sorted(entries) for part in (key, entries[key])]
        return tagged("drex/bucket", msgpack.packb(flat))
    page = b"\0"
    for nibble in "0123456789abcdef":
        part = {key: entries[key] for key in entries if tagged("drex/key", key).hex()[depth] == nibble}
        page += len(part).to_bytes(4, "big") + naive_bucket(part, depth + 1)
    return tagged("drex/split", page)


class Pages(dict[bytes, bytes]):
    """A page store that is a dictionary."""

    def load(self, page_key: bytes) -> bytes | None:
        return self.get(page_key)

    def write(self, patch: TreePatch) -> None:
        for key, page in patch.page_writes():
            if page is None:
                self.pop(key, None)
            else:
                self[key] = page


class Ledger:
    """A state, its tree and its pages, changed together as a node does."""

    def __init__(self, bucket_count: int = 16, cache_bytes: int = 1 << 20) -> None:
        self.state: State = {}
        self.pages = Pages()
        self.tree = StateTree(bucket_count, self.pages, cache_bytes=cache_bytes)

    def changes(self, writes: dict[bytes, bytes | None]) -> Changes:
        return {key: (self.state.get(key), value) for key, value in writes.items()}

    def write(self, writes: dict[bytes, bytes | None]) -> bytes:
        patch = self.tree.apply(self.changes(writes))
        self.tree.commit(patch)
        self.pages.write(patch)
        for key, value in writes.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        return patch.root


def output(number: int, owner: int) -> tuple[bytes, bytes]:
    txid, lock = sha256(b"tx%d" % number).digest(), sha256(b"owner%d" % owner).digest()
    return b"o" + txid + bytes(4), lock + (1000 + number).to_bytes(8, "big") + b"BRL"


def balance(owner: int) -> tuple[bytes, bytes]:
    return b"b" + sha256(b"owner%d" % owner).digest() + b"BRL", owner.to_bytes(8, "big")


def other(number: int) -> tuple[bytes, bytes]:
    return b"a%d" % number, b"value %d" % number


ENTRIES = [
    *(output(number, number % 7) for number in range(300)),
    *(balance(owner) for owner in range(7)),
    *(other(number) for number in range(60)),
]


@st.composite
def writes(draw: st.DrawFn) -> dict[bytes, bytes | None]:
    """Insertions and deletions of many entries at once, and changed values."""
    seed = draw(st.integers(0, 2**32))
    share = draw(st.sampled_from([0.02, 0.3, 1.0]))
    kept = draw(st.sampled_from([0.0, 0.5, 1.0]))
    source = random.Random(seed)
    chosen: dict[bytes, bytes | None] = {}
    for key, value in ENTRIES:
        if source.random() < share:
            kind = source.random()
            if key[:1] == b"o":
                chosen[key] = value if kind < kept else None
            else:
                chosen[key] = value + bytes([source.randrange(3)]) if kind < kept else None
    return chosen


@settings(max_examples=60, deadline=None)
@given(st.lists(writes(), min_size=1, max_size=6), st.sampled_from([16, 256]))
def test_the_root_equals_a_recomputation_from_nothing(steps: list[dict[bytes, bytes | None]], n: int) -> None:
    ledger = Ledger(n, cache_bytes=500)
    for step in steps:
        assert ledger.write(step) == naive_root(ledger.state, n) == ledger.tree.root


@settings(max_examples=40, deadline=None)
@given(st.lists(writes(), min_size=1, max_size=4), writes(), st.randoms())
def test_order_of_changes_makes_no_difference(
    before: list[dict[bytes, bytes | None]], step: dict[bytes, bytes | None], source: random.Random
) -> None:
    ledger = Ledger()
    for earlier in before:
        ledger.write(earlier)
    changes = list(ledger.changes(step).items())
    patch = ledger.tree.apply(dict(changes))
    source.shuffle(changes)
    assert dict(ledger.tree.apply(dict(changes)).page_writes()) == dict(patch.page_writes())


@settings(max_examples=40, deadline=None)
@given(writes(), writes())
def test_a_dry_apply_leaves_the_tree_unchanged(
    step: dict[bytes, bytes | None], dry: dict[bytes, bytes | None]
) -> None:
    ledger = Ledger()
    root = ledger.write(step)
    pages = dict(ledger.pages)
    first = ledger.tree.apply(ledger.changes(dry))
    assert (ledger.tree.root, dict(ledger.pages)) == (root, pages)
    assert ledger.tree.apply(ledger.changes(dry)) == first
    assert StateTree(16, ledger.pages).root == root


@settings(max_examples=30, deadline=None)
@given(st.lists(writes(), min_size=1, max_size=4))
def test_a_reopened_tree_goes_on_where_it_stopped(steps: list[dict[bytes, bytes | None]]) -> None:
    ledger, always_open = Ledger(), Ledger()
    for step in steps:
        always_open.write(step)
        ledger.tree = StateTree(16, ledger.pages)
        assert ledger.write(step) == always_open.tree.root
    assert ledger.pages == always_open.pages


def test_pages_hold_exactly_what_the_state_needs() -> None:
    """Splits and merges leave no page behind: history does not show in the pages."""
    grown, small = Ledger(), Ledger()
    grown.write(dict(ENTRIES))
    assert any(len(key) > 5 for key in grown.pages), "no bucket was split"
    keep = dict(ENTRIES[:10])
    grown.write({key: None for key, _ in ENTRIES if key not in keep})
    small.write(dict(keep))
    empty = bytes(512)
    assert {k: v for k, v in grown.pages.items() if v != empty} == small.pages
    assert grown.tree.root == small.tree.root


def test_deleting_everything_gives_the_empty_root() -> None:
    ledger = Ledger()
    empty = ledger.tree.root
    ledger.write(dict(ENTRIES))
    assert ledger.write({key: None for key, _ in ENTRIES}) == empty == naive_root({}, 16)


def test_a_bucket_stays_shallow_when_one_owner_has_thousands_of_outputs() -> None:
    ledger = Ledger()
    ledger.write(dict(output(number, 1) for number in range(5_000)))
    assert max(len(key) for key in ledger.pages) <= 5 + 3
    assert ledger.tree.root == naive_root(ledger.state, 16)


@pytest.mark.parametrize("count", [65, 97, 1_000])
def test_one_owners_many_outputs_come_and_go_in_one_block(count: int) -> None:
    """The sliced way through one crowded bucket, up and down again, leaves nothing behind."""
    ledger, untouched = Ledger(), Ledger()
    few = dict(output(number, 1) for number in range(10_000, 10_005))
    many = dict(output(number, 1) for number in range(count))
    assert ledger.write({**few, **many}) == naive_root(ledger.state, 16)
    assert untouched.write(dict(few)) == ledger.write(dict.fromkeys(many))
    assert ledger.pages == untouched.pages


def test_a_patch_of_another_root_is_refused() -> None:
    ledger = Ledger()
    first = ledger.tree.apply(ledger.changes(dict(ENTRIES[:5])))
    second = ledger.tree.apply(ledger.changes(dict(ENTRIES[5:9])))
    ledger.tree.commit(first)
    with pytest.raises(InvariantViolation, match="TREE_STALE_PATCH"):
        ledger.tree.commit(second)


@pytest.mark.parametrize("held", [0, 1, 3, 200])
def test_a_change_that_does_not_fit_the_tree_is_our_fault_and_said_so(held: int) -> None:
    ledger = Ledger()
    ledger.write(dict(ENTRIES[:held]))
    absent, value = ENTRIES[250]
    with pytest.raises(InvariantViolation, match="TREE_MISFIT"):
        ledger.tree.apply({absent: (value, None)})
    for present, old in ENTRIES[:held]:
        with pytest.raises(InvariantViolation, match="TREE_MISFIT"):
            ledger.tree.apply({present: (None, old)})


def test_no_changes_give_the_same_root_and_no_pages() -> None:
    ledger = Ledger()
    root = ledger.write(dict(ENTRIES[:50]))
    key, value = ENTRIES[0]
    patch = ledger.tree.apply({key: (value, value)})
    assert (patch.root, list(patch.page_writes())) == (root, [])
    ledger.tree.commit(patch)
    assert ledger.tree.root == root


def test_slices_are_short_and_give_the_same_patch() -> None:
    ledger = Ledger(256)
    changes = ledger.changes(dict(ENTRIES))
    breaths = 0

    def counted() -> Slices[TreePatch]:
        nonlocal breaths
        steps = ledger.tree.apply_in_slices(StateDelta.of(changes), updates_per_slice=10)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                patch: TreePatch = stop.value
                return patch
            breaths += 1
            yield

    assert finish(counted()) == ledger.tree.apply(changes)
    assert breaths >= len(ENTRIES) // 20


@pytest.mark.parametrize("count", [0, 1, 15, 32, 2**24])
def test_the_number_of_buckets_is_a_power_of_sixteen(count: int) -> None:
    with pytest.raises(InvariantViolation, match="TREE_BUCKETS"):
        StateTree(count, Pages())


def test_a_torn_group_page_is_noticed() -> None:
    ledger = Ledger()
    ledger.write(dict(ENTRIES[:50]))
    ledger.pages[b"g" + bytes(4)] = ledger.pages[b"g" + bytes(4)][:-1]
    with pytest.raises(InvariantViolation, match="TREE_PAGE"):
        StateTree(16, ledger.pages)


@settings(max_examples=30, deadline=None)
@given(st.lists(writes(), min_size=2, max_size=5), st.data())
def test_a_committed_patch_may_be_settled_whenever_and_half(
    steps: list[dict[bytes, bytes | None]], data: st.DataObject
) -> None:
    """`commit` only points at the patch; reads, the next apply and further commits see it in any case."""
    ledger = Ledger(256)
    for step in steps:
        ledger.write(step)
        settling = ledger.tree.settle()
        for _ in range(data.draw(st.integers(0, 2))):
            next(settling, None)
        if data.draw(st.booleans()):
            abandoned = ledger.tree.apply_in_slices(StateDelta.of(ledger.changes(dict(ENTRIES[:40]))), 5)
            next(abandoned, None)
        if data.draw(st.booleans()):
            lowest = b"".join(ledger.tree.node(0, group) for group in range(16))
            assert naive_node(lowest) == ledger.tree.root
    assert ledger.tree.root == naive_root(ledger.state, 256)
    assert StateTree(256, ledger.pages).root == ledger.tree.root


def naive_node(digests: bytes) -> bytes:
    level = [digests[start : start + 32] for start in range(0, len(digests), 32)]
    while len(level) > 1:
        level = [tagged("drex/tree", b"".join(level[i : i + 16])) for i in range(0, len(level), 16)]
    return level[0]
