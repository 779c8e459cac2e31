"""Serves a `MemoryChain` on a free port for as long as a test needs it."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from drexnode.config import RpcSection
from drexnode.rpc.server import serve_rpc
from tests.drexnode.memory_chain import MemoryChain

COOKIE = "c" * 64


@asynccontextmanager
async def serving(
    chain: MemoryChain,
    *,
    access_path: Path | None = None,
    tls: ssl.SSLContext | Callable[[], ssl.SSLContext] | None = None,
    **settings: object,
) -> AsyncIterator[str]:
    """Yield the URL. `settings` replace keys of the configuration's rpc section."""
    current = (lambda: tls) if isinstance(tls, ssl.SSLContext) else tls
    section = dataclasses.replace(RpcSection(), **{"port": 0, **settings})  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[str]) -> None:  # type: ignore[name-defined]
            await serve_rpc(
                chain,
                section,
                chain.metrics,
                cookie=COOKIE,
                access_path=access_path,
                tls=current,
                task_status=task_status,
            )

        yield await nursery.start(run)
        nursery.cancel_scope.cancel()
