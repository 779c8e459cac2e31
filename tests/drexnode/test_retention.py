"""Retention: what goes, what stays, and that a node says what it no longer has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio

from drexnode.config import ConfigError, NodeConfig, StorageSection, parse_retention
from drexnode.maintenance import Maintenance
from drexnode.retention import Retention, check_retention
from ledger.genesis import chain_id_of
from primitives.errors import DrexError
from storage import failpoints
from storage import prune as pruning
from storage.chain_store import open_chain_store
from storage.layout import META_PRUNED
from storage.leveldb import Database
from storage.queries import ChainQueries, QueryError
from tests.drexnode.chain import Chain, genesis_document, open_finalizer
from tests.drexnode.homes import DOCUMENT as DOCUMENT_OF_HOMES
from tests.drexnode.homes import done, grow, make_home, refused

ROOT = Path(__file__).parents[2]
DOCUMENT = genesis_document()


@pytest.fixture(autouse=True)
def few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drexnode.config.MIN_KEPT_BLOCKS", 4)
    monkeypatch.setattr("drexnode.retention.MIN_KEPT_BLOCKS", 4)
    monkeypatch.setattr(pruning, "PRUNE_BLOCKS", 3)


def config(home: Path, retention: str) -> NodeConfig:
    return NodeConfig(home, storage=StorageSection(retention=retention))


@pytest.mark.parametrize("text", ["", "all", "pruned", "pruned:", "pruned:-5", "pruned:3", "pruned:1e9"])
def test_a_retention_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_retention(text)
    assert caught.value.code == "CONFIG_BAD_VALUE"


def test_a_configuration_with_it_is_refused_before_anything_starts(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    file = home / "drexnode.toml"
    file.write_text(file.read_text().replace('# retention = "full"', 'retention = "half"'))
    assert refused("config", "check", "--home", home) == (3, "CONFIG_BAD_VALUE")


async def test_a_pruned_node_lets_bodies_go_as_the_chain_grows_and_keeps_headers(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain, queries = Chain(finalizer, DOCUMENT), finalizer.queries
        await chain.grow(10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Retention(config(tmp_path, "pruned:4"), finalizer).run)
            await chain.grow(2)
            with trio.fail_after(60):
                while finalizer.store.database.get(META_PRUNED) != (9).to_bytes(8, "big"):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        await chain.grow(1)  # what is read is as of the tip
        assert [queries.block(height) is not None for height in range(9, 14)] == [True] * 5
        for height in range(1, 9):
            assert queries.header(height) is not None
            assert queries.certificate(height) is not None
            with pytest.raises(QueryError):
                queries.block(height)


async def test_full_and_archive_keep_every_block(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        await Chain(finalizer, DOCUMENT).grow(8)
        for kind in ("full", "archive"):
            await Retention(config(tmp_path, kind), finalizer).run()
        assert finalizer.queries.pruned_below == 0
        with pytest.raises(DrexError) as caught:
            Maintenance(config(tmp_path, "archive"), finalizer).prune(5)
        assert caught.value.code == "PRUNE_ARCHIVE"
        with pytest.raises(DrexError) as caught:
            Maintenance(config(tmp_path, "full"), finalizer).prune(3)
        assert caught.value.code == "PRUNE_TOO_FEW"


def test_the_command_prunes_a_stopped_node_that_is_whole_afterwards(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    grow(home, 12)
    assert done("prune", "--keep", 5, "--home", home)["bodies_from"] == 8
    assert done("prune", "--keep", 5, "--home", home)["bodies_from"] == 8
    assert done("verify", "--home", home)["ok"]
    assert done("inspect", "block", 8, "--home", home)["height"] == 8
    assert refused("inspect", "block", 7, "--home", home) == (8, "BLOCK_PRUNED")
    assert refused("prune", "--keep", 1, "--home", home) == (8, "PRUNE_TOO_FEW")


def test_the_command_gives_the_room_of_pruned_bodies_back(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    grow(home, 12)
    chain_id = chain_id_of(DOCUMENT_OF_HOMES)
    store = open_chain_store(home / "data" / "chain", chain_id, hot_set_bytes=1 << 20)
    stored = [ChainQueries(store, chain_id).block(height) for height in (3, 9)]
    store.close()
    gone, kept = (block.transactions[0] for block in stored if block is not None)

    def files_with(body: bytes) -> int:
        return sum(body in path.read_bytes() for path in (home / "data" / "chain").iterdir())

    assert files_with(gone) == files_with(kept) == 1
    done("prune", "--keep", 5, "--home", home)
    assert (files_with(gone), files_with(kept)) == (0, 1)


async def test_an_archive_does_not_start_on_data_that_was_pruned(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        chain = Chain(finalizer, DOCUMENT)
        await chain.grow(8)
        pruning.prune(finalizer.store.database, 4)
        await chain.grow(1)
        check_retention(config(tmp_path, "full"), finalizer.queries)
        with pytest.raises(ConfigError) as caught:
            check_retention(config(tmp_path, "archive"), finalizer.queries)
        assert caught.value.code == "RETENTION_NOT_ARCHIVE"


TOOL = """
import sys
from pathlib import Path
from storage import prune
from storage.leveldb import open_database
prune.PRUNE_BLOCKS = 3
database = open_database(Path(sys.argv[1]))
prune.prune(database, 4)
"""


@pytest.mark.parametrize("point", ["prune.before_write:2", "prune.after_write:2"])
def test_a_kill_in_the_middle_leaves_a_chain_that_knows_what_it_lacks(tmp_path: Path, point: str) -> None:
    home = make_home(tmp_path)
    grow(home, 14)
    killed = subprocess.run(
        [sys.executable, "-c", TOOL, str(home / "data" / "chain")],
        cwd=ROOT,
        env={**os.environ, "DREX_FAILPOINT": point},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert done("verify", "--home", home)["ok"]
    assert done("prune", "--keep", 4, "--home", home)["bodies_from"] == 11


async def test_two_who_prune_at_one_time_never_set_the_note_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_is_there, other_is_done = threading.Event(), threading.Event()

    def reach(point: str) -> None:
        if point == "prune.before_write" and not slow_is_there.is_set():
            slow_is_there.set()
            other_is_done.wait(0.5)  # in vain: the other one waits for this one

    def other(database: Database) -> None:
        slow_is_there.wait()
        pruning.prune(database, 4)
        other_is_done.set()

    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        database = finalizer.store.database
        await Chain(finalizer, DOCUMENT).grow(30, 1)
        monkeypatch.setattr(failpoints, "reach", reach)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, pruning.prune_once, database, 20)
            nursery.start_soon(trio.to_thread.run_sync, other, database)
        assert database.get(META_PRUNED) == (27).to_bytes(8, "big")
