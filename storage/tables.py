"""The parts of LevelDB's table files that LevelDB itself forgives: filter, metaindex, padding of the footer.

A damaged filter is ignored by LevelDB without a word (it only makes reads faster). `verify` reports it all
the same, because a disk that changes one bit will change another. Everything else in a table (data and index
blocks) is checked whenever it is read. Layout: LevelDB's doc/table_format.md.
"""

from __future__ import annotations

import time
from pathlib import Path

from storage.torn_tail import crc32c, mask_checksum

_WRITTEN_LATELY_S = 1.0  # a table is written in one go: an unfinished one changes more often
_LOOK_AGAIN_S = 0.05
_FOOTER_BYTES = 48
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_TRAILER_BYTES = 5  # a byte for the compression, then the masked crc32c
_FILTER_KEY = b"filter."


def damaged_parts(folder: Path) -> list[str]:
    """A sentence for every table of a database whose forgiven parts are damaged.

    Best before the database is opened: a compaction may replace a damaged table by a sound one. Files that a
    running database removes meanwhile are skipped, and one that it may be writing is looked at until it has
    not changed for a while."""
    findings = []
    for path in sorted(folder.glob("*.ldb")):
        try:
            found = _look(path.read_bytes())
            while found and 0 <= time.time() - path.stat().st_mtime < _WRITTEN_LATELY_S:
                time.sleep(_LOOK_AGAIN_S)
                found = _look(path.read_bytes())
        except FileNotFoundError:
            continue
        findings += [f"{path}: {what}" for what in found]
    return findings


def _look(data: bytes) -> list[str]:
    footer = data[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or footer[-8:] != _MAGIC:
        return ["it has no table footer"]
    try:
        (meta_offset, meta_size), rest = _handle(footer)
        _, padding = _handle(rest)
        if any(padding[:-8]):
            return ["the padding of its footer is not zero"]
        if not _is_whole(data, meta_offset, meta_size):
            return ["its metaindex block has a false checksum"]
        found = _filter_handle(data[meta_offset : meta_offset + meta_size])
        if found is not None and not _is_whole(data, *found):
            return ["its filter block has a false checksum"]
    except IndexError:
        return ["its footer or metaindex cannot be read"]
    return []


def _is_whole(data: bytes, offset: int, size: int) -> bool:
    end = offset + size
    stored = data[end + 1 : end + _TRAILER_BYTES]
    return mask_checksum(crc32c(data[offset : end + 1])).to_bytes(4, "little") == stored


def _filter_handle(block: bytes) -> tuple[int, int] | None:
    """The handle under the first key of an uncompressed metaindex block, when that names a filter."""
    _, rest = _varint(block)  # bytes shared with the key before: none
    key_size, rest = _varint(rest)
    value_size, rest = _varint(rest)
    if not rest.startswith(_FILTER_KEY):
        return None
    return _handle(rest[key_size : key_size + value_size])[0]


def _handle(data: bytes) -> tuple[tuple[int, int], bytes]:
    offset, rest = _varint(data)
    size, rest = _varint(rest)
    return (offset, size), rest


def _varint(data: bytes) -> tuple[int, bytes]:
    value = shift = position = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        shift += 7
        position += 1
        if not byte & 0x80:
            return value, data[position:]
