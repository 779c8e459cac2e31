"""The RPC of running nodes meets what nobody would send: REST through schemathesis, JSON-RPC through fuzzing.

Schemathesis reads the OpenAPI document of the node itself, sends what the schemas allow and what they forbid,
and holds every answer against them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drexnode.rpc import errors
from drexnode.rpc.registry import METHODS
from tests.drexnode.test_rest import check_answer
from tests.drexnode.test_rpc import json_values
from tests.network.net import ENVIRONMENT, Network
from tests.network.net import network as devnet

pytestmark = [pytest.mark.network, pytest.mark.slow]

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,unsupported_method,negative_data_rejection,ignored_auth"
)
EXAMPLES = 10
# They write where they are told to on the node's machine; their answers are checked elsewhere.
LEFT_OUT_WITH_CREDENTIAL = ("admin_snapshot", "admin_backup", "admin_prune")
MAX_GROWTH_BYTES = 64 << 20
"""Of a node's resident memory under garbage: a batch at its largest is 4 MiB, decoded some 30 MiB."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with devnet(tmp_path_factory.mktemp("rest") / "devnet", validators=1) as made:
        made.transfer("1.00")
        yield made


def url_of(network: Network, name: str) -> str:
    return next(node.rpc_url for node in network.nodes if node.name == name)


def cookie_of(network: Network, name: str) -> str:
    return (network.folder / name / "data" / "admin.cookie").read_text()


