"""What happens in a run follows from its seed, and is what the run promises to contain."""

from __future__ import annotations

import pytest

from tests.netns.schedule import LONGEST_S, Kill, Split, Stall, draw

NAMES = [*(f"validator-{n}" for n in range(7)), "full-0", "full-1", "observer-0"]
QUORUM = 5


def test_the_same_seed_gives_the_same_troubles_and_another_seed_others() -> None:
    assert draw(1, NAMES, QUORUM, 600) == draw(1, NAMES, QUORUM, 600)
    assert draw(1, NAMES, QUORUM, 600) != draw(2, NAMES, QUORUM, 600)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("total_s", [30, 600])
def test_three_kills_two_partitions_and_a_stall_never_overlap_and_end_in_time(
    seed: int, total_s: int
) -> None:
    troubles = draw(seed, NAMES, QUORUM, total_s)
    whats = [trouble.what for trouble in troubles]
    killed = [what.name for what in whats if isinstance(what, Kill)]
    assert len(set(killed)) == len(killed) == 3
    assert sum(isinstance(what, Stall) for what in whats) == 1
    ends = [trouble.at_s + trouble.lasts_s for trouble in troubles]
    assert all(end < later.at_s for end, later in zip(ends, troubles[1:], strict=False))
    assert ends[-1] < total_s
    assert all(trouble.lasts_s <= LONGEST_S for trouble in troubles)


@pytest.mark.parametrize("seed", range(20))
def test_one_partition_leaves_a_quorum_together_and_the_other_none(seed: int) -> None:
    splits = [t.what for t in draw(seed, NAMES, QUORUM, 600) if isinstance(t.what, Split)]
    assert all(sorted((*split.one, *split.two)) == sorted(NAMES) for split in splits)
    sizes = [sum(name.startswith("validator") for name in split.one) for split in splits]
    assert sorted(sizes) == [QUORUM - 1, QUORUM]
