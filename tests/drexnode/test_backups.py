"""Backups: extended, signed, proved by restoring; they hold nothing of what a validator has signed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trio

from drexnode.keystore import read_plain_key
from ledger.genesis import chain_id_of
from primitives.keys import SigningKey, verify
from storage import backup_writer
from storage.backup_format import BackupList, read_list, segment_path, write_list
from storage.signing_state import SigningRefused, open_signing_state
from tests.drexnode.chain import Chain, genesis_document, open_finalizer
from tests.drexnode.homes import DOCUMENT, done, files_of, grow, make_home, refused
from tests.storage.votes import vote

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_writer, "SEGMENT_BYTES", 4096)


def continue_chain(home: Path, blocks: int) -> None:
    """Let a home's chain grow by so many empty blocks."""

    async def run() -> None:
        with open_finalizer(home / "data", DOCUMENT) as finalizer:
            chain = Chain(finalizer, DOCUMENT)
            for _ in range(blocks):
                await finalizer.finalize(*chain.build([]))

    trio.run(run)


def contents(folder: Path) -> BackupList:
    found = read_list(folder, verify)
    assert found is not None
    return found


def restored(folder: Path, backup: Path, source: Path, name: str = "other") -> Path:
    """A new home with the chain of a backup that `source` signed."""
    home = make_home(folder, name)
    signer = read_plain_key(source / "keys" / "peer.key").public_key.hex()
    done("backup", "restore", backup, "--home", home, "--signer", signer)
    return home


def test_a_backup_restores_to_the_root_it_names_with_all_blocks_and_indexes(tmp_path: Path) -> None:
    home, backup = make_home(tmp_path), tmp_path / "backup"
    grow(home, 10)
    made = done("backup", "create", backup, "--home", home)
    assert made["height"] == 10
    assert made["segments"] > 1
    assert done("backup", "verify", backup, "--home", home)["state_root"] == made["state_root"]
    other = restored(tmp_path, backup, home)
    assert done("verify", "--home", other)["ok"]
    summary = done("inspect", "summary", "--home", other)
    assert (summary["state_root"], summary["bodies_from"]) == (made["state_root"], 0)
    assert done("replay", "--home", other)["transactions"] == 30


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    home, backup = make_home(tmp_path), tmp_path / "backup"
    grow(home, 10)
    done("backup", "create", backup, "--home", home)
    before, first = files_of(backup / "blocks"), contents(backup)
    continue_chain(home, 3)
    done("backup", "create", backup, "--home", home)
    second = contents(backup)
    assert (second.height, second.sequence) == (13, first.sequence + 1)
    assert second.segments[: len(first.segments) - 1] == first.segments[:-1]
    kept = before.keys() & files_of(backup / "blocks").keys()
    assert len(kept) >= len(first.segments) - 1
    assert {path.name for path in (backup / "blocks").iterdir()} == {
        segment.digest.hex() for segment in second.segments
    }
    assert done("backup", "verify", backup, "--home", home)["height"] == 13


def test_nothing_of_journal_and_watermark_is_saved_and_nothing_of_them_is_turned_back(tmp_path: Path) -> None:
    home, backup = make_home(tmp_path, "validator-0", "validator"), tmp_path / "backup"
    grow(home, 5)
    key = SigningKey(read_plain_key(home / "keys" / "validator.key").seed)
    place = home / "data" / "votes", home / "signer" / "watermark"
    state = open_signing_state(*place, chain_id_of(DOCUMENT), key.public_key)
    state.record(vote(6, 0, 3))
    state.close()
    done("backup", "create", backup, "--home", home)
    secrets = [
        data for name, data in files_of(home).items() if name.startswith(("data/votes", "signer/slot"))
    ]
    saved = files_of(backup)
    assert all(name == "manifest" or name.startswith("blocks/") for name in saved)
    assert not [data for data in saved.values() if any(secret and secret in data for secret in secrets)]
    state = open_signing_state(*place, chain_id_of(DOCUMENT), key.public_key)
    state.record(vote(9, 0, 3))
    state.close()
    remembered = files_of(home / "signer")
    shutil.rmtree(home / "data")  # the disk is lost, the machine's memory of its votes is not
    done("backup", "restore", backup, "--home", home)
    assert files_of(home / "signer") == remembered
    state = open_signing_state(*place, chain_id_of(DOCUMENT), key.public_key)
    for height in (6, 9):
        with pytest.raises(SigningRefused):
            state.record(vote(height, 0, 3, variant=1))
    state.close()


def test_a_pruned_source_begins_with_its_state(tmp_path: Path) -> None:
    home, backup = make_home(tmp_path), tmp_path / "backup"
    grow(home, 6)
    done("snapshot", "create", tmp_path / "state", "--home", home)
    pruned = make_home(tmp_path, "pruned")
    done("snapshot", "restore", tmp_path / "state", "--home", pruned)
    continue_chain(pruned, 2)
    made = done("backup", "create", backup, "--home", pruned)
    assert (made["base_height"], made["first_block"], made["height"]) == (8, 9, 8)
    continue_chain(pruned, 2)
    made = done("backup", "create", backup, "--home", pruned)
    assert (made["base_height"], made["height"]) == (8, 10)
    other = restored(tmp_path, backup, pruned)
    assert done("verify", "--home", other)["ok"]
    assert done("inspect", "summary", "--home", other)["height"] == 10
    manifest = next(backup.glob("base-*")) / "manifest"
    manifest.write_bytes(manifest.read_bytes()[:-1])
    assert refused("backup", "verify", backup, "--home", pruned) == (7, "SNAPSHOT_MALFORMED")


