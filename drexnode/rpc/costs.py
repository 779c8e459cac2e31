"""What a call costs of its caller's rate: 1, and more where the node works more for it.

Figures follow the time a call takes on a full chain, a plain read by key being 1.
"""

from __future__ import annotations

COSTS = {
    "admin_testPeer": 10,
    "drex_getAssets": 2,
    "drex_getBlockById": 5,
    "drex_getBlockByNumber": 5,
    "drex_getGenesis": 10,
    "drex_getHeaders": 10,
    "drex_getHistory": 10,
    "drex_getMetrics": 10,
    "drex_getNetworkInfo": 2,
    "drex_getNodes": 2,
    "drex_getParticipants": 2,
    "drex_getProof": 20,
    "drex_getUTXOsForAddress": 10,
    "drex_sendTransactions": 20,
    "drex_simulateTransaction": 5,
    "drex_subscribe": 10,
    "drex_validateAtomicity": 20,
    "qbft_getEvidence": 5,
    "qbft_getSignerMetrics": 10,
    "rpc.discover": 20,
    "txpool_content": 10,
}
METRICS_COST = 10
DOCUMENT_COST = 20


def cost_of(method: str) -> int:
    """Calls that one call of a method counts for."""
    return COSTS.get(method, 1)
