"""Who may call: without a good credential no admin method; with a bad one, nothing.

A token must be signed by a known key, for this chain, now; an API key has its globs and its rate.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from drexnode.config import ConfigError
from drexnode.rpc import credentials as credentials_module
from drexnode.rpc.access_file import (
    Access,
    ApiKey,
    TokenKey,
    check_id,
    edit_access,
    new_api_key,
    read_access,
    write_access,
)
from drexnode.rpc.costs import COSTS, cost_of
from drexnode.rpc.credentials import Credentials
from drexnode.rpc.errors import RpcError
from drexnode.rpc.globs import allows, check_globs
from drexnode.rpc.limits import network_of
from drexnode.rpc.registry import METHODS
from drexnode.rpc.tokens import Token, audience_of, make_token
from drexnode.rpc.websocket import CLOSE_CREDENTIAL
from primitives.keys import SigningKey
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import COOKIE, serving
from tests.drexnode.test_rpc import call, payment, post
from tests.drexnode.test_websocket import ask, event, ws_url

SEED, OTHER_SEED = b"\x01" * 32, b"\x02" * 32
CHAIN = b"\xaa" * 32


def public(seed: bytes) -> str:
    return SigningKey(seed).public_key.hex()


def token(
    chain_id: bytes, *methods: str, seed: bytes = SEED, key_id: str = "ops", begins: int = -60, ends: int = 60
) -> str:
    now = int(time.time())
    return make_token(seed, Token(key_id, "alice", methods or ("*",), now + begins, now + ends), chain_id)


@pytest.fixture
def access(tmp_path: Path) -> Path:
    path = tmp_path / "rpc-access.json"
    write_access(path, Access(token_keys={"ops": TokenKey(public(SEED))}))
    return path


def refused(access: Path, given: str) -> str:
    with pytest.raises(RpcError) as failure:
        Credentials(CHAIN, COOKIE, access).caller(f"Bearer {given}", "1.2.3.4")
    assert failure.value.http_status == 401
    return failure.value.code


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def encoded(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def code_of(answer: dict[str, Any]) -> str:
    code: str = answer["error"]["data"]["code"]
    return code


def test_a_good_token_grants_its_globs_and_nothing_else(access: Path) -> None:
    caller = Credentials(CHAIN, COOKIE, access).caller(f"Bearer {token(CHAIN, 'admin_p*')}", "1.2.3.4")
    assert caller.name == "token ops/alice"
    assert caller.may("admin_peers", admin=True, public=())
    assert not caller.may("admin_backup", admin=True, public=("*",))
    assert caller.may("drex_getSupply", admin=False, public=("drex_*",))
    assert not caller.may("drex_getSupply", admin=False, public=())


def test_a_token_counts_only_in_its_time_on_its_chain_and_by_a_known_key(access: Path) -> None:
    assert refused(access, token(CHAIN, begins=-100, ends=-50)) == "RPC_TOKEN_EXPIRED"
    assert refused(access, token(CHAIN, begins=50, ends=100)) == "RPC_TOKEN_NOT_YET_VALID"
    assert refused(access, token(b"\xbb" * 32)) == "RPC_TOKEN_OTHER_AUDIENCE"
    assert refused(access, token(CHAIN, key_id="nobody")) == "RPC_TOKEN_UNKNOWN_KEY"
    assert refused(access, token(CHAIN, seed=OTHER_SEED)) == "RPC_TOKEN_INVALID"


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "HS256", "ES256", "RS256"])
def test_no_other_algorithm_is_believed_whatever_the_header_says(access: Path, algorithm: str) -> None:
    """`none`, and the public key taken as an HMAC's secret, are the known downgrades."""
    claims = jwt.decode(token(CHAIN), options={"verify_signature": False})
    signed = f"{encoded({'alg': algorithm, 'kid': 'ops', 'typ': 'JWT'})}.{encoded(claims)}"
    keyed = hmac.new(bytes.fromhex(public(SEED)), signed.encode(), hashlib.sha256).digest()
    for signature in (b"", b"\0" * 64, keyed):
        tail = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        assert refused(access, f"{signed}.{tail}") == "RPC_TOKEN_INVALID"


