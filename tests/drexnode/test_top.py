"""`drexnode top`: what it gathers, and how it looks at 80 and 140 columns."""

from __future__ import annotations

import dataclasses
import io
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.console import Console

from drexnode import client as rpc
from drexnode.cli import output, top_facts
from drexnode.cli.top_facts import Facts, Gatherer
from drexnode.cli.top_view import render
from drexnode.rpc.answers import Certificate
from tests.drexnode.homes import command, done
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import COOKIE, serving
from tests.drexnode.test_rpc import payment


async def facts_of(chain: MemoryChain, token: str | None = COOKIE) -> Facts:
    async with serving(chain) as url:

        def ask() -> Facts:
            with rpc.Client(url, token=token) as client:
                return Gatherer(client).gather()

        return await trio.to_thread.run_sync(ask)


def picture(facts: Facts, width: int, trouble: str | None = None) -> list[str]:
    out = io.StringIO()
    console = Console(width=width, file=out)
    console.print(render(facts, width, time.time_ns() // 1_000_000, trouble))
    return out.getvalue().splitlines()


async def test_a_block_shows_as_a_mark_of_each_validator_that_sealed_it() -> None:
    chain = MemoryChain()
    await chain.submit([payment(chain, 1, coin=0).raw])
    facts = await facts_of(chain)
    [block] = facts.sealed
    assert block.height == 1
    assert block.signers
    lines = picture(facts, 80)
    for validator in facts.info["consensus"]["validators"]:
        [line] = [
            line for line in lines if f" {validator['index']}  " in line and ("▮" in line or "▯" in line)
        ]
        assert ("▮" in line) == (validator["public_key"] in block.signers)


@pytest.mark.parametrize("width", [80, 100, 140, 200])
async def test_no_line_is_longer_than_the_terminal_and_all_parts_are_there(width: int) -> None:
    facts = await facts_of(MemoryChain())
    lines = picture(facts, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for part in (
        "chain",
        "validators",
        "peers",
        "this node",
        "pool",
        "hot set",
        "disk",
        "quorum",
        "deciding",
    ):
        assert part in text


async def test_what_stands_in_the_way_and_an_answer_that_does_not_come_are_said_first() -> None:
    facts = await facts_of(MemoryChain())
    info: dict[str, Any] = {
        **facts.info,
        "reasons": [{"code": "NO_PEERS", "message": "no peer is connected"}],
    }
    info["consensus"] = {**info["consensus"], "stalled_reason": "2 of 4 validators reachable"}
    first = "\n".join(picture(dataclasses.replace(facts, info=info), 80)[:3])
    assert "NO BLOCKS: 2 of 4 validators reachable" in first
    assert "NOT READY: NO_PEERS" in first
    assert "NO ANSWER: gone" in "\n".join(picture(facts, 80, trouble="gone")[:2])


async def test_without_the_credential_peers_are_a_number_and_the_view_says_why() -> None:
    facts = await facts_of(MemoryChain(), token=None)
    assert facts.peers is None
    assert any("admin credential" in line for line in picture(facts, 80))


async def test_certificates_are_fetched_once_and_at_most_the_last_of_them_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    ask = rpc.certificate

    def certificate(height: int) -> rpc.Call[Certificate | None]:
        asked.append(height)
        return ask(height)

    monkeypatch.setattr(rpc, "certificate", certificate)
    monkeypatch.setattr(top_facts, "STRIP", 2)
    chain = MemoryChain()
    async with serving(chain) as url:
        with rpc.Client(url, token=COOKIE) as client:
            gatherer = Gatherer(client)
            for coin in range(3):
                await chain.submit([payment(chain, 1, coin=coin).raw])
                facts = await trio.to_thread.run_sync(gatherer.gather)
    assert asked == [1, 2, 3]
    assert [block.height for block in facts.sealed] == [2, 3]


async def test_the_command_shows_text_json_and_a_picture_and_keeps_what_exists(tmp_path: Path) -> None:
    target = tmp_path / "top.svg"
    async with serving(MemoryChain()) as url:
        document = await trio.to_thread.run_sync(done, "top", "--rpc", url)
        assert document["consensus"]["validators"]
        assert document["peers"] is None

        def draw() -> int:
            return command("top", "--rpc", url, "--once", "--width", 80, "--svg", target)[0]

        await trio.to_thread.run_sync(done, "top", "--rpc", url, "--once")
        code = await trio.to_thread.run_sync(
            lambda: _plain("top", "--rpc", url, "--once", "--svg", str(target))
        )
        assert code == output.OK
        assert target.read_text().startswith("<svg")
        assert await trio.to_thread.run_sync(draw) == output.UNSAFE


def test_usage_and_an_unreachable_node_have_their_exit_codes(tmp_path: Path) -> None:
    assert command("top", "--svg", tmp_path / "a.svg")[0] == output.USAGE
    code, error = command("top", "--rpc", "http://127.0.0.1:1")
    assert (code, error["code"]) == (output.UNREACHABLE, "NODE_UNREACHABLE")


async def test_the_live_view_wants_a_terminal() -> None:
    async with serving(MemoryChain()) as url:
        assert await trio.to_thread.run_sync(lambda: _plain("top", "--rpc", url)) == output.USAGE


def _plain(*arguments: str) -> int:
    from contextlib import redirect_stderr, redirect_stdout

    from drexnode.cli import main

    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return main.run(list(arguments))
