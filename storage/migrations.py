"""Brings data of an older layout to this program's, step by step, when it is opened.

Promises: a step's changes and the new version are one synced batch, so a kill leaves the old layout or the
new one; a step loses nothing; an older program refuses what a newer one has brought up (storage/schema.py).
Each step says what it did, for the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ledger.payloads import Kind, ValidatorVote
from ledger.state import VALIDATORS
from ledger.transaction import decode_transaction
from ledger.votes import decode_validators, validators_value
from primitives.block import BlockHeader, block_id, decode_header
from primitives.codec import encode
from primitives.errors import DecodeError, StorageFailure
from primitives.keys import PublicKey
from primitives.limits import MAX_VALIDATORS
from primitives.validators import ValidatorSet
from storage import failpoints
from storage.layout import HEADER, META_SCHEMA, SCHEMA_VERSION, STATE, VALIDATOR_SET, after, height_key
from storage.leveldb import Batch, Database
from storage.schema import SchemaRow, stored_version
from storage.stored_block import read_block
from storage.validator_rows import read_validators_at

Step = Callable[[Database, Batch, bytes], str]


def migrate(database: Database, chain_id: bytes) -> tuple[str, ...]:
    """Bring a database to `SCHEMA_VERSION`; what was done, nothing for one that is there. Blocking.

    Raises `StorageFailure` (STORAGE_SCHEMA) for a layout that no step begins from."""
    done = []
    version = stored_version(database)
    while version < SCHEMA_VERSION:
        step = STEPS.get(version)
        if step is None:
            message = f"the data has layout {version}, which no release of this program has written"
            raise StorageFailure("STORAGE_SCHEMA", message, found=version, supported=SCHEMA_VERSION)
        batch = database.batch()
        what = step(database, batch, chain_id)
        version += 1
        batch.put(META_SCHEMA, encode(SchemaRow(version)))
        failpoints.reach("migration.before_write")
        database.write(batch)
        failpoints.reach("migration.after_write")
        done.append(f"layout {version - 1} was brought to {version}: {what}")
    return tuple(done)


# --- 1 to 2: the validator sets of all heights


def _keep_validator_sets(database: Database, batch: Batch, chain_id: bytes) -> str:
    """Layout 1 knew the set of the tip alone. Those before are found backwards: a set differs from the one
    before it by one key and one epoch, and every header names its hash. A key that was voted out is in the
    votes that did it; where their bodies are gone the row stays out, as before."""
    row = database.get(STATE + VALIDATORS)
    if row is None:
        return "there was no block"
    known, lost = decode_validators(row), 0
    made = {known.hash: known}
    changes = list(_changes(database))
    for header in reversed(changes):
        following = made.get(header.next_validators_hash)
        if following is None or made.get(header.validators_hash) is not None:
            continue
        before = _before(database, header, following, chain_id)
        if before is None:
            lost += 1
        else:
            made[before.hash] = before
    starts = [
        (1, _hash_of_first(database)),
        *((item.height + 1, item.next_validators_hash) for item in changes),
    ]
    count = 0
    for height, name in starts:
        found = made.get(name)
        if found is not None and database.get(height_key(VALIDATOR_SET, height)) is None:
            batch.put(height_key(VALIDATOR_SET, height), validators_value(found))
            count += 1
    return f"{count} validator sets are kept by their heights" + (
        f", {lost} could not be found" if lost else ""
    )


def _headers(database: Database) -> Iterator[BlockHeader]:
    for _, row in database.scan(HEADER, after(HEADER)):
        yield decode_header(row)


def _changes(database: Database) -> Iterator[BlockHeader]:
    """The blocks after which another set decides, ascending."""
    return (header for header in _headers(database) if header.next_validators_hash != header.validators_hash)


def _hash_of_first(database: Database) -> bytes:
    first = next(_headers(database), None)
    return b"" if first is None or first.height > 0 else first.validators_hash


def _before(
    database: Database, change: BlockHeader, following: ValidatorSet, chain_id: bytes
) -> ValidatorSet | None:
    """The set that decided `change`, from the set that follows it."""
    kept = read_validators_at(database, change)
    if kept is not None:
        return kept
    for key in following.keys:  # was it voted in?
        rest = tuple(other for other in following.keys if other != key)
        found = _matching(following.epoch - 1, rest, change.validators_hash)
        if found is not None:
            return found
    for key in _subjects(database, change.height, chain_id):  # or another one out?
        keys = tuple(sorted({*following.keys, key}))
        found = _matching(following.epoch - 1, keys, change.validators_hash)
        if found is not None:
            return found
    return None


def _matching(epoch: int, keys: tuple[PublicKey, ...], name: bytes) -> ValidatorSet | None:
    if epoch < 0 or not 1 <= len(keys) <= MAX_VALIDATORS:
        return None
    found = ValidatorSet(epoch, keys)
    return found if found.hash == name else None


def _subjects(database: Database, height: int, chain_id: bytes) -> Iterator[PublicKey]:
    """Whom the validators voted about, the latest votes up to a height first."""
    seen: set[bytes] = set()
    rows = database.scan(height_key(HEADER, 0), height_key(HEADER, height + 1), reverse=True)
    for header in (decode_header(row) for _, row in rows):
        stored = read_block(database, header.height, block_id(header)) if header.tx_count else None
        for raw in () if stored is None else stored.transactions:
            subject = _voted_about(raw, chain_id)
            if subject is not None and subject not in seen:
                seen.add(subject)
                yield PublicKey(subject)


def _voted_about(raw: bytes, chain_id: bytes) -> bytes | None:
    try:
        transaction = decode_transaction(raw, chain_id)
    except DecodeError:
        return None
    payload = transaction.payload
    if transaction.kind == Kind.VALIDATOR_VOTE and isinstance(payload, ValidatorVote):
        return bytes(payload.subject)
    return None


# --- 2 to 3: pages of the state tree are saved from time to time


def _keep_pages(database: Database, batch: Batch, chain_id: bytes) -> str:
    """Layout 2 wrote the pages with every block: they are those of the tip, and there are no edits to add."""
    return "the pages of the state tree stay as they are"


# --- 3 to 4: pages of the state tree are saved part by part


def _mark_no_part(database: Database, batch: Batch, chain_id: bytes) -> str:
    """Layout 3 saved all pages at once and kept the edits since then: no part has a mark, so all edits are
    applied to all of them."""
    return "the pages of the state tree stay as they are, with the edits since they were saved"


STEPS: dict[int, Step] = {1: _keep_validator_sets, 2: _keep_pages, 3: _mark_no_part}
