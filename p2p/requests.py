"""Requests over one long-lived stream a side: many in flight, answers in chunks so that small pass big ones.

Frames (each inside the stream's length prefix): a kind byte, the request's id (4 bytes, big-endian), then

    REQUEST  method length (1 byte), method (ASCII), payload       asker → server
    CANCEL   nothing                                               asker → server
    CHUNK    last (0 or 1), up to `RESPONSE_CHUNK_BYTES` of answer server → asker
    ERROR    code (1 byte), a sentence (UTF-8)                     server → asker

`Asker` and `Server` own no socket: a frame goes out through the callable they are given.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from p2p.budget import TokenBucket
from p2p.transport import Handler, PeerId, RequestCode, RequestFailed, RequestRefused
from primitives.errors import (
    DecodeError,
    InvalidBlock,
    InvalidTransaction,
    InvariantViolation,
    StorageFailure,
)
from primitives.limits import (
    BUDGET_REQUESTS_BURST,
    BUDGET_REQUESTS_PER_SECOND,
    MAX_METHOD_BYTES,
    MAX_REQUEST_BYTES,
    MAX_REQUEST_ERROR_BYTES,
    MAX_RESPONSE_BYTES,
    REQUEST_SERVE_SECONDS,
    REQUESTS_IN_FLIGHT,
    REQUESTS_SERVED_AT_ONCE,
    REQUESTS_SERVED_WAITING,
    RESPONSE_CHUNK_BYTES,
)

_log = structlog.get_logger(__name__)

_REQUEST, _CANCEL, _CHUNK, _ERROR = range(4)
_HEAD: Final = struct.Struct("!BI")
_CODES: Final = (
    RequestCode.BUSY,
    RequestCode.UNKNOWN_METHOD,
    RequestCode.REFUSED,
    RequestCode.FAILED,
    RequestCode.TOO_LARGE,
)
REQUEST_FRAME_BYTES: Final = _HEAD.size + 1 + MAX_METHOD_BYTES + MAX_REQUEST_BYTES
RESPONSE_FRAME_BYTES: Final = _HEAD.size + 1 + RESPONSE_CHUNK_BYTES

Send = Callable[[bytes], Awaitable[None]]
"""Queues a frame for the wire, waiting for room; raises when the stream is gone."""


def failure(code: RequestCode, peer: PeerId, message: str) -> RequestFailed:
    """A `RequestFailed` that names its peer."""
    return RequestFailed(code, message, peer=peer)


def check_request(method: str, payload: bytes) -> None:
    """Raise `ValueError` for what may not be asked: an own mistake, not the network's."""
    if not method.isascii() or not 0 < len(method) <= MAX_METHOD_BYTES:
        raise ValueError(f"a method is 1 to {MAX_METHOD_BYTES} ASCII characters")
    if len(payload) > MAX_REQUEST_BYTES:
        raise ValueError(f"a request has at most {MAX_REQUEST_BYTES} bytes, not {len(payload)}")


class _Pending:
    """A request waiting for its answer."""

    __slots__ = ("done", "failure", "max_bytes", "overflowed", "parts", "size")

    def __init__(self, max_bytes: int) -> None:
        self.overflowed = False
        self.max_bytes = max_bytes
        self.parts: list[bytes] = []
        self.size = 0
        self.failure: tuple[RequestCode, str] | None = None
        self.done = trio.Event()


class Asker:
    """The asking side towards one peer."""

    def __init__(self, peer: PeerId, send_nowait: Callable[[bytes], bool]) -> None:
        self._peer = peer
        self._send_nowait = send_nowait
        self._pending: dict[int, _Pending] = {}
        self._next_id = 0

    async def ask(self, method: str, payload: bytes, timeout_s: float, max_response_bytes: int) -> bytes:
        """One request, one answer. Raises `RequestFailed`. Cancelled or late, the server is told to stop."""
        if len(self._pending) >= REQUESTS_IN_FLIGHT:
            raise failure(RequestCode.BUSY, self._peer, "too many requests to this peer are under way")
        self._next_id = (self._next_id + 1) % 2**32
        request_id = self._next_id
        head = _HEAD.pack(_REQUEST, request_id) + bytes([len(method)]) + method.encode("ascii")
        if not self._send_nowait(head + payload):
            raise failure(RequestCode.DISCONNECTED, self._peer, "the request stream is closed or full")
        pending = self._pending[request_id] = _Pending(max_response_bytes)
        try:
            with trio.move_on_after(timeout_s):
                await pending.done.wait()
        finally:
            del self._pending[request_id]
            if not pending.done.is_set() or pending.overflowed:
                self._send_nowait(_HEAD.pack(_CANCEL, request_id))
        if pending.overflowed:
            message = f"{method} answered more than {max_response_bytes} bytes"
            raise failure(RequestCode.TOO_LARGE, self._peer, message)
        if pending.failure is not None:
            raise failure(pending.failure[0], self._peer, pending.failure[1])
        if not pending.done.is_set():
            raise failure(RequestCode.TIMEOUT, self._peer, f"no answer to {method} in {timeout_s} s")
        return b"".join(pending.parts)

    def on_frame(self, frame: bytes) -> None:
        """A frame from the server. Raises `DecodeError` for what no server sends."""
        kind, request_id = _parse_head(frame)
        pending = self._pending.get(request_id)
        if kind not in (_CHUNK, _ERROR) or len(frame) < _HEAD.size + 1:
            raise DecodeError("not an answer")
        if pending is None or pending.done.is_set():
            return  # cancelled or timed out meanwhile
        flag = frame[_HEAD.size]
        body = frame[_HEAD.size + 1 :]
        if kind == _ERROR:
            code = _CODES[flag] if flag < len(_CODES) else RequestCode.FAILED
            pending.failure = (code, body[:MAX_REQUEST_ERROR_BYTES].decode("utf-8", "replace") or code)
            pending.done.set()
            return
        pending.size += len(body)
        if pending.size > pending.max_bytes:
            pending.overflowed = True
            pending.parts.clear()
            pending.done.set()
            return
        pending.parts.append(body)
        if flag:
            pending.done.set()

    def fail_all(self, code: RequestCode, message: str) -> None:
        """The stream is gone: nothing under way will be answered."""
        for pending in self._pending.values():
            if not pending.done.is_set():
                pending.failure = (code, message)
                pending.done.set()


