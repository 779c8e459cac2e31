"""Pages that wait to be saved: the last one of each key, by part, and counted to the byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.tree_pages import bucket_page_key
from ledger.unsaved_pages import UnsavedPages

BUCKETS = 4096
OVERHEAD = 150

pages = st.lists(
    st.tuples(
        st.integers(0, BUCKETS - 1),
        st.sampled_from([b"", b"\x00", b"\x0f", b"\x0f\x01"]),
        st.none() | st.binary(max_size=20),
    ),
    max_size=40,
)


@given(st.lists(pages, max_size=6), st.sets(st.integers(0, 255)))
def test_what_is_held_is_what_was_taken_last_and_not_let_go(
    patches: list[list[tuple[int, bytes, bytes | None]]], saved: set[int]
) -> None:
    unsaved, expected = UnsavedPages(BUCKETS), dict[bytes, bytes | None]()
    for number, patch in enumerate(patches):
        by_bucket = sorted(patch, key=lambda page: page[0])
        unsaved.take([(bucket_page_key(bucket) + path, page) for bucket, path, page in by_bucket])
        expected.update({bucket_page_key(bucket) + path: page for bucket, path, page in by_bucket})
        if number == len(patches) // 2:
            for part in saved:
                unsaved.let_go(part)
            expected = {
                key: page
                for key, page in expected.items()
                if unsaved.part_of(int.from_bytes(key[1:5], "big")) not in saved
            }
    held = {key: page for part in range(unsaved.part_count) for key, page in unsaved.part(part).items()}
    assert held == expected
    assert all(unsaved.find(key) == (key, page) for key, page in expected.items())
    assert unsaved.size_bytes == sum(OVERHEAD + len(page or b"") for page in expected.values())
    assert unsaved.size_bytes == sum(map(unsaved.part_bytes, range(unsaved.part_count)))


def test_parts_are_whole_groups_of_neighbours() -> None:
    for buckets, parts in [(16, 1), (256, 16), (4096, 256), (2**20, 256)]:
        unsaved = UnsavedPages(buckets)
        assert unsaved.part_count == parts
        assert (unsaved.part_of(0), unsaved.part_of(buckets - 1)) == (0, parts - 1)
        assert unsaved.part_of(buckets // parts - 1) == 0
        assert buckets // parts % 16 == 0
        assert unsaved.find(bucket_page_key(buckets - 1)) is None
