"""Data of a stopped node: a scan names damage, and repair keeps everything but gives the chain up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.network.net import COMMAND, ENVIRONMENT, drexnode, free_base_port

pytestmark = pytest.mark.network


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = drexnode(
        "genesis", "new", "--validators", 2, "--out", tmp_path / "net", "--base-port", free_base_port(2)
    )
    assert made.returncode == 0, made.stderr
    return tmp_path / "net" / "validator-0"


def run_once(home: Path) -> None:
    """Start the node and stop it again: its store then holds the genesis block."""
    process = subprocess.Popen(
        [*COMMAND, "start", "--home", str(home)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "node.started" in line:
            break
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_whole_data_is_found_whole_and_damage_is_named(home: Path) -> None:
    run_once(home)
    whole = drexnode("verify", "--home", home, "-o", "json")
    assert whole.returncode == 0, whole.stderr
    assert json.loads(whole.stdout)["ok"]
    table = max((home / "data" / "chain").glob("*.ldb"), key=lambda path: path.stat().st_size)
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 0x10
    table.write_bytes(bytes(content))
    damaged = drexnode("verify", "--home", home)
    assert damaged.returncode == 7, damaged.stdout
    assert "damage:" in damaged.stderr
    assert "drexnode repair" in damaged.stderr


def test_repair_sets_the_chain_aside_and_keeps_the_votes(home: Path) -> None:
    run_once(home)
    votes = (home / "data" / "votes" / "votes.journal").read_bytes()
    repaired = drexnode("repair", "--home", home, "-o", "json")
    assert repaired.returncode == 0, repaired.stderr
    assert Path(json.loads(repaired.stdout)["set_aside"]).is_dir()
    assert not (home / "data" / "chain").exists()
    assert (home / "data" / "votes" / "votes.journal").read_bytes() == votes
    again = drexnode("repair", "--home", home)
    assert again.returncode == 75
    assert "nothing to repair" in again.stderr
    run_once(home)
    assert drexnode("verify", "--home", home).returncode == 0


def test_repair_is_refused_while_the_node_runs(home: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "start", "--home", str(home)], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "node.started" in line:
                break
        refused = drexnode("repair", "--home", home)
        assert refused.returncode == 75
        assert "STORAGE_LOCKED" in refused.stderr
        assert (home / "data" / "chain").is_dir()
    finally:
        process.terminate()
        process.communicate(timeout=30)
