"""docs/rpc.md is carried out on a running network: an example of every method by JSON-RPC and by REST, and
the page's shell and Python blocks. A method without an example is a failure.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import open_websocket_url

from drexnode.rpc import examples
from drexnode.rpc.registry import METHODS
from tests.drexnode.test_rest import check_answer
from tests.network.net import COMMAND, ENVIRONMENT, Network, until
from tests.network.net import network as devnet

pytestmark = [pytest.mark.network, pytest.mark.slow]

PAGE = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text("utf-8")
_ROW = re.compile(r"^\| `([\w.]+)` \| `(\[.*?\])` \| (?:`(\w+) (\S+?)(?: (\{.*\}))?`)? ?\|$", re.M)
EXAMPLES = {
    name: (params, verb, path, body)
    for name, params, verb, path, body in _ROW.findall(PAGE[PAGE.index("## An example of every method") :])
}
JOBS = ("admin_snapshot", "admin_backup", "admin_prune")
BY_WEBSOCKET = ("drex_subscribe", "drex_unsubscribe")
# In this order: a vote before it is taken back, a peer is tested while it is there.
FIRST = ("admin_testPeer", "qbft_proposeValidatorVote", "admin_addPeer")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with devnet(tmp_path_factory.mktemp("docs") / "devnet", observers=0) as made:
        yield made


class Caller:
    """A validator's RPC with its credential, and what stands for the words of the examples."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        node = network.devnet.node("validator-0")
        self.url = node.rpc_url
        cookie = (node.home / "data" / "admin.cookie").read_text()
        self.http = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {cookie}"}, timeout=60)
        self.folder = folder
        network.json("tx", "emit", "bcb", "bcb", "5.00", "--reference", "op-1", "--wait")
        sent = network.transfer()
        final = self.rpc("drex_getTransaction", [sent["txid"]])["result"]
        packed = folder / "payment"
        network.run("tx", "transfer", "alice", "bob", "2.00", "--out", packed)
        nodes = self.rpc("drex_getNodes", [])["result"]
        full = next(item for item in nodes if item["role"] == "full")
        validators = self.rpc("qbft_getValidatorsByBlockNumber", ["latest"])["result"]
        own = self.rpc("admin_nodeInfo", [])["result"]["validator_key"]
        self.words = {
            examples.ADDRESS: network.wallets["alice"].address,
            examples.TXID: sent["txid"],
            examples.BLOCK_ID: final["block_id"],
            examples.TRANSACTION: raw_of(packed),
            examples.VALIDATOR_KEY: next(key for key in validators if key != own),
            examples.PEER_ADDRESS: f"{full['addresses'][0]}/p2p/{full['peer_id']}",
            examples.PEER_ID: full["peer_id"],
        }

    def filled(self, text: str, form: str) -> str:
        """An example with this network's own things for its words; each form has a folder of its own."""
        own = self.folder / form
        own.mkdir(exist_ok=True)
        words = {**self.words, examples.FOLDER: str(own)}
        for word in sorted(words, key=len, reverse=True):
            text = re.sub(rf"\b{word}\b", words[word], text)
        return text

    def rpc(self, name: str, params: list[Any]) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
        answer: dict[str, Any] = self.http.post("/", json=body).json()
        return answer

    def finish_job(self) -> None:
        state = until("the job ends", lambda: self._job_state(), 60)
        assert state == "done", self.rpc("admin_job", [])

    def _job_state(self) -> str | None:
        state: str = self.rpc("admin_job", [])["result"]["state"]
        return None if state == "running" else state


