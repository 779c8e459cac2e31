"""What `drexnode top` knows of a node at one moment, gathered over the RPC.

Guarantees: one `Facts` is of one answer each of network info, metrics, peers and new certificates; nothing is
asked twice that can't change (certificates are kept, the last `STRIP` of them). Peers need the admin
credential: without it `peers` is None and the view says so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drexnode import client as rpc

STRIP = 60
"""Final blocks whose signatures are shown at most."""
FETCH_AT_ONCE = 60
Samples = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A final block as its certificate tells it: who sealed it, in which round."""

    height: int
    round: int
    signers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """One node at one moment. `sealed` ascends by height; `metrics` are those of `drex_getMetrics`."""

    url: str
    info: Mapping[str, Any]
    metrics: Samples
    peers: tuple[Mapping[str, Any], ...] | None
    sealed: tuple[Sealed, ...]

    def figure(self, name: str, **labels: str) -> float | None:
        """Sum of a metric's samples that carry these labels; None when there is none."""
        found = [
            float(sample["value"])
            for sample in self.metrics.get(f"drex_{name}", ())
            if all(sample["labels"].get(key) == value for key, value in labels.items())
        ]
        return sum(found) if found else None

    def mean(self, name: str) -> float | None:
        """Mean of a histogram since the node's start, in its own unit; None before the first value."""
        count = self.figure(f"{name}_count")
        total = self.figure(f"{name}_sum")
        return None if not count or total is None else total / count


class Gatherer:
    """Asks one node again and again, and keeps certificates between the times."""

    def __init__(self, client: rpc.Client) -> None:
        self._client = client
        self._sealed: OrderedDict[int, Sealed] = OrderedDict()

    def gather(self) -> Facts:
        """One round of questions. Raises `NodeUnreachable`, `RpcRefused`."""
        client = self._client
        metrics = client.run(rpc.metrics())
        info = client.run(rpc.network_info())
        self._follow(info["tip"]["height"])
        return Facts(
            url=client.url,
            info=info,
            metrics={name: [dict(sample) for sample in samples] for name, samples in metrics.items()},
            peers=self._peers(),
            sealed=tuple(self._sealed.values()),
        )

    def _peers(self) -> tuple[Mapping[str, Any], ...] | None:
        try:
            peers = self._client.run(rpc.peers())
        except rpc.RpcRefused as refusal:
            if refusal.code != "RPC_UNAUTHORISED":
                raise
            return None
        return tuple(peers)

    def _follow(self, tip: int) -> None:
        """Fetch certificates above those kept; a jump (sync, another chain) begins anew below the tip."""
        known = next(reversed(self._sealed), 0)
        if known > tip:
            self._sealed.clear()
            known = 0
        for height in range(max(known + 1, tip - FETCH_AT_ONCE + 1, 1), tip + 1):
            found = self._client.run(rpc.certificate(height))
            if found is not None:
                self._sealed[height] = Sealed(height, found["round"], frozenset(found.get("signers", ())))
        while len(self._sealed) > STRIP:
            self._sealed.popitem(last=False)
