"""What nodes say to each other about snapshots: offers, a manifest and chunks in parts (docs/sync.md).

Guarantees as in `drexnode/wire.py`: canonical, bounded, and nothing but `DecodeError` from a decoder. An
offer is a claim: nothing of it is believed but what the manifest proves (storage/snapshot_restore.py).
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from msgspec import Meta

from drexnode.wire import Hash32, Height
from primitives.codec import Record, decode
from primitives.limits import (
    MAX_OFFERED_MANIFEST_BYTES,
    MAX_REQUEST_BYTES,
    MAX_SNAPSHOT_BYTES,
    MAX_SNAPSHOT_CHUNKS,
    MAX_SNAPSHOT_OFFERS,
    MIB,
    SNAPSHOT_PART_BYTES,
)

METHOD_SNAPSHOTS = "snapshots"
METHOD_SNAPSHOT_MANIFEST = "snapshot_manifest"
METHOD_SNAPSHOT_CHUNK = "snapshot_chunk"


class SnapshotsRequest(Record, frozen=True):
    """Request of `snapshots`: those of `lowest_height` and above."""

    lowest_height: Height


class SnapshotOffer(Record, frozen=True):
    """A snapshot that the sender holds; `manifest` is H("drex/snapshot", its bytes)."""

    height: Height
    state_root: Hash32
    manifest: Hash32
    manifest_bytes: Annotated[int, Meta(ge=1, le=MAX_OFFERED_MANIFEST_BYTES)]
    size_bytes: Annotated[int, Meta(ge=1, le=MAX_SNAPSHOT_BYTES)]
    chunks: Annotated[int, Meta(ge=1, le=MAX_SNAPSHOT_CHUNKS)]

    @property
    def content(self) -> tuple[int, bytes, int, int]:
        """What two nodes' snapshots of one height have in common: their chunks, not their certificates."""
        return self.height, self.state_root, self.size_bytes, self.chunks


class SnapshotsResponse(Record, frozen=True):
    """Offers, newest first."""

    offers: Annotated[tuple[SnapshotOffer, ...], Meta(max_length=MAX_SNAPSHOT_OFFERS)]


class SnapshotPartRequest(Record, frozen=True):
    """Request of `snapshot_manifest` and `snapshot_chunk`: what the digest names, from a byte on."""

    digest: Hash32
    first_byte: Annotated[int, Meta(ge=0, le=MAX_OFFERED_MANIFEST_BYTES)]


class SnapshotPart(Record, frozen=True):
    """The next bytes, `SNAPSHOT_PART_BYTES` unless fewer are left."""

    data: Annotated[bytes, Meta(min_length=1, max_length=SNAPSHOT_PART_BYTES)]


M = TypeVar("M", bound=Record)

_MAX_BYTES: dict[type[Record], int] = {
    SnapshotsRequest: MAX_REQUEST_BYTES,
    SnapshotsResponse: MIB,
    SnapshotPartRequest: MAX_REQUEST_BYTES,
    SnapshotPart: SNAPSHOT_PART_BYTES + 16,
}
SNAPSHOT_MESSAGES: tuple[type[Record], ...] = tuple(_MAX_BYTES)


def decode_snapshot_message(payload: bytes, message_type: type[M]) -> M:
    """Read one message of `message_type`. Raises `DecodeError` and nothing else."""
    return decode(payload, message_type, max_bytes=_MAX_BYTES[message_type])
