"""`drexnode watch` and the subscription under it: lines, JSON, cursors, lost connections."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout

import pytest
import trio

from drexnode.cli import main, output
from drexnode.client import NodeUnreachable, RpcRefused
from drexnode.client_events import Event, open_events
from drexnode.rpc.cursor import write_cursor
from drexnode.rpc.following import END_OF_BLOCK
from tests.drexnode.homes import refused
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving
from tests.drexnode.test_rpc import address, payment


async def run(*arguments: str) -> tuple[int, list[str]]:
    out = io.StringIO()

    def in_thread() -> int:
        with redirect_stdout(out):
            return main.run(list(arguments))

    code = await trio.to_thread.run_sync(in_thread)
    return code, out.getvalue().splitlines()


BEGINNING = write_cursor(0, [0, END_OF_BLOCK])
"""A cursor after the genesis: what becomes final before the subscription is made is told too."""


async def test_blocks_come_as_lines_and_as_json_with_the_cursor_to_go_on() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        await chain.submit([payment(chain, 1, coin=coin).raw for coin in range(2)])
        code, [first] = await run("watch", "--rpc", url, "--after", BEGINNING, "--count", "1", "-o", "json")
        assert code == output.OK
        document = json.loads(first)
        assert (document["schema_version"], document["height"]) == (1, 1)
        code, [second] = await run(
            "watch", "blocks", "--rpc", url, "--after", document["cursor"], "--count", "1"
        )
        assert "block 2 " in second


async def test_transactions_and_a_wallet_show_amounts_in_the_assets_unit() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        paid = payment(chain, 250, coin=1)
        await chain.submit([paid.raw])
        for what in ("transactions", address(chain, "bob")):
            code, [line] = await run("watch", what, "--rpc", url, "--after", BEGINNING, "--count", "1")
            assert code == output.OK
            assert paid.txid.hex()[:16] in line
            assert "2.50 BRL" in line


async def test_a_lost_connection_is_made_again_and_nothing_is_missed_or_told_twice() -> None:
    chain = MemoryChain()
    told, heights = trio.open_memory_channel[int](10)

    async def read(url: str) -> None:
        async with told, open_events(url, "blocks", cursor=BEGINNING) as events:
            async for event in events:
                await told.send(event.result["height"])
                if event.result["height"] == 3:
                    return

    async with trio.open_nursery() as nursery:
        async with serving(chain) as url:
            nursery.start_soon(read, url)
            await chain.submit([payment(chain, 1, coin=0).raw])
            seen = [await heights.receive()]
        await chain.submit([payment(chain, 1, coin=1).raw])
        async with serving(chain, port=int(url.rsplit(":", 1)[1])):
            seen.append(await heights.receive())
            await chain.submit([payment(chain, 1, coin=2).raw])
            seen += [height async for height in heights]
    assert seen == [1, 2, 3]


async def first_event(url: str, cursor: str | None = None) -> Event:
    async with open_events(url, "blocks", cursor=cursor) as events:
        return await events.receive()


async def test_a_node_that_is_not_there_and_a_false_cursor_end_it() -> None:
    with pytest.raises(NodeUnreachable):
        await first_event("http://127.0.0.1:1")
    async with serving(MemoryChain()) as url:
        with pytest.raises(RpcRefused):
            await first_event(url, "zzz")
        code = await trio.to_thread.run_sync(lambda: refused("watch", "--rpc", url, "--after", "zzz"))
        assert code == (output.FAILURE, "RPC_INVALID_PARAMS")
