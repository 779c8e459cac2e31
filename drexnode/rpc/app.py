"""The HTTP application: `POST /`, REST, probes, `/metrics`, `/ws`. Bodies are bounded while they are read.

A request that carries an Origin is a browser's: refused unless the origin is configured, so that a web page
can't use a node on its visitor's machine (drexnode/rpc/origins.py has the rest). Who calls is read from the
Authorization header (drexnode/rpc/credentials.py); rates are counted by caller, and by address for nobody.
"""

from __future__ import annotations

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
from drexnode.rpc.costs import METRICS_COST
from drexnode.rpc.credentials import Caller, Credentials
from drexnode.rpc.dispatch import Answer, Dispatcher, error_answer
from drexnode.rpc.errors import (
    HTTP_OK,
    HTTP_UNAUTHORISED,
    REFUSED,
    RpcError,
    forbidden,
    rate_limited,
    too_large,
    too_slow,
    unauthorised,
)
from drexnode.rpc.limits import RateLimiter, network_of
from drexnode.rpc.origins import OriginGuard
from drexnode.rpc.registry import METHODS, Connection, Context
from drexnode.rpc.rest import no_such_path, rest_routes
from drexnode.rpc.websocket import serve_websocket

HTTP_NO_CONTENT = 204
HTTP_FORBIDDEN = 403
HTTP_UNAVAILABLE = 503
BODY_TIMEOUT_S = 30.0
"""A body is there by then, or refused: one byte now and then would hold a connection for ever."""


class RpcApp:
    """Everything one HTTP port answers."""

    def __init__(self, api: NodeApi, config: RpcSection, metrics: Metrics, credentials: Credentials) -> None:
        self.api = api
        self.config = config
        self.dispatcher = Dispatcher(metrics)
        self._credentials = credentials
        self._rate = RateLimiter(config.rate_per_second, config.rate_burst)
        self._waiters = [0]
        routes = Starlette(
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
        self.asgi = OriginGuard(routes, config)

    def context(self, caller: Caller, connection: Connection | None = None) -> Context:
        """What the calls of one request may use."""
        return Context(
            api=self.api,
            config=self.config,
            refusal=lambda method, admin: self.refusal(caller, method, admin),
            deadline=trio.current_time() + self.config.max_wait_ms / 1000,
            waiters=self._waiters,
            charge=lambda calls: self.rate_error(caller, calls),
            connection=connection,
        )

    async def answer(
        self, body: bytes, authorization: str | None, client: str, connection: Connection | None = None
    ) -> Answer:
        """Answer one body or message of a client: rate first, then the calls."""
        try:
            caller = self.admit(authorization, client)
        except RpcError as refused:
            return error_answer(refused)
        return await self.dispatcher.dispatch(body, self.context(caller, connection))

    def admit(self, authorization: str | None, address: str, cost: int = 1) -> Caller:
        """Who calls, its rate taken. Bad credentials are charged to their address; above its rate no
        signature is checked for it. The cookie, API keys and tokens believed before count all the same:
        nobody's guesses lock others of that address out.

        Raises `RpcError` RPC_RATE_LIMITED and what `Credentials.caller` raises."""
        counted = network_of(address)
        guesser = Caller(f"guesses {counted}", is_known=False)
        charged = False

        def charge() -> RpcError | None:
            nonlocal charged
            charged = True
            return self.rate_error(guesser)

        try:
            caller = self._credentials.caller(authorization, counted, charge)
        except RpcError:
            refused = None if charged else charge()
            if refused is not None:
                raise refused from None
            raise
        if charged:
            self._rate.give_back(guesser.name, 1)
        refused = self.rate_error(caller, cost)
        if refused is not None:
            raise refused
        return caller

    def rate_error(self, caller: Caller, calls: int = 1) -> RpcError | None:
        """The refusal of a caller that calls too often."""
        wait_s = self._rate.take(caller.name, calls, time.monotonic(), caller.rate_per_second)
        return rate_limited(wait_s) if wait_s else None

    def refusal(self, caller: Caller, method: str, admin: bool) -> RpcError | None:
        """Why a caller may not call a method; None when it may."""
        if caller.may(method, admin=admin, public=self.config.public):
            return None
        return forbidden(method) if caller.is_known else unauthorised(method)

    def subscribing_refused(self, authorization: str, address: str) -> RpcError | None:
        """Why a caller may subscribe no longer; None while it may. Takes nothing of its rate."""
        try:
            caller = self._credentials.caller(authorization, address)
        except RpcError as refused:
            return refused
        return self.refusal(caller, "drex_subscribe", admin=False)

    def origin_allowed(self, origin: str | None) -> bool:
        """True without an Origin (no browser), or for a configured one."""
        return origin is None or origin in self.config.origins

    async def _post(self, request: Request) -> Response:
        return await self.exchange(request, self.dispatcher.dispatch, error_answer)

    async def exchange(
        self,
        request: Request,
        answer: Callable[[bytes, Context], Awaitable[Answer]],
        refuse: Callable[[RpcError], Answer],
    ) -> Response:
        """One request: origin, the body's size and time, and the client's rate come before `answer`."""
        origin = request.headers.get("origin")
        if not self.origin_allowed(origin):
            return _write(refuse(origin_refused(origin)), None)
        client = request.client.host if request.client else ""
        try:
            body = await self._read_body(request)
            caller = self.admit(request.headers.get("authorization"), client)
        except RpcError as refused:
            return _write(refuse(refused), origin)
        return _write(await answer(body, self.context(caller)), origin)

    async def _read_body(self, request: Request) -> bytes:
        """The body. Raises `RpcError` as soon as it passes its bound, or has taken too long."""
        limit = self.config.max_body_bytes
        refused = too_large("bytes in the body", -1, limit)
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise refused
        parts, size = [], 0
        with trio.move_on_after(BODY_TIMEOUT_S) as scope:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise refused
                parts.append(part)
        if scope.cancelled_caught:
            raise too_slow(BODY_TIMEOUT_S)
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
        """Open to whom `drex_getMetrics` is, which answers the same."""
        return self.page_refused(request, METRICS_COST, "drex_getMetrics") or Response(
            self.api.metrics_text(), headers={"content-type": CONTENT_TYPE}
        )

    def page_refused(self, request: Request, cost: int, method: str) -> Response | None:
        """The refusal of a page that says what a method says, and costs work: to another origin's page, to
        who asks too often, with a bad credential, or where the method is not open."""
        origin = request.headers.get("origin")
        if not self.origin_allowed(origin):
            return _write(error_answer(origin_refused(origin)), None)
        client = request.client.host if request.client else ""
        try:
            caller = self.admit(request.headers.get("authorization"), client, cost)
        except RpcError as refused:
            return _write(error_answer(refused), origin)
        closed = self.refusal(caller, method, admin=False)
        return None if closed is None else _write(error_answer(closed), origin)

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
    if answer.http_status == HTTP_UNAUTHORISED:
        headers["www-authenticate"] = 'Bearer realm="drexnode"'
    if answer.retry_after_s is not None:
        headers["retry-after"] = str(answer.retry_after_s)
    if not answer.body:
        return Response(status_code=HTTP_NO_CONTENT, headers=headers)
    return Response(answer.body, answer.http_status, headers, media_type="application/json")