def test_a_changed_token_is_refused_byte_by_byte(access: Path) -> None:
    good = token(CHAIN)
    for place in range(0, len(good) - 1, 7):
        changed = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        assert refused(access, changed) in ("RPC_TOKEN_INVALID", "RPC_TOKEN_UNKNOWN_KEY")


@pytest.mark.parametrize("missing", ["exp", "aud", "sub", "methods"])
def test_a_token_without_a_claim_it_must_have_is_refused(access: Path, missing: str) -> None:
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": "alice", "aud": audience_of(CHAIN), "methods": ["*"], "exp": now + 60
    }  # fmt: skip
    del claims[missing]
    key = jwt.algorithms.OKPAlgorithm.from_jwk(
        {
            "kty": "OKP", "crv": "Ed25519",
            "x": base64.urlsafe_b64encode(bytes.fromhex(public(SEED))).rstrip(b"=").decode(),
            "d": base64.urlsafe_b64encode(SEED).rstrip(b"=").decode(),
        }
    )  # fmt: skip
    signed = jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "ops"})  # type: ignore[arg-type]
    assert refused(access, signed).startswith("RPC_TOKEN_")


def test_garbage_that_looks_like_a_token_is_refused_without_harm(access: Path) -> None:
    for text in (
        ".",
        "..",
        "a.b.c",
        "." * 9000,
        "x" * 9000 + ".",
        "é.é.é",
        "drexk_",
        "drexk_a_b_c",
        "drexk__",
    ):
        assert refused(access, text).startswith(("RPC_TOKEN_", "RPC_API_KEY_"))


async def test_a_believed_token_ends_with_its_time(access: Path) -> None:
    credentials, ending = Credentials(CHAIN, None, access), f"Bearer {token(CHAIN, begins=-100, ends=-1)}"
    assert credentials.caller(ending, "a").is_known  # clocks may differ by 5 s
    await trio.sleep(5)
    with pytest.raises(RpcError, match="RPC_TOKEN_EXPIRED"):
        credentials.caller(ending, "a")


def test_revocation_counts_in_a_running_node(access: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials_module, "RELOAD_S", 0.0)
    credentials, good = Credentials(CHAIN, COOKIE, access), f"Bearer {token(CHAIN)}"
    assert credentials.caller(good, "a").is_known
    write_access(access, Access(token_keys={"ops": TokenKey(public(SEED), revoked=True)}))
    with pytest.raises(RpcError, match="RPC_TOKEN_REVOKED"):
        credentials.caller(good, "a")
    access.write_text("{broken")
    with pytest.raises(RpcError, match="RPC_ACCESS_UNREADABLE"):
        credentials.caller(good, "a")
    assert credentials.caller(f"Bearer {COOKIE}", "a").name == "cookie"
    access.unlink()
    with pytest.raises(RpcError, match="RPC_TOKEN_UNKNOWN_KEY"):
        credentials.caller(good, "a")


def test_an_api_key_is_kept_as_a_hash_and_has_its_own_globs_and_rate(access: Path) -> None:
    shown, entry = new_api_key("bank-a", ["drex_*"], 7)
    write_access(access, Access(api_keys={"bank-a": entry}))
    assert shown.rpartition("_")[2] not in access.read_text()
    assert (access.stat().st_mode & 0o777) == 0o600
    caller = Credentials(CHAIN, None, access).caller(f"Bearer {shown}", "a")
    assert (caller.name, caller.methods, caller.rate_per_second) == ("key bank-a", ("drex_*",), 7)
    assert refused(access, shown[:-1] + ("0" if shown[-1] != "0" else "1")) == "RPC_API_KEY_UNKNOWN"
    assert refused(access, shown.replace("bank-a", "bank-b")) == "RPC_API_KEY_UNKNOWN"
    write_access(access, Access(api_keys={"bank-a": msgspec.structs.replace(entry, revoked=True)}))
    assert refused(access, shown) == "RPC_API_KEY_REVOKED"


