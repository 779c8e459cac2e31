"""The way to a peer, stage by stage: name, TCP, Noise, identity, permission. Says where it ends.

Promise: a peer that is connected keeps its connection (only name and port are tried anew); one that is not is
dialled once, as the node would dial it, and stays connected when the walk arrives. No stage takes longer than
a handshake may.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import trio

from p2p.addresses import Address, parse_address
from p2p.identity import PeerId
from p2p.transport import ProbeStage, ProbeStep
from primitives.errors import DecodeError
from primitives.limits import HANDSHAKE_SECONDS

if TYPE_CHECKING:
    from p2p.linked import LinkedTransport

_STAGE_OF_REASON: Final = {
    "name": ProbeStage.NAME,
    "handshake": ProbeStage.NOISE,
    "identity": ProbeStage.IDENTITY,
    "not_permitted": ProbeStage.PERMISSION,
    "banned": ProbeStage.PERMISSION,
    "not_admitted": ProbeStage.PERMISSION,
}
_SAYS: Final = {
    "refused": "nobody listens on that port",
    "unreachable": "no route to that host",
    "timeout": "no answer in time",
    "handshake": "whoever listens there does not speak libp2p with Noise",
    "identity": "another peer answers there",
    "not_permitted": "this node does not permit it: it is not registered",
    "banned": "this node has banned it",
    "not_admitted": "it does not admit this node: it has not registered it, or has banned it, or is full",
}


class _Walk:
    """Steps taken so far."""

    def __init__(self) -> None:
        self.steps: list[ProbeStep] = []
        self._since = time.monotonic()

    def note(self, stage: ProbeStage, detail: str, *, ok: bool = True) -> None:
        now = time.monotonic()
        self.steps.append(ProbeStep(stage, ok, detail, round((now - self._since) * 1000)))
        self._since = now

    def passed(self, stages: tuple[ProbeStage, ...], detail: str = "") -> None:
        """Those of `stages` that are not noted yet are over."""
        known = {step.stage for step in self.steps}
        for stage in stages:
            if stage not in known:
                self.note(stage, detail)

    def fail(self, reason: str, detail: str) -> list[ProbeStep]:
        """Note the stage that a dial's `reason` belongs to, and those before it as passed."""
        stage = _STAGE_OF_REASON.get(reason, ProbeStage.TCP)
        if reason == "timeout" and len(self.steps) > 1:
            stage = ProbeStage.NOISE
        order = tuple(ProbeStage)
        self.passed(order[: order.index(stage)])
        said = _SAYS.get(reason)
        self.note(stage, f"{said} ({detail})" if said and detail else said or detail, ok=False)
        return self.steps


async def walk(transport: LinkedTransport, text: str) -> list[ProbeStep]:
    """See `Transport.probe`. Raises `DecodeError`."""
    address = parse_address(text)
    if (peer := address.peer) is None:
        raise DecodeError("the address ends in /p2p/<peer id>: who should answer there?")
    taken = _Walk()
    if transport.is_connected(peer):
        return await _look_again(transport, taken, peer, address)
    from p2p.linked import DialFailed

    def reached(stage: ProbeStage) -> None:
        if stage is ProbeStage.TCP:
            taken.passed((ProbeStage.NAME,), address.host)
            taken.note(stage, f"port {address.port} answers")
        else:
            taken.passed((ProbeStage.NAME, ProbeStage.TCP, ProbeStage.NOISE))
            taken.note(ProbeStage.IDENTITY, peer)

    try:
        with trio.fail_after(HANDSHAKE_SECONDS):
            channel = await transport.connect(peer, address, reached)
    except trio.TooSlowError:
        return taken.fail("timeout", f"{HANDSHAKE_SECONDS} s")
    except DialFailed as failed:
        return taken.fail(failed.reason, failed.detail)
    link = transport.serve_outbound(peer, channel, address)
    with trio.move_on_after(HANDSHAKE_SECONDS):
        await link.settled.wait()
    if not transport.is_connected(peer):
        return taken.fail("not_admitted", link.session.detail)
    taken.passed((ProbeStage.NAME, ProbeStage.TCP, ProbeStage.NOISE, ProbeStage.IDENTITY))
    taken.note(ProbeStage.PERMISSION, "each admits the other")
    return taken.steps


async def _look_again(
    transport: LinkedTransport, taken: _Walk, peer: PeerId, address: Address
) -> list[ProbeStep]:
    """The peer is connected: a second connection would end the first, so name and port alone are tried."""
    since = next((info for info in transport.peers() if info.peer_id == peer), None)
    reason = await transport.knock(address)
    if reason is not None:
        return taken.fail(*reason)
    taken.note(ProbeStage.NAME, address.host)
    taken.note(ProbeStage.TCP, f"port {address.port} answers")
    over = "" if since is None else f", {since.direction} over {since.addresses[0]}"
    for stage in (ProbeStage.NOISE, ProbeStage.IDENTITY, ProbeStage.PERMISSION):
        taken.note(stage, f"connected already{over}")
    return taken.steps