@dataclass(frozen=True, slots=True)
class _Job:
    request_id: int
    method: str
    payload: bytes


class Server:
    """The answering side towards one peer: so many run at once, a few wait, the rest hear `busy`."""

    def __init__(self, peer: PeerId, handlers: Mapping[str, Handler], send: Send) -> None:
        self._peer = peer
        self._handlers = handlers
        self._send = send
        self._slots = trio.Semaphore(REQUESTS_SERVED_AT_ONCE)
        self._scopes: dict[int, trio.CancelScope] = {}
        self._budget = TokenBucket(BUDGET_REQUESTS_PER_SECOND, BUDGET_REQUESTS_BURST, trio.current_time())
        self.refused_busy = 0

    async def on_frame(self, frame: bytes, nursery: trio.Nursery) -> None:
        """A frame from the asker. Raises `DecodeError` for what no asker sends."""
        kind, request_id = _parse_head(frame)
        if kind == _CANCEL:
            if (scope := self._scopes.get(request_id)) is not None:
                scope.cancel()
            return
        job = _parse_request(kind, request_id, frame)
        full = len(self._scopes) >= REQUESTS_SERVED_AT_ONCE + REQUESTS_SERVED_WAITING
        if full or request_id in self._scopes or not self._budget.try_take(1, trio.current_time()):
            self.refused_busy += 1
            await self._send_error(request_id, RequestCode.BUSY, "over this node's budget for one peer")
            return
        scope = trio.CancelScope(deadline=trio.current_time() + REQUEST_SERVE_SECONDS)
        self._scopes[request_id] = scope
        nursery.start_soon(self._work, job, scope)

    async def _work(self, job: _Job, scope: trio.CancelScope) -> None:
        try:
            with scope:
                async with self._slots:
                    await self._serve(job)
        finally:
            del self._scopes[job.request_id]

    async def _serve(self, job: _Job) -> None:
        handler = self._handlers.get(job.method)
        if handler is None:
            await self._send_error(job.request_id, RequestCode.UNKNOWN_METHOD, "no such method here")
            return
        try:
            answer = await handler(self._peer, job.payload)
        except (StorageFailure, InvariantViolation):
            raise  # the world's and ours: the node must halt, not answer
        except (RequestRefused, DecodeError, InvalidTransaction, InvalidBlock) as refusal:
            await self._send_error(job.request_id, RequestCode.REFUSED, str(refusal))
        except Exception:
            _log.exception("request_handler_broke", method=job.method, peer=self._peer)
            await self._send_error(job.request_id, RequestCode.FAILED, "the handler broke")
        else:
            await self._send_answer(job.request_id, answer)

    async def _send_answer(self, request_id: int, answer: bytes) -> None:
        if len(answer) > MAX_RESPONSE_BYTES:
            await self._send_error(request_id, RequestCode.TOO_LARGE, f"the answer has {len(answer)} bytes")
            return
        for start in range(0, max(1, len(answer)), RESPONSE_CHUNK_BYTES):
            chunk = answer[start : start + RESPONSE_CHUNK_BYTES]
            last = start + RESPONSE_CHUNK_BYTES >= len(answer)
            await self._send(_HEAD.pack(_CHUNK, request_id) + bytes([last]) + chunk)

    async def _send_error(self, request_id: int, code: RequestCode, message: str) -> None:
        text = message.encode("utf-8")[:MAX_REQUEST_ERROR_BYTES]
        await self._send(_HEAD.pack(_ERROR, request_id) + bytes([_CODES.index(code)]) + text)


def _parse_head(frame: bytes) -> tuple[int, int]:
    if len(frame) < _HEAD.size:
        raise DecodeError("a request frame has at least five bytes")
    kind, request_id = _HEAD.unpack_from(frame)
    return kind, request_id


def _parse_request(kind: int, request_id: int, frame: bytes) -> _Job:
    if kind != _REQUEST or len(frame) <= _HEAD.size:
        raise DecodeError("not a request")
    start = _HEAD.size + 1
    end = start + frame[_HEAD.size]
    method = frame[start:end]
    if not method.isascii() or not 0 < len(method) <= MAX_METHOD_BYTES or len(method) != end - start:
        raise DecodeError("not a method")
    return _Job(request_id, method.decode("ascii"), frame[end:])
