"""How a simulated machine signs: journal, then watermark, each synced, then the signature may leave.

Both hosts of the engine in the tests sign through here: the nodes of the simulator and the bench of the
dialogues. Between any two writes the power may be cut: `reached` is told each point and raises `PowerCut`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consensus.inputs import Recovered
from consensus.journal import VoteRecord
from storage.signing_state import RecoveredSigner
from tests.simulator.disk import Disk

POINTS = (
    "before the journal",
    "before the journal is synced",
    "before the watermark",
    "before the watermark is synced",
    "before signing",
)


class PowerCut(Exception):
    """The machine dies in the middle of making a vote durable."""


@dataclass(frozen=True)
class Rules:
    """What a sound signer does; mutants leave one out."""

    syncs_journal: bool = True
    writes_watermark: bool = True
    refuses_regression: bool = True


SOUND = Rules()


def make_durable(
    disk: Disk, record: VoteRecord, reached: Callable[[str], None], rules: Rules = SOUND
) -> bool:
    """Write a vote, so that it may be signed; False when its position forbids it.

    The last vote again costs no write. Raises `PowerCut` when `reached` does."""
    last = disk.last
    if last is not None and record.payload_hash == last.payload_hash:
        return True
    if last is not None and record.position <= last.position and rules.refuses_regression:
        return False
    reached(POINTS[0])
    disk.append(record)
    reached(POINTS[1])
    if rules.syncs_journal:
        disk.sync_journal()
    reached(POINTS[2])
    if rules.writes_watermark:
        disk.write_watermark(record)
        reached(POINTS[3])
        disk.sync_watermark()
    disk.last = record
    reached(POINTS[4])
    return True


def what_was_found(disk: Disk, recovery: RecoveredSigner) -> Recovered:
    """What the engine is told of a restart, once both memories are level."""
    wtxids = disk.lock_wtxids(recovery, len(disk.chain))
    return Recovered(recovery.records, recovery.watermark, wtxids)
