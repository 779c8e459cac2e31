"""One call of the RPC as a value, and how it is written and read: the same for every way to carry it out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from primitives.errors import DrexError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class RpcRefused(DrexError):
    """The node refused a call; `code` and `data` are the node's."""


class NodeUnreachable(DrexError):
    """No node answers at the URL."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A method with its parameters and the type of its result. `wait_s` is how long the node may take."""

    method: str
    params: tuple[Any, ...]
    result: Any
    wait_s: float = 0.0

    def read(self, value: Any) -> T_co:
        """The typed result. Raises `RpcRefused` RPC_UNEXPECTED when the node answers something else."""
        try:
            converted: T_co = msgspec.convert(value, self.result, strict=False)
        except msgspec.ValidationError as error:
            raise RpcRefused("RPC_UNEXPECTED", f"{self.method} answered another shape: {error}") from None
        return converted


def encode_calls(calls: Sequence[Call[Any]], ids: itertools.count[int]) -> bytes:
    """The body of a request: one call, or a batch."""
    requests = [
        {"jsonrpc": "2.0", "id": next(ids), "method": call.method, "params": call.params} for call in calls
    ]
    return msgspec.json.encode(requests[0] if len(requests) == 1 else requests)


def _refusal(error: Any) -> RpcRefused:
    if not isinstance(error, dict):
        return RpcRefused("RPC_UNEXPECTED", "the node answered an error that is no object")
    data = error.get("data") if isinstance(error.get("data"), dict) else {}
    assert isinstance(data, dict)
    rest = {key: value for key, value in data.items() if key not in ("code", "message")}
    return RpcRefused(str(data.get("code", "RPC_ERROR")), str(error.get("message", "")), **rest)


def read_reply(body: bytes, call: Call[T]) -> T:
    """The typed result of one call. Raises `RpcRefused` with the node's code, or RPC_UNEXPECTED."""
    try:
        reply = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise RpcRefused("RPC_UNEXPECTED", "the answer is not JSON; is this a drexnode RPC port?") from None
    if not isinstance(reply, dict) or not ("result" in reply or "error" in reply):
        raise RpcRefused("RPC_UNEXPECTED", "the answer is not JSON-RPC; is this a drexnode RPC port?")
    if "error" in reply:
        raise _refusal(reply["error"])
    return call.read(reply["result"])
