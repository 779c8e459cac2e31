"""Named places where a crash test may stop the process dead.

A point does nothing unless the environment variable `DREX_FAILPOINT` names it as `name` or `name:count`
(die at the count-th passage). Dying is `SIGKILL` to oneself: no handler, no flush, no goodbye. The list of
names is fixed, so a test that misspells one fails instead of passing in silence.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "DREX_FAILPOINT"

NAMES = (
    "bodies.before_write",
    "bodies.after_write",
    "commit.before_write",
    "commit.after_write",
    "commit.after_mark",
    "commit.after_apply",
    "pages.before_write",
    "pages.after_write",
    "journal.before_append",
    "journal.after_append",
    "journal.after_sync",
    "journal.after_rotate",
    "watermark.before_write",
    "watermark.after_write",
    "watermark.after_sync",
)
TOOL_NAMES = (  # of commands, which a running node does not pass
    "backup.after_segment",
    "backup.before_list",
    "migration.before_write",
    "migration.after_write",
    "prune.before_write",
    "prune.after_write",
    "restore.after_batch",
    "restore.before_rename",
    "rollback.before_swap",
    "snapshot.after_chunk",
    "snapshot.before_rename",
)
_ALL = NAMES + TOOL_NAMES


_target: tuple[str, int] | None = None
_passages = 0


def arm(setting: str) -> None:
    """Arm `name` or `name:count`, or nothing for an empty text. Raises `ValueError` for an unknown name."""
    global _target, _passages
    name, _, count = setting.partition(":")
    if setting and name not in _ALL:
        raise ValueError(f"{name!r} is none of the fail points {', '.join(_ALL)}")
    _target = (name, int(count or "1")) if setting else None
    _passages = 0


def reach(name: str) -> None:
    """Pass the point `name`; a process in which it is armed dies here, as by `kill -9`."""
    if _target is None:
        return
    if name not in _ALL:
        raise ValueError(f"{name!r} is not a fail point")
    global _passages
    if name == _target[0]:
        _passages += 1
        if _passages >= _target[1]:
            os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get(VARIABLE, ""))
