"""Who may connect: permission, points for misbehaviour, temporary bans. Pure; time is a parameter.

A peer that is neither permitted nor unbanned is refused; whoever asks `admits` right after the handshake and
again at each message needs no other rule. Points halve every `SCORE_HALF_LIFE_MS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from p2p.transport import Ban, DisconnectReason, Offence, PeerId
from primitives.limits import BAN_MS, BAN_SCORE, MAX_BANS, SCORE_HALF_LIFE_MS


class PeerGate:
    """The one list of permitted peers, their scores and bans."""

    def __init__(self) -> None:
        self._permitted: dict[PeerId, tuple[str, ...]] = {}
        self._scores: dict[PeerId, tuple[float, int]] = {}
        self._bans: dict[PeerId, Ban] = {}

    def set_permitted(self, permitted: Mapping[PeerId, Sequence[str]]) -> None:
        """Replace the permitted peers. Scores and bans of the others are forgotten with them."""
        self._permitted = {peer: tuple(addresses) for peer, addresses in permitted.items()}
        self._scores = {peer: score for peer, score in self._scores.items() if peer in self._permitted}

    def is_permitted(self, peer: PeerId) -> bool:
        return peer in self._permitted

    def addresses(self, peer: PeerId) -> tuple[str, ...]:
        return self._permitted.get(peer, ())

    def refusal(self, peer: PeerId, now_ms: int) -> DisconnectReason | None:
        """Why this peer may not be connected now; None if it may."""
        if peer not in self._permitted:
            return DisconnectReason.NOT_PERMITTED
        ban = self._bans.get(peer)
        if ban is None:
            return None
        if ban.until_ms <= now_ms:
            del self._bans[peer]
            return None
        return DisconnectReason.BANNED

    def score(self, peer: PeerId, now_ms: int) -> int:
        """Points that have not decayed yet, rounded down."""
        points, at_ms = self._scores.get(peer, (0.0, now_ms))
        return int(points * 0.5 ** (max(0, now_ms - at_ms) / SCORE_HALF_LIFE_MS))

    def report(self, peer: PeerId, offence: Offence, detail: str, now_ms: int) -> bool:
        """Charge an offence. True if it earned a ban just now. Strangers have no score."""
        if peer not in self._permitted:
            return False
        points, at_ms = self._scores.get(peer, (0.0, now_ms))
        points = points * 0.5 ** (max(0, now_ms - at_ms) / SCORE_HALF_LIFE_MS) + offence
        if points < BAN_SCORE:
            self._scores[peer] = (points, now_ms)
            return False
        self._scores.pop(peer, None)
        reason = f"{offence.name.lower()}: {detail}" if detail else offence.name.lower()
        self.ban(peer, BAN_MS, reason, now_ms)
        return True

    def ban(self, peer: PeerId, duration_ms: int, reason: str, now_ms: int) -> None:
        """Keep a peer out until `now_ms + duration_ms`. The ban that ends first gives way past `MAX_BANS`."""
        self._bans = {other: ban for other, ban in self._bans.items() if ban.until_ms > now_ms}
        if len(self._bans) >= MAX_BANS and peer not in self._bans:
            del self._bans[min(self._bans, key=lambda other: self._bans[other].until_ms)]
        self._bans[peer] = Ban(peer, now_ms + duration_ms, reason)

    def lift_ban(self, peer: PeerId) -> bool:
        return self._bans.pop(peer, None) is not None

    def bans(self, now_ms: int) -> tuple[Ban, ...]:
        """The bans that hold, ordered by peer."""
        return tuple(self._bans[peer] for peer in sorted(self._bans) if self._bans[peer].until_ms > now_ms)
