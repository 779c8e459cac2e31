"""The WebSocket: the same calls, and subscriptions that resume from a cursor and never buffer."""

from __future__ import annotations

import gc
import json
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from drexnode.rpc import connections
from drexnode.rpc import websocket as server
from drexnode.rpc.cursor import write_cursor
from drexnode.rpc.events_api import EventLog
from drexnode.rpc.following import follow_log
from primitives.errors import DrexError
from primitives.limits import REMEMBERED_EVENTS
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving
from tests.drexnode.test_rpc import address, payment


def ws_url(url: str) -> str:
    return url.replace("http://", "ws://") + "/ws"


async def ask(ws: WebSocketConnection, method: str, *params: Any) -> dict[str, Any]:
    await ws.send_message(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    answer: dict[str, Any] = json.loads(await ws.get_message())
    return answer


async def event(ws: WebSocketConnection) -> dict[str, Any]:
    with trio.fail_after(5):
        message = json.loads(await ws.get_message())
    assert message["method"] == "drex_subscription"
    params: dict[str, Any] = message["params"]
    return params


async def test_calls_and_garbage_are_answered_as_by_post() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, open_websocket_url(ws_url(url)) as ws:
        assert (await ask(ws, "drex_chainId"))["result"] == chain.chain_id.hex()
        assert (await ask(ws, "nope"))["error"]["data"]["code"] == "RPC_METHOD_NOT_FOUND"
        await ws.send_message(b"\x00\x01garbage")
        assert json.loads(await ws.get_message())["error"]["data"]["code"] == "RPC_PARSE"


async def test_blocks_are_told_as_they_become_final_and_a_cursor_resumes_without_a_gap() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        async with open_websocket_url(ws_url(url)) as ws:
            name = (await ask(ws, "drex_subscribe", "blocks"))["result"]
            await chain.submit([payment(chain, 1, coin=0).raw])
            first = await event(ws)
            assert first["subscription"] == name
            assert first["result"]["height"] == 1
        await chain.submit([payment(chain, 1, coin=1).raw, payment(chain, 1, coin=2).raw])
        async with open_websocket_url(ws_url(url)) as ws:
            await ask(ws, "drex_subscribe", "blocks", None, first["cursor"])
            assert [(await event(ws))["result"]["height"] for _ in range(2)] == [2, 3]


async def test_an_address_hears_of_its_own_transactions_alone() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, open_websocket_url(ws_url(url)) as ws:
        await ask(ws, "drex_subscribe", "address", address(chain, "bob"))
        alone = payment(chain, coin=0)
        shared = payment(chain, 5, coin=1)
        await chain.submit([alone.raw, shared.raw])
        heard = await event(ws)
        assert heard["result"]["txid"] == shared.txid.hex()
        assert heard["result"]["height"] == 2


async def test_transactions_are_told_decoded_and_an_ended_subscription_is_silent() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, open_websocket_url(ws_url(url)) as ws:
        name = (await ask(ws, "drex_subscribe", "transactions"))["result"]
        await chain.submit([payment(chain, 5).raw])
        assert (await event(ws))["result"]["kind"] == "TRANSFER"
        assert (await ask(ws, "drex_unsubscribe", name))["result"] is True
        assert (await ask(ws, "drex_unsubscribe", name))["result"] is False
        await chain.submit([payment(chain, 5, coin=1).raw])
        assert (await ask(ws, "drex_blockNumber"))["result"] == 2


async def test_subscriptions_are_bounded_and_need_a_websocket() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, open_websocket_url(ws_url(url)) as ws:
        for _ in range(server.MAX_SUBSCRIPTIONS):
            assert "result" in await ask(ws, "drex_subscribe", "blocks")
        refused = await ask(ws, "drex_subscribe", "blocks")
        assert refused["error"]["data"]["code"] == "RPC_TOO_MANY_SUBSCRIPTIONS"
        wrong = await ask(ws, "drex_subscribe", "address")
        assert wrong["error"]["data"]["code"] == "RPC_INVALID_PARAMS"


async def ask_for_ever(url: str, request: str) -> None:
    async with open_websocket_url(ws_url(url), message_queue_size=1) as slow:
        while True:
            await slow.send_message(request)


# trio_websocket leaves a broken connection's socket to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_reader_that_takes_nothing_is_cut_off_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "WRITE_TIMEOUT_S", 0.5)
    chain = MemoryChain()
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"})
    async with serving(chain) as url:
        with trio.fail_after(20), pytest.raises(ConnectionClosed):
            await ask_for_ever(url, request)
        async with open_websocket_url(ws_url(url)) as quick:
            assert (await ask(quick, "drex_blockNumber"))["result"] == 0


async def test_a_page_of_another_origin_gets_no_websocket() -> None:
    chain = MemoryChain()
    headers = {
        "upgrade": "websocket",
        "connection": "upgrade",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
        "origin": "https://bad.example",
    }
    async with serving(chain) as url, httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/ws", headers=headers)).status_code == 403


async def test_consensus_and_alerts_are_told_and_a_cursor_resumes_after_what_was_seen() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        chain.logs["consensus"].add({"height": 1, "round": 0, "phase": "waiting", "at_ms": 1})
        async with open_websocket_url(ws_url(url)) as ws:
            await ask(ws, "drex_subscribe", "consensus")
            await ask(ws, "drex_subscribe", "alerts")
            chain.logs["consensus"].add({"height": 1, "round": 0, "phase": "preparing", "at_ms": 2})
            first = await event(ws)
            assert first["result"]["phase"] == "preparing"
            chain.logs["alerts"].add({"state": "raised", "code": "NO_QUORUM"})
            alert = await event(ws)
            assert (alert["subscription"], alert["result"]["code"]) == ("2", "NO_QUORUM")
        chain.logs["consensus"].add({"height": 1, "round": 0, "phase": "committing", "at_ms": 3})
        async with open_websocket_url(ws_url(url)) as ws:
            await ask(ws, "drex_subscribe", "consensus", None, first["cursor"])
            assert (await event(ws))["result"]["phase"] == "committing"


async def test_a_cursor_of_another_kind_is_refused_and_one_of_another_start_has_expired() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, open_websocket_url(ws_url(url)) as ws:
        chain.logs["alerts"].add({"state": "raised", "code": "NO_QUORUM"})
        log = chain.logs["alerts"]
        mine = write_cursor(log.epoch, ["alerts", 1])
        refused = await ask(ws, "drex_subscribe", "consensus", None, mine)
        assert refused["error"]["data"]["code"] == "RPC_INVALID_PARAMS"
        refused = await ask(ws, "drex_subscribe", "blocks", None, mine)
        assert refused["error"]["data"]["code"] == "RPC_INVALID_PARAMS"
        earlier = write_cursor(log.epoch - 1, ["alerts", 1])
        refused = await ask(ws, "drex_subscribe", "alerts", None, earlier)
        assert refused["error"]["data"]["code"] == "CURSOR_EXPIRED"


async def test_what_was_forgotten_is_refused_and_never_left_out() -> None:
    log = EventLog("alerts", epoch=7)
    for number in range(REMEMBERED_EVENTS + 2):
        log.add({"number": number})
    log.check(7, 2)
    for number in (1, log.last + 1):
        with pytest.raises(DrexError, match="CURSOR_EXPIRED"):
            log.check(7, number)
    assert [at for at, _ in await log.after(log.last - 2)] == [log.last - 1, log.last]
    reader = follow_log(log, 2)
    assert (await anext(reader))[1] == {"number": 2}
    await reader.aclose()


# trio_websocket leaves the socket of a connection that the other side closed to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_a_reader_that_falls_out_of_the_memory_is_closed_with_the_reason() -> None:
    chain = MemoryChain()
    log = chain.logs["consensus"]
    log.add({"height": 1})
    async with serving(chain) as url, open_websocket_url(ws_url(url)) as ws:
        await ask(ws, "drex_subscribe", "consensus")
        for number in range(REMEMBERED_EVENTS + 1):
            log.add({"height": number})
        with pytest.raises(ConnectionClosed) as closed, trio.fail_after(5):
            await ws.get_message()
        assert closed.value.reason.code == server.CLOSE_REFUSED
        assert closed.value.reason.reason == "CURSOR_EXPIRED"
    del ws, closed
    gc.collect()
