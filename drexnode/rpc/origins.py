"""What browsers may do: nothing, unless their page's origin is in `rpc.origins`.

Answers preflight requests (Fetch, CORS protocol) of configured origins alone. On loopback without TLS the
Host must be an address or localhost: a page whose name was pointed at this machine (DNS rebinding) counts as
this origin for its browser and sends no Origin with GET.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response

from drexnode.config import RpcSection

HTTP_NO_CONTENT = 204
HTTP_FORBIDDEN = 403
HTTP_MISDIRECTED = 421
PREFLIGHT_AGE_S = 600
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class OriginGuard:
    """Stands before the application."""

    def __init__(self, app: Asgi, config: RpcSection) -> None:
        self._app = app
        self._origins = config.origins
        self._only_loopback = is_loopback(config.host) and not config.tls_certificate

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] in ("http", "websocket"):
            refused = self._answer(scope["type"], scope.get("method"), Headers(scope=scope))
            if refused is not None:
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _answer(self, kind: str, method: str | None, headers: Headers) -> Any:
        """What is said instead of passing a request on; None when it may pass."""
        if self._only_loopback and not is_loopback(_name_in(headers.get("host", ""))):
            text = (
                "this port answers to localhost and to its address alone; use rpc.host, or TLS, for names\n"
            )
            return Response(text, HTTP_MISDIRECTED) if kind == "http" else _CloseWebSocket()
        origin = headers.get("origin")
        if kind == "http" and method == "OPTIONS" and origin is not None:
            return self._preflight(origin)
        return None

    def _preflight(self, origin: str) -> Response:
        if origin not in self._origins:
            return Response("this origin is not in rpc.origins\n", HTTP_FORBIDDEN)
        allowed = {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": "GET, POST, PUT, DELETE",
            "access-control-allow-headers": "authorization, content-type",
            "access-control-max-age": str(PREFLIGHT_AGE_S),
            "vary": "origin",
        }
        return Response(status_code=HTTP_NO_CONTENT, headers=allowed)


class _CloseWebSocket:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 4003})


def is_loopback(host: str) -> bool:
    """True for localhost and the addresses of this machine itself; no name is looked up."""
    if host.lower() == "localhost" or host == "":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name_in(host: str) -> str:
    """The Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] or host if host.count(":") == 1 else host