def ask(url: str, method: str, *params: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    return httpx.post(url, json=body, timeout=30).json()


def schemathesis(folder: Path, network: Network, *more: str) -> str:
    """Run it against the full node; what it printed. Fails when it found anything."""
    url = url_of(network, "full-0")
    address = network.wallets["alice"].address
    txid = ask(url, "drex_getHistory", address)["result"]["entries"][0]["txid"]
    block_id = ask(url, "drex_getBlockByNumber", 1)["result"]["block_id"]
    (folder / "schemathesis.toml").write_text(
        f'[parameters]\n"path.address" = "{address}"\n"path.txid" = "{txid}"\n'
        f'"path.block_id" = "{block_id}"\n"query.asset" = "BRL"\n"query.timeout_ms" = 1\n'
    )
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(folder / "schemathesis.toml"),
        "run", f"{url}/openapi.json", "--checks", CHECKS, "--phases", "coverage,fuzzing",
        "--max-examples", str(EXAMPLES), "--continue-on-failure", "--no-color",
        "--rate-limit", "500/s", *more,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_without_a_credential_no_rest_call_is_a_server_error_and_all_answers_fit_the_document(
    tmp_path: Path, network: Network
) -> None:
    shown = schemathesis(tmp_path, network)
    assert "57 passed" in shown, shown


def test_with_the_admin_credential_no_rest_call_is_a_server_error_either(
    tmp_path: Path, network: Network
) -> None:
    left_out = [word for name in LEFT_OUT_WITH_CREDENTIAL for word in ("--exclude-operation-id", name)]
    token = cookie_of(network, "full-0")
    schemathesis(tmp_path, network, "-H", f"Authorization: Bearer {token}", *left_out)


def test_what_only_a_running_node_answers_has_the_promised_shape_too(network: Network) -> None:
    url = url_of(network, "validator-0")
    head = {"authorization": f"Bearer {cookie_of(network, 'validator-0')}"}
    peer = ask(url, "drex_getNodes")["result"][0]["peer_id"]
    asked: dict[str, list[Any]] = {
        "admin_peers": [],
        "admin_nodeInfo": [],
        "admin_bans": [],
        "admin_job": [],
        "admin_unban": [peer],
        "admin_snapshot": [str(network.folder / "snapshot")],
        "drex_getNodes": [],
        "drex_getNetworkInfo": [],
        "drex_getProtocol": [],
        "drex_getMetrics": [],
        "qbft_getSignerMetrics": [0, "latest"],
        "qbft_explainStall": [],
        "drex_getParticipants": [],
        "drex_getAssets": [],
        "drex_getProof": [{"supply": "BRL"}],
    }
    for name, params in asked.items():
        body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
        answer = httpx.post(url, json=body, headers=head, timeout=30).json()
        assert "result" in answer, (name, answer)
        check_answer(name, answer["result"])


def rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


def nested(depth: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"drex_getProof","params":' + b"[" * depth + b"]" * depth + b"}"


HUGE = [
    nested(100), nested(900), nested(100_000), nested(1_000_000),
    b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"drex_chainId"}',
    b'{"jsonrpc":"2.0","id":1,"method":"drex_getBlockByNumber","params":[' + b"9" * 400_000 + b"]}",
    b'{"jsonrpc":"2.0","id":1,"method":"drex_getBlockByNumber","params":[1e999]}',
    b'{"jsonrpc":"2.0","id":1,"method":"drex_getBlockByNumber","params":["' + b"9" * 400_000 + b'"]}',
    b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 1_000_000 + b'"}',
    b'{"jsonrpc":"2.0","id":1,"method":"drex_sendTransaction","params":["' + b"92" * 1_500_000 + b'"]}',
    b'{"jsonrpc":"2.0","id":1,"method":"drex_sendTransactions","params":[[' + b'"92",' * 999 + b'"92"]]}',
    b"[" + b",".join([b'{"jsonrpc":"2.0","id":1,"method":"drex_chainId"}'] * 1000) + b"]",
    b"[" + b",".join([b"1"] * 1000) + b"]",
    b"[" + b"{}," * 1_300_000 + b"{}]",
    b'{"a":' * 300_000, b'"' + b"\\u0000" * 600_000 + b'"', b"\x00" * 4_000_000, b"[" * 4_000_000,
    b'{"jsonrpc":"2.0","id":1,"method":"drex_chainId","params":{' + b'"a":1,' * 400_000 + b'"b":1}}',
]  # fmt: skip


def check_documented(body: bytes) -> None:
    """Every refusal of an answer has a number of the docs and a stable code, and none is the node's fault."""
    if not body:
        return
    decoded = json.loads(body)
    for item in decoded if isinstance(decoded, list) else [decoded]:
        if "error" not in item:
            assert "result" in item
            continue
        assert item["error"]["code"] in errors.DOCUMENTED_NUMBERS - {errors.INTERNAL_ERROR}, item
        assert isinstance(item["error"]["data"]["code"], str)


def test_what_is_huge_deep_or_many_gets_documented_errors_and_bounded_memory(network: Network) -> None:
    node = next(node for node in network.nodes if node.name == "full-0")
    assert node.process is not None
    pid = node.process.pid
    with httpx.Client(base_url=node.rpc_url, timeout=60) as http:
        for body in HUGE:
            check_documented(http.post("/", content=body).content)
        warm = rss_bytes(pid)
        for _ in range(3):
            for body in HUGE:
                check_documented(http.post("/", content=body).content)
                assert rss_bytes(pid) < warm + MAX_GROWTH_BYTES
        assert http.get("/livez").status_code == 200


deep_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=40,
)
calls = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": st.integers() | st.text(max_size=5) | deep_values},
    optional={
        "method": st.sampled_from(sorted(METHODS)) | st.text(max_size=20) | deep_values,
        "params": st.lists(deep_values, max_size=5) | deep_values,
    },
)
bodies = (
    calls.map(lambda value: json.dumps(value).encode())
    | st.lists(calls | json_values, max_size=30).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=400)
)


def test_fuzzed_calls_to_a_running_node_get_only_documented_errors(network: Network) -> None:
    url = url_of(network, "observer-0")
    with httpx.Client(base_url=url, timeout=70) as http:

        @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
        @given(bodies)
        def fuzz(body: bytes) -> None:
            check_documented(http.post("/", content=body).content)

        fuzz()
        assert http.get("/readyz").status_code == 200
