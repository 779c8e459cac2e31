"""JSON-RPC 2.0: bytes in, bytes out, whatever the bytes are.

The contract: `dispatch` never raises for any input; the answer is a response object, a list of them for a
batch, or nothing for notifications. Calls of a batch run in order, so a transaction may spend what the one
before made.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from drexnode.metrics import Metrics
from drexnode.rpc.costs import cost_of
from drexnode.rpc.errors import (
    HTTP_OK,
    RpcError,
    from_drex,
    internal_error,
    invalid_request,
    parse_error,
    too_large,
)
from drexnode.rpc.registry import Context, find_method
from drexnode.telemetry import get_logger
from primitives.errors import DrexError, InvariantViolation, StorageFailure

log = get_logger("rpc")
_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()
UNKNOWN_METHOD = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: body (empty for notifications), HTTP status and, for 413 and 429, Retry-After."""

    body: bytes
    http_status: int = HTTP_OK
    retry_after_s: int | None = None


def error_answer(error: RpcError, request_id: Any = None) -> Answer:
    """An answer that holds one error."""
    body = _encoder.encode({"jsonrpc": "2.0", "id": request_id, "error": error.body()})
    return Answer(body, error.http_status, error.retry_after_s)


class Dispatcher:
    """Runs the calls of one request body after the other."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def dispatch(self, body: bytes, context: Context) -> Answer:
        """Answer one HTTP body or one WebSocket message."""
        try:
            request = _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return error_answer(parse_error())
        if isinstance(request, list):
            return await self._batch(request, context)
        response, error = await self._call(request, context)
        if response is None:
            return Answer(b"")
        if error is None:
            return Answer(_encoder.encode(response))
        return Answer(_encoder.encode(response), error.http_status, error.retry_after_s)

    async def _batch(self, requests: list[Any], context: Context) -> Answer:
        if not requests:
            return error_answer(invalid_request("a batch holds at least one call"))
        if len(requests) > context.config.max_batch:
            return error_answer(too_large("calls in one batch", len(requests), context.config.max_batch))
        refused = context.charge(len(requests) - 1)
        if refused is not None:
            return error_answer(refused)
        responses = []
        for request in requests:
            response, _ = await self._call(request, context)
            if response is not None:
                responses.append(response)
        return Answer(_encoder.encode(responses) if responses else b"")

    async def call(self, name: str, given: Any, context: Context) -> tuple[Any, RpcError | None]:
        """Carry out one method with the parameters given: its result, or the refusal. Never raises."""
        started = time.perf_counter()
        label, result, error = UNKNOWN_METHOD, None, None
        try:
            entry = find_method(name)
            label = entry.name
            refused_call = context.refusal(entry.name, entry.admin) or context.charge(cost_of(entry.name) - 1)
            if refused_call is not None:
                raise refused_call
            result = await entry.handler(context, *entry.bind(given, context))
        except RpcError as refused:
            error = refused
        except (StorageFailure, InvariantViolation) as failure:
            context.api.halt(failure)
            error = internal_error()
        except DrexError as refused:
            error = from_drex(refused)
        except Exception as failure:
            log.error("rpc.internal_error", method=label, error=repr(failure), exc_info=failure)
            error = internal_error()
        self._count(label, error, started)
        return result, error

    def _count(self, label: str, error: RpcError | None, started: float) -> None:
        code = "0" if error is None else str(error.number)
        self._metrics.rpc_request_seconds.labels(label, code).observe(time.perf_counter() - started)

    async def _call(self, request: Any, context: Context) -> tuple[dict[str, Any] | None, RpcError | None]:
        """One call. No response for a notification, even when it fails."""
        started = time.perf_counter()
        request_id = request.get("id") if isinstance(request, dict) else None
        error: RpcError | None
        try:
            name, given = _check_request(request)
        except RpcError as refused:
            self._count(UNKNOWN_METHOD, refused, started)
            result, error = None, refused
        else:
            result, error = await self.call(name, given, context)
        if isinstance(request, dict) and "id" not in request and _is_call(request):
            return None, error
        if not _is_id(request_id):
            request_id = None
        if error is not None:
            return {"jsonrpc": "2.0", "id": request_id, "error": error.body()}, error
        return {"jsonrpc": "2.0", "id": request_id, "result": result}, None


def _is_id(value: Any) -> bool:
    return value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))


def _is_call(request: dict[str, Any]) -> bool:
    return request.get("jsonrpc") == "2.0" and isinstance(request.get("method"), str)


def _check_request(request: Any) -> tuple[str, Any]:
    if not isinstance(request, dict):
        raise invalid_request("a call is an object")
    if request.get("jsonrpc") != "2.0":
        raise invalid_request('"jsonrpc": "2.0" is missing')
    if not isinstance(request.get("method"), str):
        raise invalid_request("method is expected as text")
    if not _is_id(request.get("id")):
        raise invalid_request("id is expected as text, number or null")
    return request["method"], request.get("params")
