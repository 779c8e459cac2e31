"""TLS of the RPC port: 1.3 alone, whom a client trusts, whom the node lets in, no way back to plain HTTP."""

from __future__ import annotations

import dataclasses
import datetime
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trustme

from drexnode import client as rpc
from drexnode.client_events import open_events
from drexnode.client_tls import TrustError, client_context, pinned_context
from drexnode.config import ConfigError, NodeConfig, RpcSection
from drexnode.own_node import own_client
from drexnode.render.files import live_probe
from drexnode.rpc import tls_renewal
from drexnode.rpc.tls import check_tls, tls_context
from drexnode.rpc.tls_renewal import renewed_context
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import COOKIE, serving
from tests.drexnode.test_rpc import payment


class Files:
    """A node's certificate for 127.0.0.1, its authority, another authority, and a client's certificate."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ca, self.other = home / "ca.pem", home / "other.pem"
        self.authority, stranger = trustme.CA(), trustme.CA()
        self.authority.cert_pem.write_to_path(str(self.ca))
        stranger.cert_pem.write_to_path(str(self.other))
        self.issue(self.authority, "node", "127.0.0.1")
        self.client = self.pair(self.authority, "client")
        self.stranger = self.pair(stranger, "stranger")

    def issue(self, authority: trustme.CA, name: str, host: str) -> None:
        leaf = authority.issue_cert(host)
        key = self.home / f"{name}.key"
        key.touch(0o600)
        leaf.private_key_pem.write_to_path(str(key))
        leaf.cert_chain_pems[0].write_to_path(str(self.home / f"{name}.pem"))

    def pair(self, authority: trustme.CA, name: str) -> Path:
        path = self.home / f"{name}-pair.pem"
        authority.issue_cert(f"{name}@bank.example").private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def config(self, **settings: str) -> NodeConfig:
        given = {"tls_certificate": "node.pem", "tls_key": "node.key", **settings}
        return NodeConfig(self.home, rpc=RpcSection(**given))  # type: ignore[arg-type]

    def context(self, **settings: str) -> ssl.SSLContext:
        context = tls_context(self.config(**settings))
        assert context is not None
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def height(url: str, tls: ssl.SSLContext | None) -> int:
    def ask() -> int:
        with rpc.Client(url, tls=tls, timeout_s=10) as client:
            return client.run(rpc.block_number())

    return await trio.to_thread.run_sync(ask)


async def is_refused(url: str, tls: ssl.SSLContext | None) -> None:
    with pytest.raises(rpc.NodeUnreachable):
        await height(url, tls)


async def test_calls_and_subscriptions_go_over_tls(files: Files) -> None:
    chain, trust = MemoryChain(), client_context(files.ca)
    async with serving(chain, tls=files.context()) as url:
        assert url.startswith("https://")
        assert await height(url, trust) == 0
        async with rpc.AsyncClient(url, tls=trust) as client:
            assert await client.run(rpc.block_number()) == 0
        async with open_events(url, "blocks", tls=trust) as events:
            await trio.sleep(0.5)
            await chain.submit([payment(chain, 1, coin=0).raw])
            with trio.fail_after(20):
                assert (await events.receive()).result["height"] == 1


async def test_a_wrong_authority_and_a_wrong_name_are_refused_by_the_client(files: Files) -> None:
    async with serving(MemoryChain(), tls=files.context()) as url:
        await is_refused(url, client_context(files.other))
        await is_refused(url, client_context())
        await is_refused(url.replace("127.0.0.1", "localhost"), client_context(files.ca))
        assert await height(url, client_context(files.ca)) == 0


async def test_a_client_without_a_good_certificate_is_cut_off_where_one_is_demanded(files: Files) -> None:
    async with serving(MemoryChain(), tls=files.context(tls_client_ca="ca.pem")) as url:
        await is_refused(url, client_context(files.ca))
        await is_refused(url, client_context(files.ca, files.stranger))
        assert await height(url, client_context(files.ca, files.client)) == 0


async def test_no_older_version_and_no_plain_http_is_spoken(files: Files) -> None:
    old = ssl.create_default_context(cafile=str(files.ca))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(MemoryChain(), tls=files.context()) as url:
        await is_refused(url, old)
        await is_refused(url.replace("https", "http"), None)
        assert await height(url, client_context(files.ca)) == 0


async def test_a_client_never_accepts_an_older_version_either(files: Files) -> None:
    server = files.context()
    server.minimum_version = ssl.TLSVersion.TLSv1_2
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(MemoryChain(), tls=server) as url:
        await is_refused(url, client_context(files.ca))


async def test_a_handshake_that_does_not_come_harms_nobody_else(files: Files) -> None:
    async with serving(MemoryChain(), tls=files.context()) as url:
        port = int(url.rpartition(":")[2])
        silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(20)]
        await silent[0].send_all(b"\x16\x03\x01\xff\xff" + b"\0" * 500)
        await silent[1].send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert await height(url, client_context(files.ca)) == 0
        for stream in silent:
            await stream.aclose()


async def test_a_nodes_own_user_trusts_exactly_its_certificate(files: Files) -> None:
    pinned = pinned_context(files.home / "node.pem")
    files.issue(files.authority, "twin", "127.0.0.1")
    async with serving(MemoryChain(), tls=files.context()) as url:
        assert await height(url.replace("127.0.0.1", "localhost"), pinned) == 0
    async with serving(
        MemoryChain(), tls=files.context(tls_certificate="twin.pem", tls_key="twin.key")
    ) as url:
        await is_refused(url, pinned_context(files.home / "node.pem"))


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"tls_key": ""}, "RPC_TLS_INCOMPLETE"),
        ({"tls_certificate": ""}, "RPC_TLS_INCOMPLETE"),
        ({"tls_certificate": "", "tls_key": "", "tls_client_ca": "ca.pem"}, "RPC_TLS_INCOMPLETE"),
        ({"tls_certificate": "absent.pem"}, "RPC_TLS_CERTIFICATE"),
        ({"tls_certificate": "node.key"}, "RPC_TLS_CERTIFICATE"),
        ({"tls_key": "absent.key"}, "RPC_TLS_KEY"),
        ({"tls_key": "twin.key"}, "RPC_TLS_KEY"),
        ({"tls_client_ca": "absent.pem"}, "RPC_TLS_CLIENT_CA"),
        ({"tls_client_ca": "node.key"}, "RPC_TLS_CLIENT_CA"),
    ],
)
def test_files_that_can_not_be_used_keep_a_node_from_starting(
    files: Files, settings: dict[str, str], code: str
) -> None:
    files.issue(files.authority, "twin", "127.0.0.1")
    with pytest.raises(ConfigError, match=code):
        check_tls(files.config(**settings))


def test_an_open_key_file_and_an_ended_certificate_are_refused(files: Files) -> None:
    (files.home / "node.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        check_tls(files.config())
    (files.home / "node.key").chmod(0o600)
    assert check_tls(files.config(tls_client_ca="ca.pem"))["rpc_tls_clients"] == "with a certificate"
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    leaf = files.authority.issue_cert("127.0.0.1", not_after=past)
    leaf.cert_chain_pems[0].write_to_path(str(files.home / "node.pem"))
    with pytest.raises(ConfigError, match="renew it"):
        check_tls(files.config())


def test_a_clients_files_are_told_by_their_path(files: Files) -> None:
    for bad in (files.home / "absent.pem", files.home / "node.key"):
        with pytest.raises(TrustError, match=bad.name):
            client_context(bad)
        with pytest.raises(TrustError, match=bad.name):
            pinned_context(bad)
    with pytest.raises(TrustError, match=r"ca\.pem"):
        client_context(files.ca, files.ca)


async def test_renewed_files_count_for_the_next_connection(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_renewal, "LOOK_EVERY_S", 0.0)
    old = pinned_context(files.home / "node.pem")
    async with serving(MemoryChain(), tls=renewed_context(files.config())) as url:
        kept = rpc.Client(url, tls=old, timeout_s=10)
        assert await trio.to_thread.run_sync(kept.run, rpc.block_number()) == 0
        files.issue(files.authority, "node", "127.0.0.1")
        await is_refused(url, old)
        assert await height(url, pinned_context(files.home / "node.pem")) == 0
        assert await trio.to_thread.run_sync(kept.run, rpc.block_number()) == 0  # goes on
        kept.close()


@pytest.mark.parametrize("how", ["another key", "open key", "garbage", "gone", "ended"])
async def test_files_that_can_not_be_used_never_replace_good_ones(
    files: Files, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(tls_renewal, "LOOK_EVERY_S", 0.0)
    trust = pinned_context(files.home / "node.pem")
    certificate, key = files.home / "node.pem", files.home / "node.key"
    good = (certificate.read_bytes(), key.read_bytes())
    async with serving(MemoryChain(), tls=renewed_context(files.config())) as url:
        match how:
            case "another key":
                files.issue(files.authority, "twin", "127.0.0.1")
                (files.home / "twin.key").replace(key)
            case "open key":
                key.chmod(0o644)
                key.touch()
            case "garbage":
                certificate.write_bytes(b"-----BEGIN CERTIFICATE-----")
            case "gone":
                certificate.unlink()
            case "ended":
                past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
                leaf = files.authority.issue_cert("127.0.0.1", not_after=past)
                leaf.cert_chain_pems[0].write_to_path(str(certificate))
        assert await height(url, trust) == 0
        certificate.write_bytes(good[0])
        key.write_bytes(good[1])
        key.chmod(0o600)
        assert await height(url, trust) == 0


def test_without_tls_nothing_is_renewed(tmp_path: Path) -> None:
    assert renewed_context(NodeConfig(tmp_path)) is None


def test_a_certificate_whose_time_has_not_come_is_refused(files: Files) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    leaf = files.authority.issue_cert("127.0.0.1", not_before=soon)
    leaf.cert_chain_pems[0].write_to_path(str(files.home / "node.pem"))
    with pytest.raises(ConfigError, match="begins at"):
        check_tls(files.config())


@pytest.mark.parametrize("settings", [{}, {"tls_client_ca": "ca.pem"}])
async def test_the_health_probe_sees_a_node_that_speaks_tls_and_one_that_is_gone(
    files: Files, settings: dict[str, str]
) -> None:
    config = files.config(**settings)

    async def probe(url: str) -> int:
        rpc_section = dataclasses.replace(config.rpc, port=int(url.rpartition(":")[2]))
        text = live_probe(dataclasses.replace(config, rpc=rpc_section))
        ran = await trio.run_process([sys.executable, "-c", text], check=False, stderr=subprocess.DEVNULL)
        return ran.returncode

    async with serving(MemoryChain(), tls=files.context(**settings)) as url:
        assert await probe(url) == 0
    assert await probe(url) != 0


async def test_a_nodes_own_user_needs_nothing_but_the_home(files: Files) -> None:
    config = files.config(cookie="cookie")
    (files.home / "cookie").write_text(COOKIE)
    async with serving(MemoryChain(), tls=files.context()) as url:
        own = dataclasses.replace(config.rpc, port=int(url.rpartition(":")[2]), host="0.0.0.0")
        client = own_client(dataclasses.replace(config, rpc=own))
        assert await trio.to_thread.run_sync(client.run, rpc.peers()) == []
        client.close()
