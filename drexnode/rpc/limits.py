"""Token buckets: how often one client may call. Memory is bounded: the least recent clients are forgotten."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict

MAX_CLIENTS = 10_000
OWN_BURST_S = 2.0
IPV6_NETWORK_BITS = 64


def network_of(address: str) -> str:
    """What is counted as one client: an address of IPv4, a network of 2^64 addresses of IPv6."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, IPV6_NETWORK_BITS), strict=False))


class RateLimiter:
    """`per_second` calls and client, up to `burst` saved up; 0 a second means no limit."""

    def __init__(self, per_second: int, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(max(burst, 1))
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, calls: int, now: float, own_per_second: int = 0) -> int:
        """0 when the calls may run, or the whole seconds to wait. `now` is in seconds of a monotonic clock;
        a client with an `own_per_second` may save up the calls of `OWN_BURST_S`.
        """
        per_second = own_per_second or self._per_second
        if per_second == 0 or calls == 0:
            return 0
        burst = own_per_second * OWN_BURST_S if own_per_second else self._burst
        tokens, before = self._clients.pop(client, (burst, now))
        tokens = min(burst, tokens + (now - before) * per_second)
        cost = min(float(calls), burst)
        wait_s = 0 if tokens >= cost else max(1, math.ceil((cost - tokens) / per_second))
        self._clients[client] = (tokens if wait_s else tokens - cost, now)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return wait_s

    def give_back(self, client: str, calls: int) -> None:
        """Return calls that were taken and not used."""
        if client in self._clients:
            tokens, before = self._clients[client]
            self._clients[client] = (min(self._burst, tokens + calls), before)
