"""`drexnode inspect`: a stopped node's data answers as a node would, and stays as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drexnode.keystore import read_plain_key
from ledger.genesis import chain_id_of
from ledger.locks import key_lock
from primitives.address import encode_address
from primitives.keys import SigningKey
from storage.borrowed import borrow_database
from storage.signing_state import open_signing_state
from tests.drexnode.chain import key
from tests.drexnode.homes import DOCUMENT, done, files_of, grow, make_home, refused

ROOT = Path(__file__).parents[2]


def address(name: str) -> str:
    return encode_address(DOCUMENT.address_prefix, key_lock(key(name).public_key))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = make_home(tmp_path)
    grow(made, 5, transfers=3)
    return made


def test_balances_blocks_and_transactions_are_answered_and_no_file_changes(home: Path) -> None:
    before = files_of(home)
    summary = done("inspect", "summary", "--home", home)
    assert summary["height"] == 5
    rows = done("inspect", "balance", address("bob"), "--home", home)["balances"]
    assert [row["total"] for row in rows] == ["0.15"]
    block = done("inspect", "block", 3, "--home", home)
    assert block["tx_count"] == 3
    transaction = done("inspect", "tx", block["transactions"][0], "--home", home)
    assert (transaction["status"], transaction["height"]) == ("FINAL", 3)
    assert done("inspect", "block", block["block_id"], "--home", home)["height"] == 3
    history = done("inspect", "history", address("bob"), "--home", home)
    assert len(history["entries"]) == 15
    assert files_of(home) == before


HOLD = """
import sys
from pathlib import Path
from storage.leveldb import open_database
try:
    database = open_database(Path(sys.argv[1]))
except Exception as error:
    print(getattr(error, "code", error), flush=True)
else:
    print("open", flush=True)
    sys.stdin.read()
    database.close()
"""


def another_process(home: Path) -> subprocess.Popen[str]:
    """A process that opens the database as a node does, and keeps it until its stdin ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home / "data" / "chain")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_a_running_node_is_not_looked_at(home: Path) -> None:
    with another_process(home) as node:
        assert node.stdout is not None
        assert node.stdin is not None
        assert node.stdout.readline() == "open\n"
        assert refused("inspect", "summary", "--home", home) == (75, "STORAGE_LOCKED")
        node.stdin.close()
    assert done("inspect", "summary", "--home", home)["height"] == 5


def test_a_look_keeps_a_node_from_starting(home: Path) -> None:
    with borrow_database(home / "data" / "chain"), another_process(home) as node:
        assert node.stdout is not None
        assert node.stdout.readline() == "STORAGE_LOCKED\n"


def test_a_log_torn_by_a_power_cut_is_cut_in_the_copy_alone(home: Path) -> None:
    log = max((home / "data" / "chain").glob("*.log"))
    log.write_bytes(log.read_bytes() + b"\x07torn entry")
    before = files_of(home)
    assert done("inspect", "summary", "--home", home)["height"] == 5
    assert files_of(home) == before


def test_what_cannot_be_answered_is_refused_with_its_code(home: Path, tmp_path: Path) -> None:
    assert refused("inspect", "block", 99, "--home", home) == (1, "NOT_FOUND")
    assert refused("inspect", "tx", "ff" * 32, "--home", home) == (1, "NOT_FOUND")
    assert refused("inspect", "tx", "ff", "--home", home) == (1, "RPC_INVALID_PARAMS")
    assert refused("inspect", "signing", "--home", home) == (1, "NOT_A_VALIDATOR")
    empty = make_home(tmp_path, "empty")
    assert refused("inspect", "summary", "--home", empty) == (75, "STORAGE_MISSING")


def test_what_a_key_has_signed_is_told_and_a_lost_watermark_means_quarantine(tmp_path: Path) -> None:
    home = make_home(tmp_path, "validator-0", "validator")
    signing_key = SigningKey(read_plain_key(home / "keys" / "validator.key").seed)
    watermark = home / "signer" / "watermark"
    chain_id = chain_id_of(DOCUMENT)
    open_signing_state(home / "data" / "votes", watermark, chain_id, signing_key.public_key).close()
    facts = done("inspect", "signing", "--home", home)
    assert facts["public_key"] == signing_key.public_key.hex()
    assert facts["at_restart"] == "signs above the last vote"
    for slot in ("slot-0", "slot-1"):
        (watermark / slot).unlink()
    assert done("inspect", "signing", "--home", home)["at_restart"] == "quarantine"


def test_what_stands_in_the_state_is_answered_as_by_a_node(home: Path) -> None:
    bob = address("bob")
    assert [row["amount"] for row in done("inspect", "utxos", bob, "--home", home)["outputs"]]
    assert done("inspect", "frozen", bob, "--home", home)["freezes"] == []
    assert done("inspect", "wallet", bob, "--home", home)["address"] == bob
    assert {row["asset"] for row in done("inspect", "assets", "--home", home)["assets"]} >= {"BRL"}
    assert done("inspect", "participants", "--home", home)["participants"]
    assert len(done("inspect", "validators", "--home", home)["validators"]) == len(DOCUMENT.validators)
    assert done("inspect", "votes", "--home", home)["votes"] == []