def test_a_new_base_takes_the_place_of_the_blocks_before_it(tmp_path: Path) -> None:
    home, backup = make_home(tmp_path), tmp_path / "backup"
    grow(home, 6)
    done("backup", "create", backup, "--home", home)
    continue_chain(home, 1)
    made = done("backup", "create", backup, "--home", home, "--new-base")
    assert (made["base_height"], made["segments"]) == (7, 0)
    assert list((backup / "blocks").iterdir()) == []
    assert done("backup", "verify", backup, "--home", home)["height"] == 7


def test_what_was_changed_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    home, backup = make_home(tmp_path), tmp_path / "backup"
    grow(home, 8)
    done("backup", "create", backup, "--home", home)
    named = contents(backup)
    for segment in named.segments:
        path = segment_path(backup, segment.digest)
        data = path.read_bytes()
        for damaged in (data[:-1], data[:50] + bytes((data[50] ^ 1,)) + data[51:], None):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            assert refused("backup", "verify", backup, "--home", home) == (7, "BACKUP_SEGMENT")
            path.write_bytes(data)
    manifest = backup / "manifest"
    data = manifest.read_bytes()
    for place in range(3, len(data), 61):
        manifest.write_bytes(data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :])
        code, name = refused("backup", "verify", backup, "--home", home)
        assert (code, name.split("_")[0]) == (7, "BACKUP")
    manifest.write_bytes(data)
    empty = make_home(tmp_path, "other")
    assert refused("backup", "restore", backup, "--home", empty) == (8, "BACKUP_OTHER_SIGNER")
    assert list((empty / "data").iterdir()) == []


def test_a_signer_who_names_another_root_is_found_by_executing_the_blocks(tmp_path: Path) -> None:
    home, backup = make_home(tmp_path), tmp_path / "backup"
    grow(home, 4)
    done("backup", "create", backup, "--home", home)
    key = SigningKey(read_plain_key(home / "keys" / "peer.key").seed)
    write_list(backup, msgspec.structs.replace(contents(backup), state_root=bytes(32)), key)
    assert refused("backup", "verify", backup, "--home", home) == (7, "REPLAY_DIFFERS")


def test_backups_of_others_are_not_extended(tmp_path: Path) -> None:
    home, backup = make_home(tmp_path), tmp_path / "backup"
    grow(home, 3)
    done("backup", "create", backup, "--home", home)
    other = make_home(tmp_path, "other")
    grow(other, 2)
    assert refused("backup", "create", backup, "--home", other) == (8, "BACKUP_OTHER_SIGNER")
    foreign_document = genesis_document(outputs=65)
    foreign = make_home(tmp_path / "foreign", document=foreign_document)
    grow(foreign, 3, document=foreign_document)
    assert refused("backup", "create", backup, "--home", foreign) == (8, "BACKUP_FOREIGN")
    assert refused("backup", "verify", tmp_path / "nothing", "--home", home) == (2, "BACKUP_MISSING")
    assert refused("backup", "restore", backup, "--home", home) == (8, "STORAGE_EXISTS")


@pytest.mark.parametrize("point", ["backup.after_segment", "backup.before_list"])
def test_a_kill_leaves_the_backup_that_was_there(tmp_path: Path, point: str) -> None:
    home, backup = make_home(tmp_path), tmp_path / "backup"
    grow(home, 4)
    done("backup", "create", backup, "--home", home)
    before = contents(backup)
    continue_chain(home, 2)
    killed = subprocess.run(
        [sys.executable, "-m", "drexnode", "backup", "create", str(backup), "--home", str(home)],
        cwd=ROOT,
        env={**os.environ, "DREX_FAILPOINT": point},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert contents(backup) == before
    assert done("backup", "verify", backup, "--home", home)["height"] == 4
    assert done("backup", "create", backup, "--home", home)["height"] == 6
    assert done("backup", "verify", backup, "--home", home)["height"] == 6


def test_a_kill_while_restoring_leaves_no_chain_and_the_next_one_succeeds(tmp_path: Path) -> None:
    home, backup = make_home(tmp_path), tmp_path / "backup"
    grow(home, 4)
    done("backup", "create", backup, "--home", home)
    shutil.rmtree(home / "data" / "chain")
    killed = subprocess.run(
        [sys.executable, "-m", "drexnode", "backup", "restore", str(backup), "--home", str(home)],
        cwd=ROOT,
        env={**os.environ, "DREX_FAILPOINT": "commit.after_write:3"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (home / "data" / "chain").exists()
    done("backup", "restore", backup, "--home", home)
    assert done("verify", "--home", home)["ok"]
    assert sorted(path.name for path in (home / "data").iterdir()) == ["chain", "chain.acknowledged"]