def test_a_file_of_another_shape_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "access.json"
    for text in (
        "[]",
        '{"token_keys": {"a": {}}}',
        '{"x": 1}',
        '{"token_keys": {"A B": {"public_key": "00"}}}',
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match="RPC_ACCESS_UNREADABLE"):
            read_access(path)
    path.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="too large"):
        read_access(path)
    assert read_access(tmp_path / "absent.json") == Access()


def test_ids_are_plain_and_never_given_twice() -> None:
    assert check_id("bank-a", {}) == "bank-a"
    for bad in ("", "A", "a_b", "-a", "a" * 33, "a/b"):
        with pytest.raises(ConfigError, match="RPC_BAD_KEY_ID"):
            check_id(bad, {})
    with pytest.raises(ConfigError, match="RPC_KEY_ID_TAKEN"):
        check_id("a", {"a": ApiKey("00" * 32, ())})


def test_globs_match_whole_names() -> None:
    assert allows(("drex_*",), "drex_getSupply")
    assert not allows(("drex_",), "drex_getSupply")
    assert not allows((), "drex_getSupply")
    for bad in (["a b"], ["[a]"], [""], [7], ["a"] * 65):
        with pytest.raises(ConfigError, match="RPC_BAD_GLOB"):
            check_globs(bad, "test")


def test_every_cost_is_of_a_method_there_is() -> None:
    assert set(COSTS) <= set(METHODS)
    assert cost_of("drex_chainId") == 1


async def test_no_admin_method_runs_without_a_credential_that_grants_it(access: Path) -> None:
    """All of them, by JSON-RPC: nobody, a cookie that is wrong, a token for reads, an API key for reads."""
    chain = MemoryChain()
    shown, entry = new_api_key("reader", ["drex_*"], 0)
    keys = {"ops": TokenKey(public(SEED))}
    write_access(access, Access(token_keys=keys, api_keys={"reader": entry}))
    weak: dict[str, list[str | None]] = {
        "RPC_UNAUTHORISED": [None, "c" * 63 + "d"],
        "RPC_FORBIDDEN": [token(chain.chain_id, "drex_*"), shown],
    }
    async with serving(chain, access_path=access) as url:
        names = [method.name for method in METHODS.values() if method.admin]
        for name in names:
            for code, given in weak.items():
                for text in given:
                    answer = await call(url, name, headers={} if text is None else bearer(text))
                    assert code_of(answer) == code, name
        answer = await call(url, "admin_peers", headers=bearer(token(chain.chain_id, "admin_peers")))
        assert answer["result"] == []


async def test_a_bad_credential_is_no_anonymous_call(access: Path) -> None:
    chain = MemoryChain()
    one = b'{"jsonrpc":"2.0","id":1,"method":"drex_chainId"}'
    async with serving(chain, access_path=access) as url:
        answer = await post(url, one, bearer(token(chain.chain_id, begins=-100, ends=-50)))
        assert (answer.status_code, code_of(answer.json())) == (401, "RPC_TOKEN_EXPIRED")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_with_nothing_public_each_method_needs_a_credential(access: Path) -> None:
    chain = MemoryChain()
    async with serving(chain, access_path=access, public=("drex_chainId",)) as url:
        assert "result" in await call(url, "drex_chainId")
        assert code_of(await call(url, "drex_blockNumber")) == "RPC_UNAUTHORISED"
        good = bearer(token(chain.chain_id, "drex_*"))
        assert "result" in await call(url, "drex_blockNumber", headers=good)
        assert code_of(await call(url, "net_peerCount", headers=good)) == "RPC_FORBIDDEN"


