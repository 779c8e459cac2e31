"""The network of `p2p.memory` under the simulation: real links, streams, windows, pings and dials.

Slower than `SimNetwork`, and its faults are those of cables: cut, delayed, mended. Bytes on a connection
come in order or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from p2p.identity import peer_id_from_seed
from p2p.memory import MemoryHost, MemoryNetwork
from p2p.transport import Offence, PeerId
from primitives.keys import SigningKey
from tests.wholenode.network import Weather
from tests.wholenode.world import World


class _Cables(MemoryNetwork):
    """Asks the simulation for delays and cuts."""

    def __init__(self, owner: LinkNetwork) -> None:
        self._owner = owner
        super().__init__()

    @property
    def delay_s(self) -> float:
        """Of the bytes sent now."""
        weather = self._owner.weather
        return weather.min_delay_s + self._owner.world.random.random() * (
            weather.max_delay_s - weather.min_delay_s
        )

    @delay_s.setter
    def delay_s(self, value: float) -> None:
        """The base class sets one delay for all; here chance does."""

    def is_cut(self, one: PeerId, other: PeerId) -> bool:
        """In either direction: a connection needs both."""
        numbers = self._owner.numbers
        a, b = numbers[one], numbers[other]
        return (a, b) in self._owner.blocked or (b, a) in self._owner.blocked


@dataclass
class LinkNetwork:
    """The same faults to call for as `SimNetwork` has."""

    world: World
    weather: Weather = field(default_factory=Weather)
    hosts: dict[int, MemoryHost] = field(default_factory=dict)
    blocked: set[tuple[int, int]] = field(default_factory=set)
    numbers: dict[PeerId, int] = field(default_factory=dict)
    delivered: int = 0
    reports: dict[tuple[int, PeerId, Offence], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cables = _Cables(self)

    @asynccontextmanager
    async def open(self, number: int, peer: SigningKey) -> AsyncIterator[MemoryHost]:
        """A machine's host while the context lasts."""
        self.numbers[peer_id_from_seed(peer.seed)] = number
        async with self._cables.open_host(peer.seed) as host:
            self.hosts[number] = host
            report = host.report

            def remembered(peer_id: PeerId, offence: Offence, detail: str = "") -> None:
                self.reports.setdefault((number, peer_id, offence), detail)
                report(peer_id, offence, detail)

            host.report = remembered  # type: ignore[method-assign, assignment]
            try:
                yield host
            finally:
                self.delivered += sum(host.counters().messages_by_channel.values())

    def block(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Nothing passes between the two of a pair."""
        self.blocked.update(pairs)

    def split(self, *groups: Iterable[int]) -> None:
        """Nothing passes between the groups."""
        sets = [set(group) for group in groups]
        self.block((a, b) for one in sets for other in sets if one is not other for a in one for b in other)

    def isolate(self, number: int) -> None:
        """One machine hears and is heard by nobody."""
        self.split({number}, set(self.hosts) - {number})

    def heal(self) -> None:
        """Everything passes again."""
        self.blocked.clear()

    def calm(self) -> None:
        """Good weather, no cuts."""
        self.weather = Weather()
        self.heal()
