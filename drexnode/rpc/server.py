"""Serves the HTTP port on Hypercorn's trio worker, in the node's own event loop.

`open_socket` binds first, so that a taken port is an error with its number before anything else starts.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from hypercorn.config import Config

from drexnode.config import ConfigError, RpcSection
from drexnode.metrics import Metrics
from drexnode.rpc.api import NodeApi
from drexnode.rpc.app import RpcApp
from drexnode.rpc.connections import Connections
from drexnode.rpc.credentials import Credentials

if TYPE_CHECKING:
    from trio_typing import TaskStatus

BACKLOG = 256
MAX_HEADER_BYTES = 16 * 1024
KEEP_ALIVE_S = 30
READ_TIMEOUT_S = 90
GRACE_S = 1.0
HANDSHAKE_TIMEOUT_S = 10


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError` RPC_PORT_IN_USE or RPC_CANNOT_LISTEN."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        code = "RPC_PORT_IN_USE" if error.errno == errno.EADDRINUSE else "RPC_CANNOT_LISTEN"
        message = f"can't listen on {host}:{port}: {error.strerror}; choose another with rpc.port"
        raise ConfigError(code, message, host=host, port=port) from None
    listener.setblocking(False)
    return listener


def write_cookie(path: Path) -> str:
    """Make a new admin credential: 32 random bytes in hex, in a file of mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cookie = secrets.token_hex(32)
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(cookie)
    temporary.replace(path)
    return cookie


async def serve_rpc(
    api: NodeApi,
    config: RpcSection,
    metrics: Metrics,
    *,
    cookie: str | None = None,
    access_path: Path | None = None,
    tls: Callable[[], ssl.SSLContext] | None = None,
    listener: socket.socket | None = None,
    task_status: TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; started with the URL. `cookie` is the admin credential (`write_cookie`),
    `access_path` the file of token keys and API keys, `tls` answers the context of the next
    connection (None: plain HTTP).
    """
    if listener is None:
        listener = open_socket(config.host, config.port)
    app = RpcApp(api, config, metrics, Credentials(api.identity.chain_id, cookie, access_path))
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    task_status.started(f"{'http' if tls is None else 'https'}://{shown}:{port}")
    await Connections(app.asgi, _settings(config), config.max_connections, tls).serve(listener)


def _settings(config: RpcSection) -> Config:
    settings = Config()
    settings.errorlog = None
    settings.accesslog = None
    settings.h11_max_incomplete_size = MAX_HEADER_BYTES
    settings.keep_alive_max_requests = 2**31
    settings.keep_alive_timeout = KEEP_ALIVE_S
    settings.read_timeout = READ_TIMEOUT_S
    settings.ssl_handshake_timeout = HANDSHAKE_TIMEOUT_S
    settings.graceful_timeout = GRACE_S
    settings.websocket_max_message_size = config.max_body_bytes
    settings.include_server_header = False
    return settings
