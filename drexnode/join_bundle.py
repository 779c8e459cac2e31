"""The join bundle: one file that brings a new full node or observer into a running network.

It carries the genesis, the peers to dial, the role and the peer id that the registry permits, and a date
after which it is void, all of it signed by a key of the registry's authority. Promises: a file that is
damaged, expired, changed after signing, signed by a stranger or made for another chain is refused with its
own code before anything is written. The signature speaks for the file alone; who may connect is the ledger's
to say. Layout: docs/network.md, "Joining".
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import base58
from msgspec import Meta

from drexnode.keystore import write_secret
from ledger.genesis import chain_id_of, decode_genesis, encode_genesis
from ledger.genesis_records import GenesisDocument
from ledger.locks import keys_of
from ledger.payloads import Ispb
from p2p.addresses import parse_address
from p2p.identity import PeerId, parse_peer_id, peer_id_from_seed
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, DrexError
from primitives.hashing import tagged_hasher
from primitives.keys import SEED_BYTES, SigningKey, verify
from primitives.limits import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_PEERS,
    MAX_BUNDLE_TIME_MS,
    MAX_GENESIS_BYTES,
    MAX_PEER_ID_BYTES,
)

BUNDLE_FILE = "drexnode-join-bundle"
BUNDLE_VERSION = 1
MAX_BUNDLE_FILE_BYTES = 3 * MAX_BUNDLE_BYTES  # hex, and the view beside it
JoinRole: TypeAlias = Literal["full", "observer"]
Millis: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_BUNDLE_TIME_MS)]

_hash_checksum = tagged_hasher("drex/join-bundle-file")
_hash_signed = tagged_hasher("drex/join-bundle")


class BundleRefused(DrexError):
    """A join bundle that can't be used. Codes BUNDLE_*; exit 1, 2 or 8."""


class BundleBody(Record, frozen=True):
    """What is signed. `peer_seed` is the node's identity key when the authority made it, else empty: then the
    node's operator holds the key of `peer_id` already."""

    version: Annotated[int, Meta(ge=1, le=BUNDLE_VERSION)]
    genesis: Annotated[bytes, Meta(max_length=MAX_GENESIS_BYTES)]
    role: JoinRole
    ispb: Ispb
    peer_id: Annotated[bytes, Meta(min_length=1, max_length=MAX_PEER_ID_BYTES)]
    peer_seed: Annotated[bytes, Meta(max_length=SEED_BYTES)]
    peers: Annotated[
        tuple[Annotated[str, Meta(max_length=512)], ...], Meta(min_length=1, max_length=MAX_BUNDLE_PEERS)
    ]
    created_ms: Millis
    expires_ms: Millis

    @property
    def peer(self) -> PeerId:
        """`peer_id` as people write it."""
        return PeerId(base58.b58encode(self.peer_id).decode("ascii"))


class JoinBundle(Record, frozen=True):
    """A body and its signature by `signer`."""

    body: BundleBody
    signer: Annotated[bytes, Meta(min_length=32, max_length=32)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]

    @property
    def document(self) -> GenesisDocument:
        """The network's genesis, checked. Raises `DecodeError` GENESIS_INVALID."""
        return decode_genesis(self.body.genesis)


def make_bundle(
    document: GenesisDocument,
    *,
    role: JoinRole,
    ispb: str,
    peer: PeerId,
    peer_seed: bytes,
    peers: tuple[str, ...],
    created_ms: int,
    expires_ms: int,
    key: SigningKey,
) -> JoinBundle:
    """Put a bundle together and sign it."""
    body = BundleBody(
        version=BUNDLE_VERSION,
        genesis=encode_genesis(document),
        role=role,
        ispb=ispb,
        peer_id=base58.b58decode(peer),
        peer_seed=peer_seed,
        peers=peers,
        created_ms=created_ms,
        expires_ms=expires_ms,
    )
    return JoinBundle(body, key.public_key, key.sign(_hash_signed(encode(body))))


