"""A validator's disk in memory: the real formats of journal and watermark, with honest or lying syncs.

What was written but not synced is lost at a crash, whole or from some byte on. Blocks and the chain are
synced as one: their own crash tests are the storage room's.
"""

from __future__ import annotations

from collections.abc import Callable

from consensus.journal import VoteRecord, lock_of
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.codec import encode
from storage.signing_state import Quarantine, RecoveredSigner, Recovery, recover_signing_state
from storage.vote_journal import _START, JOURNAL_VERSION, JournalOwner, _frame, parse_journal
from storage.watermark import WATERMARK_VERSION, Slot, WatermarkContents, encode_slot, parse_slot

ROTATE_BYTES = 4096
Tear = Callable[[int], int]  # of n unsynced bytes, how many reached the disk


class Disk:
    """Files of one validator. `synced_*` survive a crash, `cached_*` may not."""

    def __init__(self, chain_id: bytes, public_key: bytes, genesis: BlockHeader) -> None:
        self.chain_id = chain_id
        self.public_key = public_key
        data, self._digest = _frame(_START, _encoded_owner(chain_id, public_key))
        self.journal = data
        self.journal_unsynced = b""
        self._sequence = 1
        self.slots: list[bytes] = [self._slot(0, None), self._slot(1, None)]
        self.slot_unsynced: tuple[int, bytes] | None = None
        self.blocks: dict[bytes, tuple[BlockHeader, tuple[bytes, ...]]] = {}
        self.last: VoteRecord | None = None  # the signer's memory of its last durable vote
        self.chain: list[tuple[BlockHeader, tuple[bytes, ...], CommitCertificate | None]] = [
            (genesis, (), None)
        ]

    # --- one vote

    def append(self, record: VoteRecord) -> None:
        """Write a record behind the journal; it is not safe yet."""
        frame, self._digest = _frame(self._digest, record.encode())
        self.journal_unsynced += frame

    def sync_journal(self) -> None:
        """What was appended survives from now on."""
        self.journal += self.journal_unsynced
        self.journal_unsynced = b""

    def write_watermark(self, record: VoteRecord) -> None:
        """Overwrite the older slot; it is not safe yet."""
        self._sequence += 1
        self.slot_unsynced = (self._sequence % 2, self._slot(self._sequence, record))

    def sync_watermark(self) -> None:
        """The slot written last survives from now on."""
        if self.slot_unsynced is not None:
            side, data = self.slot_unsynced
            self.slots[side] = data
            self.slot_unsynced = None

    def _slot(self, sequence: int, record: VoteRecord | None) -> bytes:
        return encode_slot(_make_slot(self.chain_id, self.public_key, sequence, record))

    def holds(self, record: VoteRecord) -> bool:
        """True when both memories would still know this vote after a power cut."""
        in_slots = any(record.payload_hash in slot for slot in self.slots)
        return in_slots and record.payload_hash in self.journal

    def rotate(self) -> None:
        """A height is decided: the journal may start again with its last record."""
        if len(self.journal) > ROTATE_BYTES:
            self.restart_journal(() if self.last is None else (self.last,))

    def renew(self) -> None:
        """The quarantine is over: a new journal and watermark, above everything seen in the old ones."""
        recovery = self.recover()
        floor = recovery.floor if isinstance(recovery, Quarantine) else recovery.last
        self.level(RecoveredSigner((), floor))

    # --- blocks

    def store_block(self, header: BlockHeader, wtxids: tuple[bytes, ...]) -> None:
        """Keep a block that is about to be committed to."""
        self.blocks[block_id(header)] = (header, wtxids)

    def store_decided(
        self, header: BlockHeader, wtxids: tuple[bytes, ...], certificate: CommitCertificate
    ) -> None:
        """Append to the chain; locked blocks of its height are no longer needed."""
        self.chain.append((header, wtxids, certificate))
        self.blocks = {key: kept for key, kept in self.blocks.items() if kept[0].height > header.height}

    # --- crash and recovery

    def crash(self, tear: Tear = lambda size: 0) -> None:
        """Lose what was not synced, but for the bytes `tear` lets through."""
        self.journal += self.journal_unsynced[: tear(len(self.journal_unsynced))]
        self.journal_unsynced = b""
        if self.slot_unsynced is not None:
            side, data = self.slot_unsynced
            reached = tear(len(data))
            if reached:
                self.slots[side] = data[:reached] + self.slots[side][reached:]
            self.slot_unsynced = None

    def flip_journal_bit(self, where: float) -> None:
        """A bit of the journal goes bad; `where` in [0, 1)."""
        self.journal = _flipped(self.journal, where)

    def flip_slot_bit(self, where: float) -> None:
        """A bit of one of the slots goes bad."""
        side = int(where * 1000) % 2
        self.slots[side] = _flipped(self.slots[side], where)

    def lose_journal(self) -> None:
        """The journal is gone; blocks are kept elsewhere, and so is the watermark."""
        self.journal = self.journal_unsynced = b""

    @property
    def has_whole_watermark(self) -> bool:
        """True when both slots are good: then a lost journal is no reason for a quarantine."""
        return all(parse_slot(data, side) is not None for side, data in enumerate(self.slots))

    def lose_watermark(self) -> None:
        """Both slots are gone."""
        self.slots = [b"", b""]
        self.slot_unsynced = None

    def recover(self) -> Recovery:
        """What the signer makes of the two memories, unchanged."""
        first, second = (parse_slot(data, side) for side, data in enumerate(self.slots))
        return recover_signing_state(parse_journal(self.journal), WatermarkContents((first, second)))

    def level(self, recovered: RecoveredSigner) -> None:
        """Bring journal and watermark level, both durable, before anything is signed."""
        last = self.last = recovered.last
        records = (
            recovered.records if last is None or last in recovered.records else (*recovered.records, last)
        )
        self.restart_journal(records)
        for _ in self.slots:
            self._sequence += 1
            self.slots[self._sequence % 2] = self._slot(self._sequence, last)

    def restart_journal(self, records: tuple[VoteRecord, ...]) -> None:
        """Begin the journal anew with these records."""
        data, self._digest = _frame(_START, _encoded_owner(self.chain_id, self.public_key))
        for record in records:
            frame, self._digest = _frame(self._digest, record.encode())
            data += frame
        self.journal, self.journal_unsynced = data, b""

    def lock_wtxids(self, recovered: RecoveredSigner, height: int) -> tuple[bytes, ...] | None:
        """The stored list of the locked block, if there is a lock and it is stored."""
        marks = () if recovered.watermark is None else (recovered.watermark,)
        lock = lock_of(recovered.records + marks, height)
        stored = self.blocks.get(lock.block_id) if lock is not None else None
        return None if stored is None else stored[1]


def _flipped(data: bytes, where: float) -> bytes:
    if not data:
        return data
    spoiled = bytearray(data)
    spoiled[int(where * len(data))] ^= 1 << int(where * 8 * len(data)) % 8
    return bytes(spoiled)


def _make_slot(chain_id: bytes, key: bytes, sequence: int, record: VoteRecord | None) -> Slot:
    return Slot(
        WATERMARK_VERSION, chain_id, key, sequence, None if record is None else record.without_attachment()
    )


def _encoded_owner(chain_id: bytes, public_key: bytes) -> bytes:
    return encode(JournalOwner(JOURNAL_VERSION, chain_id, public_key))


__all__ = ["Disk", "Quarantine", "RecoveredSigner", "Tear"]
