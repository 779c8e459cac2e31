"""A load that goes on while nodes are hurt, and knows afterwards whether anything was lost.

Transfers leave at a steady rate through several nodes. A node that does not answer costs its share of the
rate and nothing else: what it did not take is kept for the next turn. What a node took is remembered, and
`lost` names what of it never became final. Transfers are independent, so a copy sent twice is one payment.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, pairwise
from typing import Any

from drexnode import client as rpc
from ledger.transaction import Transaction
from scripts.load import find_target, make_coins, sign_transfers
from tests.network.net import Network

TURN_S = 0.1
LATE_S = 1.0
HEADERS_A_CALL = 250


def signed_transfers(net: Network, count: int) -> list[Transaction]:
    """That many transfers, signed, each with a coin of its own."""
    target = find_target(net.folder)
    asset, coins = make_coins(target, count)
    return sign_transfers(target, asset, coins)


class SteadyLoad:
    """`rate` transfers a second in all, shared between the nodes of `names`."""

    def __init__(
        self, net: Network, transfers: Sequence[Transaction], rate: int, names: Sequence[str]
    ) -> None:
        self._waiting = deque(transfers)
        self._urls = [net.devnet.node(name).rpc_url for name in names]
        self._share = max(1, round(rate * TURN_S / len(names)))
        self._turn_s = self._share * len(names) / rate
        self._stopped = threading.Event()
        self.taken: dict[str, set[str]] = {url: set() for url in self._urls}
        self.refused: list[rpc.Sent] = []

    @property
    def left(self) -> int:
        """Transfers that no node has taken yet."""
        return len(self._waiting)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send until the end of the block; raises what ended the sending early."""
        self._stopped.clear()
        with ThreadPoolExecutor(len(self._urls)) as pool:
            feeding = [pool.submit(self._feed, url) for url in self._urls]
            try:
                yield
            finally:
                self._stopped.set()
        for feed in feeding:
            feed.result()

    def _feed(self, url: str) -> None:
        with rpc.Client(url, timeout_s=2.0) as client:
            begin = time.monotonic()
            for turn in count():
                if self._stopped.wait(max(0.0, begin + turn * self._turn_s - time.monotonic())):
                    return
                if time.monotonic() - begin > turn * self._turn_s + LATE_S:  # no burst to catch up
                    begin = time.monotonic() - turn * self._turn_s
                self._send(client, url)

    def _send(self, client: rpc.Client, url: str) -> None:
        part: list[Transaction] = []
        while len(part) < self._share:
            try:
                part.append(self._waiting.popleft())
            except IndexError:
                break
        if not part:
            return
        try:
            answers = client.run(rpc.send_many([transaction.raw for transaction in part]))
        except (rpc.NodeUnreachable, rpc.RpcRefused):
            self._waiting.extend(part)
            return
        for transaction, answer in zip(part, answers, strict=True):
            if answer.code is None:
                self.taken[url].add(transaction.txid.hex())
            elif answer.code == "TX_QUOTA":
                self._waiting.append(transaction)
            else:
                self.refused.append(answer)

    def lost(self, net: Network, name: str, *, survivors: Sequence[str], timeout_s: float) -> set[str]:
        """What nodes of `survivors` took and never gets into the chain of `name`: the wait ends once none of
        it did for `timeout_s`. A node that was killed may forget what it had not yet told anybody; those that
        lived may not."""
        urls = {net.devnet.node(survivor).rpc_url for survivor in survivors}
        open_ones = set().union(*(txids for url, txids in self.taken.items() if url in urls))
        deadline, read = time.monotonic() + timeout_s, 0
        with rpc.Client(net.devnet.node(name).rpc_url) as client:
            while open_ones:
                tip = client.run(rpc.block_number())
                for height in range(read + 1, tip + 1):
                    block = client.run(rpc.block(height))
                    assert block is not None
                    if not open_ones.isdisjoint(block["transactions"]):
                        open_ones.difference_update(block["transactions"])
                        deadline = time.monotonic() + timeout_s
                read = tip
                if time.monotonic() > deadline:
                    break
                time.sleep(TURN_S)
        return open_ones


def headers(net: Network, name: str, first: int, last: int) -> list[dict[str, Any]]:
    """A node's headers from one height to another, both included."""
    found: list[dict[str, Any]] = []
    for low in range(first, last + 1, HEADERS_A_CALL):
        page = net.ask(name, rpc.headers(low, min(last, low + HEADERS_A_CALL - 1)))
        found += map(dict, page)
    return found


def intervals_ms(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Milliseconds between blocks that follow each other, by their headers."""
    times: list[int] = [row["timestamp_ms"] for row in rows]
    return [later - earlier for earlier, later in pairwise(times)]
