"""The highest ROUND_CHANGE of each validator in one height, and what a set of them permits."""

from __future__ import annotations

from consensus.inputs import PeerId
from consensus.messages import Claim, RoundChange
from primitives.block import BlockHeader


class RoundChangeBook:
    """One verified ROUND_CHANGE per validator, whether its claim is backed, and who delivered it."""

    __slots__ = ("_backed", "_changes", "_peers")

    def __init__(self, size: int) -> None:
        self._changes: list[RoundChange | None] = [None] * size
        self._backed = [False] * size
        self._peers: list[PeerId] = [PeerId("")] * size

    def known(self, signer: int) -> RoundChange | None:
        """The validator's highest ROUND_CHANGE."""
        return self._changes[signer]

    def is_backed(self, signer: int) -> bool:
        """True when the stored one claims nothing or proves its claim."""
        return self._backed[signer]

    def add(self, peer: PeerId, message: RoundChange, backed: bool) -> None:
        """Keep a verified ROUND_CHANGE in place of the validator's earlier one."""
        self._changes[message.signer] = message
        self._backed[message.signer] = backed
        self._peers[message.signer] = peer

    def jump_target(self, current_round: int, faulty: int) -> int | None:
        """The round that f + 1 validators above `current_round` have all reached, or None.

        That is the lowest of the f + 1 highest: at least one honest validator is at it or beyond.
        """
        above = sorted(
            (c.round for c in self._changes if c is not None and c.round > current_round), reverse=True
        )
        return above[faulty] if len(above) > faulty else None

    def count_from(self, round: int) -> int:
        """How many validators are at `round` or beyond."""
        return sum(1 for change in self._changes if change is not None and change.round >= round)

    def of_round(self, round: int) -> list[tuple[RoundChange, bool]]:
        """Those for exactly `round`, ascending by validator, each with whether it is backed."""
        return [
            (change, backed)
            for change, backed in zip(self._changes, self._backed, strict=True)
            if change is not None and change.round == round
        ]

    def sources(self, claim: Claim) -> tuple[PeerId, ...]:
        """Who delivered a ROUND_CHANGE with this claim: its author holds the block."""
        return tuple(
            peer
            for change, peer in zip(self._changes, self._peers, strict=True)
            if change is not None and change.prepared == claim
        )

    def header_of(self, block: bytes) -> BlockHeader | None:
        """The header of a block somebody claims to have prepared (its hash was compared on arrival)."""
        for change in self._changes:
            if change is not None and change.prepared is not None and change.prepared[1] == block:
                return change.header
        return None
