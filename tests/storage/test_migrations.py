"""Data of an older layout is brought up, whole or not at all, and a newer one is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from ledger.genesis import chain_id_of
from primitives.codec import encode
from primitives.errors import StorageFailure
from storage.chain_store import open_chain_store
from storage.layout import META_SCHEMA, SCHEMA_VERSION, VALIDATOR_SET, after
from storage.leveldb import Database, open_database
from storage.migrations import STEPS, migrate
from storage.prune import prune
from storage.queries import ChainQueries
from storage.schema import SchemaRow, stored_version
from tests.drexnode.chain import Chain, genesis_document, open_finalizer

DOCUMENT = genesis_document(validators=7)
CHAIN_ID = chain_id_of(DOCUMENT)
ROOT = Path(__file__).parents[2]


def set_rows(database: Database) -> dict[bytes, bytes]:
    return dict(database.scan(VALIDATOR_SET, after(VALIDATOR_SET)))


def make_old(path: Path, kept_blocks: int | None = None) -> dict[bytes, bytes]:
    """A chain of three validator sets in layout 1; the rows that a migration has to find."""

    async def run() -> None:
        with open_finalizer(path, DOCUMENT) as finalizer:
            chain = Chain(finalizer, DOCUMENT)
            for subject in ("validator-6", "validator-5"):
                size = finalizer.head.validators.size
                votes = [chain.vote(f"validator-{number}", subject, add=False) for number in range(5)]
                await finalizer.finalize(*chain.build(votes[:2]))
                await finalizer.finalize(*chain.build(votes[2:]))
                assert finalizer.head.validators.size == size - 1
                await chain.grow(2)

    trio.run(run)
    database = open_database(path / "chain")
    rows = set_rows(database)
    if kept_blocks is not None:
        prune(database, kept_blocks)
    batch = database.batch()
    for key in rows:
        batch.delete(key)
    batch.put(META_SCHEMA, encode(SchemaRow(1)))
    database.write(batch)
    database.close()
    return rows


def test_every_version_below_this_one_has_a_step() -> None:
    assert sorted(STEPS) == list(range(1, SCHEMA_VERSION))


def test_the_sets_of_all_heights_are_found_again_from_the_votes(tmp_path: Path) -> None:
    rows = make_old(tmp_path)
    assert len(rows) == 3
    store = open_chain_store(tmp_path / "chain", CHAIN_ID, hot_set_bytes=1 << 20)
    assert set_rows(store.database) == rows
    assert stored_version(store.database) == SCHEMA_VERSION
    assert any("3 validator sets" in what for what in store.database.recovered)
    queries = ChainQueries(store, CHAIN_ID)
    assert all(queries.validators_at(height) is not None for height in range(9))
    store.close()
    again = open_chain_store(tmp_path / "chain", CHAIN_ID, hot_set_bytes=1 << 20)
    assert again.database.recovered == ()
    again.close()


def test_where_the_votes_are_gone_the_sets_stay_unknown_and_the_data_usable(tmp_path: Path) -> None:
    rows = make_old(tmp_path, kept_blocks=1)
    store = open_chain_store(tmp_path / "chain", CHAIN_ID, hot_set_bytes=1 << 20)
    found = set_rows(store.database)
    assert found.items() < rows.items()
    assert any("could not be found" in what for what in store.database.recovered)
    assert ChainQueries(store, CHAIN_ID).validators_at(8) is not None
    store.close()


@pytest.mark.parametrize("point", ["migration.before_write", "migration.after_write"])
def test_a_kill_leaves_the_old_layout_or_the_new_one(tmp_path: Path, point: str) -> None:
    rows = make_old(tmp_path)
    program = (
        "import sys; from pathlib import Path; from storage.chain_store import open_chain_store;"
        "open_chain_store(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), hot_set_bytes=1 << 20)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "chain"), CHAIN_ID.hex()],
        cwd=ROOT,
        env={**os.environ, "DREX_FAILPOINT": point},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    database = open_database(tmp_path / "chain")
    version = 1 if point == "migration.before_write" else 2
    assert (stored_version(database), set_rows(database)) == (version, rows if version == 2 else {})
    migrate(database, CHAIN_ID)
    assert set_rows(database) == rows
    database.close()


def test_a_layout_that_no_release_wrote_is_refused(tmp_path: Path) -> None:
    make_old(tmp_path)
    database = open_database(tmp_path / "chain")
    batch = database.batch()
    batch.put(META_SCHEMA, encode(SchemaRow(0)))
    database.write(batch)
    with pytest.raises(StorageFailure, match="no release"):
        migrate(database, CHAIN_ID)
    database.close()
