"""Write the frozen vectors of docs/encodings.md into tests/vectors/*.json.

    .venv/bin/python -m scripts.vectors [--check]

`--check` writes nothing and fails when a file on disk differs: an encoding changed. Everything is made from
named keys, so two runs write the same bytes. What the fields mean is in tests/vectors/README.md.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger.apply import apply_transaction
from ledger.checks import check_stateless, verify_signatures
from ledger.locks import (
    AfterHeight,
    AfterTime,
    BeforeHeight,
    BeforeTime,
    Condition,
    HashLeaf,
    digest_of,
    lock_of,
    threshold,
)
from ledger.state import StateView
from ledger.transaction import Transaction, decode_transaction
from primitives.address import encode_address
from primitives.block import BlockHeader, block_id
from primitives.codec import encode
from primitives.errors import DecodeError, InvalidTransaction
from primitives.hashing import tagged_hash
from primitives.keys import verify, verify_many
from primitives.merkle import merkle_root
from tests.ledger.cases import INVALID, VALID, Case
from tests.ledger.cases.conditions import HTLC, VAULT
from tests.ledger.cases.signatures import NONCANONICAL, NOT_ON_CURVE, SMALL_ORDER
from tests.ledger.world import CHAIN_ID, VALIDATOR_SET, World, key, leaf
from tests.primitives.zip215 import L

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "vectors"
LONG = 4096  # bytes; longer transactions are stored deflated

Record = dict[str, Any]


class Recorder:
    """A state that notes what was read of it."""

    def __init__(self, entries: dict[bytes, bytes]) -> None:
        self.entries = entries
        self.read: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        value = self.read[key] = self.entries.get(key)
        return value


def transactions(cases: list[Case]) -> list[Record]:
    """Every named case: bytes, ids, the block, the entries read, and the changes or the code."""
    return [_case(case) for case in cases]


def _case(case: Case) -> Record:
    world = World.genesis()
    made = case.make(world)
    raw = made.raw if isinstance(made, Transaction) else made
    record: Record = {"name": case.name, **_bytes(raw)}
    if case.code is not None:
        record["code"] = case.code
    try:
        transaction = decode_transaction(raw, CHAIN_ID)
    except DecodeError as error:
        _expect(case, error.code)
        return {**record, "stage": "decode"}
    record |= {name: getattr(transaction, name).hex() for name in ("txid", "wtxid", "sighash")}
    record |= {"height": world.height, "timestamp_ms": world.timestamp_ms}
    recorder = Recorder(world.state.entries)
    view = StateView(recorder)
    stages: tuple[tuple[str, Callable[[], None]], ...] = (
        ("static", lambda: check_stateless(transaction)),
        ("signature", lambda: verify_signatures(transaction, verify_many)),
        ("state", lambda: apply_transaction(view, transaction, world.context)),
    )
    for stage, step in stages:
        try:
            step()
        except InvalidTransaction as error:
            _expect(case, error.code)
            return {**record, "stage": stage, **_state(recorder, world, transaction)}
    _expect(case, None)
    changes = {
        name.hex(): [_hex(old), _hex(new)] for name, (old, new) in sorted(view.delta().changes.items())
    }
    return {**record, **_state(recorder, world, transaction), "changes": changes}


def _expect(case: Case, code: str | None) -> None:
    if code != case.code:
        raise SystemExit(f"{case.name}: {code} instead of {case.code}")


def _state(recorder: Recorder, world: World, transaction: Transaction) -> Record:
    spent = [[point.txid.hex(), point.index] for point in transaction.body.inputs if point in world.spenders]
    reads = {name.hex(): _hex(value) for name, value in sorted(recorder.read.items())}
    return {"reads": reads, **({"spent": spent} if spent else {})}


def _bytes(raw: bytes) -> Record:
    if len(raw) <= LONG:
        return {"hex": raw.hex()}
    return {"deflated": base64.b64encode(zlib.compress(raw, 9)).decode()}


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def locks() -> list[Record]:
    """Conditions with their bytes, lock and addresses."""
    conditions: dict[str, Condition] = {
        "key": leaf("alice"),
        "hash": HashLeaf(digest_of(b"secret")),
        "after height": AfterHeight(150),
        "before height": BeforeHeight(2**63 - 1),
        "after time": AfterTime(1_800_000_600_000),
        "before time": BeforeTime(2**53 - 1),
        "2 of 3": VAULT,
        "hashed time lock": HTLC,
        "1 of 1 of 1 of 1": threshold(1, threshold(1, threshold(1, leaf("alice")))),
    }
    return [
        {
            "name": name,
            "condition": encode(condition).hex(),
            "lock": lock_of(condition).hex(),
            "addresses": [encode_address(prefix, lock_of(condition)) for prefix in ("drex", "drexdev")],
        }
        for name, condition in conditions.items()
    ]


def signatures() -> list[Record]:
    """ZIP-215 on a fixed message: every pair of small-order encodings as key and R, and what must fail."""
    message = b"drex"
    encodings = {name: bytes.fromhex(text) for name, text in (SMALL_ORDER | NONCANONICAL).items()}
    identity = encodings["identity"]
    alice = key("alice")
    good = bytes(alice.sign(message))
    large = (int.from_bytes(good[32:], "little") + L).to_bytes(32, "little")
    checks = [
        (f"key {a}, R {r}, S zero", public_key, commitment + bytes(32))
        for a, public_key in encodings.items()
        for r, commitment in encodings.items()
    ]
    checks += [
        ("ordinary", bytes(alice.public_key), good),
        ("ordinary, S + L", bytes(alice.public_key), good[:32] + large),
        ("ordinary, another key", bytes(key("bob").public_key), good),
        ("S equal L", identity, identity + L.to_bytes(32, "little")),
        ("S one", identity, identity + (1).to_bytes(32, "little")),
        ("key off the curve", NOT_ON_CURVE, identity + bytes(32)),
        ("R off the curve", identity, NOT_ON_CURVE + bytes(32)),
    ]
    return [
        {
            "name": name,
            "public_key": public_key.hex(),
            "message": message.hex(),
            "signature": signature.hex(),
            "valid": verify(public_key, message, signature),
        }
        for name, public_key, signature in checks
    ]


def blocks() -> Record:
    """A header and its id, a validator set and its hash, Merkle roots of 0 to 9 leaves."""
    header = BlockHeader(
        version=1,
        height=7,
        parent_id=bytes(range(32)),
        timestamp_ms=1_800_000_000_123,
        proposer=VALIDATOR_SET.keys[0],
        tx_count=3,
        tx_root=merkle_root([bytes([number]) * 32 for number in range(3)]),
        state_root=bytes(32),
        validators_hash=VALIDATOR_SET.hash,
        next_validators_hash=VALIDATOR_SET.hash,
    )
    return {
        "header": {"encoded": encode(header).hex(), "block_id": block_id(header).hex()},
        "validators": {
            "epoch": VALIDATOR_SET.epoch,
            "keys": [public_key.hex() for public_key in VALIDATOR_SET.keys],
            "hash": VALIDATOR_SET.hash.hex(),
        },
        "merkle_roots": [
            merkle_root([bytes([number]) * 32 for number in range(count)]).hex() for count in range(10)
        ],
        "tagged_hashes": [
            {"tag": tag, "data": data.hex(), "hash": tagged_hash(tag, data).hex()}
            for tag in ("drex/tx", "drex/wtx", "drex/sign", "drex/lock", "drex/block", "drex/validators")
            for data in (b"", b"drex", bytes(100))
        ],
    }


def files() -> dict[str, Any]:
    """Every file's content by its name."""
    head = {"chain_id": CHAIN_ID.hex()}
    return {
        "transactions_valid.json": {**head, "transactions": transactions(VALID)},
        "transactions_invalid.json": {**head, "transactions": transactions(INVALID)},
        "locks.json": {"locks": locks()},
        "signatures.json": {"signatures": signatures()},
        "blocks.json": blocks(),
    }


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description="Write the frozen vectors of docs/encodings.md")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs")
    options = parser.parse_args()
    differing = []
    for name, content in files().items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        path = FOLDER / name
        if options.check:
            if not path.exists() or path.read_text() != text:
                differing.append(name)
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(FOLDER.parents[1])}")
    for name in differing:
        print(f"{name} differs: an encoding or a rule changed", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
