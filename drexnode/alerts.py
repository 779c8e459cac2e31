"""Watches one node for what its operator must know, and remembers when each alert began and ended.

Promise: an alert is raised once when its cause is first seen and cleared once when it is gone; what is told
is read from the parts themselves at that moment. The rules are those of deploy/monitoring/alerts.yml as far
as one node can judge by itself, so that a subscriber needs no Prometheus. A double signature is raised and
never cleared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio

from consensus.evidence import Evidence
from drexnode.clock import wall_clock_ms
from drexnode.rpc.events_api import EventLog
from drexnode.rpc.node_values import ConsensusStatus, Reason
from drexnode.stall import NEXT
from primitives.limits import ALERT_INTERVAL_MS, ALERT_MISSED_BLOCKS, ALERT_ROUND

QUIET = frozenset({"CHANGING_ROUND"})  # the round's number says more


class Alerts:
    """`run` beside the node's other parts; `log` is what subscribers read."""

    def __init__(
        self,
        *,
        causes: Callable[[], Sequence[Reason]],
        consensus: Callable[[], ConsensusStatus],
        evidence: Callable[[], Sequence[Evidence]],
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.log = EventLog("alerts")
        self._causes = causes
        self._consensus = consensus
        self._evidence = evidence
        self._now_ms = now_ms
        self._standing: dict[str, dict[str, Any]] = {}

    async def run(self) -> None:
        """Look once a second until cancelled."""
        while True:
            self.look()
            await trio.sleep(ALERT_INTERVAL_MS / 1000)

    def look(self) -> None:
        """Raise what is new and clear what is gone."""
        found = self._found()
        for name in [name for name in self._standing if name not in found]:
            self._tell("cleared", self._standing.pop(name))
        for name, alert in found.items():
            if name not in self._standing:
                self._standing[name] = alert
                self._tell("raised", alert)

    def _tell(self, state: str, alert: dict[str, Any]) -> None:
        self.log.add({"state": state, "at_ms": self._now_ms(), **alert})

    def _found(self) -> dict[str, dict[str, Any]]:
        status = self._consensus()
        found = {
            cause.code: _alert(cause.code, cause.message, status)
            for cause in self._causes()
            if cause.code not in QUIET
        }
        if status.reachable == status.quorum < len(status.validators):
            message = f"{status.reachable} of {len(status.validators)} validators reachable: no more may fail"
            found["QUORUM_MARGIN_ZERO"] = _alert("QUORUM_MARGIN_ZERO", message, status)
        if status.round >= ALERT_ROUND:
            message = f"block {status.height} needs a round {status.round}"
            found["ROUND_HIGH"] = _alert("ROUND_HIGH", message, status)
        for item in status.validators:
            signed = item.last_signed_height
            if signed is not None and status.height - signed > ALERT_MISSED_BLOCKS:
                message = (
                    f"validator {item.name or item.public_key.hex()} has not signed since block {signed}"
                )
                name = f"SIGNATURES_MISSED/{item.public_key.hex()}"
                found[name] = _alert("SIGNATURES_MISSED", message, status, item.public_key)
        for proof in self._evidence():
            name = f"DOUBLE_SIGNING/{proof.validator.hex()}/{proof.height}/{proof.round}/{proof.step}"
            message = f"a validator signed two payloads at height {proof.height}, round {proof.round}"
            found[name] = _alert("DOUBLE_SIGNING", message, status, proof.validator)
        return found


def _alert(
    code: str, message: str, status: ConsensusStatus, validator: bytes | None = None
) -> dict[str, Any]:
    return {
        "code": code,
        "message": message,
        "next": NEXT.get(code),
        "height": status.height,
        "validator": None if validator is None else validator.hex(),
    }
