"""Long work for the operator: snapshots and backups of a running node, and how they stand."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from drexnode.rpc import answers_node
from drexnode.rpc.errors import invalid_params
from drexnode.rpc.examples import FOLDER
from drexnode.rpc.params import Flag, ParamType
from drexnode.rpc.registry import Context, method
from primitives.limits import MAX_HEIGHT

MAX_PATH_CHARS = 4096


def _path(value: Any, _: Context) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_PATH_CHARS or "\0" in value:
        raise invalid_params("a folder on the node's machine is expected, as an absolute path")
    return value


FolderPath = Annotated[str, ParamType(_path, {"type": "string", "description": "absolute path"})]


@method(
    "admin_snapshot",
    "{kind, state, folder, what, done, total, height, code, reason}",
    answers_node.Job,
    rest="POST /admin/snapshot",
    admin=True,
    example=(f"{FOLDER}/snapshot",),
)
async def snapshot(context: Context, folder: FolderPath) -> dict[str, Any]:
    """Begin to write the state of the tip to a new folder on the node's machine; admin_job tells the end."""
    return dataclasses.asdict(context.api.maintenance.snapshot(folder))


@method(
    "admin_backup",
    "{kind, state, folder, what, done, total, height, code, reason}",
    answers_node.Job,
    rest="POST /admin/backup",
    admin=True,
    example=(f"{FOLDER}/backup", False),
)
async def backup(context: Context, folder: FolderPath, new_base: Flag = False) -> dict[str, Any]:
    """Begin to make or extend the backup in a folder on the node's machine; admin_job tells the end."""
    return dataclasses.asdict(context.api.maintenance.backup(folder, new_base=new_base))


def _blocks(value: Any, _: Context) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_HEIGHT:
        raise invalid_params("a number of blocks is expected")
    return value


Blocks = Annotated[int, ParamType(_blocks, {"type": "integer", "minimum": 1})]


@method(
    "admin_prune",
    "{kind, state, folder, what, done, total, height, code, reason}",
    answers_node.Job,
    rest="POST /admin/prune",
    admin=True,
    example=(10_000,),
)
async def prune(context: Context, kept_blocks: Blocks) -> dict[str, Any]:
    """Begin to let the bodies of all but the last blocks go; admin_job tells the end."""
    return dataclasses.asdict(context.api.maintenance.prune(kept_blocks))


@method(
    "admin_job",
    "{kind, state, folder, what, done, total, height, code, reason}",
    answers_node.Job,
    rest="GET /admin/job",
    admin=True,
)
async def job(context: Context) -> dict[str, Any]:
    """How the last snapshot or backup stands: state is idle, running, done or failed."""
    return dataclasses.asdict(context.api.maintenance.status())
