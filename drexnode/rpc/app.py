"""The HTTP application: `POST /`, REST, probes, `/metrics`, `/ws`. Bodies are bounded while they are read.

A request that carries an Origin is a browser's: refused unless the origin is configured, so that a web page
can't use a node on its visitor's machine. The admin credential is the content of a file only the node's user
can read.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

import drexnode.rpc.methods  # noqa: F401 - importing it registers every method
from drexnode.config import RpcSection
from drexnode.metrics import CONTENT_TYPE, Metrics
from drexnode.rpc.api import NodeApi
from drexnode.rpc.dispatch import Answer, Dispatcher, error_answer
from drexnode.rpc.errors import HTTP_OK, REFUSED, RpcError, rate_limited, too_large
from drexnode.rpc.limits import RateLimiter
from drexnode.rpc.registry import METHODS, Connection, Context
from drexnode.rpc.rest import no_such_path, rest_routes
from drexnode.rpc.websocket import serve_websocket

HTTP_NO_CONTENT = 204
HTTP_FORBIDDEN = 403
HTTP_UNAVAILABLE = 503


class RpcApp:
    """Everything one HTTP port answers."""

    def __init__(self, api: NodeApi, config: RpcSection, metrics: Metrics, cookie: str | None) -> None:
        self.api = api
        self.config = config
        self.dispatcher = Dispatcher(metrics)
        self._cookie = None if cookie is None else cookie.encode()
        self._rate = RateLimiter(config.rate_per_second, config.rate_burst)
        self._waiters = [0]
        self.asgi = Starlette(
            routes=[
                Route("/", self._post, methods=["POST"]),
                Route("/", self._about, methods=["GET"]),
                Route("/livez", self._livez),
                Route("/readyz", self._readyz),
                Route("/startupz", self._startupz),
                Route("/metrics", self._metrics),
                WebSocketRoute("/ws", self._websocket),
                *rest_routes(self),
            ],
            exception_handlers={HTTPException: no_such_path},
        )

    def context(
        self, authorization: str | None, client: str, connection: Connection | None = None
    ) -> Context:
        """What the calls of one request may use."""
        return Context(
            api=self.api,
            config=self.config,
            admin=self._is_admin(authorization),
            deadline=trio.current_time() + self.config.max_wait_ms / 1000,
            waiters=self._waiters,
            charge=lambda calls: self.rate_error(client, calls),
            connection=connection,
        )

    async def answer(
        self, body: bytes, authorization: str | None, client: str, connection: Connection | None = None
    ) -> Answer:
        """Answer one body or message of a client: rate first, then the calls."""
        refused = self.rate_error(client)
        if refused is not None:
            return error_answer(refused)
        return await self.dispatcher.dispatch(body, self.context(authorization, client, connection))

    def rate_error(self, client: str, calls: int = 1) -> RpcError | None:
        """The refusal of a client that calls too often."""
        wait_s = self._rate.take(client, calls, time.monotonic())
        return rate_limited(wait_s) if wait_s else None

    def origin_allowed(self, origin: str | None) -> bool:
        """True without an Origin (no browser), or for a configured one."""
        return origin is None or origin in self.config.origins

    def _is_admin(self, authorization: str | None) -> bool:
        if self._cookie is None or authorization is None:
            return False
        scheme, _, given = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._cookie)

    async def _post(self, request: Request) -> Response:
        return await self.exchange(request, self.dispatcher.dispatch, error_answer)

    async def exchange(
        self,
        request: Request,
        answer: Callable[[bytes, Context], Awaitable[Answer]],
        refuse: Callable[[RpcError], Answer],
    ) -> Response:
        """One request: its origin, the body's size and the client's rate are checked before `answer`."""
        origin = request.headers.get("origin")
        if not self.origin_allowed(origin):
            return _write(refuse(origin_refused(origin)), None)
        client = request.client.host if request.client else ""
        body = await self._read_body(request)
        if body is None:
            refused = too_large("bytes in the body", -1, self.config.max_body_bytes)
            return _write(refuse(refused), origin)
        limited = self.rate_error(client)
        if limited is not None:
            return _write(refuse(limited), origin)
        return _write(await answer(body, self.context(request.headers.get("authorization"), client)), origin)

    async def _read_body(self, request: Request) -> bytes | None:
        """The body, or None as soon as it passes its bound."""
        limit = self.config.max_body_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            return None
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                return None
            parts.append(part)
        return b"".join(parts)

    async def _about(self, request: Request) -> Response:
        who = self.api.identity
        text = (
            f"drexnode {who.role} {who.name}: JSON-RPC 2.0 by POST, {len(METHODS)} methods (rpc.discover)\n"
        )
        return Response(text, media_type="text/plain")

    async def _livez(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def _startupz(self, request: Request) -> Response:
        started = self.api.started()
        return JSONResponse({"started": started}, HTTP_OK if started else HTTP_UNAVAILABLE)

    async def _readyz(self, request: Request) -> Response:
        reasons = [{"code": item.code, "message": item.message} for item in self.api.not_ready()]
        status = HTTP_UNAVAILABLE if reasons else HTTP_OK
        return JSONResponse({"ready": not reasons, "reasons": reasons}, status)

    async def _metrics(self, request: Request) -> Response:
        return Response(self.api.metrics_text(), headers={"content-type": CONTENT_TYPE})

    async def _websocket(self, websocket: WebSocket) -> None:
        await serve_websocket(websocket, self)


def origin_refused(origin: str | None) -> RpcError:
    """The refusal of a browser's page that is not configured."""
    return RpcError(
        REFUSED,
        "RPC_ORIGIN_REFUSED",
        "this origin is not in rpc.origins",
        http_status=HTTP_FORBIDDEN,
        origin=(origin or "")[:128],
    )


def _write(answer: Answer, origin: str | None) -> Response:
    headers = {"access-control-allow-origin": origin, "vary": "origin"} if origin else {}
    if answer.retry_after_s is not None:
        headers["retry-after"] = str(answer.retry_after_s)
    if not answer.body:
        return Response(status_code=HTTP_NO_CONTENT, headers=headers)
    return Response(answer.body, answer.http_status, headers, media_type="application/json")
