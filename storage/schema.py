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


def check_schema(reader: Reader, chain_id: bytes) -> None:
    """Refuse a database of another layout or chain. Raises `StorageFailure` (STORAGE_SCHEMA,
    STORAGE_FOREIGN)."""
    row = reader.get(META_SCHEMA)
    if row is None:
        raise StorageFailure("STORAGE_SCHEMA", "the database has no schema version: it is not drexnode's")
    version = read_row(row, SchemaRow, "the schema row").version
    if version > SCHEMA_VERSION:
        message = (
            f"the data has layout {version}, this program reads up to {SCHEMA_VERSION}: use the newer one"
        )
        raise StorageFailure("STORAGE_SCHEMA", message, found=version, supported=SCHEMA_VERSION)
    if version < SCHEMA_VERSION:
        message = f"the data has layout {version}, which no release of this program has written"
        raise StorageFailure("STORAGE_SCHEMA", message, found=version, supported=SCHEMA_VERSION)
    stored = reader.get(META_CHAIN)
    if stored != chain_id:
        found = stored.hex() if stored else "none"
        message = f"the data belongs to chain {found}, the genesis to {chain_id.hex()}"
        raise StorageFailure("STORAGE_FOREIGN", message)
