"""The registry of methods: name, typed parameters, summary, example; calls and OpenRPC come from the same
entry.

A handler is `async def f(context, a: Hash32, b: Flag = False) -> JSON value`; `@method(...)` registers it.
Parameters come by position or by name; unknown, missing and surplus ones are refused before the handler runs.
"""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from drexnode.config import RpcSection
from drexnode.rpc.api import NodeApi
from drexnode.rpc.errors import RpcError, invalid_params, method_not_found, unauthorised
from drexnode.rpc.params import ParamType


class Connection(Protocol):
    """A WebSocket's side of subscriptions."""

    def subscribe(self, kind: str, lock: bytes | None, cursor: str | None) -> str:
        """Start a subscription after a cursor, or from now, and return its id.

        Raises `RpcError` (too many, or no cursor of this kind) and `DrexError` CURSOR_EXPIRED."""

    def unsubscribe(self, subscription: str) -> bool:
        """End a subscription; False when there is none of that id."""


Handler = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class Context:
    """What a call may use.

    `refusal(method, admin)` says why the caller may not call a method, None when it may; `deadline` bounds
    all waits of one request (trio's clock); `waiters` counts the waiting calls of all requests;
    `charge(calls)` takes calls from the caller's rate; `connection` is the WebSocket a call came by.
    """

    api: NodeApi
    config: RpcSection
    refusal: Callable[[str, bool], RpcError | None] = lambda method, admin: (
        unauthorised(method) if admin else None
    )
    deadline: float = 0.0
    waiters: list[int] = field(default_factory=lambda: [0])
    charge: Callable[[int], RpcError | None] = lambda calls: None
    connection: Connection | None = None


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a method."""

    name: str
    kind: ParamType
    required: bool
    default: Any


@dataclass(frozen=True, slots=True)
class Rest:
    """The same method by HTTP: verb and path below /v1, whose `{names}` are parameters."""

    verb: str
    path: str


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `answer` is the type of its result, of which schemas are made; `result` says it in words;
    `rest` is None for what needs a WebSocket; `example` is a list of parameters that documentation shows."""

    name: str
    handler: Handler
    params: tuple[Param, ...]
    summary: str
    result: str
    answer: Any
    rest: Rest | None
    admin: bool
    sends: bool
    example: tuple[Any, ...]

    def bind(self, given: Any, context: Context) -> list[Any]:
        """Read the parameters of a call. Raises `RpcError` RPC_INVALID_PARAMS."""
        if given is None:
            given = []
        if isinstance(given, dict):
            return self._bind_named(given, context)
        if not isinstance(given, list):
            raise invalid_params("params is expected as a list or an object")
        if len(given) > len(self.params):
            raise invalid_params(f"{self.name} takes {len(self.params)} parameters, not {len(given)}")
        values = [param.kind.read(value, context) for param, value in zip(self.params, given, strict=False)]
        return values + [self._default(param) for param in self.params[len(given) :]]

    def _bind_named(self, given: dict[str, Any], context: Context) -> list[Any]:
        known = {param.name for param in self.params}
        unknown = sorted(key for key in given if key not in known)
        if unknown:
            raise invalid_params(f"{self.name} has no parameter {unknown[0][:64]!r}")
        return [
            param.kind.read(given[param.name], context) if param.name in given else self._default(param)
            for param in self.params
        ]

    def _default(self, param: Param) -> Any:
        if param.required:
            raise invalid_params(f"{self.name} needs the parameter {param.name}")
        return param.default


METHODS: dict[str, Method] = {}


def method(
    name: str,
    result: str,
    answer: Any,
    *,
    rest: str | None = None,
    admin: bool = False,
    sends: bool = False,
    example: tuple[Any, ...] = (),
) -> Callable[[Handler], Handler]:
    """Register a handler under `name`; `rest` is "VERB /path". Its docstring's first line is the summary."""
    verb, _, path = (rest or "").partition(" ")

    def register(handler: Handler) -> Handler:
        hints = typing.get_type_hints(handler, include_extras=True)
        params = []
        for param in list(inspect.signature(handler).parameters.values())[1:]:
            kind = typing.get_args(hints[param.name])[-1]
            required = param.default is inspect.Parameter.empty
            params.append(Param(param.name, kind, required, None if required else param.default))
        summary = (inspect.getdoc(handler) or "").split("\n")[0]
        METHODS[name] = Method(
            name,
            handler,
            tuple(params),
            summary,
            result,
            answer,
            Rest(verb, path) if rest else None,
            admin,
            sends,
            example,
        )
        return handler

    return register


def find_method(name: str) -> Method:
    """The method of that name. Raises `RpcError` RPC_METHOD_NOT_FOUND with a suggestion."""
    found = METHODS.get(name)
    if found is None:
        close = difflib.get_close_matches(name[:64], list(METHODS), n=1, cutoff=0.7)
        raise method_not_found(name, close[0] if close else None)
    return found
