"""Jobs of a running node: one at a time, reported to their end, and no failure of theirs stops the node."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from drexnode.config import NodeConfig
from drexnode.maintenance import Maintenance
from drexnode.rpc.maintenance_api import JobStatus
from primitives.errors import DrexError
from storage.snapshot_format import read_manifest
from tests.drexnode.chain import Chain, genesis_document, open_finalizer
from tests.drexnode.homes import done, grow, make_home, refused

DOCUMENT = genesis_document()


async def ended(maintenance: Maintenance) -> JobStatus:
    with trio.fail_after(60):
        while maintenance.status().state == "running":  # noqa: ASYNC110 - it is a thread that ends it
            await trio.sleep(0.01)
    return maintenance.status()


async def test_a_snapshot_is_asked_for_made_and_reported(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        await Chain(finalizer, DOCUMENT).grow(3)
        maintenance = Maintenance(NodeConfig(tmp_path), finalizer)
        assert maintenance.status().state == "idle"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(maintenance.run)
            folder = tmp_path / "state"
            assert maintenance.snapshot(str(folder)).state == "running"
            with pytest.raises(DrexError) as caught:
                maintenance.snapshot(str(tmp_path / "another"))
            assert caught.value.code == "JOB_RUNNING"
            status = await ended(maintenance)
            assert (status.state, status.height) == ("done", 3)
            assert read_manifest(folder).height == 3
            maintenance.snapshot(str(folder))
            status = await ended(maintenance)
            assert (status.state, status.code) == ("failed", "SNAPSHOT_EXISTS")
            nursery.cancel_scope.cancel()


async def test_a_node_that_stops_waits_for_no_snapshot(tmp_path: Path) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        maintenance = Maintenance(NodeConfig(tmp_path), finalizer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(maintenance.run)
            await trio.testing.wait_all_tasks_blocked()
            maintenance.snapshot(str(tmp_path / "state"))
            nursery.cancel_scope.cancel()
        assert not (tmp_path / "state.partial").exists()


@pytest.mark.parametrize("folder", ["state", "/no/such/folder/state"])
async def test_a_folder_that_cannot_be_meant_is_refused(tmp_path: Path, folder: str) -> None:
    with open_finalizer(tmp_path, DOCUMENT) as finalizer:
        with pytest.raises(DrexError) as caught:
            Maintenance(NodeConfig(tmp_path), finalizer).snapshot(folder)
        assert caught.value.code == "JOB_FOLDER"


def test_the_commands_make_check_and_restore(tmp_path: Path) -> None:
    home, other = make_home(tmp_path), make_home(tmp_path, "observer-1")
    grow(home, 4)
    made = done("snapshot", "create", tmp_path / "state", "--home", home)
    assert made["height"] == 4
    assert done("snapshot", "verify", tmp_path / "state", "--home", home)["state_root"] == made["state_root"]
    assert done("snapshot", "verify", tmp_path / "state", "--home", home, "--quick")["height"] == 4
    assert done("snapshot", "restore", tmp_path / "state", "--home", other)["height"] == 4
    assert done("verify", "--home", other)["ok"]
    assert done("inspect", "summary", "--home", other)["bodies_from"] == 5
    assert refused("inspect", "block", 3, "--home", other) == (8, "BLOCK_PRUNED")
    assert refused("replay", "--home", other) == (8, "REPLAY_PRUNED")
    assert refused("snapshot", "restore", tmp_path / "state", "--home", other) == (8, "STORAGE_EXISTS")
    assert refused("snapshot", "verify", tmp_path / "nothing", "--home", home) == (2, "SNAPSHOT_MISSING")
    chunk = next((tmp_path / "state" / "chunks").iterdir())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert refused("snapshot", "verify", tmp_path / "state", "--home", home) == (7, "SNAPSHOT_CHUNK")


def test_a_validator_without_its_watermark_gets_no_chain(tmp_path: Path) -> None:
    source = make_home(tmp_path)
    grow(source, 2)
    done("snapshot", "create", tmp_path / "state", "--home", source)
    home = make_home(tmp_path, "validator-0", "validator")
    for slot in ("slot-0", "slot-1"):
        (home / "signer" / "watermark" / slot).unlink()
    (home / "signer" / "watermark").rmdir()
    assert refused("snapshot", "restore", tmp_path / "state", "--home", home) == (3, "HOME_NO_WATERMARK")
