"""All blocks of a stopped node executed again from the genesis, and the roots compared (`drexnode replay`).

The node's data is only read; the chain that is made again lies in a folder for temporary files and is
thrown away. A block that does not make its header's root is named, and nothing after it is looked at.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drexnode.config import NodeConfig
from drexnode.rebuild import ReplayDiffers, open_builder, read_source
from drexnode.stopped import open_stopped
from primitives.errors import DrexError
from storage.validator_rows import read_overrides

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay made: equal to what was stored, or it would have raised."""

    height: int
    transactions: int
    state_root: bytes


def replay_chain(
    config: NodeConfig,
    progress: Progress,
    *,
    to: int | None = None,
    signatures: bool = True,
    scratch: Path | None = None,
) -> Replayed:
    """Execute the blocks 1 … `to` (the tip) again. Needs every body, and room for the chain under `scratch`.

    Raises `ReplayDiffers`, `QueryError` (BLOCK_PRUNED), `StorageFailure` and `ConfigError`.
    """
    with (
        open_stopped(config, scratch) as chain,
        tempfile.TemporaryDirectory(prefix="drexnode-replay-", dir=scratch) as folder,
    ):
        last = chain.tip.height if to is None else min(to, chain.tip.height)
        if chain.queries.pruned_below > 1:
            lowest = chain.queries.pruned_below
            message = f"bodies are kept from block {lowest} on, a replay needs all; ask an archive node"
            raise DrexError("REPLAY_PRUNED", message, lowest=lowest)
        builder = open_builder(
            Path(folder) / "chain",
            chain.document,
            hot_set_bytes=config.storage.hot_set_bytes,
            signatures=signatures,
        )
        transactions = 0
        try:
            for override in read_overrides(chain.store.database):
                builder.follow(override)
            for height in range(1, last + 1):
                source = read_source(chain.queries, height)
                builder.append(source)
                transactions += len(source.transactions)
                progress("blocks", height, last)
            header = chain.queries.header(last)
            if header is None or header.state_root != builder.state_root:
                raise ReplayDiffers("REPLAY_DIFFERS", f"block {last} has another state root", height=last)
            return Replayed(last, transactions, builder.state_root)
        finally:
            builder.store.close()
