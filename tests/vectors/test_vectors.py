"""The vectors on disk are what the code makes, and an independent reading agrees with them."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack

from scripts.vectors import files

FOLDER = Path(__file__).parent


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def test_files_on_disk_are_what_the_code_makes() -> None:
    for name, content in files().items():
        assert load(name) == json.loads(json.dumps(content)), f"{name}: an encoding or a rule changed"


def test_the_independent_checker_agrees() -> None:
    script = FOLDER / "check_vectors.py"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "transactions_valid" in done.stdout


def test_the_checker_is_short_and_shares_no_code_with_the_node() -> None:
    text = (FOLDER / "check_vectors.py").read_text()
    assert len(text.splitlines()) <= 250
    for room in ("primitives", "ledger", "consensus", "storage", "drexnode", "tests"):
        assert f"import {room}" not in text
        assert f"from {room}" not in text


def test_the_checker_notices_a_changed_vector(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "check_vectors.py").write_text((FOLDER / "check_vectors.py").read_text())
    valid = load("transactions_valid.json")
    valid["transactions"][0]["txid"] = "00" * 32
    (tmp_path / "transactions_valid.json").write_text(json.dumps(valid))
    script = tmp_path / "check_vectors.py"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0


def test_blocks_follow_the_encodings() -> None:
    """Header, validator set and Merkle roots by the reference codec and plain SHA-256."""
    blocks = load("blocks.json")
    header = bytes.fromhex(blocks["header"]["encoded"])
    assert msgpack.packb(msgpack.unpackb(header)) == header
    assert _tagged("drex/block", header).hex() == blocks["header"]["block_id"]
    validators = blocks["validators"]
    packed = msgpack.packb([validators["epoch"], [bytes.fromhex(key) for key in validators["keys"]]])
    assert _tagged("drex/validators", packed).hex() == validators["hash"]
    roots = [_merkle([bytes([number]) * 32 for number in range(count)]) for count in range(10)]
    assert [root.hex() for root in roots] == blocks["merkle_roots"]


def _tagged(tag: str, data: bytes) -> bytes:
    head = sha256(tag.encode()).digest()
    return sha256(head + head + data).digest()


def _merkle(leaves: list[bytes]) -> bytes:
    level = [_tagged("drex/leaf", leaf) for leaf in leaves] or [bytes(32)]
    while len(level) > 1:
        pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
        level = [_tagged("drex/node", pair[0] + pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]
