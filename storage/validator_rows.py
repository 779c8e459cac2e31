"""Who decided which height: validator sets by the height they start from, and recovery overrides.

A set is stored once, with the block that brings it (`ChainStore.prepare`); an override when the node begins
to follow it, before the block after it is accepted. A set is answered only if it has the hash that the header
of its height names, so a missing row is noticed and never hidden by an older one.
"""

from __future__ import annotations

from ledger.override import Override, Overrides, decode_override, encode_override
from ledger.votes import decode_validators
from primitives.block import BlockHeader
from primitives.errors import DecodeError
from primitives.validators import ValidatorSet
from storage.layout import OVERRIDE, VALIDATOR_SET, after, damaged_row, height_key
from storage.leveldb import Database, Reader


def write_override(database: Database, override: Override) -> None:
    """Make an override durable in the place of an earlier one of its height. Blocking.

    Raises `StorageFailure`: the outcome is unknown, stop and recover."""
    batch = database.batch()
    batch.put(height_key(OVERRIDE, override.height), encode_override(override))
    database.write(batch)


def read_overrides(reader: Reader) -> Overrides:
    """The overrides that were stored. Raises `StorageFailure` (STORAGE_CORRUPT)."""
    found = Overrides()
    for key, value in reader.scan(OVERRIDE, after(OVERRIDE)):
        found.add(_decode_override(key, value))
    return found


def read_validators_at(reader: Reader, header: BlockHeader) -> ValidatorSet | None:
    """The set that decided `header` (for genesis: the first one), or None when it was not kept.

    Raises `StorageFailure` (STORAGE_CORRUPT)."""
    start = height_key(VALIDATOR_SET, max(header.height, 1))
    latest = next(reader.scan(VALIDATOR_SET, after(start), reverse=True), None)
    candidates = [] if latest is None else [decode_set(latest[1])]
    key = height_key(OVERRIDE, max(header.height - 1, 0))
    row = reader.get(key)
    if row is not None:
        candidates.append(_decode_override(key, row).validators)
    return next((found for found in candidates if found.hash == header.validators_hash), None)


def decode_set(value: bytes) -> ValidatorSet:
    """The set in a `VALIDATOR_SET` row. Raises `StorageFailure` (STORAGE_CORRUPT)."""
    try:
        return decode_validators(value)
    except DecodeError as error:
        raise damaged_row(f"a validator set cannot be read ({error.message})") from error


def _decode_override(key: bytes, value: bytes) -> Override:
    try:
        return decode_override(value)
    except DecodeError as error:
        height = int.from_bytes(key[1:9], "big")
        raise damaged_row(f"the override of height {height} cannot be read ({error.message})") from error
