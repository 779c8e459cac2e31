"""No page of another origin uses a node: calls, preflights, sockets, and a name turned on this machine."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trio

from drexnode.config import ConfigError, NodeConfig, RpcSection
from drexnode.rpc.check import check_rpc
from drexnode.rpc.origins import is_loopback
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving

GOOD, BAD = "https://good.example", "https://bad.example"


async def ask(url: str, verb: str, path: str, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.request(verb, url + path, headers=headers)


async def test_only_a_configured_origins_preflight_is_answered() -> None:
    async with serving(MemoryChain(), origins=(GOOD,)) as url:
        for path in ("/", "/v1/height", "/metrics"):
            head = {"access-control-request-method": "POST"}
            bad = await ask(url, "OPTIONS", path, {"origin": BAD, **head})
            assert (bad.status_code, "access-control-allow-origin" in bad.headers) == (403, False)
            good = await ask(url, "OPTIONS", path, {"origin": GOOD, **head})
            assert (good.status_code, good.headers["access-control-allow-origin"]) == (204, GOOD)
            assert "authorization" in good.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "origin", [BAD, "null", "", "http://good.example", GOOD + ".bad.example", GOOD + ":444"]
)
async def test_no_other_origin_calls_anything(origin: str) -> None:
    async with serving(MemoryChain(), origins=(GOOD,)) as url:
        for path in ("/v1/height", "/v1/chain-id"):
            assert (await ask(url, "GET", path, {"origin": origin})).status_code == 403
        answer = await ask(url, "POST", "/", {"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


async def test_a_name_turned_on_this_machine_is_answered_nothing() -> None:
    async with serving(MemoryChain()) as url:
        for path in ("/v1/height", "/metrics", "/livez", "/"):
            for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1:80"):
                assert (await ask(url, "GET", path, {"host": host})).status_code == 421
        for host in ("localhost", "localhost:1", "127.0.0.1", "[::1]:8", "127.9.9.9"):
            assert (await ask(url, "GET", "/v1/height", {"host": host})).status_code == 200


async def upgrade(url: str, *headers: str) -> bytes:
    """The status line that a WebSocket's handshake is answered with."""
    lines = [
        "GET /ws HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers, "", "",
    ]  # fmt: skip
    async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
        await stream.send_all("\r\n".join(lines).encode())
        with trio.fail_after(20):
            return (await stream.receive_some(100)).partition(b"\r\n")[0]


async def test_the_same_for_websockets() -> None:
    async with serving(MemoryChain(), origins=(GOOD,)) as url:
        assert b" 101 " in await upgrade(url, "Host: localhost", f"Origin: {GOOD}")
        assert b" 403 " in await upgrade(url, "Host: localhost", f"Origin: {BAD}")
        assert b" 403 " in await upgrade(url, "Host: evil.example")


@pytest.mark.parametrize("origin", ["*", "https://*", "good.example", "https://good.example/", "ftp://x"])
def test_config_check_takes_no_wildcard_and_no_url_for_an_origin(tmp_path: Path, origin: str) -> None:
    with pytest.raises(ConfigError, match="RPC_BAD_ORIGIN"):
        check_rpc(NodeConfig(tmp_path, rpc=RpcSection(origins=(origin,))))


def test_config_check_warns_of_plain_http_on_a_network_and_refuses_a_bad_glob(tmp_path: Path) -> None:
    assert "rpc_warning" in check_rpc(NodeConfig(tmp_path, rpc=RpcSection(host="0.0.0.0")))
    assert "rpc_warning" not in check_rpc(NodeConfig(tmp_path))
    with pytest.raises(ConfigError, match="RPC_BAD_GLOB"):
        check_rpc(NodeConfig(tmp_path, rpc=RpcSection(public=("drex [",))))


def test_loopback_is_this_machine_alone() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "10.0.0.1", "localhost.evil.example"))
