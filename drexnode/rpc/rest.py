"""REST under `/v1`: the methods of the JSON-RPC by verb and path, and their OpenAPI document.

Everything is made from the registry: a method that names its path is served, its parameters are those in
the path, then of the query (GET, DELETE) or of a JSON object in the body (POST, PUT). Answers are the bare
result; refusals are the `error` object of JSON-RPC with an HTTP status (drexnode/rpc/rest_errors.py). Origin,
rate, size and credential are checked as for `POST /`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from drexnode.rpc.costs import DOCUMENT_COST
from drexnode.rpc.describe import REST_ROOT, methods, open_api
from drexnode.rpc.dispatch import Answer
from drexnode.rpc.errors import METHOD_NOT_FOUND, RpcError, invalid_params, parse_error
from drexnode.rpc.registry import Context, Method
from drexnode.rpc.rest_errors import not_found, rest_status
from drexnode.version import VERSION

if TYPE_CHECKING:
    from drexnode.rpc.app import RpcApp

BODY_VERBS = ("POST", "PUT")
JSON = "application/json"
HTTP_WRONG_VERB = 405
_INTEGER = re.compile(r"-?[0-9]{1,20}")


def rest_routes(app: RpcApp) -> list[Route]:
    """The routes of every method that has a path, and of the document."""
    routes = [
        Route(REST_ROOT + entry.rest.path, _endpoint(app, entry), methods=[entry.rest.verb])
        for entry in methods()
        if entry.rest is not None
    ]
    return [*routes, Route("/openapi.json", _document(app), methods=["GET"])]


def _document(app: RpcApp) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        refused = app.page_refused(request, DOCUMENT_COST, "rpc.discover")
        return refused or Response(_document_bytes(), media_type=JSON)

    return serve


@cache
def _document_bytes() -> bytes:
    return msgspec.json.encode(open_api(VERSION))


async def no_such_path(request: Request, error: Exception) -> Response:
    """A path or a verb that there is not, as JSON like every refusal."""
    assert isinstance(error, HTTPException)
    code = "RPC_WRONG_VERB" if error.status_code == HTTP_WRONG_VERB else "RPC_NO_SUCH_PATH"
    refused = RpcError(METHOD_NOT_FOUND, code, f"{error.detail}: /openapi.json lists paths and verbs")
    body = msgspec.json.encode(refused.body())
    return Response(body, error.status_code, error.headers, media_type=JSON)


def _endpoint(app: RpcApp, entry: Method) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        async def answer(body: bytes, context: Context) -> Answer:
            try:
                given = _parameters(entry, request, body)
            except RpcError as error:
                return _refusal(error)
            result, refused = await app.dispatcher.call(entry.name, given, context)
            if refused is not None:
                return _refusal(refused)
            if result is None:
                return _refusal(not_found(f"there is no such thing ({entry.name})"))
            return Answer(msgspec.json.encode(result))

        return await app.exchange(request, answer, _refusal)

    return serve


def _refusal(error: RpcError) -> Answer:
    return Answer(msgspec.json.encode(error.body()), rest_status(error), error.retry_after_s)


def _parameters(entry: Method, request: Request, body: bytes) -> dict[str, Any]:
    """Parameters by name. Raises `RpcError` RPC_PARSE, RPC_INVALID_PARAMS."""
    given: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name in given:
            raise invalid_params(f"the parameter {name[:64]!r} is given twice")
        given[name] = _from_text(entry, name, text)
    if entry.rest is not None and entry.rest.verb in BODY_VERBS and body:
        given |= _from_body(body)
    return given | {name: _from_text(entry, name, str(text)) for name, text in request.path_params.items()}


def _from_body(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise parse_error() from None
    if not isinstance(fields, dict):
        raise invalid_params("the body is expected as an object of parameters")
    return fields


def _from_text(entry: Method, name: str, text: str) -> Any:
    """A value of a path or a query, as its schema has it; what does not fit is refused by its own reader."""
    kind = next((param.kind.schema.get("type") for param in entry.params if param.name == name), None)
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    return text
