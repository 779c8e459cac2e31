"""Namespaces joined each to each by veth links, and a desk in the middle from which all can be asked.

    namespace A ─ to2 ═══ to1 ─ namespace B        a link: what peers say to each other
              └ desk ── bridge ── desk ┘           the desk: RPC, never cut, leads to no peer address

Node k has the address 10.77.0.k on its loopback, reached over the links alone: a cut link is a route that is
gone at one end and a line without carrier at the other. With a delay, each link goes through a relay
(`tests/netns/relay.py`). Must be built inside a sandbox.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations

RELAY = "relay"
_BRIDGE = "desks"
_DESK_ADDRESS = "10.78.0.254"


def ip_batch(lines: Iterable[str], namespace: str | None = None) -> None:
    """Carry out `ip` commands, inside a namespace if one is named. Raises `CalledProcessError`."""
    where = [] if namespace is None else ["-n", namespace]
    text = "\n".join(lines) + "\n"
    subprocess.run(["ip", *where, "-batch", "-"], input=text, text=True, check=True, stdout=sys.stderr)


class Mesh:
    """The links of a network. Names are namespaces, in the order of their addresses."""

    def __init__(self, names: Sequence[str], delay_ms: int) -> None:
        self.names = tuple(names)
        self._delay_ms = delay_ms
        self._cut: set[tuple[int, int]] = set()
        self._relay: subprocess.Popen[bytes] | None = None

    def hosts(self) -> list[tuple[str, str]]:
        """Each node's address for peers and for the desk."""
        return [(_peer_address(place), _desk_address(place)) for place in range(1, len(self.names) + 1)]

    def prefix(self, name: str) -> list[str]:
        """The command that executes another in a namespace."""
        return ["ip", "netns", "exec", name]

    # --- building
    def build(self) -> None:
        """Make namespaces and links, all up."""
        pairs = list(combinations(range(1, len(self.names) + 1), 2))
        ip_batch(f"netns add {name}" for name in (*self.names, *([RELAY] if self._delay_ms else [])))
        ip_batch([*self._desk_lines(), *(line for pair in pairs for line in self._link_lines(pair))])
        for place, name in enumerate(self.names, 1):
            ip_batch(self._inside_lines(place), name)
        if self._delay_ms:
            ends = [f"r{a}.{b}" for pair in pairs for a, b in (pair, pair[::-1])]
            ip_batch((f"link set {end} up" for end in ends), RELAY)
            command = [sys.executable, "-m", "tests.netns.relay", "--delay-ms", str(self._delay_ms)]
            self._relay = subprocess.Popen([*self.prefix(RELAY), *command])

    def close(self) -> None:
        """End the relay; the namespaces go with the sandbox."""
        if self._relay is not None:
            self._relay.kill()
            self._relay.wait()

    def _desk_lines(self) -> Iterator[str]:
        yield f"link add {_BRIDGE} type bridge"
        yield f"address add {_DESK_ADDRESS}/24 dev {_BRIDGE}"
        yield f"link set {_BRIDGE} up"
        for place, name in enumerate(self.names, 1):
            yield f"link add desk{place} type veth peer name desk netns {name}"
            yield f"link set desk{place} master {_BRIDGE} up"

    def _link_lines(self, pair: tuple[int, int]) -> Iterator[str]:
        """A link straight from end to end, or two that meet in the relay."""
        one, two = pair
        ends = {place: self.names[place - 1] for place in pair}
        if self._delay_ms:
            for near, far in ((one, two), (two, one)):
                name = ends[near]
                yield f"link add r{near}.{far} netns {RELAY} type veth peer name to{far} netns {name}"
        else:
            yield f"link add to{two} netns {ends[one]} type veth peer name to{one} netns {ends[two]}"

    def _inside_lines(self, place: int) -> Iterator[str]:
        yield "link set lo up"
        yield f"address add {_peer_address(place)}/32 dev lo"
        yield f"address add {_desk_address(place)}/24 dev desk"
        yield "link set desk up"
        for other in range(1, len(self.names) + 1):
            if other != place:
                yield from _up_lines(place, other)

    # --- cutting
    def split(self, *groups: Iterable[str]) -> None:
        """Cut every link between two groups; links within a group, and of nodes in none, stay."""
        places = [[self._place(name) for name in group] for group in groups]
        for one, two in combinations(places, 2):
            self._change({(min(a, b), max(a, b)) for a in one for b in two} - self._cut, up=False)

    def heal(self) -> None:
        """Mend every link that was cut."""
        self._change(set(self._cut), up=True)

    def joined(self, one: str, two: str) -> bool:
        """True while the link between two nodes is up."""
        a, b = sorted((self._place(one), self._place(two)))
        return (a, b) not in self._cut

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """The relay holds all that is sent, and lets it go at the end."""
        if self._relay is None:
            raise ValueError("without a delay there is no relay to stall")
        self._relay.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._relay.send_signal(signal.SIGCONT)

    def _place(self, name: str) -> int:
        return self.names.index(name) + 1

    def _change(self, pairs: set[tuple[int, int]], *, up: bool) -> None:
        by_owner: dict[int, list[str]] = {}
        for one, two in sorted(pairs):
            lines = list(_up_lines(one, two)) if up else [f"link set to{two} down"]
            by_owner.setdefault(one, []).extend(lines)
        for owner, lines in by_owner.items():
            ip_batch(lines, self.names[owner - 1])
        self._cut = self._cut - pairs if up else self._cut | pairs


def _up_lines(place: int, other: int) -> Iterator[str]:
    """The end of a link, and the route that the kernel forgets whenever it goes down."""
    yield f"link set to{other} up"
    yield f"route replace {_peer_address(other)}/32 dev to{other} src {_peer_address(place)}"


def _peer_address(place: int) -> str:
    return f"10.77.0.{place}"


def _desk_address(place: int) -> str:
    return f"10.78.0.{place}"
