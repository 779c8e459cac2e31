"""What an operator sees of peers and asks of them, answered by a node.

Part of `NodeApi` (docs/rpc.md). Values that cross are frozen; times are milliseconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RegisteredNode:
    """A peer that the ledger permits, as of the last final block. `validator_key` is None for the others."""

    peer_id: str
    role: str  # validator | full | observer
    ispb: str
    addresses: tuple[str, ...]
    validator_key: bytes | None
    connected: bool


@dataclass(frozen=True, slots=True)
class BannedPeer:
    """A peer that is kept out until a moment."""

    peer_id: str
    until_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class TestStep:
    """One step of the way to a peer's tip. `state` is ok, failed or skipped; `detail` says what was seen."""

    name: str  # name | tcp | noise | identity | permission | chain | height
    state: str
    detail: str
    elapsed_ms: int = 0


class PeeringApi(Protocol):
    """Peers as the operator's business. Raises `DrexError`: PEER_*, NODE_STOPPED."""

    def nodes(self) -> list[RegisteredNode]:
        """Every peer that the ledger permits, ascending by peer id."""

    def bans(self) -> list[BannedPeer]:
        """The bans that hold."""

    def unban(self, peer_id: str) -> bool:
        """Lift a ban; False when there was none. Raises PEER_INVALID."""

    def add(self, address: str) -> bool:
        """Keep a connection to the peer at an address until the node stops; False when it was kept already.
        Raises PEER_INVALID, PEER_NOT_PERMITTED, PEER_TOO_MANY."""

    def remove(self, peer_id: str, ban_ms: int) -> bool:
        """Dial a peer no longer and disconnect it; with `ban_ms` also keep it out for so long. False when it
        was neither connected nor kept. Raises PEER_INVALID, PEER_IS_VALIDATOR."""

    async def test(self, address: str) -> list[TestStep]:
        """Walk the way to a peer's tip and say where it ends. Raises PEER_INVALID, PEER_TEST_RUNNING."""
