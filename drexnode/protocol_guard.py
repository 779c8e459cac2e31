"""Protocol versions: the registry says which holds from which height, and this program knows some of them.

Promise: a node never begins a block whose rules it lacks. It stops before the height, with everything below
it stored, and does not start again until a program that knows the version is installed.
"""

from __future__ import annotations

from drexnode import version
from ledger.registry import get_protocol
from ledger.state import StateReader
from primitives.errors import StorageFailure


class UpgradeNeeded(StorageFailure):
    """The next block's rules are not in this program: halt as for a failing disk, and go on where it stopped
    once a newer program is there. Code PROTOCOL_UNSUPPORTED; exit 3.
    """


def check_protocol(state: StateReader, height: int) -> None:
    """Raise `UpgradeNeeded` when the block at `height` follows a version that this program lacks."""
    if (needed := find_upgrade_needed(state, height)) is not None:
        raise needed


def find_upgrade_needed(state: StateReader, height: int) -> UpgradeNeeded | None:
    """Why this program can't go on to `height`, None when it can."""
    wanted = get_protocol(state).at(height)
    if wanted > version.PROTOCOL_VERSION:
        message = (
            f"block {height} follows protocol version {wanted}, and this program ({version.VERSION}) knows "
            f"versions up to {version.PROTOCOL_VERSION}"
        )
        hint = "install a drexnode that knows it and start it on this home; nothing else is needed"
        return UpgradeNeeded("PROTOCOL_UNSUPPORTED", message, height=height, version=wanted, next=hint)
    return None