@pytest.fixture(scope="module")
def caller(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    made = Caller(network, tmp_path_factory.mktemp("files"))
    with closing(made.http):
        yield made


def raw_of(packed: Path) -> str:
    """The transaction in a file that `--out` wrote, in hex."""
    raw: str = json.loads(packed.read_text())["transaction"]
    return raw


def in_order() -> list[str]:
    return [*FIRST, *sorted(name for name in METHODS if name not in (*FIRST, *BY_WEBSOCKET))]


def test_every_method_has_an_example_and_every_example_a_method() -> None:
    assert set(EXAMPLES) == set(METHODS)
    for name, (params, verb, path, _) in EXAMPLES.items():
        required = sum(param.required for param in METHODS[name].params)
        assert len(json.loads(params)) >= required, name
        assert bool(verb and path) == (name not in BY_WEBSOCKET)


def test_every_example_answers_by_json_rpc_and_by_rest(caller: Caller) -> None:
    for name in in_order():
        params, verb, path, body = EXAMPLES[name]
        answer = caller.rpc(name, json.loads(caller.filled(params, "rpc")))
        assert "result" in answer, (name, answer)
        assert answer["result"] is not None, name
        check_answer(name, answer["result"])
        if name in JOBS:
            caller.finish_job()
        reply = caller.http.request(
            verb,
            caller.filled(path, "rest"),
            content=caller.filled(body, "rest").encode() if body else None,
        )
        assert reply.status_code == 200, (name, reply.text)
        check_answer(name, reply.json())
        if name in JOBS:
            caller.finish_job()


def test_the_examples_of_subscriptions_answer_by_websocket(network: Network) -> None:
    url = network.devnet.node("full-0").rpc_url.replace("http", "ws") + "/ws"

    async def play() -> list[Any]:
        answers = []
        async with open_websocket_url(url) as socket:
            for name in BY_WEBSOCKET:
                params = json.loads(EXAMPLES[name][0])
                await socket.send_message(
                    json.dumps({"jsonrpc": "2.0", "id": 1, "method": name, "params": params})
                )
                answers.append(json.loads(await socket.get_message())["result"])
        return answers

    assert trio.run(play) == ["1", True]


def blocks(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    assert found
    return found


@pytest.mark.parametrize("number", range(len(re.findall("```sh\n", PAGE))))
def test_the_pages_shell_blocks_answer(number: int, network: Network) -> None:
    url = network.devnet.node("validator-0").rpc_url
    for line in blocks("sh")[number].splitlines():
        done = subprocess.run(
            line.replace("http://127.0.0.1:26650", url),
            shell=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert "error" not in answer
        assert "data" not in answer


@pytest.mark.parametrize("number", range(len(re.findall("```python\n", PAGE))))
def test_the_pages_python_programs_run(number: int, caller: Caller) -> None:
    network = caller.network
    program = blocks("python")[number].replace("http://127.0.0.1:26650", caller.url)
    program = caller.filled(program, "python")
    if "open_events" in program:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        until("the program hears of a phase", lambda: network.transfer() and process.poll() is not None, 60)
        shown, _ = process.communicate()
        assert process.returncode == 0
    else:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=ENVIRONMENT
        )
        assert done.returncode == 0, done.stderr
        shown = done.stdout
    assert shown.strip()


def test_a_vote_is_cast_and_taken_back_by_command(network: Network) -> None:
    cast = network.json("validators", "propose", "remove", "validator-3", "--by", "validator-0")
    assert network.json("tx", "wait", cast["txid"])["status"] == "FINAL"
    back = network.json("validators", "discard", "validator-3", "--by", "validator-0")
    assert back["subject"] == cast["subject"]
    assert network.json("tx", "wait", back["txid"])["status"] == "FINAL"


def test_phases_of_consensus_are_followed_by_command(network: Network) -> None:
    command = [*COMMAND, "watch", "consensus", "--count", "3", "-o", "json", "--dir", str(network.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    until("three phases", lambda: network.transfer() and process.poll() is not None, 60)
    shown, _ = process.communicate()
    events = [json.loads(line) for line in shown.splitlines()]
    assert process.returncode == 0
    assert len(events) == 3
    assert {event["phase"] for event in events} <= {"waiting", "preparing", "committing", "decided"}
