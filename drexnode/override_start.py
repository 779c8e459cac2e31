"""The first start after a recovery override that rests on a lock: the locked block becomes final here.

Whoever holds the block (a validator locked on it stored it before its COMMIT) executes it and makes it
final with the proof that the override carries; all others get it from there by sync. Nothing happens when the
node does not hold it, or is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from drexnode.executor import Executor
from drexnode.finalizer import Finalizer
from drexnode.telemetry import get_logger
from ledger.block import Block, FinalizedBlock
from ledger.override import finality_checks
from primitives.errors import InvalidBlock, InvariantViolation
from primitives.keys import verify

_log = get_logger("override")


async def finish_override(
    finalizer: Finalizer, executor: Executor, find_block: Callable[[bytes], Block | None]
) -> None:
    """Make the block final that an override names above the head, if it is held.

    Raises `InvariantViolation` (OVERRIDE_BAD_PROOF) when proof or block do not hold, and `StorageFailure`."""
    head = finalizer.head
    override = finalizer.overrides.at(head.height + 1)
    if override is None or override.certificate is None or not override.rests_on_lock:
        return
    block = find_block(override.block_id)
    if block is None:
        return
    try:
        checks = finality_checks(
            block.header, override.certificate, finalizer.chain_id, head.validators, finalizer.overrides
        )
        executed = await executor.execute(block)
    except InvalidBlock as error:
        raise InvariantViolation("OVERRIDE_BAD_PROOF", f"block {block.height}: {error}") from error
    if not all(verify(*check) for check in checks):
        raise InvariantViolation("OVERRIDE_BAD_PROOF", f"block {block.height}: a PREPARE is false")
    await finalizer.finalize(FinalizedBlock(block, override.certificate), executed)
    _log.warning("override.block_final", height=block.height, id=block.block_id.hex())
