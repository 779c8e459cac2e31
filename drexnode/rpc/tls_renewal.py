"""Renewed TLS files count for new connections within `LOOK_EVERY_S` of their change, without a restart.

Promise: files that can't be used never replace those that could: the port goes on with what it has and says
so once, as an error in the log. A change between TLS and plain HTTP, or of who must show a certificate, needs
a start.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from drexnode.config import ConfigError, NodeConfig
from drexnode.rpc.tls import tls_context
from drexnode.telemetry import get_logger

log = get_logger("rpc")
LOOK_EVERY_S = 1.0
Current = Callable[[], ssl.SSLContext]
_Version = tuple[tuple[int, int, int] | None, ...]


def renewed_context(config: NodeConfig) -> Current | None:
    """What answers the context for the next connection, or None for plain HTTP.

    Raises `ConfigError` RPC_TLS_* for files that can't be used now."""
    before = _version(config)
    context = tls_context(config)
    return None if context is None else _Renewed(config, context, before).current


class _Renewed:
    def __init__(self, config: NodeConfig, context: ssl.SSLContext, version: _Version) -> None:
        self._config = config
        self._context = context
        self._version = version
        self._looked_at = time.monotonic()

    def current(self) -> ssl.SSLContext:
        """Looks at the files, if it did not just now: three `stat`, and a few milliseconds after a change."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            version = _version(self._config)
            if version != self._version:
                self._version = version
                self._read()
        return self._context

    def _read(self) -> None:
        """Certificate and key are two files that don't fit between their changes; each is looked at."""
        try:
            context = tls_context(self._config)
        except ConfigError as failure:
            log.error("rpc.tls_unusable", code=failure.code, reason=failure.message)
            return
        if context is not None:
            self._context = context
            log.info("rpc.tls_renewed", certificate=self._config.rpc.tls_certificate)


def _version(config: NodeConfig) -> _Version:
    rpc = config.rpc
    return tuple(_of_file(config, path) for path in (rpc.tls_certificate, rpc.tls_key, rpc.tls_client_ca))


def _of_file(config: NodeConfig, path: str) -> tuple[int, int, int] | None:
    if not path:
        return None
    try:
        found = config.path(path).stat()
    except OSError:
        return None
    return (found.st_ctime_ns, found.st_size, found.st_ino)
