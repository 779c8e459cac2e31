"""Work that a running node does for an operator: asked for over its RPC, followed to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drexnode import client as rpc
from drexnode.cli.output import CliError
from drexnode.config import NodeConfig

_POLL_S = 0.2


def run_job(
    config: NodeConfig,
    method: str,
    subject: Path | int,
    progress: Callable[[str, int, int], None],
    *more: Any,
) -> dict[str, Any]:
    """Start a job of the home's own node and wait for it. Raises `RpcRefused`, `NodeUnreachable`, `CliError`
    with the job's code."""
    from drexnode.cli.locate import client_of_home

    given = subject if isinstance(subject, int) else str(subject.absolute())
    with client_of_home(config) as client:
        start: rpc.Call[dict[str, Any]] = rpc.Call(method, (given, *more), dict[str, Any])
        client.run(start)
        while True:
            asked: rpc.Call[dict[str, Any]] = rpc.Call("admin_job", (), dict[str, Any])
            status = client.run(asked)
            if status["state"] == "running":
                progress(status["what"], status["done"], status["total"])
                time.sleep(_POLL_S)
            elif status["state"] == "done":
                return status
            else:
                raise CliError(status["code"] or "JOB_FAILED", status["reason"] or "the node gave it up")