def check_bundle(
    bundle: JoinBundle, now_ms: int, *, chain_id: bytes | None = None, authority: Collection[bytes] = ()
) -> GenesisDocument:
    """Check signature, signer, chain, dates and contents; returns the genesis.

    `authority` are the public keys believed instead of those that the genesis gives the registry (it may have
    rotated them since). Raises `BundleRefused`: BUNDLE_BAD_SIGNATURE, BUNDLE_MALFORMED, BUNDLE_OTHER_CHAIN,
    BUNDLE_FOREIGN_SIGNER, BUNDLE_EXPIRED.
    """
    body = bundle.body
    if not verify(bundle.signer, _hash_signed(encode(body)), bundle.signature):
        raise BundleRefused("BUNDLE_BAD_SIGNATURE", "the signature is not of this content")
    try:
        document = bundle.document
        parse_peer_id(body.peer)
        if any(parse_address(text).peer is None for text in body.peers):
            raise DecodeError("a peer's address ends in /p2p/<peer id>")
    except DecodeError as error:
        raise BundleRefused("BUNDLE_MALFORMED", error.message) from None
    if body.peer_seed and (
        len(body.peer_seed) != SEED_BYTES or peer_id_from_seed(body.peer_seed) != body.peer
    ):
        raise BundleRefused("BUNDLE_MALFORMED", "the identity key is not that of the peer id")
    found = chain_id_of(document)
    if chain_id is not None and found != chain_id:
        message = f"it is for the chain {found.hex()}, not {chain_id.hex()}"
        raise BundleRefused("BUNDLE_OTHER_CHAIN", message)
    trusted = authority or keys_of(document.bcb.registry)
    if bundle.signer not in trusted:
        message = f"{bundle.signer.hex()}, which signed it, is no key of the registry's authority"
        raise BundleRefused("BUNDLE_FOREIGN_SIGNER", message, trusted=[key.hex() for key in trusted])
    if now_ms >= body.expires_ms:
        message = f"it was good until {utc(body.expires_ms)}"
        raise BundleRefused("BUNDLE_EXPIRED", message, expires=utc(body.expires_ms), now=utc(now_ms))
    return document


def write_bundle(path: Path, bundle: JoinBundle) -> None:
    """Write a new file of mode 0600: it may hold an identity key. Raises `KeyFailure` KEY_EXISTS."""
    record = encode(bundle)
    document = {
        "type": BUNDLE_FILE,
        "version": BUNDLE_VERSION,
        "checksum": _hash_checksum(record).hex(),
        **bundle_view(bundle),
        "record": record.hex(),
    }
    write_secret(path, json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n")


def read_bundle(path: Path) -> JoinBundle:
    """Read a file whose checksum holds; `check_bundle` says whether to believe it. Raises `BundleRefused`
    BUNDLE_UNREADABLE, BUNDLE_DAMAGED, BUNDLE_MALFORMED."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BUNDLE_FILE_BYTES + 1)
        document = json.loads(data) if len(data) <= MAX_BUNDLE_FILE_BYTES else None
        if not isinstance(document, dict) or document.get("type") != BUNDLE_FILE:
            raise ValueError
        if document.get("version") != BUNDLE_VERSION:
            message = f"{path} is a bundle of version {document.get('version')!r}, this program reads 1"
            raise BundleRefused("BUNDLE_UNREADABLE", message, path=str(path))
        record, checksum = bytes.fromhex(document["record"]), bytes.fromhex(document["checksum"])
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise BundleRefused("BUNDLE_UNREADABLE", message, path=str(path)) from None
    except (ValueError, LookupError, TypeError, RecursionError):
        message = f"{path} is not a whole file of type {BUNDLE_FILE!r}"
        raise BundleRefused("BUNDLE_UNREADABLE", message, path=str(path)) from None
    if _hash_checksum(record) != checksum:
        raise BundleRefused("BUNDLE_DAMAGED", f"{path}: the checksum does not hold", path=str(path))
    try:
        return decode(record, JoinBundle, max_bytes=MAX_BUNDLE_BYTES)
    except DecodeError as error:
        raise BundleRefused("BUNDLE_MALFORMED", f"{path}: {error.message}", path=str(path)) from None


def bundle_view(bundle: JoinBundle) -> dict[str, Any]:
    """What a bundle says, for people; never read back."""
    body, document = bundle.body, bundle.document
    return {
        "network": document.name,
        "chain_id": chain_id_of(document).hex(),
        "role": body.role,
        "ispb": body.ispb,
        "peer_id": body.peer,
        "holds_key": bool(body.peer_seed),
        "peers": list(body.peers),
        "created": utc(body.created_ms),
        "expires": utc(body.expires_ms),
        "signer": bundle.signer.hex(),
    }


def utc(moment_ms: int) -> str:
    """A moment as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
