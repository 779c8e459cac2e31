"""The client has every method of the RPC, with the method's own parameters and the type of its answer."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

import drexnode.rpc.methods  # noqa: F401 - importing it registers every method
from drexnode import client as rpc
from drexnode import client_calls, client_calls_admin, client_calls_node
from drexnode.rpc import answers, answers_node
from drexnode.rpc.registry import METHODS
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import COOKIE, serving
from tests.drexnode.test_rpc import DVT

EVENTS = {"drex_subscribe", "drex_unsubscribe"}  # drexnode.client_events
BY_FULL = {"drex_getBlockByNumber", "drex_getBlockById"}  # the shape depends on a parameter
GIVEN: dict[str, tuple[Any, ...]] = {
    "height": (1,), "first": (1,), "last": (2,), "raw": (b"\x92",), "raws": ([b"\x92"],),
    "reference": (b"ref",), "full": (True,), "add": (True,), "new_base": (True,), "timeout_ms": (5,),
    "limit": (7,), "kept_blocks": (100,), "ban_ms": (9,), "wait_s": (1.0,), "level": ("info",),
}  # fmt: skip


def functions() -> Iterator[tuple[str, Callable[..., rpc.Call[Any]]]]:
    """Every function of the client that makes a call."""
    for module in (client_calls, client_calls_node, client_calls_admin):
        for name, found in inspect.getmembers(module, inspect.isfunction):
            if found.__module__ == module.__name__:
                yield name, found


def made(function: Callable[..., rpc.Call[Any]]) -> rpc.Call[Any]:
    """The call that it makes of some parameters, every optional one given."""
    positional, named = [], {}
    for parameter in inspect.signature(function).parameters.values():
        [value] = GIVEN.get(parameter.name, (f"<{parameter.name}>",))
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named["supply"] = "BRL"
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        else:
            positional.append(value)
    return function(*positional, **named)


CALLS = dict(functions())


def test_every_method_has_its_call_and_every_call_its_method() -> None:
    assert {made(function).method for function in CALLS.values()} == set(METHODS) - EVENTS
    assert len(CALLS) == len(METHODS) - len(EVENTS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_call_gives_the_methods_parameters_and_promises_the_methods_answer(name: str) -> None:
    call = made(CALLS[name])
    method = METHODS[call.method]
    assert len(call.params) == len(method.params)
    names = {**CALLS[name].__globals__, "answers": answers, "answers_node": answers_node}
    hints = typing.get_type_hints(CALLS[name], names, include_extras=True)
    [promised] = typing.get_args(hints["return"])
    if call.method not in BY_FULL:
        assert plain(promised) == plain(method.answer)
    assert getattr(rpc, name) is CALLS[name]


def plain(kind: Any) -> Any:
    """A type without the bounds of its texts and numbers: those are for schemas."""
    if typing.get_origin(kind) is typing.Annotated:
        return typing.get_args(kind)[0]
    arguments = typing.get_args(kind)
    if not arguments or typing.get_origin(kind) is typing.Literal:
        return kind
    return typing.get_origin(kind), tuple(plain(item) for item in arguments)


async def test_both_clients_carry_out_the_same_calls() -> None:
    chain = MemoryChain()
    calls: list[rpc.Call[Any]] = [
        rpc.chain_id(), rpc.supply(DVT), rpc.pool_content(), rpc.timeouts(), rpc.syncing(),
        rpc.node_info(), rpc.overrides(), rpc.open_rpc(), rpc.modules(), rpc.node_version(), rpc.pool(),
    ]  # fmt: skip

    def ask(url: str) -> list[Any]:
        with rpc.Client(url, token=COOKIE) as client:
            return [client.run(call) for call in calls]

    async with serving(chain) as url, rpc.AsyncClient(url, token=COOKIE) as client:
        assert await trio.to_thread.run_sync(ask, url) == [await client.run(call) for call in calls]
