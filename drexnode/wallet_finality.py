"""Following a transaction until it is final, or until it is clear why it is not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drexnode import client as rpc
from drexnode.wallet_accounts import WalletError

WAIT_STEP_MS = 30_000


@dataclass(frozen=True, slots=True)
class Finality:
    """A transaction that is final: where, who sealed it, and how long it took from submission."""

    txid: str
    height: int
    round: int
    block_id: str
    signers: tuple[str, ...]
    latency_ms: int


def wait_final(client: rpc.Client, txid: str, timeout_s: float, started: float | None = None) -> Finality:
    """Wait for finality. `started` is when it was submitted (`time.monotonic`).

    Raises `WalletError` TX_NOT_FINAL, naming why no block comes if the node knows, or the node's own code
    when it was refused after all.
    """
    begun = time.monotonic() if started is None else started
    deadline = time.monotonic() + timeout_s
    while True:
        left_ms = max(0, int((deadline - time.monotonic()) * 1000))
        status = client.run(rpc.wait_transaction(txid, min(left_ms, WAIT_STEP_MS)))
        if status.status == "FINAL" and status.height is not None:
            return _finality(client, status, int((time.monotonic() - begun) * 1000))
        if status.status == "REJECTED":
            reason = status.reason or "the node refused it"
            raise WalletError(status.code or "TX_REJECTED", reason, txid=txid)
        if left_ms == 0:
            raise _not_final(client, status, timeout_s)


def _finality(client: rpc.Client, status: rpc.Status, latency_ms: int) -> Finality:
    assert status.height is not None
    found = client.run(rpc.certificate(status.height))
    certificate: Mapping[str, Any] = found or {}
    return Finality(
        txid=status.txid,
        height=status.height,
        round=certificate.get("round", status.round or 0),
        block_id=status.block_id or "",
        signers=tuple(certificate.get("signers", ())),
        latency_ms=latency_ms,
    )


def _not_final(client: rpc.Client, status: rpc.Status, timeout_s: float) -> WalletError:
    info = client.run(rpc.network_info())
    why = info["consensus"]["stalled_reason"] or "; ".join(item["message"] for item in info["reasons"])
    message = f"{status.status} after {timeout_s:g} s" + (f": {why}" if why else "")
    height = info["tip"]["height"]
    return WalletError("TX_NOT_FINAL", message, txid=status.txid, status=status.status, tip=height)
