"""Which layout a database has, and whose chain it holds. An older program never opens a newer layout."""

from __future__ import annotations

from primitives.codec import Record, encode
from primitives.errors import StorageFailure
from storage.layout import META_CHAIN, META_SCHEMA, SCHEMA_VERSION, read_row
from storage.leveldb import Reader


class SchemaRow(Record, frozen=True):
    """The layout's version."""

    version: int


def schema_rows(chain_id: bytes) -> list[tuple[bytes, bytes]]:
    """The first rows of a new database."""
    return [(META_SCHEMA, encode(SchemaRow(SCHEMA_VERSION))), (META_CHAIN, chain_id)]


def stored_version(reader: Reader) -> int:
    """The layout's version. Raises `StorageFailure` (STORAGE_SCHEMA) where there is none."""
    row = reader.get(META_SCHEMA)
    if row is None:
        raise StorageFailure("STORAGE_SCHEMA", "the database has no schema version: it is not drexnode's")
    return read_row(row, SchemaRow, "the schema row").version


def check_schema(reader: Reader, chain_id: bytes) -> None:
    """Refuse a database of a newer layout or another chain; an older one is brought up next
    (storage/migrations.py). Raises `StorageFailure` (STORAGE_SCHEMA, STORAGE_FOREIGN)."""
    version = stored_version(reader)
    if version > SCHEMA_VERSION:
        message = (
            f"the data has layout {version}, this program reads up to {SCHEMA_VERSION}: use the newer one"
        )
        raise StorageFailure("STORAGE_SCHEMA", message, found=version, supported=SCHEMA_VERSION)
    stored = reader.get(META_CHAIN)
    if stored != chain_id:
        found = stored.hex() if stored else "none"
        message = f"the data belongs to chain {found}, the genesis to {chain_id.hex()}"
        raise StorageFailure("STORAGE_FOREIGN", message)
