"""The RPC over a real HTTP port: money moves, refusals carry codes, garbage gets documented errors, limits
hold.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import drexnode.rpc.methods  # noqa: F401 - importing it registers every method
from drexnode import client as rpc
from drexnode.config import RpcSection
from drexnode.metrics import Metrics
from drexnode.rpc import errors
from drexnode.rpc.dispatch import Dispatcher
from drexnode.rpc.limits import RateLimiter
from drexnode.rpc.node_values import Reason
from drexnode.rpc.registry import METHODS, Context
from ledger.build import build_body, build_transaction, make_output
from ledger.payloads import Kind
from ledger.transaction import OutPoint, Transaction
from primitives.block import BlockId
from primitives.certificate import CommitCertificate, verify_certificate
from primitives.errors import StorageFailure
from primitives.keys import verify
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import COOKIE, serving

DVT = "BRL@99990001/DVT"


def address(chain: MemoryChain, name: str) -> str:
    return chain.plan.wallets_view()[name]["address"]


def lock(chain: MemoryChain, name: str) -> bytes:
    from primitives.address import decode_address

    return decode_address("drexdev", address(chain, name))


def payment(chain: MemoryChain, *amounts: int, coin: int = 0) -> Transaction:
    """Alice spends one of her genesis outputs: `amounts` to bob, the rest back to her."""
    total = chain.document.outputs[coin].value
    outputs = [make_output(DVT, amount, lock(chain, "bob")) for amount in amounts]
    outputs.append(make_output(DVT, total - sum(amounts), lock(chain, "alice")))
    body = build_body(Kind.TRANSFER, [OutPoint(chain.chain_id, coin)], outputs)
    return build_transaction(body, chain.chain_id, [chain.plan.wallets["alice"]])


async def call(url: str, method: str, *params: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
    async with httpx.AsyncClient() as http:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        reply = await http.post(url, json=body, headers=headers)
    answer: dict[str, Any] = reply.json()
    assert answer["id"] == 7
    assert answer["jsonrpc"] == "2.0"
    return answer


async def post(url: str, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.post(url, content=content, headers=headers)


async def test_a_transfer_is_submitted_becomes_final_and_moves_the_balances() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        transaction = payment(chain, 12_50)
        txid = await client.run(rpc.send(transaction.raw))
        assert txid == transaction.txid.hex()
        status = await client.run(rpc.wait_transaction(txid, 1000))
        assert (status.status, status.height, status.round) == ("FINAL", 1, 0)
        bob = await client.run(rpc.balance(address(chain, "bob")))
        assert bob[DVT].total == bob[DVT].free == 12_50
        assert (await client.run(rpc.supply(DVT))).circulating == 4 * 250_000_00
        history = await client.run(rpc.history(address(chain, "bob")))
        assert [entry.txid for entry in history.entries] == [txid]


async def test_a_known_transaction_answers_with_its_id_again() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        raw = payment(chain, 1).raw
        assert await client.run(rpc.send(raw)) == await client.run(rpc.send(raw))


async def test_a_refusal_carries_the_ledgers_code_and_changes_nothing() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        await call(url, "drex_sendTransaction", payment(chain, 5).raw.hex())
        before = chain.tip()
        answer = await call(url, "drex_sendTransaction", payment(chain, 6).raw.hex())
        assert answer["error"]["code"] == errors.REFUSED
        assert answer["error"]["data"]["code"] in ("TX_DOUBLE_SPEND", "TX_UNKNOWN_OUTPUT")
        assert answer["error"]["message"]
        assert chain.tip() == before
        state = await call(url, "drex_getTransactionStatus", payment(chain, 6).txid.hex())
        assert state["result"]["status"] == "REJECTED"
        assert state["result"]["code"] == answer["error"]["data"]["code"]


async def test_many_transactions_in_one_call_are_answered_one_by_one_in_order() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        good, other = payment(chain, 1, coin=0), payment(chain, 2, coin=1)
        answers = await client.run(rpc.send_many([good.raw, b"\x92\x01", other.raw, good.raw[:-1]]))
        assert [answer.txid for answer in answers] == [good.txid.hex(), None, other.txid.hex(), None]
        assert [answer.code is None for answer in answers] == [True, False, True, False]
        assert answers[1].code is not None
        assert answers[1].code.startswith("TX_")


async def test_an_observer_refuses_to_send_with_a_clear_code() -> None:
    chain = MemoryChain(role="observer")
    async with serving(chain) as url:
        answer = await call(url, "drex_sendTransaction", payment(chain, 1).raw.hex())
        assert answer["error"]["code"] == errors.REFUSED
        assert answer["error"]["data"]["code"] == "NODE_OBSERVER"
        assert (await call(url, "drex_blockNumber"))["result"] == 0


async def test_blocks_headers_and_certificates_can_be_checked_by_the_reader() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        await client.run(rpc.send(payment(chain, 1).raw))
        block = await client.run(rpc.block("latest", full=True))
        assert block is not None
        assert block["height"] == 1
        assert block["transactions"][0]["kind"] == "TRANSFER"
        assert block == await client.run(rpc.block_by_id(block["block_id"], full=True))
        assert [item["height"] for item in await client.run(rpc.headers(0, 5))] == [0, 1]
        seals = block["certificate"]["seals"]
        certificate = CommitCertificate(
            1,
            1,
            block["round"],
            bytes.fromhex(block["block_id"]),
            tuple((seal["validator"], bytes.fromhex(seal["signature"])) for seal in seals),
        )
        verify_certificate(
            certificate, chain.chain_id, chain.validators, BlockId(certificate.block_id), 1, verify
        )
        assert block["certificate"]["signers"] == await client.run(rpc.validators("latest"))
        assert await client.run(rpc.block(99)) is None
        assert (await client.run(rpc.certificate(1))) == block["certificate"]
        assert (await client.run(rpc.genesis()))["view"]["name"] == "devnet"


async def test_outputs_come_in_pages_bound_to_one_height() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        alice = address(chain, "alice")
        first = await client.run(rpc.unspent(alice, DVT, limit=3))
        assert len(first.outputs) == 3
        rest = await client.run(rpc.unspent(alice, DVT, first.cursor, 3))
        assert rest.cursor is None
        points = {(coin.txid, coin.index) for coin in first.outputs + rest.outputs}
        assert len(points) == 4
        await client.run(rpc.send(payment(chain, 1).raw))
        with pytest.raises(rpc.RpcRefused) as refused:
            await client.run(rpc.unspent(alice, DVT, first.cursor, 3))
        assert refused.value.code == "CURSOR_EXPIRED"


async def test_a_cursor_made_by_hand_is_refused() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        for cursor in ("x", "AAAA", "kgEC", "\u00e9", "=" * 50):
            answer = await call(url, "drex_getHistory", address(chain, "bob"), cursor)
            assert answer["error"]["data"]["code"] == "RPC_INVALID_PARAMS"


async def test_waiting_for_an_unknown_transaction_ends_with_its_first_block() -> None:
    chain = MemoryChain()
    transaction = payment(chain, 3)
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        async with trio.open_nursery() as nursery:
            found: list[rpc.Status] = []

            async def wait() -> None:
                found.append(await client.run(rpc.wait_transaction(transaction.txid.hex(), 5000)))

            nursery.start_soon(wait)
            await trio.sleep(0.05)
            await chain.submit([transaction.raw])
        assert found[0].status == "FINAL"
        late = await client.run(rpc.wait_transaction("00" * 32, 10))
        assert late.status == "UNKNOWN"


async def test_places_for_waiting_calls_are_bounded() -> None:
    chain = MemoryChain()
    async with serving(chain, max_waiters=1) as url:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, url, "drex_waitTransaction", "00" * 32, 500)
            await trio.sleep(0.1)
            answer = await call(url, "drex_waitTransaction", "11" * 32, 500)
        assert answer["error"]["data"]["code"] == "RPC_TOO_MANY_WAITERS"


async def test_parameters_come_by_name_too_and_are_checked() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        named = {"jsonrpc": "2.0", "id": 1, "method": "drex_getHeaders", "params": {"first": 0, "last": 0}}
        reply = await post(url, json.dumps(named).encode())
        assert len(reply.json()["result"]) == 1
        for params in (
            {"first": 0},
            {"first": 0, "last": 0, "more": 1},
            [0, 1, 2],
            [-1, 0],
            [5, 1],
            "x",
            [0, "y"],
        ):
            wrong = {**named, "params": params}
            answer = (await post(url, json.dumps(wrong).encode())).json()
            assert answer["error"]["code"] == errors.INVALID_PARAMS, params


async def test_heights_may_be_written_as_numbers_words_and_hex() -> None:
    chain = MemoryChain()
    await chain.submit([payment(chain, 1).raw])
    async with serving(chain) as url:
        for height in (1, "1", "0x1", "latest"):
            assert (await call(url, "drex_getBlockByNumber", height))["result"]["height"] == 1
        assert (await call(url, "drex_getBlockByNumber", "earliest"))["result"]["height"] == 0


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b"", errors.PARSE_ERROR),
        (b"\xff\xfe garbage", errors.PARSE_ERROR),
        (b'{"jsonrpc":"2.0"', errors.PARSE_ERROR),
        (b"[" * 100_000, errors.PARSE_ERROR),
        (b"[]", errors.INVALID_REQUEST),
        (b"7", errors.INVALID_REQUEST),
        (b'{"method":"drex_chainId","id":1}', errors.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":5}', errors.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":{},"method":"drex_chainId"}', errors.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":"drex_chainID"}', errors.METHOD_NOT_FOUND),
    ],
)
async def test_what_is_no_call_gets_its_documented_error(body: bytes, number: int) -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        reply = await post(url, body)
        assert reply.json()["error"]["code"] == number
        assert reply.json()["error"]["data"]["code"].startswith("RPC_")


async def test_a_batch_is_answered_in_order_and_notifications_are_not_answered() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        batch = [
            {"jsonrpc": "2.0", "id": "a", "method": "drex_blockNumber"},
            {"jsonrpc": "2.0", "method": "drex_blockNumber"},
            5,
            {"jsonrpc": "2.0", "id": None, "method": "nope"},
        ]
        answers = (await post(url, json.dumps(batch).encode())).json()
        assert [answer["id"] for answer in answers] == ["a", None, None]
        assert answers[0]["result"] == 0
        silent = await post(url, b'{"jsonrpc":"2.0","method":"drex_blockNumber"}')
        assert (silent.status_code, silent.content) == (204, b"")


async def test_body_batch_range_and_rate_above_their_limits_are_answered_413_and_429() -> None:
    chain = MemoryChain()
    async with serving(chain, max_body_bytes=2000, max_batch=3, max_range=2, max_transactions=1) as url:
        large = await post(url, b" " * 3000)
        one = b'{"jsonrpc":"2.0","id":1,"method":"drex_chainId"}'
        wide = await post(url, b"[" + b",".join([one] * 4) + b"]")
        far = await post(url, b'{"jsonrpc":"2.0","id":1,"method":"drex_getHeaders","params":[0,9]}')
        many = await post(
            url, b'{"jsonrpc":"2.0","id":1,"method":"drex_sendTransactions","params":[["90","90"]]}'
        )
        for reply in (large, wide, far, many):
            assert reply.status_code == 413
            assert reply.headers["retry-after"] == "1"
            assert reply.json()["error"]["data"]["code"] == "RPC_TOO_LARGE"
    async with serving(chain, rate_per_second=1, rate_burst=2) as url:
        begin, allowed = trio.current_time(), 0
        while (reply := await post(url, one)).status_code == 200:
            allowed += 1
            assert allowed <= 2 + trio.current_time() - begin, "no more than the burst and what refilled"
        assert allowed >= 2
        assert (reply.status_code, int(reply.headers["retry-after"]) >= 1) == (429, True)


def test_the_rate_limiter_counts_each_client_alone_and_refills() -> None:
    limiter = RateLimiter(per_second=10, burst=5)
    assert [limiter.take("a", 1, 0.0) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    assert limiter.take("b", 5, 0.0) == 0
    assert limiter.take("a", 3, 0.3) == 0
    assert limiter.take("a", 1, 0.3) == 1
    assert RateLimiter(0, 1).take("c", 10**6, 0.0) == 0


async def test_admin_methods_need_the_cookie() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {COOKIE}"}):
            answer = await call(url, "admin_peers", headers=headers)
            assert answer["error"]["data"]["code"] == "RPC_UNAUTHORISED"
        answer = await call(url, "admin_peers", headers={"authorization": f"Bearer {COOKIE}"})
        assert answer["result"] == []
        info = await call(url, "admin_nodeInfo", headers={"authorization": f"Bearer {COOKIE}"})
        assert info["result"]["peer_id"] == chain.identity.peer_id


async def test_a_browsers_page_is_refused_unless_its_origin_is_configured() -> None:
    chain = MemoryChain()
    one = b'{"jsonrpc":"2.0","id":1,"method":"drex_chainId"}'
    async with serving(chain, origins=("https://good.example",)) as url:
        bad = await post(url, one, {"origin": "https://bad.example"})
        assert (bad.status_code, bad.json()["error"]["data"]["code"]) == (403, "RPC_ORIGIN_REFUSED")
        assert "access-control-allow-origin" not in bad.headers
        good = await post(url, one, {"origin": "https://good.example"})
        assert good.json()["result"] == chain.chain_id.hex()
        assert good.headers["access-control-allow-origin"] == "https://good.example"


async def test_probes_say_whether_the_node_lives_started_and_is_ready() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, httpx.AsyncClient(base_url=url) as http:
        assert [(await http.get(path)).status_code for path in ("/livez", "/startupz", "/readyz")] == [
            200
        ] * 3
        chain.reasons = [Reason("NO_QUORUM", "2 of 4 validators reachable")]
        reply = await http.get("/readyz")
        assert reply.status_code == 503
        assert reply.json()["reasons"] == [{"code": "NO_QUORUM", "message": "2 of 4 validators reachable"}]
        metrics = (await http.get("/metrics")).text
        assert "drex_chain_height 0.0" in metrics
        assert (await http.get("/nowhere")).status_code == 404
        assert (await http.get("/")).text.startswith("drexnode validator memory")


async def test_bytes_that_are_no_http_are_answered_or_closed_and_the_port_goes_on() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        port = int(url.rsplit(":", 1)[1])
        for garbage in (
            b"\x00" * 100,
            b"\x16\x03\x01 hello\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"A" * 50_000,
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            with trio.move_on_after(3) as scope:
                try:
                    await stream.send_all(garbage)
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
            assert not scope.cancelled_caught
            await stream.aclose()
        assert (await call(url, "drex_blockNumber"))["result"] == 0


async def test_connections_above_the_limit_are_closed_and_a_place_that_is_left_is_given_again() -> None:
    chain = MemoryChain()
    async with serving(chain, max_connections=2) as url:
        port = int(url.rsplit(":", 1)[1])
        held = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        third = await trio.open_tcp_stream("127.0.0.1", port)
        with trio.fail_after(5):
            assert await closed(third)
        for stream in held:
            await stream.aclose()
        with trio.fail_after(5):
            assert await until_answered(url)


async def closed(stream: trio.SocketStream) -> bool:
    try:
        return await stream.receive_some(1) == b""
    except trio.BrokenResourceError:
        return True
    finally:
        await stream.aclose()


async def until_answered(url: str) -> dict[str, Any]:
    while True:
        try:
            return await call(url, "drex_chainId")
        except httpx.TransportError:
            await trio.sleep(0.02)


async def test_a_client_that_reads_nothing_does_not_hold_up_the_end() -> None:
    chain = MemoryChain()
    request = b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}'
    head = f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {len(request)}\r\n\r\n".encode()
    started = trio.current_time()
    async with serving(chain) as url:
        stream = await trio.open_tcp_stream("127.0.0.1", int(url.rsplit(":", 1)[1]))
        with trio.move_on_after(1):
            for _ in range(10_000):
                await stream.send_all(head + request)
    await stream.aclose()
    assert trio.current_time() - started < 5


async def test_a_failing_store_halts_the_node_and_is_an_internal_error_to_the_caller() -> None:
    chain = MemoryChain()

    async def fail(asset: str) -> None:
        raise StorageFailure("STORAGE_READ", "a table is damaged")

    chain.supply = fail  # type: ignore[method-assign]
    async with serving(chain) as url:
        answer = await call(url, "drex_getSupply", "BRL")
        assert answer["error"]["code"] == errors.INTERNAL_ERROR
        assert "damaged" not in json.dumps(answer)
        assert chain.halted is not None
        assert chain.halted.code == "STORAGE_READ"


async def test_signers_stalls_and_timeouts_can_be_asked_for() -> None:
    chain = MemoryChain()
    await chain.submit([payment(chain, 1, coin=0).raw, payment(chain, 1, coin=1).raw])
    async with serving(chain) as url:
        [signer] = (await call(url, "qbft_getSignerMetrics", 0, "latest"))["result"]
        assert (signer["proposed"], signer["signed"], signer["last_signed"]) == (2, 2, 2)
        assert signer["public_key"] == chain.key.public_key.hex()
        stall = (await call(url, "qbft_explainStall"))["result"]
        assert (stall["stalled"], stall["missing"], stall["quorum"]) == (False, [], 1)
        waits = (await call(url, "qbft_getRequestTimeoutSeconds"))["result"]
        parameters = chain.document.parameters
        assert float(waits["base"]) * 1000 == parameters.base_timeout_ms
        assert float(waits["cap"]) * 1000 == parameters.max_timeout_ms
        [proof] = (await call(url, "qbft_getEvidence"))["result"]
        assert (proof["validator"], proof["step"]) == (chain.key.public_key.hex(), "PREPARE")
        assert bytes.fromhex(proof["proof"]) == b"proof"
        far = await call(url, "qbft_getSignerMetrics", 0, 10_000)
        assert far["error"]["data"]["code"] == "RPC_TOO_LARGE"


async def test_metrics_come_as_json_too_and_the_log_level_is_an_admins() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        metrics = (await call(url, "drex_getMetrics"))["result"]
        assert metrics["drex_chain_height"] == [{"labels": {}, "value": "0.0"}]
        assert (await call(url, "admin_logLevel", "debug"))["error"]["data"]["code"] == "RPC_UNAUTHORISED"
        admin = {"authorization": f"Bearer {COOKIE}"}
        assert (await call(url, "admin_logLevel", "info", headers=admin))["result"] == "info"
        levels: tuple[Any, ...] = ("loud", [], {}, None, 1)
        for level in levels:
            wrong = await call(url, "admin_logLevel", level, headers=admin)
            assert wrong["error"]["data"]["code"] == "RPC_INVALID_PARAMS"


async def test_open_rpc_describes_every_method_and_each_has_a_summary() -> None:
    chain = MemoryChain()
    async with serving(chain) as url:
        document = (await call(url, "rpc.discover"))["result"]
    assert {entry["name"] for entry in document["methods"]} == set(METHODS)
    assert all(entry["summary"].endswith(".") for entry in document["methods"])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fuzzed_calls = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": st.integers(), "method": st.sampled_from(sorted(METHODS))},
    optional={"params": st.lists(json_values, max_size=4) | json_values},
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300) | fuzzed_calls.map(lambda value: json.dumps(value).encode()))
def test_fuzzed_calls_get_only_documented_errors(body: bytes) -> None:
    chain = _fuzz_chain()

    async def run() -> bytes:
        context = Context(chain, RpcSection(max_wait_ms=0), refusal=lambda method, admin: None)
        return (await _DISPATCHER.dispatch(body, context)).body

    answer = trio.run(run)
    if not answer:
        return
    decoded = json.loads(answer)
    for item in decoded if isinstance(decoded, list) else [decoded]:
        if "error" in item:
            assert item["error"]["code"] in errors.DOCUMENTED_NUMBERS
            assert item["error"]["code"] != errors.INTERNAL_ERROR, item
            assert isinstance(item["error"]["data"]["code"], str)
        else:
            assert "result" in item


_DISPATCHER = Dispatcher(Metrics())
_CHAINS: list[MemoryChain] = []


def _fuzz_chain() -> MemoryChain:
    if not _CHAINS:
        _CHAINS.append(MemoryChain())
    return _CHAINS[0]