async def test_no_caller_gets_more_than_its_rate_and_each_has_its_own(access: Path) -> None:
    chain = MemoryChain()
    shown, entry = new_api_key("slow", ["drex_*"], 1)
    write_access(access, Access(token_keys={"ops": TokenKey(public(SEED))}, api_keys={"slow": entry}))
    one = b'{"jsonrpc":"2.0","id":1,"method":"drex_blockNumber"}'
    async with serving(chain, access_path=access, rate_per_second=1, rate_burst=5) as url:
        callers: list[tuple[dict[str, str], int]] = [
            ({}, 5),
            (bearer(token(chain.chain_id)), 5),
            (bearer(shown), 2),
        ]
        for headers, burst in callers:
            started = trio.current_time()
            answers = [await post(url, one, headers) for _ in range(burst + 4)]
            allowed = burst + trio.current_time() - started  # a slow machine refills meanwhile
            assert sum(answer.status_code == 200 for answer in answers) <= allowed + 1
            last = next(answer for answer in answers if answer.status_code == 429)
            assert code_of(last.json()) == "RPC_RATE_LIMITED"
            assert int(last.headers["retry-after"]) >= 1


async def test_a_dear_call_and_the_metrics_cost_more_of_the_rate(access: Path) -> None:
    chain = MemoryChain()
    async with serving(chain, rate_per_second=1, rate_burst=25) as url:
        assert "result" in await call(url, "rpc.discover")
        assert code_of(await call(url, "rpc.discover")) == "RPC_RATE_LIMITED"


async def test_guesses_of_credentials_are_limited_before_they_are_looked_at(access: Path) -> None:
    chain = MemoryChain()
    one = b'{"jsonrpc":"2.0","id":1,"method":"drex_chainId"}'
    async with serving(chain, access_path=access, rate_per_second=1, rate_burst=3) as url:
        answers = [await post(url, one, bearer(f"drexk_ops_{number}")) for number in range(8)]
        assert {answer.status_code for answer in answers[:3]} == {401}
        assert 429 in {answer.status_code for answer in answers}


async def closed_with(ws: WebSocketConnection) -> tuple[int, str | None]:
    """Code and reason with which the node closes; events before are passed over."""
    try:
        with trio.fail_after(20):
            while True:
                await ws.get_message()
    except ConnectionClosed as closed:
        reason = closed.reason
    return (0, None) if reason is None else (reason.code, reason.reason)


# trio_websocket leaves the socket of a connection that the other side closed to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("how", ["expired", "revoked", "narrowed", "unreadable"])
async def test_a_subscription_ends_with_the_credential_that_opened_it(
    access: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(credentials_module, "RELOAD_S", 0.0)
    chain = MemoryChain()
    shown, entry = new_api_key("reader", ["drex_*"], 0)
    keys = {"ops": TokenKey(public(SEED))}
    write_access(access, Access(token_keys=keys, api_keys={"reader": entry}))
    given = token(chain.chain_id, "drex_*", begins=-60, ends=-2) if how == "expired" else shown
    async with serving(chain, access_path=access, public=()) as url:
        head = [("authorization", f"Bearer {given}")]
        async with open_websocket_url(ws_url(url), extra_headers=head) as ws:
            assert "result" in await ask(ws, "drex_subscribe", "blocks")
            if how == "revoked":
                ended = msgspec.structs.replace(entry, revoked=True)
                write_access(access, Access(api_keys={"reader": ended}))
            if how == "narrowed":
                narrow = msgspec.structs.replace(entry, methods=("drex_get*",))
                write_access(access, Access(api_keys={"reader": narrow}))
            if how == "unreadable":
                await trio.Path(access).write_text("{broken")
            code = {
                "expired": "RPC_TOKEN_EXPIRED",
                "revoked": "RPC_API_KEY_REVOKED",
                "narrowed": "RPC_FORBIDDEN",
                "unreadable": "RPC_ACCESS_UNREADABLE",
            }[how]
            assert await closed_with(ws) == (CLOSE_CREDENTIAL, code)
    del ws
    gc.collect()


async def test_a_subscription_goes_on_while_its_credential_is_good(access: Path) -> None:
    chain = MemoryChain()
    head = [("authorization", f"Bearer {token(chain.chain_id, 'drex_*')}")]
    async with (
        serving(chain, access_path=access, public=()) as url,
        open_websocket_url(ws_url(url), extra_headers=head) as ws,
    ):
        assert "result" in await ask(ws, "drex_subscribe", "blocks")
        await trio.sleep(2.5)  # the credential was looked at more than once
        await chain.submit([payment(chain, 1, coin=0).raw])
        assert (await event(ws))["result"]["height"] == 1


def test_changes_made_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    """A revocation that another command's writing undid would be noticed by nobody."""
    path = tmp_path / "rpc-access.json"

    def add(number: int) -> None:
        def change(access: Access) -> Access:
            time.sleep(0.01)
            keys = {**access.token_keys, f"key-{number}": TokenKey(public(SEED))}
            return msgspec.structs.replace(access, token_keys=keys)

        edit_access(path, change)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(16)))
    assert len(read_access(path).token_keys) == 16


