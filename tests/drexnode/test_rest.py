"""REST: the same calls by verb and path; every answer has the shape that the documents promise."""

from __future__ import annotations

import copy
from typing import Any

import httpx
import jsonschema
import pytest

import drexnode.rpc.methods  # noqa: F401 - importing it registers every method
from drexnode.rpc.describe import open_api, open_rpc
from drexnode.rpc.registry import METHODS
from drexnode.rpc.rest_errors import REST_STATUSES
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import COOKIE, serving
from tests.drexnode.test_rpc import DVT, address, call, payment

ADMIN = {"authorization": f"Bearer {COOKIE}"}
# A chain in memory has no peers and no data: what asks for them is tested on real nodes (test_rest_node.py).
NOT_IN_MEMORY = {name for name in METHODS if name.startswith("admin_")} - {
    "admin_peers",
    "admin_nodeInfo",
    "admin_logLevel",
} | {"drex_getNodes"}


def closed(schema: Any) -> Any:
    """A schema that refuses fields it does not name, where it names any."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if "properties" in made and made.get("title") not in ("StallCause", "UnreadyReason"):
        made["additionalProperties"] = False
    return made


DOCUMENT = open_rpc("test")
CLOSED = closed(copy.deepcopy(DOCUMENT))
RESULTS = {entry["name"]: entry["result"]["schema"] for entry in CLOSED["methods"]}


def check_answer(name: str, value: Any) -> None:
    """Raise when an answer has another shape than OpenRPC promises."""
    jsonschema.validate(value, {**RESULTS[name], "components": CLOSED["components"]})


def asked(chain: MemoryChain, txid: str, raw: str) -> dict[str, list[Any]]:
    """Parameters for every method that a chain in memory answers."""
    alice, block = address(chain, "alice"), chain.tip().block_id.hex()
    return {
        "drex_getBalance": [alice],
        "drex_getBlockById": [block, True],
        "drex_getBlockByNumber": ["latest", True],
        "drex_getCommitCertificate": [1],
        "drex_getFrozen": [alice],
        "drex_getHeaders": [0, 1],
        "drex_getHistory": [alice],
        "drex_getProof": [{"supply": DVT}],
        "drex_getSupply": [DVT],
        "drex_getTransaction": [txid],
        "drex_getTransactionByReference": ["BRL", "00"],
        "drex_getTransactionStatus": [txid],
        "drex_getUTXOsForAddress": [alice, None, None, 2],
        "drex_getWallet": [alice],
        "drex_sendTransaction": [raw],
        "drex_sendTransactions": [[raw, "92"]],
        "drex_simulateTransaction": [payment(chain, 7, coin=2).raw.hex()],
        "drex_validateAtomicity": [[payment(chain, 7, coin=2).raw.hex()]],
        "drex_waitTransaction": [txid, 10],
        "admin_logLevel": ["info"],
        "qbft_discardValidatorVote": ["ab" * 32],
        "qbft_getSignerMetrics": [0, 1],
        "qbft_getValidatorsByBlockNumber": ["latest"],
        "qbft_proposeValidatorVote": ["ab" * 32, True],
    }


async def test_every_answer_has_the_shape_that_open_rpc_promises() -> None:
    chain = MemoryChain()
    sent = payment(chain, 5)
    await chain.submit([sent.raw])
    given = asked(chain, sent.txid.hex(), sent.raw.hex())
    async with serving(chain) as url:
        for name, entry in sorted(METHODS.items()):
            if name in NOT_IN_MEMORY or entry.rest is None:
                continue
            answer = await call(url, name, *given.get(name, []), headers=ADMIN)
            assert "result" in answer, (name, answer)
            check_answer(name, answer["result"])


async def test_rest_answers_what_json_rpc_answers() -> None:
    chain = MemoryChain()
    sent = payment(chain, 5)
    await chain.submit([sent.raw])
    given = asked(chain, sent.txid.hex(), sent.raw.hex())
    moving = {"drex_getMetrics"}
    async with serving(chain) as url, httpx.AsyncClient(base_url=url, headers=ADMIN) as http:
        for name, entry in sorted(METHODS.items()):
            if name in NOT_IN_MEMORY | moving or entry.rest is None:
                continue
            named = {
                param.name: value
                for param, value in zip(entry.params, given.get(name, []), strict=False)
                if value is not None
            }
            path = "/v1" + entry.rest.path.format(**named)
            rest = {key: value for key, value in named.items() if f"{{{key}}}" not in entry.rest.path}
            in_body = entry.rest.verb in ("POST", "PUT")
            reply = await http.request(
                entry.rest.verb,
                path,
                params=None if in_body else {key: _text(value) for key, value in rest.items()},
                json=rest if in_body and rest else None,
            )
            plain = await call(url, name, *given.get(name, []), headers=ADMIN)
            if plain["result"] is None:
                assert (reply.status_code, reply.json()["data"]["code"]) == (404, "RPC_NOT_FOUND")
            else:
                assert reply.status_code == 200, (name, reply.text)
                assert reply.json() == plain["result"], name


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


async def test_refusals_by_rest_are_said_in_http_and_carry_the_same_code() -> None:
    chain = MemoryChain()
    async with (
        serving(chain, max_range=2, max_body_bytes=2000) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        wanted = [
            ("GET", "/v1/headers?first=0&last=9", None, 413, "RPC_TOO_LARGE"),
            ("GET", "/v1/headers?first=0", None, 400, "RPC_INVALID_PARAMS"),
            ("GET", "/v1/headers?first=0&first=1&last=1", None, 400, "RPC_INVALID_PARAMS"),
            ("GET", "/v1/headers?first=0&last=1&more=1", None, 400, "RPC_INVALID_PARAMS"),
            ("GET", "/v1/blocks/99", None, 404, "RPC_NOT_FOUND"),
            ("GET", "/v1/supply?asset=XYZ", None, 404, "RPC_ASSET_UNKNOWN"),
            ("GET", "/v1/blocks/0?full=yes", None, 400, "RPC_INVALID_PARAMS"),
            ("GET", "/v1/nowhere", None, 404, "RPC_NO_SUCH_PATH"),
            ("DELETE", "/v1/height", None, 405, "RPC_WRONG_VERB"),
            ("GET", "/v1/admin/peers", None, 401, "RPC_UNAUTHORISED"),
            ("POST", "/v1/transactions", b"{", 400, "RPC_PARSE"),
            ("POST", "/v1/transactions", b"[]", 400, "RPC_INVALID_PARAMS"),
            ("POST", "/v1/transactions", b" " * 3000, 413, "RPC_TOO_LARGE"),
            ("POST", "/v1/transactions", b'{"transaction": "92"}', 422, "TX_MALFORMED"),
        ]
        for verb, path, body, status, code in wanted:
            reply = await http.request(verb, path, content=body)
            assert (reply.status_code, reply.json()["data"]["code"]) == (status, code), (path, reply.text)
            assert status in REST_STATUSES
        bad = await http.get("/v1/height", headers={"origin": "https://bad.example"})
        assert (bad.status_code, bad.json()["data"]["code"]) == (403, "RPC_ORIGIN_REFUSED")
    async with (
        serving(chain, rate_per_second=1, rate_burst=1) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        replies = [await http.get("/v1/height") for _ in range(3)]
        assert replies[-1].status_code == 429
        assert int(replies[-1].headers["retry-after"]) >= 1


async def test_the_document_is_served_and_names_every_method_once() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, httpx.AsyncClient(base_url=url) as http:
        document = (await http.get("/openapi.json")).json()
    operations = [item["operationId"] for path in document["paths"].values() for item in path.values()]
    assert sorted(operations) == sorted(name for name, entry in METHODS.items() if entry.rest is not None)
    assert {name for name, entry in METHODS.items() if entry.rest is None} == {
        "drex_subscribe",
        "drex_unsubscribe",
    }
    assert document["openapi"] == "3.1.0"


@pytest.mark.parametrize("made", [open_rpc, open_api])
def test_every_schema_of_the_documents_is_a_json_schema_and_every_reference_leads_somewhere(
    made: Any,
) -> None:
    document = made("test")
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)

    def references(value: Any) -> set[str]:
        if isinstance(value, list):
            return set().union(*map(references, value))
        if not isinstance(value, dict):
            return set()
        here = {value["$ref"]} if "$ref" in value else set()
        return here.union(*map(references, value.values()))

    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas
