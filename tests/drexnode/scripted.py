"""A transport whose peers answer as a test tells them, and that remembers what it was given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import trio

from p2p.inbox import BoundedInbox
from p2p.transport import Channel, Offence, PeerId, RequestCode, RequestFailed

Answer = Callable[[str, bytes], Awaitable[bytes]]
"""(method, payload) → the answer of one peer."""


@dataclass
class ScriptedTransport:
    """Peers in `answers` answer, all others are not connected."""

    answers: dict[PeerId, Answer] = field(default_factory=dict)
    reports: list[tuple[PeerId, Offence, str]] = field(default_factory=list)
    sent: list[tuple[PeerId, bytes]] = field(default_factory=list)
    asked: list[tuple[PeerId, str]] = field(default_factory=list)
    incoming: BoundedInbox = field(default_factory=BoundedInbox)

    async def request(
        self, peer: PeerId, method: str, payload: bytes, *, timeout_s: float, max_response_bytes: int
    ) -> bytes:
        self.asked.append((peer, method))
        await trio.lowlevel.checkpoint()
        answer = self.answers.get(peer)
        if answer is None:
            raise RequestFailed(RequestCode.NOT_CONNECTED, "no such peer", peer=peer)
        with trio.move_on_after(timeout_s):
            response = await answer(method, payload)
            if len(response) > max_response_bytes:
                raise RequestFailed(RequestCode.TOO_LARGE, f"{len(response)} bytes", peer=peer)
            return response
        raise RequestFailed(RequestCode.TIMEOUT, "no answer", peer=peer)

    def report(self, peer: PeerId, offence: Offence, detail: str = "") -> None:
        self.reports.append((peer, offence, detail))

    def send(self, peer: PeerId, channel: Channel, payload: bytes) -> bool:
        self.sent.append((peer, payload))
        return True

    def broadcast(self, peers: Iterable[PeerId], channel: Channel, payload: bytes) -> int:
        return sum(self.send(peer, channel, payload) for peer in peers)

    def inbox(self, source: Channel) -> BoundedInbox:
        return self.incoming

    def is_connected(self, peer: PeerId) -> bool:
        return peer in self.answers
