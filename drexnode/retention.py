"""How many blocks a node keeps: what `storage.retention` says, kept true while the node runs.

Promises: bodies go a batch at a time, in a thread, with pauses; what a peer of this network may still need is
in some archive or full node, which the status of every node tells (`lowest_height`).
"""

from __future__ import annotations

import trio

from drexnode.config import ConfigError, NodeConfig
from drexnode.finalizer import Finalizer
from drexnode.telemetry import get_logger
from primitives.errors import DrexError
from primitives.limits import MIN_KEPT_BLOCKS, PRUNE_PAUSE_MS
from storage.prune import prune_once
from storage.queries import ChainQueries

_log = get_logger("retention")


def check_retention(config: NodeConfig, queries: ChainQueries) -> None:
    """Refuse an archive whose first blocks are gone. Raises `ConfigError` (RETENTION_NOT_ARCHIVE)."""
    lowest = queries.pruned_below
    if config.retention.from_genesis and lowest > 1:
        message = (
            f"storage.retention is archive, and blocks below {lowest} have no bodies here: set it to full, "
            "or fetch the whole chain anew (drexnode repair, then start)"
        )
        raise ConfigError("RETENTION_NOT_ARCHIVE", message, lowest=lowest)


def check_prune(config: NodeConfig, kept_blocks: int) -> None:
    """Refuse to prune an archive, or down to nothing. Raises `DrexError` (PRUNE_ARCHIVE, PRUNE_TOO_FEW)."""
    if config.retention.from_genesis:
        message = "storage.retention is archive: set it to full or pruned:N first"
        raise DrexError("PRUNE_ARCHIVE", message)
    if kept_blocks < MIN_KEPT_BLOCKS:
        raise DrexError("PRUNE_TOO_FEW", f"at least {MIN_KEPT_BLOCKS} blocks are kept, not {kept_blocks}")


class Retention:
    """`run` beside the node's other parts."""

    def __init__(self, config: NodeConfig, finalizer: Finalizer) -> None:
        """Raises `ConfigError` (RETENTION_NOT_ARCHIVE)."""
        check_retention(config, finalizer.queries)
        self._kept_blocks = config.retention.kept_blocks
        self._finalizer = finalizer

    async def run(self) -> None:
        """Prune as the chain grows, until cancelled. Raises `StorageFailure`: then the node stops."""
        finalizer, kept = self._finalizer, self._kept_blocks
        if kept is None:
            return
        height = finalizer.head.height
        while True:
            count = await trio.to_thread.run_sync(prune_once, finalizer.store.database, kept)
            if count:
                _log.debug("blocks.pruned", count=count, kept=kept)
                await trio.sleep(PRUNE_PAUSE_MS / 1000)
            else:
                height = (await finalizer.wait_height(height + 1)).height
