"""Token buckets: how often one client may call. Memory is bounded: the least recent clients are forgotten."""

from __future__ import annotations

import math
from collections import OrderedDict

MAX_CLIENTS = 10_000


class RateLimiter:
    """`per_second` calls and client, up to `burst` saved up; 0 a second means no limit."""

    def __init__(self, per_second: int, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(max(burst, 1))
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, calls: int, now: float) -> int:
        """0 when the calls may run, or the whole seconds to wait. `now` is in seconds of a monotonic
        clock.
        """
        if self._per_second == 0:
            return 0
        tokens, before = self._clients.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - before) * self._per_second)
        cost = min(float(calls), self._burst)
        wait_s = 0 if tokens >= cost else max(1, math.ceil((cost - tokens) / self._per_second))
        self._clients[client] = (tokens if wait_s else tokens - cost, now)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return wait_s
