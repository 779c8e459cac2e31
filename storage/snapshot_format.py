"""What a snapshot is: the state at one height in chunks, and a manifest that a certificate makes believable.

    FOLDER/manifest            [version, chain id, header, certificate, tail, trust path, chunks, entries]
    FOLDER/chunks/<digest>     [[key, value], …]: state entries in ascending order of their keys

A chunk is named by its digest, H("drex/chunk", bytes). What the chunks hold is proved by nothing but the root
of the tree they make, which is the state root of the header; the header by its certificate; the certificate's
signers by the trust path from the genesis (ledger/trust_path.py). `tail` are the blocks before it (headers
and certificates, oldest first) that a start looks at. Everything read here is bounded and canonical.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from ledger.trust_path import TrustPath, check_shape
from primitives.block import BlockHeader, block_id, check_header_shape
from primitives.certificate import CommitCertificate, check_certificate_shape
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, DrexError
from primitives.hashing import tagged_hasher
from primitives.limits import (
    INTEGRITY_PARENTS,
    MAX_MANIFEST_BYTES,
    MAX_SNAPSHOT_CHUNK_BYTES,
    MAX_SNAPSHOT_CHUNKS,
)
from storage.files import read_bounded

SNAPSHOT_VERSION = 1
MANIFEST_FILE = "manifest"
CHUNKS_FOLDER = "chunks"

digest_of_chunk = tagged_hasher("drex/chunk")
digest_of_manifest = tagged_hasher("drex/snapshot")

Entry = tuple[bytes, bytes]


class SnapshotRefused(DrexError):
    """A snapshot that must not be used. Codes SNAPSHOT_*; nothing was changed."""


class ChunkName(Record, frozen=True):
    """A chunk: its digest, how many entries and bytes it has."""

    digest: Annotated[bytes, Meta(min_length=32, max_length=32)]
    entries: Annotated[int, Meta(ge=1)]
    size_bytes: Annotated[int, Meta(ge=1, le=MAX_SNAPSHOT_CHUNK_BYTES)]


class Parent(Record, frozen=True):
    """A block before the snapshot's: `certificate` is None for the genesis alone."""

    header: BlockHeader
    certificate: CommitCertificate | None


class Manifest(Record, frozen=True):
    """All but the entries."""

    version: int
    chain_id: Annotated[bytes, Meta(min_length=32, max_length=32)]
    header: BlockHeader
    certificate: CommitCertificate | None
    tail: Annotated[tuple[Parent, ...], Meta(max_length=INTEGRITY_PARENTS)]
    path: TrustPath
    chunks: Annotated[tuple[ChunkName, ...], Meta(max_length=MAX_SNAPSHOT_CHUNKS)]
    entries: int

    @property
    def height(self) -> int:
        """Of the block after which this was the state."""
        return self.header.height

    @property
    def size_bytes(self) -> int:
        """Of all chunks."""
        return sum(chunk.size_bytes for chunk in self.chunks)


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes."""
    return encode(manifest)


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest that is whole in itself; nothing of it is verified. Raises `SnapshotRefused`
    (SNAPSHOT_MALFORMED)."""
    try:
        manifest = decode(data, Manifest, max_bytes=MAX_MANIFEST_BYTES)
        _check_shapes(manifest)
        check_shape(manifest.path)
    except DecodeError as error:
        raise SnapshotRefused(
            "SNAPSHOT_MALFORMED", f"the manifest cannot be read: {error.message}"
        ) from error
    headers = [*(parent.header for parent in manifest.tail), manifest.header]
    rules = (
        (manifest.version == SNAPSHOT_VERSION, f"version {manifest.version} is unknown to this program"),
        (
            all(above.parent_id == block_id(below) for below, above in pairwise(headers)),
            "the blocks before it are not its parents",
        ),
        (
            [parent.header.height for parent in manifest.tail]
            == list(range(manifest.height - len(manifest.tail), manifest.height)),
            "the blocks before it have other heights",
        ),
        (
            len(manifest.tail) == min(manifest.height, INTEGRITY_PARENTS),
            "blocks before it are missing",
        ),
        (sum(chunk.entries for chunk in manifest.chunks) == manifest.entries, "its entries do not add up"),
        ((manifest.certificate is None) == (manifest.height == 0), "it lacks its certificate"),
    )
    for holds, message in rules:
        if not holds:
            raise SnapshotRefused("SNAPSHOT_MALFORMED", message)
    return manifest


def _check_shapes(manifest: Manifest) -> None:
    pairs = [
        (manifest.header, manifest.certificate),
        *((parent.header, parent.certificate) for parent in manifest.tail),
        *((link.header, link.certificate) for link in manifest.path.hand_overs),
    ]
    for header, certificate in pairs:
        check_header_shape(header)
        if certificate is not None:
            check_certificate_shape(certificate)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a snapshot's folder. Raises `SnapshotRefused` (SNAPSHOT_MISSING, SNAPSHOT_MALFORMED)
    and `StorageFailure`."""
    data = read_bounded(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES)
    if data is None:
        message = f"{folder} holds no snapshot (no manifest: it may never have been finished)"
        raise SnapshotRefused("SNAPSHOT_MISSING", message, path=str(folder))
    return decode_manifest(data)


def chunk_path(folder: Path, digest: bytes) -> Path:
    """Where a chunk lies."""
    return folder / CHUNKS_FOLDER / digest.hex()


def decode_chunk(data: bytes, name: ChunkName) -> list[Entry]:
    """The entries of a chunk whose bytes are those of its name. Raises `SnapshotRefused` (SNAPSHOT_CHUNK)."""
    if len(data) != name.size_bytes or digest_of_chunk(data) != name.digest:
        raise _bad_chunk(name, "its bytes are not those it is named by")
    try:
        entries = decode(data, list[Entry], max_bytes=MAX_SNAPSHOT_CHUNK_BYTES)
    except DecodeError as error:
        raise _bad_chunk(name, error.message) from error
    if len(entries) != name.entries:
        raise _bad_chunk(name, "it has another number of entries")
    return entries


def read_chunks(folder: Path, manifest: Manifest) -> Iterator[list[Entry]]:
    """Every chunk's entries, in order. Raises `SnapshotRefused` (SNAPSHOT_CHUNK) and `StorageFailure`."""
    last = b""
    for name in manifest.chunks:
        data = read_bounded(chunk_path(folder, name.digest), MAX_SNAPSHOT_CHUNK_BYTES)
        if data is None:
            raise _bad_chunk(name, "it is missing")
        entries = decode_chunk(data, name)
        for key, _ in entries:
            if key <= last:
                raise _bad_chunk(name, "its keys do not ascend")
            last = key
        yield entries


def _bad_chunk(name: ChunkName, why: str) -> SnapshotRefused:
    message = f"chunk {name.digest.hex()} is not to be used: {why}; fetch the snapshot anew"
    return SnapshotRefused("SNAPSHOT_CHUNK", message, chunk=name.digest.hex())