def test_a_file_that_others_may_write_grants_nothing(access: Path) -> None:
    for mode in (0o620, 0o602, 0o666):
        access.chmod(mode)
        with pytest.raises(ConfigError, match=f"chmod 600 {access}"):
            read_access(access)
    access.chmod(0o644)
    assert "ops" in read_access(access).token_keys


def test_no_file_is_written_that_could_not_be_read_again(access: Path) -> None:
    keys = {f"key-{number}": TokenKey(public(SEED)) for number in range(20_000)}
    with pytest.raises(ConfigError, match="RPC_ACCESS_TOO_LARGE"):
        write_access(access, Access(token_keys=keys))
    assert list(read_access(access).token_keys) == ["ops"]
    assert list(access.parent.iterdir()) == [access]


def test_a_file_that_could_not_be_read_for_a_moment_is_read_again(
    access: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when all descriptors are taken: the file did not change, and its tokens must count again."""
    monkeypatch.setattr(credentials_module, "RELOAD_S", 0.0)
    credentials, good = Credentials(CHAIN, COOKIE, access), f"Bearer {token(CHAIN)}"

    def fails(path: Path) -> Access:
        raise ConfigError("RPC_ACCESS_UNREADABLE", "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(credentials_module, "read_access", fails)
        with pytest.raises(RpcError, match="RPC_ACCESS_UNREADABLE"):
            credentials.caller(good, "a")
    assert credentials.caller(good, "a").is_known


async def test_bad_credentials_lock_nobody_out_at_the_same_address(access: Path) -> None:
    """Behind one proxy, or on one machine, somebody's guesses must not keep good credentials out."""
    chain = MemoryChain()
    shown, entry = new_api_key("bank-a", ["drex_*"], 0)
    keys = {"ops": TokenKey(public(SEED))}
    write_access(access, Access(token_keys=keys, api_keys={"bank-a": entry}))
    one = b'{"jsonrpc":"2.0","id":1,"method":"drex_chainId"}'
    async with serving(chain, access_path=access, rate_per_second=1, rate_burst=3) as url:
        believed = bearer(token(chain.chain_id))
        assert (await post(url, one, believed)).status_code == 200
        answers = [await post(url, one, bearer(f"drexk_ops_{number}")) for number in range(8)]
        assert 429 in {answer.status_code for answer in answers}
        for good in (believed, bearer(shown), bearer(COOKIE)):
            assert (await post(url, one, good)).status_code == 200


def test_an_address_of_ipv6_is_counted_with_its_network() -> None:
    """Who has one address of IPv6 has 2^64 of them (RFC 4291, 2.5.4)."""
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::9")
    assert network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1") == "10.0.0.1"
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("no address") == "no address"
