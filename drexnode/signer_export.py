"""The file that carries a validator's key and what it signed to another machine, sealed for that machine.

Promises: only the peer key it is addressed to opens it (libsodium sealed box: X25519, XSalsa20-Poly1305), so
a copy is worthless elsewhere; any flipped or missing byte is noticed; what it says of the key's votes can be
written only by someone who holds that key, for the seed inside must make the public key outside.

Layout: `"DREXMOVE" ‖ [version, chain_id, public_key, heir, sealed]`, sealed holds
`[version, chain_id, public_key, seed, sequence, [record …], record | nil]`, canonical MessagePack.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from consensus.journal import VoteRecord, decode_record
from drexnode.keystore import write_secret
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, DrexError
from primitives.keys import SigningKey
from primitives.limits import CONSENSUS_MAX_RECORD_BYTES, MIB
from storage.signing_move import SigningMemory

EXPORT_VERSION = 1
MAX_EXPORT_BYTES = 4 * CONSENSUS_MAX_RECORD_BYTES + MIB
_MAGIC = b"DREXMOVE"


class ExportRefused(DrexError):
    """A signer's export can't be read here. Codes SIGNER_EXPORT_*; nothing was changed."""


class _Envelope(Record, frozen=True):
    version: int
    chain_id: bytes
    public_key: bytes
    heir: bytes
    sealed: bytes


class _Content(Record, frozen=True):
    version: int
    chain_id: bytes
    public_key: bytes
    seed: bytes
    sequence: int
    records: tuple[VoteRecord, ...]
    last: VoteRecord | None


@dataclass(frozen=True, slots=True)
class Moved:
    """An opened export."""

    key: SigningKey
    memory: SigningMemory


def seal_export(chain_id: bytes, key: SigningKey, memory: SigningMemory, heir: bytes) -> bytes:
    """The file for the machine whose public peer key is `heir`."""
    from nacl.public import SealedBox
    from nacl.signing import VerifyKey

    content = _Content(
        EXPORT_VERSION, chain_id, key.public_key, key.seed, memory.sequence, memory.records, memory.last
    )
    sealed = SealedBox(VerifyKey(heir).to_curve25519_public_key()).encrypt(encode(content))
    return _MAGIC + encode(_Envelope(EXPORT_VERSION, chain_id, key.public_key, heir, bytes(sealed)))


def open_export(data: bytes, chain_id: bytes, peer_key: SigningKey) -> Moved:
    """Read a file addressed to `peer_key`. Raises `ExportRefused`: SIGNER_EXPORT_DAMAGED,
    SIGNER_EXPORT_FOREIGN (another chain), SIGNER_EXPORT_NOT_OURS (another machine)."""
    from nacl.exceptions import CryptoError
    from nacl.public import SealedBox
    from nacl.signing import SigningKey as SealKey

    try:
        if not data.startswith(_MAGIC):
            raise DecodeError("it does not begin as an export does")
        envelope = decode(data[len(_MAGIC) :], _Envelope, max_bytes=MAX_EXPORT_BYTES)
        if envelope.version != EXPORT_VERSION:
            raise DecodeError(f"version {envelope.version} is not known to this program")
    except DecodeError as error:
        raise _damaged(error.message) from None
    if envelope.chain_id != chain_id:
        message = f"the export is of chain {envelope.chain_id.hex()}, this home is of {chain_id.hex()}"
        raise ExportRefused("SIGNER_EXPORT_FOREIGN", message)
    if envelope.heir != peer_key.public_key:
        message = "the export is addressed to another machine's peer key, and only that machine can open it"
        raise ExportRefused("SIGNER_EXPORT_NOT_OURS", message, heir=envelope.heir.hex())
    try:
        box = SealedBox(SealKey(peer_key.seed).to_curve25519_private_key())
        content = decode(box.decrypt(envelope.sealed), _Content, max_bytes=MAX_EXPORT_BYTES)
        key = SigningKey(content.seed)
        for record in (*content.records, *([] if content.last is None else [content.last])):
            decode_record(record.encode())
    except (CryptoError, DecodeError, ValueError):
        raise _damaged("its sealed part does not open: a byte is missing or changed") from None
    outside = (envelope.version, envelope.chain_id, envelope.public_key)
    if (content.version, content.chain_id, content.public_key) != outside or (
        key.public_key != content.public_key
    ):
        raise _damaged("what it says outside is not what it holds")
    return Moved(key, SigningMemory(content.sequence, content.records, content.last))


def write_export(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600, durably. Raises `KeyFailure` KEY_EXISTS."""
    write_secret(path, data)


def read_export(path: Path) -> bytes:
    """Read an export, bounded. Raises `ExportRefused` SIGNER_EXPORT_MISSING, SIGNER_EXPORT_DAMAGED."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_EXPORT_BYTES + 1)
    except OSError as error:
        message = f"{path}: {os.strerror(error.errno or 0)}"
        raise ExportRefused("SIGNER_EXPORT_MISSING", message, path=str(path)) from None
    if len(data) > MAX_EXPORT_BYTES:
        raise _damaged(f"{path} is larger than any export")
    return data


def _damaged(why: str) -> ExportRefused:
    return ExportRefused("SIGNER_EXPORT_DAMAGED", f"this is no whole export of a signer: {why}")
