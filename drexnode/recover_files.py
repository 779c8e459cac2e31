"""Files of a recovery: statements and the override, as JSON that goes from hand to hand.

The hex of the canonical record is what counts; everything beside it is a view for people, made from it and
never read back. A file is written whole or not at all, and at most `MAX_RECOVERY_FILE_BYTES` are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import base58

from drexnode.recover_statement import (
    ROLES,
    RecoveryRefused,
    Statement,
    decode_statement,
    encode_statement,
)
from ledger.genesis_records import GenesisDocument
from ledger.override import Override, decode_override, encode_override, missing_signers
from primitives.block import block_id
from primitives.errors import DecodeError
from primitives.limits import MAX_OVERRIDE_BYTES, MAX_STATEMENT_BYTES
from storage.files import replace_file

FILE_VERSION = 1
STATEMENT_FILE = "drexnode-recovery-statement"
OVERRIDE_FILE = "drexnode-recovery-override"
MAX_RECOVERY_FILE_BYTES = 8 * max(MAX_OVERRIDE_BYTES, MAX_STATEMENT_BYTES)


def write_statement(path: Path, statement: Statement) -> None:
    """Write a new file. Raises `RecoveryRefused` RECOVER_FILE_EXISTS, `StorageFailure`."""
    _write_new(path, STATEMENT_FILE, encode_statement(statement), statement_view(statement))


def read_statement(path: Path) -> Statement:
    """Read a statement's file. Raises `RecoveryRefused` RECOVER_FILE, STATEMENT_MALFORMED."""
    try:
        return decode_statement(_read(path, STATEMENT_FILE))
    except DecodeError as error:
        raise RecoveryRefused("STATEMENT_MALFORMED", f"{path}: {error.message}") from None


def write_override_file(
    path: Path, override: Override, document: GenesisDocument, *, replaces: bool = False
) -> None:
    """Write an override's file, a new one unless it `replaces` the one of the same order with fewer
    signatures. Raises `RecoveryRefused` RECOVER_FILE_EXISTS, `StorageFailure`."""
    view = override_view(override, document)
    if replaces:
        replace_file(path, _content(OVERRIDE_FILE, encode_override(override), view))
    else:
        _write_new(path, OVERRIDE_FILE, encode_override(override), view)


def read_override_file(path: Path) -> Override:
    """Read an override's file. Raises `RecoveryRefused` RECOVER_FILE, OVERRIDE_MALFORMED."""
    try:
        return decode_override(_read(path, OVERRIDE_FILE))
    except DecodeError as error:
        raise RecoveryRefused("OVERRIDE_MALFORMED", f"{path}: {error.message}") from None


def statement_view(statement: Statement) -> dict[str, Any]:
    """What a statement says."""
    body, lock = statement.body, statement.body.lock
    shown = None
    if lock is not None:
        shown = {
            "height": lock.header.height,
            "round": lock.round,
            "block_id": block_id(lock.header).hex(),
            "holds_bodies": lock.holds_bodies,
        }
    return {
        "peer_id": statement.peer_id,
        "role": ROLES[body.role],
        "chain_id": body.chain_id.hex(),
        "height": statement.height,
        "block_id": block_id(body.header).hex(),
        "epoch": statement.deciders.epoch,
        "lock": shown,
    }


def override_view(override: Override, document: GenesisDocument) -> dict[str, Any]:
    """What an override orders, and who has signed."""
    order = override.order
    return {
        "chain_id": order.chain_id.hex(),
        "height": order.height,
        "block_id": order.block_id.hex(),
        "rests_on": "lock" if override.rests_on_lock else "decided block",
        "epoch": order.epoch,
        "validators": [
            {"public_key": member.public_key.hex(), "peer_id": peer_text(member.peer_id)}
            for member in order.validators
        ],
        "signed_by": [key.hex() for key, _ in override.signatures],
        "missing": missing_signers(override, document.recovery),
    }


def peer_text(peer_id: bytes) -> str:
    """A peer id as people write it."""
    return str(base58.b58encode(peer_id).decode("ascii"))


def _content(kind: str, record: bytes, view: Mapping[str, Any]) -> bytes:
    document = {"type": kind, "version": FILE_VERSION, "record": record.hex(), **view}
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"


def _write_new(path: Path, kind: str, record: bytes, view: Mapping[str, Any]) -> None:
    if path.exists():
        message = f"{path} exists and is not overwritten"
        raise RecoveryRefused("RECOVER_FILE_EXISTS", message, path=str(path))
    replace_file(path, _content(kind, record, view))


def _read(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RECOVERY_FILE_BYTES + 1)
        document = json.loads(data) if len(data) <= MAX_RECOVERY_FILE_BYTES else None
        if isinstance(document, dict) and (document.get("type"), document.get("version")) == (
            kind,
            FILE_VERSION,
        ):
            return bytes.fromhex(document["record"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    raise RecoveryRefused("RECOVER_FILE", f"{path} is not a file of type {kind!r}", path=str(path))
