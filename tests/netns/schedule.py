"""What happens to a network of namespaces, and when: drawn from a seed, so that a run can be had again.

Three kills, two partitions (one that leaves a quorum together, one that leaves none) and one stall of all
links, in random order, evenly over the time. Each trouble lasts for half of its slot, at most `LONGEST_S`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

LONGEST_S = 30.0
STALL_S = 3.0


@dataclass(frozen=True, slots=True)
class Kill:
    """`kill -9` of one node, started again after the trouble."""

    name: str

    def __str__(self) -> str:
        return f"{self.name} is killed"


@dataclass(frozen=True, slots=True)
class Split:
    """Every link between two groups is cut."""

    one: tuple[str, ...]
    two: tuple[str, ...]

    def __str__(self) -> str:
        sizes = [sum(name.startswith("validator") for name in group) for group in (self.one, self.two)]
        return f"links are cut between {sizes[0]} and {sizes[1]} validators: {', '.join(self.two)} apart"


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing passes on any link."""

    def __str__(self) -> str:
        return "all links stall"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens at a moment, and for how long; seconds from the start."""

    at_s: float
    lasts_s: float
    what: Kill | Split | Stall


def draw(seed: int, names: Sequence[str], quorum: int, total_s: float) -> list[Trouble]:
    """The troubles of a run of `total_s` seconds, in order. `quorum` is that of the validators in `names`."""
    chance = Random(seed)
    validators = [name for name in names if name.startswith("validator")]
    others = [name for name in names if name not in validators]
    kills = [Kill(name) for name in chance.sample(list(names), 3)]
    splits = [_split(chance, validators, others, size) for size in (quorum, quorum - 1)]
    whats: list[Kill | Split | Stall] = [*kills, *splits, Stall()]
    chance.shuffle(whats)
    slot_s = total_s / len(whats)
    lasts_s = min(LONGEST_S, slot_s / 2)
    return [
        Trouble((place + 0.25) * slot_s, min(STALL_S, lasts_s) if isinstance(what, Stall) else lasts_s, what)
        for place, what in enumerate(whats)
    ]


def _split(chance: Random, validators: Sequence[str], others: Sequence[str], size: int) -> Split:
    """`size` validators on one side, the rest on the other, who else there is on either."""
    one = chance.sample(list(validators), size)
    with_one = [name for name in others if chance.random() < 0.5]
    return Split(
        (*sorted(one), *with_one),
        (*(name for name in validators if name not in one), *(n for n in others if n not in with_one)),
    )
