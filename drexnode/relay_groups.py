"""Who tells whom among many validators, so that nobody sends a body to all of them (docs/node.md, "Many
validators").

Above `RELAY_ABOVE_VALIDATORS` the n validators, in the order of their peer ids, fall into √n groups. Who has
transactions for all of them sends to one member of each group, each time another, and that member tells the
rest of its own group: every node gets a body once, and no node sends it more than √n times. The groups follow
from the validator set alone, so nothing about them travels; two nodes that differ by a block tell some twice
or not at all, which is mended like every other loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import isqrt

from p2p.transport import PeerId
from primitives.limits import RELAY_ABOVE_VALIDATORS


class RelayGroups:
    """The groups of the current validators, as one node sees them."""

    def __init__(
        self,
        own: PeerId,
        validators: Callable[[], Sequence[PeerId]],
        above: int = RELAY_ABOVE_VALIDATORS,
    ) -> None:
        """`validators()` are the peer ids of all current validators, ascending, this node's included if it
        speaks for one. Up to `above` of them there are no groups."""
        self._own = own
        self._validators = validators
        self._above = above

    @property
    def in_use(self) -> bool:
        """True when there are too many validators to tell each of them."""
        return len(self._validators()) > self._above

    @property
    def is_member(self) -> bool:
        """True when this node speaks for a validator."""
        return self._own in self._validators()

    def heads(self, reached: Collection[PeerId], turn: int) -> list[PeerId]:
        """One of the `reached` in each group, another one at the next `turn`; a group that this node does not
        reach has none."""
        heads = []
        for group in self._groups():
            near = [peer for peer in group if peer in reached and peer != self._own]
            if near:
                heads.append(near[turn % len(near)])
        return heads

    def mates(self) -> list[PeerId]:
        """The rest of this node's own group; none if it speaks for no validator."""
        for group in self._groups():
            if self._own in group:
                return [peer for peer in group if peer != self._own]
        return []

    def _groups(self) -> list[Sequence[PeerId]]:
        validators = self._validators()
        count = isqrt(max(0, len(validators) - 1)) + 1  # the root, rounded up
        return [validators[number::count] for number in range(count)]
