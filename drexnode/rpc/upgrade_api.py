"""What an operator sees of protocol versions. Part of `NodeApi` (docs/rpc.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NodeProtocol:
    """A registered node. `program` is its version and `protocol` the highest protocol version that it says it
    knows, None while it is not connected; `decides` when its validator is in the set of the next block.
    """

    peer_id: str
    name: str
    role: str
    decides: bool
    program: str | None
    protocol: int | None


@dataclass(frozen=True, slots=True)
class UpgradeStatus:
    """`version` holds at `height`, the tip; `next_version` from `next_height` on, None when none is set.
    `supported` is the highest version that the asked node knows itself.
    """

    height: int
    version: int
    next_version: int | None
    next_height: int | None
    supported: int
    quorum: int
    nodes: tuple[NodeProtocol, ...]


class UpgradeApi(Protocol):
    """Protocol versions."""

    def upgrade(self) -> UpgradeStatus:
        """Which version holds and comes, and which registered nodes know it."""
