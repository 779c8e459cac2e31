"""Why no block comes, as far as one node can see: causes with stable codes, each with what to do.

Promise: what is named is what is the case at this moment, read from the parts themselves; an empty list means
that nothing known stands in the way, also when there is simply nothing to propose.
"""

from __future__ import annotations

from collections.abc import Callable

from drexnode.rpc.node_values import ConsensusStatus, Reason
from drexnode.signer import NodeSigner
from primitives.limits import ALERT_SILENT_PERIODS, ALERT_WAITING_MS

NEXT = {
    "NO_QUORUM": "drexnode status names the missing validators: start them; lost for good: drexnode recover",
    "CHANGING_ROUND": "wait: the validators agree on a new round, within the longest timeout",
    "SIGNER_UNREACHABLE": "drexnode signer run --home DIR",
    "QUARANTINE": "wait: it ends by itself two blocks after the highest tip seen; keep the node running",
    "DISK_LOW": "free space on the data directory's disk",
    "SYNCING": "wait until the node stands at its peers' tip",
    "NO_BLOCK": "drexnode explain-stall",
    "QUORUM_MARGIN_ZERO": "drexnode status names the missing validators: start them",
    "ROUND_HIGH": "drexnode explain-stall",
    "SIGNATURES_MISSED": "drexnode status; on the validator's machine: drexnode doctor",
    "DOUBLE_SIGNING": "stop that validator; its key may be used twice: drexnode validators propose",
    "HALTED": "the node's log says why; restart it",
}


class StallCauses:
    """Reads the causes of one node's parts."""

    def __init__(
        self,
        *,
        signer: NodeSigner | None,
        is_validator: Callable[[], bool],
        room_on_disk: Callable[[], bool],
        consensus: Callable[[], ConsensusStatus],
    ) -> None:
        """`is_validator`: this node's key is in the present set; `room_on_disk`: it may propose."""
        self._signer = signer
        self._is_validator = is_validator
        self._room_on_disk = room_on_disk
        self._consensus = consensus

    def of_signer(self) -> list[Reason]:
        """Why this node's votes are missing though its key is in the set."""
        signer = self._signer
        if signer is None or not self._is_validator():
            return []
        if (fault := signer.fault) is not None:
            return [Reason(fault.code, fault.message, fault.data)]
        if signer.in_quarantine:
            message = "how far this validator's key has signed is not known: it follows and signs nothing yet"
            return [Reason("QUARANTINE", message)]
        return []

    def all(self) -> list[Reason]:
        """Every cause, the network's before this node's own."""
        found: list[Reason] = []
        status = self._consensus()
        if status.reachable < status.quorum:
            message = status.stalled_reason or f"{status.reachable} validators are reachable"
            data = {"reachable": status.reachable, "quorum": status.quorum}
            found.append(Reason("NO_QUORUM", message, data))
        elif status.phase == "changing_round":
            asked = sum(
                item.seen_round is not None and item.seen_round >= status.round for item in status.validators
            )
            message = f"round {status.round} begins once {status.quorum} validators ask for it; {asked} do"
            found.append(Reason("CHANGING_ROUND", message, {"round": status.round, "asked": asked}))
        found += self.of_signer()
        if self._is_validator() and not self._room_on_disk():
            message = "the disk has so little room that this validator proposes nothing"
            found.append(Reason("DISK_LOW", message))
        return found


def late_block(*, age_ms: int, period_ms: int, waiting: int) -> Reason | None:
    """Whether the next block should have come by now: `age_ms` is the tip's, `period_ms` the longest time
    between blocks while nothing waits (0: no empty blocks), `waiting` the transactions in the pool."""
    limit_ms = ALERT_SILENT_PERIODS * period_ms if period_ms else ALERT_WAITING_MS
    if age_ms <= limit_ms or not (period_ms or waiting):
        return None
    message = f"no block for {age_ms // 1000} s, {waiting} transactions wait"
    return Reason("NO_BLOCK", message, {"age_ms": age_ms, "waiting": waiting})
