"""Long work that an operator asks of a running node (part of `drexnode.rpc.api.NodeApi`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A long work for the operator. `state` is idle, running, done or failed (then with code and reason);
    `total` is 0 where nobody knows it; `height` is that of what was made."""

    kind: str
    state: str
    folder: str = ""
    what: str = ""
    done: int = 0
    total: int = 0
    height: int | None = None
    code: str | None = None
    reason: str | None = None


class MaintenanceApi(Protocol):
    """Long work that a node does for its operator, one at a time. Folders are on the node's machine.

    What begins a job raises `DrexError`: JOB_RUNNING, JOB_FOLDER, NODE_STOPPED."""

    def snapshot(self, folder: str) -> JobStatus:
        """Begin to write the state of the tip to a new folder."""

    def backup(self, folder: str, *, new_base: bool) -> JobStatus:
        """Begin to make or extend the backup in a folder; `new_base` begins it anew from the tip's state."""

    def prune(self, kept_blocks: int) -> JobStatus:
        """Begin to let the bodies of all but the last blocks go; `height` is then the lowest with bodies.

        Raises `DrexError`: PRUNE_ARCHIVE, PRUNE_TOO_FEW."""

    def status(self) -> JobStatus:
        """How the last job stands."""
