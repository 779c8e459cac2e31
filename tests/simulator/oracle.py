"""What must hold in every schedule, judged without a line of production code.

Agreement: one block a height. Validity: each decided block follows its parent. Certificates: a quorum of
distinct members of the height's set, each of whom really signed that COMMIT. No double signing, across
restarts, by an honest validator. Durability: a signature is made only when journal and watermark hold it.
Liveness: after the world has healed every honest decision takes at most f + 2 rounds.
Hashes and encodings are computed here with `hashlib` and `msgpack`, quorums by counting.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import msgpack


class Violation(AssertionError):
    """A promise was broken; the message names it."""


def tagged(tag: str, data: bytes) -> bytes:
    """SHA256(SHA256(tag) || SHA256(tag) || data)."""
    return hashlib.sha256(_prefix(tag) + data).digest()


@cache
def _prefix(tag: str) -> bytes:
    return hashlib.sha256(tag.encode()).digest() * 2


def packed(values: list[Any]) -> bytes:
    """The canonical MessagePack array."""
    return bytes(msgpack.packb(values, use_bin_type=True))


class Oracle:
    """Sees what every node signs and decides."""

    def __init__(self, chain_id: bytes, villains: frozenset[int] = frozenset()) -> None:
        self.chain_id = chain_id
        self.villains = villains  # nodes whose double signing is part of the plot
        self.decided: dict[int, bytes] = {}
        self.healed_at: tuple[int, int] | None = None  # the height under way, its highest honest round
        self.allowed_rounds = 0
        self.rounds_taken: dict[int, int] = {}  # after healing: by height, the most an honest node took
        self.signed: dict[tuple[bytes, int, int, int], bytes] = {}
        self.last: dict[bytes, tuple[int, int, int]] = {}  # the last position of each honest key
        self.signatures: set[tuple[bytes, bytes]] = set()  # key, payload: everything ever signed
        self.checked: set[bytes] = set()
        self.evidence: set[bytes] = set()  # public keys that were proven to double sign
        self.halts = 0

    # --- signing

    def on_sign(
        self, node: int, key: bytes, position: tuple[int, int, int], payload: bytes, durable: bool
    ) -> None:
        """A node signs `payload` at (height, round, step)."""
        self.signatures.add((key, payload))
        if node in self.villains:
            return
        if not durable:
            raise Violation(f"durability: node {node} signs {position} that is not in journal and watermark")
        last = self.last.get(key, position)
        if position < last:
            raise Violation(f"signing order: node {node} signs {position} after {last}")
        self.last[key] = position
        first = self.signed.setdefault((key, *position), payload)
        if first != payload:
            raise Violation(f"double signing: node {node} signs two payloads at {position}")

    # --- deciding

    def on_decide(
        self, node: int, block: dict[str, Any], certificate: dict[str, Any], members: list[bytes]
    ) -> None:
        """An honest node decides `block` (header fields); `members` is the height's set."""
        if node in self.villains:
            return
        height = block["fields"][1]
        identity = tagged("drex/block", packed(block["fields"]))
        first = self.decided.setdefault(height, identity)
        if first != identity:
            raise Violation(f"agreement: node {node} decides another block at height {height}")
        if height > 1 and self.decided.get(height - 1) not in (None, block["fields"][2]):
            raise Violation(f"validity: block {height} does not follow block {height - 1}")
        self._check_rounds(node, height, certificate["round"])
        seals = certificate["seals"]
        mark = hashlib.sha256(identity + b"%d" % certificate["round"] + bytes(i for i, _ in seals)).digest()
        if mark not in self.checked:
            self._check_certificate(height, identity, certificate, members)
            self.checked.add(mark)

    def heal(self, height: int, highest_round: int, faulty: int) -> None:
        """From now on decisions are due: at `height` within f + 2 rounds of the highest honest one, above it
        within f + 2 of round 0."""
        self.healed_at = (height, highest_round)
        self.allowed_rounds = faulty + 2

    def _check_rounds(self, node: int, height: int, round: int) -> None:
        if self.healed_at is None or height < self.healed_at[0]:
            return
        start = self.healed_at[1] if height == self.healed_at[0] else 0
        taken = max(0, round - start)
        self.rounds_taken[height] = max(taken, self.rounds_taken.get(height, 0))
        if taken > self.allowed_rounds:
            raise Violation(f"liveness: node {node} decides {height} in round {round}, {start} at healing")

    def _check_certificate(
        self, height: int, identity: bytes, certificate: dict[str, Any], members: list[bytes]
    ) -> None:
        if certificate["block_id"] != identity or certificate["height"] != height:
            raise Violation(f"certificate: it names another block than the one decided at {height}")
        indices = [index for index, _ in certificate["seals"]]
        if sorted(set(indices)) != indices or 3 * len(indices) < 2 * len(members):
            raise Violation(f"certificate: {indices} is no quorum of {len(members)} at height {height}")
        epoch_hash = certificate["validators_hash"]
        domain = tagged("drex/domain", self.chain_id + epoch_hash)
        payload = tagged("drex/qbft", packed([domain, 3, height, certificate["round"], identity]))
        for index in indices:
            if (members[index], payload) not in self.signatures:
                raise Violation(f"certificate: validator {index} never signed block {height}")

    def on_evidence(self, node: int, key: bytes) -> None:
        """A node proved that `key` signed twice: never an honest one's."""
        self.evidence.add(key)
        if key in self.last:
            raise Violation(f"accountability: node {node} accuses an honest validator")

    def on_halt(self, node: int, accused: int, faulty: int) -> None:
        """A node stopped over two certificates: only right when more than f are villains."""
        self.halts += 1
        if accused < faulty + 1:
            raise Violation(f"accountability: node {node} accuses {accused} keys, {faulty + 1} are due")
        raise Violation(f"agreement: node {node} holds two certificates for one height")
