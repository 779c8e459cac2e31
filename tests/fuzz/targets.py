"""One `fuzz_one(data)` per decoder: any bytes give a value, or the documented error, and nothing else.

Plain functions, so they run under atheris, under Hypothesis and in the loop of `python -m tests.fuzz`. A
target also checks what must hold of whatever decodes: its canonical encoding is the very bytes it came from,
and the rules raise only `InvalidTransaction`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ledger.apply import apply_transaction
from ledger.block import decode_block, decode_finalized, encode_block, encode_finalized
from ledger.checks import check_stateless, verify_signatures
from ledger.genesis import decode_genesis, encode_genesis
from ledger.locks import Condition, check_condition
from ledger.state import StateView
from ledger.state_proof import decode_proof, leaf_entries, verify_address
from ledger.state_prover import prove_address
from ledger.transaction import decode_transaction
from primitives.address import decode_address, encode_address
from primitives.block import decode_header
from primitives.certificate import decode_certificate
from primitives.codec import decode, encode
from primitives.errors import DecodeError, InvalidTransaction
from primitives.keys import verify_many
from primitives.units import format_amount, parse_amount
from tests.fuzz import file_targets, node_targets
from tests.fuzz.checks import same as _same
from tests.ledger.chain import Chain, devnet, lock
from tests.ledger.world import CHAIN_ID, World

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
_WORLD = World.genesis()
_CHAIN = Chain()
_BUCKETS = _CHAIN.genesis.parameters.bucket_count


class Target(NamedTuple):
    """A decoder under test, and where mutation begins."""

    fuzz_one: Callable[[bytes], None]
    corpus: Callable[[], list[bytes]]


def fuzz_transaction(data: bytes) -> None:
    """Bytes → transaction → static rules → signatures → the state's rules."""
    with contextlib.suppress(DecodeError):
        transaction = decode_transaction(data, CHAIN_ID)
        _same(encode((transaction.body, transaction.witness)), data)
        view = StateView(_WORLD.state)
        try:
            check_stateless(transaction)
            apply_transaction(view, transaction, _WORLD.context)
            verify_signatures(transaction, verify_many)
        except InvalidTransaction as error:
            if not error.code.startswith("TX_"):
                raise


def fuzz_condition(data: bytes) -> None:
    """Bytes → condition → its bounds."""
    with contextlib.suppress(DecodeError, InvalidTransaction):
        condition: Condition = decode(data, Condition, max_bytes=65_536)  # type: ignore[arg-type]
        check_condition(condition)


def fuzz_header(data: bytes) -> None:
    """Bytes → block header."""
    with contextlib.suppress(DecodeError):
        _same(encode(decode_header(data)), data)


def fuzz_certificate(data: bytes) -> None:
    """Bytes → commit certificate."""
    with contextlib.suppress(DecodeError):
        _same(encode(decode_certificate(data)), data)


def fuzz_block(data: bytes) -> None:
    """Bytes → block."""
    with contextlib.suppress(DecodeError):
        _same(encode_block(decode_block(data, CHAIN_ID)), data)


def fuzz_finalized(data: bytes) -> None:
    """Bytes → block and certificate."""
    with contextlib.suppress(DecodeError):
        _same(encode_finalized(decode_finalized(data, CHAIN_ID)), data)


def fuzz_genesis(data: bytes) -> None:
    """Bytes → genesis document."""
    with contextlib.suppress(DecodeError):
        _same(encode_genesis(decode_genesis(data)), data)


def fuzz_proof(data: bytes) -> None:
    """Bytes → state proof → what it proves of the true root, and each of its pages."""
    proof = None
    with contextlib.suppress(DecodeError):
        proof = decode_proof(data)
        _same(encode(proof), data)
        verify_address(_CHAIN.tree.root, _BUCKETS, lock("alice"), proof)
    for page in () if proof is None else proof.pages:
        with contextlib.suppress(DecodeError):
            leaf_entries(page)


def fuzz_address(data: bytes) -> None:
    """Text → lock → the same text."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(DecodeError):
        _same(encode_address("drex", decode_address("drex", text)).encode(), text.lower().encode())


def fuzz_amount(data: bytes) -> None:
    """Text → amount → text that reads as the same amount."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(DecodeError):
        amount = parse_amount(text, 2)
        if parse_amount(format_amount(amount, 2), 2) != amount:
            raise AssertionError(f"{text!r} does not survive")


def _vector_bytes(name: str) -> list[bytes]:
    records = json.loads((VECTORS / f"{name}.json").read_text())["transactions"]
    return [bytes.fromhex(record["hex"]) for record in records if "hex" in record]


def _transactions() -> list[bytes]:
    return [*_vector_bytes("transactions_valid"), *_vector_bytes("transactions_invalid")]


def _locks() -> list[dict[str, str]]:
    locks: list[dict[str, str]] = json.loads((VECTORS / "locks.json").read_text())["locks"]
    return locks


def _addresses() -> list[bytes]:
    return [lock["addresses"][0].encode() for lock in _locks()]


def _blocks() -> list[bytes]:
    chain = Chain()
    return [encode_block(chain.extend()), encode_block(chain.extend(chain.emission(5)))]


def _proofs() -> list[bytes]:
    locks = (lock("alice"), lock("bank-a"), bytes(32))
    return [encode(prove_address(_CHAIN.tree, _CHAIN.state, each)) for each in locks]


def _headers() -> list[bytes]:
    return [bytes.fromhex(json.loads((VECTORS / "blocks.json").read_text())["header"]["encoded"])]


TARGETS: dict[str, Target] = {
    "transaction": Target(fuzz_transaction, _transactions),
    "condition": Target(fuzz_condition, lambda: [bytes.fromhex(lock["condition"]) for lock in _locks()]),
    "header": Target(fuzz_header, _headers),
    "certificate": Target(fuzz_certificate, lambda: [encode([1, 7, 0, bytes(32), [[0, bytes(64)]]])]),
    "block": Target(fuzz_block, _blocks),
    "finalized": Target(
        fuzz_finalized,
        lambda: [b"\x92" + block + encode([1, 7, 0, bytes(32), [[0, bytes(64)]]]) for block in _blocks()],
    ),
    "genesis": Target(fuzz_genesis, lambda: [encode_genesis(devnet())]),
    "proof": Target(fuzz_proof, _proofs),
    "address": Target(fuzz_address, _addresses),
    "amount": Target(fuzz_amount, lambda: [b"100.00", b"0.01", b"92233720368547758.07"]),
    "message": Target(node_targets.fuzz_message, node_targets.messages),
    "evidence": Target(node_targets.fuzz_evidence, node_targets.proofs),
    "record": Target(node_targets.fuzz_record, node_targets.records),
    "disk": Target(node_targets.fuzz_disk, node_targets.records),
    "wire": Target(node_targets.fuzz_wire, node_targets.payloads),
    "peer": Target(node_targets.fuzz_peer, node_targets.addresses),
    "snapshot-file": Target(file_targets.fuzz_snapshot, file_targets.snapshots),
    "backup": Target(file_targets.fuzz_backup, file_targets.backups),
    "proof-file": Target(file_targets.fuzz_proof_file, file_targets.proof_files),
    "bundle": Target(file_targets.fuzz_bundle, file_targets.bundles),
    "override": Target(file_targets.fuzz_override, file_targets.overrides),
    "snapshot": Target(node_targets.fuzz_snapshot, node_targets.snapshots),
}
