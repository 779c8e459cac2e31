"""Alerts begin once and end once; what is waiting is listed page by page; a phase is told as it begins."""

from __future__ import annotations

from dataclasses import replace

from consensus.evidence import Evidence
from drexnode.alerts import Alerts
from drexnode.pending import pending_page
from drexnode.rpc.node_values import ConsensusStatus, Reason, ValidatorInfo
from drexnode.stall import late_block
from ledger.mempool import Mempool, NewEntry
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.test_rpc import payment

FOUR = tuple(ValidatorInfo(index, bytes([index]) * 32, f"v{index}", True, 100) for index in range(4))
CALM = ConsensusStatus(101, 0, "waiting", None, 3, 4, FOUR)


class Scene:
    """A node whose parts a test sets."""

    def __init__(self) -> None:
        self.causes: list[Reason] = []
        self.status = CALM
        self.evidence: list[Evidence] = []
        self.alerts = Alerts(
            causes=lambda: self.causes,
            consensus=lambda: self.status,
            evidence=lambda: self.evidence,
            now_ms=lambda: 5,
        )

    async def told(self) -> list[tuple[str, str]]:
        """(state, code) of what the next look tells."""
        log, before = self.alerts.log, self.alerts.log.last
        self.alerts.look()
        if log.last == before:
            return []
        return [(event["state"], event["code"]) for _, event in await log.after(before)]


async def test_a_calm_node_tells_nothing() -> None:
    assert await Scene().told() == []


async def test_a_cause_is_raised_once_and_cleared_once() -> None:
    scene = Scene()
    scene.causes = [Reason("NO_QUORUM", "2 of 4"), Reason("CHANGING_ROUND", "round 1")]
    assert await scene.told() == [("raised", "NO_QUORUM")]
    assert await scene.told() == []
    scene.causes = []
    assert await scene.told() == [("cleared", "NO_QUORUM")]


async def test_margin_round_and_missed_signatures_are_judged_by_their_limits() -> None:
    scene = Scene()
    scene.status = replace(CALM, reachable=3, round=2)
    assert await scene.told() == [("raised", "QUORUM_MARGIN_ZERO"), ("raised", "ROUND_HIGH")]
    scene.status = replace(CALM, height=111, validators=(*FOUR[:3], replace(FOUR[3], last_signed_height=110)))
    told = await scene.told()
    assert told[:2] == [("cleared", "QUORUM_MARGIN_ZERO"), ("cleared", "ROUND_HIGH")]
    assert told[2:] == [("raised", "SIGNATURES_MISSED")] * 3


def test_a_block_is_late_after_three_periods_or_while_transactions_wait() -> None:
    assert late_block(age_ms=3000, period_ms=1000, waiting=0) is None
    late = late_block(age_ms=3001, period_ms=1000, waiting=0)
    assert late is not None
    assert late.code == "NO_BLOCK"
    assert late_block(age_ms=10**9, period_ms=0, waiting=0) is None
    assert late_block(age_ms=10_001, period_ms=0, waiting=1) is not None


def test_waiting_transactions_are_listed_the_oldest_first_and_page_by_page() -> None:
    chain, pool = MemoryChain(), Mempool()
    coins = [payment(chain, 1, coin=coin) for coin in range(4)]
    for now_ms, coin in enumerate(coins):
        pool.add([NewEntry(coin, "99990001")], now_ms, 0)
    first = pending_page(pool, None, 2)
    assert [item.txid for item in first] == [coin.txid for coin in coins[:2]]
    assert (first[0].participant, first[0].kind, first[0].size_bytes) == (
        "99990001",
        "TRANSFER",
        coins[0].size,
    )
    place = (first[-1].added_ms, first[-1].txid)
    assert [item.txid for item in pending_page(pool, place, 9)] == [coin.txid for coin in coins[2:]]
    pool.refuse(coins[1], "TX_EXPIRED", "gone", 9)
    assert [item.txid for item in pending_page(pool, place, 9)] == [coin.txid for coin in coins[2:]]
