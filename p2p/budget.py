"""Token buckets: how much a peer may send. Pure; time is a parameter, in seconds on any steady clock."""

from __future__ import annotations


class TokenBucket:
    """`rate` tokens a second, at most `burst` at once. Starts full."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated_s")

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError("rate and burst are positive")
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated_s = now_s

    def _refill(self, now_s: float) -> None:
        if now_s > self._updated_s:
            self._tokens = min(self._burst, self._tokens + (now_s - self._updated_s) * self._rate)
            self._updated_s = now_s

    def try_take(self, amount: float, now_s: float) -> bool:
        """Take `amount` if it is there, all or nothing."""
        self._refill(now_s)
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True

    def take(self, amount: float, now_s: float) -> float:
        """Take `amount` whatever is there, and say how many seconds to pause until the debt is paid."""
        self._refill(now_s)
        self._tokens -= amount
        return max(0.0, -self._tokens / self._rate)
