"""What the `sync.*` keys mean: which snapshots a node keeps, and how an empty node begins."""

from __future__ import annotations

from dataclasses import dataclass

from drexnode.config_keys import ConfigError

MAX_KEPT = 8
AUTO_KEPT, AUTO_EVERY = 2, 10_000


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """`count` newest snapshots are kept (0: none), one every `every` heights."""

    count: int
    every: int


def parse_snapshots(text: str, role: str) -> SnapshotSettings:
    """Read `sync.snapshots`. `auto` is `2@10000` for a full node and `off` for others. Raises `ConfigError`
    CONFIG_BAD_VALUE."""
    if text == "off" or (text == "auto" and role != "full"):
        return SnapshotSettings(0, AUTO_EVERY)
    if text == "auto":
        return SnapshotSettings(AUTO_KEPT, AUTO_EVERY)
    count, separator, every = text.partition("@")
    numbers = [part for part in (count, every) if part.isascii() and part.isdigit() and len(part) <= 9]
    if separator and len(numbers) == 2 and 1 <= int(count) <= MAX_KEPT and int(every) >= 1:
        return SnapshotSettings(int(count), int(every))
    message = f"sync.snapshots must be auto, off or COUNT@HEIGHTS with COUNT 1 … {MAX_KEPT}, not {text!r}"
    raise ConfigError("CONFIG_BAD_VALUE", message, key="sync.snapshots")


def parse_anchor(text: str) -> bytes | None:
    """Read `sync.anchor`, a validators_hash in hex; None when it is empty. Raises `ConfigError`."""
    if not text:
        return None
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 32:
        message = f"sync.anchor must be a validators_hash of 64 hex digits, not {text!r}"
        raise ConfigError("CONFIG_BAD_VALUE", message, key="sync.anchor")
    return found


def check_sync(mode: str, role: str, *, from_genesis: bool) -> None:
    """No snapshot for a node that needs more. Raises `ConfigError` (SYNC_VALIDATOR, SYNC_ARCHIVE)."""
    if mode == "blocks":
        return
    if role == "validator":
        message = (
            "a validator catches up by blocks: set sync.mode to blocks, or use drexnode snapshot restore"
        )
        raise ConfigError("SYNC_VALIDATOR", message, key="sync.mode")
    if from_genesis:
        message = "an archive needs every block: set sync.mode to blocks, or storage.retention to full"
        raise ConfigError("SYNC_ARCHIVE", message, key="sync.mode")
