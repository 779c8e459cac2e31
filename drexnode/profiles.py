"""Profiles: what `node.profile` sets for every key that flag, environment and file leave open.

`balanced` is the defaults. `throughput` waits for fuller blocks, verifies signatures in a process beside the
node and takes more RAM; `latency` proposes at once and holds the state in RAM. What each costs and gains is
in docs/node.md, "Profiles"; `drexnode config show --origin` names the keys a profile set.
"""

from __future__ import annotations

from collections.abc import Mapping

PROFILES: Mapping[str, Mapping[str, int]] = {
    "balanced": {},
    "throughput": {
        "pool.batch_wait_ms": 100,
        "pool.max_transactions": 200_000,
        "pool.max_bytes": 256 << 20,
        "pool.verify_workers": 1,
        "storage.hot_set_bytes": 1 << 30,
        "storage.cache_bytes": 128 << 20,
        "storage.tree_bytes": 512 << 20,
    },
    "latency": {
        "pool.batch_wait_ms": 0,
        "pool.verify_workers": 0,
        "storage.hot_set_bytes": 1 << 30,
        "storage.tree_bytes": 512 << 20,
    },
}
