"""What a backup is: final blocks in segments, perhaps the state they begin from, and one signed list.

    FOLDER/manifest           [list, signature]; list = [version, chain id, signer, sequence, base, overrides,
                              segments, height, block id, state root]
    FOLDER/blocks/<digest>    [[header, certificate, [transaction, …]], …] of consecutive heights
    FOLDER/base-<height>/     a snapshot, when the blocks begin above height 1 (storage/snapshot_format.py)

A segment is named by its digest, H("drex/segment", bytes). The signature is over H("drex/backup", list) by
the peer key of the node that made it: it says whose backup this is and that nothing is missing; what the
blocks make is proved again by executing them. Nothing of what a validator has signed is ever in here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Raw

from ledger.override import Override
from primitives.block import BlockHeader, check_header_shape
from primitives.certificate import CommitCertificate, Verify, check_certificate_shape
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, DrexError
from primitives.hashing import tagged_hasher
from primitives.keys import PublicKey, SigningKey
from primitives.limits import (
    MAX_BACKUP_SEGMENTS,
    MAX_BLOCK_TRANSACTIONS,
    MAX_HEIGHT,
    MAX_MANIFEST_BYTES,
    MAX_OVERRIDES,
    MAX_SEGMENT_BLOCKS,
    MAX_SEGMENT_BYTES,
)
from storage.files import read_bounded, replace_file

BACKUP_VERSION = 1
MANIFEST_FILE = "manifest"
BLOCKS_FOLDER = "blocks"
BASE_FOLDER = "base"

digest_of_segment = tagged_hasher("drex/segment")
hash_list = tagged_hasher("drex/backup")

Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Height = Annotated[int, Meta(ge=0, le=MAX_HEIGHT)]


class BackupRefused(DrexError):
    """A backup that must not be used. Codes BACKUP_*; nothing was changed."""


class StoredFinal(Record, frozen=True):
    """A final block."""

    header: BlockHeader
    certificate: CommitCertificate
    transactions: Annotated[list[Raw], Meta(max_length=MAX_BLOCK_TRANSACTIONS)]


class SegmentName(Record, frozen=True):
    """The blocks `first` … `last`, under a digest."""

    digest: Bytes32
    first: Height
    last: Height
    size_bytes: Annotated[int, Meta(ge=1, le=MAX_SEGMENT_BYTES)]


class Base(Record, frozen=True):
    """The snapshot that the blocks begin from: the digest of its manifest, and its height."""

    digest: Bytes32
    height: Height


class BackupList(Record, frozen=True):
    """What is signed."""

    version: int
    chain_id: Bytes32
    signer: Bytes32
    sequence: int
    base: Base | None
    overrides: Annotated[tuple[Override, ...], Meta(max_length=MAX_OVERRIDES)]
    segments: Annotated[tuple[SegmentName, ...], Meta(max_length=MAX_BACKUP_SEGMENTS)]
    height: Height
    block_id: Bytes32
    state_root: Bytes32

    @property
    def size_bytes(self) -> int:
        """Of all segments."""
        return sum(segment.size_bytes for segment in self.segments)

    @property
    def first(self) -> int:
        """The first height whose block is here."""
        return 1 if self.base is None else self.base.height + 1


class _Signed(Record, frozen=True):
    list: BackupList
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


def write_list(folder: Path, contents: BackupList, key: SigningKey) -> None:
    """Sign a list and put it in the place of the one before. Raises `StorageFailure`."""
    signature = bytes(key.sign(hash_list(encode(contents))))
    replace_file(folder / MANIFEST_FILE, encode(_Signed(contents, signature)))


def read_list(folder: Path, verify: Verify) -> BackupList | None:
    """The list of a backup's folder, signed by whom it names; None where there is none.

    Raises `BackupRefused` (BACKUP_MALFORMED, BACKUP_BAD_SIGNATURE) and `StorageFailure`."""
    data = read_bounded(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES)
    if data is None:
        return None
    try:
        signed = decode(data, _Signed, max_bytes=MAX_MANIFEST_BYTES)
    except DecodeError as error:
        raise BackupRefused("BACKUP_MALFORMED", f"the list cannot be read: {error.message}") from error
    contents = signed.list
    if contents.version != BACKUP_VERSION:
        message = f"version {contents.version} is unknown to this program"
        raise BackupRefused("BACKUP_MALFORMED", message)
    if not verify(PublicKey(contents.signer), hash_list(encode(contents)), signed.signature):
        raise BackupRefused("BACKUP_BAD_SIGNATURE", "the list was changed after it was signed")
    expected = contents.first
    for segment in contents.segments:
        if segment.first != expected or segment.last < segment.first:
            raise BackupRefused("BACKUP_MALFORMED", "its segments have a gap")
        expected = segment.last + 1
    if expected != contents.height + 1:
        raise BackupRefused("BACKUP_MALFORMED", "its segments do not reach its height")
    return contents


def segment_path(folder: Path, digest: bytes) -> Path:
    """Where a segment lies."""
    return folder / BLOCKS_FOLDER / digest.hex()


def read_segment(folder: Path, name: SegmentName) -> list[StoredFinal]:
    """A segment's blocks, in order of their heights. Raises `BackupRefused` (BACKUP_SEGMENT) and
    `StorageFailure`."""
    data = read_bounded(segment_path(folder, name.digest), MAX_SEGMENT_BYTES)
    why = None
    if data is None:
        raise _bad_segment(name, "it is missing")
    if len(data) != name.size_bytes or digest_of_segment(data) != name.digest:
        raise _bad_segment(name, "its bytes are not those it is named by")
    try:
        blocks = decode(data, list[StoredFinal], max_bytes=MAX_SEGMENT_BYTES)
        for block in blocks:
            check_header_shape(block.header)
            check_certificate_shape(block.certificate)
    except DecodeError as error:
        raise _bad_segment(name, error.message) from error
    if [block.header.height for block in blocks] != list(range(name.first, name.last + 1)):
        why = "it holds other heights"
    elif len(blocks) > MAX_SEGMENT_BLOCKS:
        why = "it holds too many blocks"
    if why is not None:
        raise _bad_segment(name, why)
    return blocks


def _bad_segment(name: SegmentName, why: str) -> BackupRefused:
    message = f"the segment of blocks {name.first} … {name.last} is not to be used: {why}"
    return BackupRefused("BACKUP_SEGMENT", f"{message}; use another backup", segment=name.digest.hex())
