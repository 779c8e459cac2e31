"""More than f validators lost for good: the procedure of docs/recovery.md on a network of processes.

Three of four validators die under load and their homes are deleted. The chain goes on with three new ones,
everything that was final stays final, and an empty observer follows through the override.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from drexnode import client as rpc
from drexnode.cli import output
from drexnode.keystore import read_plain_key, write_plain_key
from drexnode.processes import find_process, start_process, stop_processes
from drexnode.wallet import Wallet
from drexnode.wallet_accounts import WalletError, key_of
from drexnode.wallet_finality import wait_final
from ledger.devnet import BANK_A_DVT
from tests.network.net import Network, drexnode, free_base_port, network, until

pytestmark = pytest.mark.network
HANDBOOK = (Path(__file__).parents[2] / "docs" / "recovery.md").read_text("utf-8")
LOST = ("validator-1", "validator-2", "validator-3")
PATIENCE_S = 240  # of a busy machine
LEFT = ("validator-0", "full-0", "observer-0")


def handbook(command: str, **words: object) -> list[str]:
    """The handbook's line of a command, with what stands in capitals filled in; a list fills in several."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", HANDBOOK, re.DOTALL))
    [line] = [line for line in blocks.splitlines() if line.startswith(f"drexnode {command} ")]
    filled: list[str] = []
    for word in line.split()[1:]:
        value = words.get(word.replace("=", "_"), word)
        filled += [str(item) for item in value] if isinstance(value, list) else [str(value)]
    return filled


class Load:
    """Transfers one after another until the network takes no more; keeps what became final."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.final: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        alice, bob = self.net.wallets["alice"], self.net.wallets["bob"]
        with rpc.Client(self.net.devnet.node("validator-0").rpc_url) as client:
            wallet = Wallet(client)
            asset = wallet.asset(BANK_A_DVT)
            while not self._stopping.is_set():
                sent = wallet.transfer(alice, bob.address, asset, 1)
                try:
                    wait_final(client, sent.txid.hex(), 10)
                except WalletError:  # the network has lost its quorum, or is slow
                    continue
                self.final.append(sent.txid.hex())


@dataclass
class Spare:
    """A new validator on a new machine."""

    name: str
    home: Path
    key: str
    peer_id: str
    address: str
    rpc_url: str


@dataclass
class Disaster:
    """A network after it, and the files of its recovery."""

    net: Network
    folder: Path
    final: list[str]
    height: int
    early_statement: Path
    spares: list[Spare] = field(default_factory=list)
    survivor_key: str = ""

    @property
    def genesis(self) -> Path:
        return self.net.folder / "genesis.json"

    def home(self, name: str) -> Path:
        return self.net.devnet.node(name).home

    def recover(self, *arguments: str | Path, code: int = output.OK) -> dict[str, Any]:
        """A `recover` command: its JSON, or its error's."""
        done = drexnode("recover", *arguments, "-o", "json")
        assert done.returncode == code, done.stderr
        text = done.stdout if code == output.OK else done.stderr.splitlines()[-1]
        document: dict[str, Any] = json.loads(text)
        return document if code == output.OK else document["error"]

    def propose(self, name: str, statements: list[Path], sign: bool = True) -> Path:
        """An override of validator-0 and the spares, signed by the devnet's recovery key."""
        path = self.folder / name
        members = [f"{spare.key}={spare.peer_id}" for spare in self.spares]
        members.append(
            f"{self.survivor_key}={self.net.devnet.node('validator-0').p2p_address.split('/')[-1]}"
        )
        more = [item for member in members[1:] for item in ("--validator", member)]
        line = handbook(
            "recover propose", STATEMENTS=list(statements), GENESIS=self.genesis, KEY_PEER_ID=members[0],
            OVERRIDE=path,
        )  # fmt: skip
        self.recover(*line[1:], *more)
        if sign:
            line = handbook(
                "recover sign", OVERRIDE=path, SEED=self.seed("bcb-recovery"), GENESIS=self.genesis
            )
            self.recover(*line[1:], "--yes")
            line = handbook("recover show", OVERRIDE=path, GENESIS=self.genesis)
            assert self.recover(*line[1:])["missing"] is None
        return path

    def seed(self, wallet: str) -> Path:
        """A file with a wallet's open seed, as a member of the recovery condition keeps it."""
        path = self.folder / f"{wallet}.seed"
        if not path.exists():
            write_plain_key(path, key_of(self.net.wallets[wallet]).seed)
        return path

    def statements(self) -> list[Path]:
        return [self.folder / f"{name}.json" for name in LEFT]


def stop(homes: list[Path]) -> None:
    stop_processes([process for home in homes if (process := find_process(home)) is not None])


def make_spares(net: Network, folder: Path) -> list[Spare]:
    base = free_base_port(3)
    known = [net.devnet.node(name).p2p_address for name in ("validator-0", "full-0")]
    spares: list[Spare] = []
    for number in range(3):
        home, port = folder / f"spare-{number}", base + number
        peers = [item for address in known for item in ("--peer", address)]
        line = handbook(
            "init", NEWHOME=home, GENESIS=net.folder / "genesis.json", P2PPORT=port, RPCPORT=port + 50,
            PEER=known[0],
        )  # fmt: skip
        done = drexnode(*line, *peers[2:], "-o", "json")
        assert done.returncode == output.OK, done.stderr
        made = json.loads(done.stdout)
        address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{made['peer_id']}"
        known.append(address)
        url = f"http://127.0.0.1:{port + 50}"
        spares.append(Spare(home.name, home, made["validator_key"], made["peer_id"], address, url))
    return spares


@pytest.fixture(scope="module")
def disaster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disaster]:
    folder = tmp_path_factory.mktemp("recover")
    spares: list[Spare] = []
    try:
        with network(folder / "net") as net:
            spares = make_spares(net, folder)
            early = folder / "early.json"
            net.transfer(timeout_s=100)
            stop([net.devnet.node("observer-0").home])
            home = net.devnet.node("observer-0").home
            done = drexnode("recover", "statement", "--home", home, "--out", early)
            assert done.returncode == output.OK, done.stderr
            assert net.run("devnet", "start", "observer-0").returncode == output.OK
            with Load(net) as load:
                until("some are final", lambda: len(load.final) >= 30, PATIENCE_S)
                for name in LOST:
                    assert net.run("devnet", "kill", name).returncode == output.OK
                for name in LOST:
                    shutil.rmtree(net.devnet.node(name).home)
            height = net.height("validator-0")
            assert height is not None
            disaster = Disaster(net, folder, load.final, height, early, spares)
            key = read_plain_key(disaster.home("validator-0") / "keys" / "validator.key")
            disaster.survivor_key = key.public_key.hex()
            yield disaster
    finally:
        stop([spare.home for spare in spares])


def test_a_running_node_makes_no_statement(disaster: Disaster) -> None:
    refused = disaster.recover(
        "statement",
        "--home",
        disaster.home("full-0"),
        "--out",
        disaster.folder / "x.json",
        code=output.TRY_AGAIN,
    )
    assert (refused["code"], refused["next"]) == ("STORAGE_LOCKED", "stop the node first")


def test_every_stopped_node_states_what_it_has(disaster: Disaster) -> None:
    stop([disaster.home(name) for name in LEFT])
    for name, path in zip(LEFT, disaster.statements(), strict=True):
        line = handbook("recover statement", HOME=disaster.home(name), STATEMENT=path)
        made = disaster.recover(*line[1:])
        assert made["height"] >= disaster.height
        assert made["role"] == name.split("-")[0]


def test_what_is_forged_foreign_or_lower_is_refused(disaster: Disaster) -> None:
    home = disaster.home("validator-0")
    unsigned = disaster.propose("unsigned.json", disaster.statements(), sign=False)
    apply = ("--home", home, "--yes")
    assert (
        disaster.recover("apply", unsigned, *apply, code=output.UNSAFE)["code"] == "OVERRIDE_NOT_AUTHORISED"
    )
    signing = ("sign", unsigned, "bcb", "--genesis", disaster.genesis, "--dir", disaster.net.folder, "--yes")
    assert disaster.recover(*signing, code=output.UNSAFE)["code"] == "OVERRIDE_NO_MEMBER"
    lower = disaster.propose("lower.json", [disaster.early_statement])
    assert disaster.recover("apply", lower, *apply, code=output.UNSAFE)["code"] == "OVERRIDE_LOWER_TIP"
    made = drexnode("genesis", "new", "--validators", 1, "--out", disaster.folder / "other", "-o", "json")
    assert made.returncode == output.OK
    other = disaster.folder / "other" / "validator-0"
    signed = disaster.propose("foreign.json", disaster.statements())
    refused = disaster.recover("apply", signed, "--home", other, "--yes", code=output.UNSAFE)
    assert refused["code"] == "OVERRIDE_FOREIGN"


def test_the_chain_goes_on_with_everything_that_was_final(disaster: Disaster) -> None:
    signed = disaster.propose("override.json", disaster.statements())
    for name in ("validator-0", "full-0"):
        home = disaster.home(name)
        line = handbook("recover apply", OVERRIDE=signed, HOME=home)[1:]
        assert disaster.recover(*line, code=output.UNSAFE)["code"] == "RECOVER_CONFIRM_NEEDED"
        assert disaster.recover(*line, "--yes")["was_applied_before"] is False
        assert disaster.recover(*line, "--yes")["was_applied_before"] is True
    for home in (disaster.home("validator-0"), disaster.home("full-0"), *(s.home for s in disaster.spares)):
        start_process(home)
    until("validator-0 answers", lambda: disaster.net.height("validator-0") is not None, PATIENCE_S)
    until("blocks come again", lambda: (disaster.net.height("full-0") or 0) > disaster.height + 1, PATIENCE_S)
    disaster.net.transfer(timeout_s=100)
    for txid in disaster.final:
        assert disaster.net.ask("full-0", rpc.transaction_status(txid)).status == "FINAL"
    for spare in disaster.spares:
        with rpc.Client(spare.rpc_url) as client:
            until(
                f"{spare.name} follows", lambda: client.run(rpc.block_number()) > disaster.height, PATIENCE_S
            )


def test_a_node_without_the_override_refuses_and_says_what_to_do(disaster: Disaster) -> None:
    assert disaster.net.run("devnet", "start", "observer-0").returncode == output.OK

    def refusal() -> dict[str, Any] | None:
        entries = disaster.net.log("observer-0")
        return next((entry for entry in entries if entry.get("code") == "OVERRIDE_NOT_APPLIED"), None)

    entry = until("the refusal is logged", refusal, PATIENCE_S)
    assert "drexnode recover apply" in entry["reason"]
    assert disaster.net.height("observer-0") in (disaster.height, disaster.height + 1)
    stop([disaster.home("observer-0")])
    signed = disaster.folder / "override.json"
    assert disaster.recover("apply", signed, "--home", disaster.home("observer-0"), "--yes")["applied"]
    assert disaster.net.run("devnet", "start", "observer-0").returncode == output.OK
    until("it follows", lambda: (disaster.net.height("observer-0") or 0) > disaster.height + 1, PATIENCE_S)


def test_an_empty_observer_follows_through_the_override(disaster: Disaster) -> None:
    home = disaster.home("observer-0")
    stop([home])
    shutil.rmtree(home / "data")
    os.mkdir(home / "data", 0o700)
    assert disaster.net.run("devnet", "start", "observer-0").returncode == output.OK
    target = disaster.net.height("full-0")
    assert target is not None
    until("it has all", lambda: (disaster.net.height("observer-0") or 0) >= target, PATIENCE_S)
    disaster.net.await_agreement(target, ["full-0", "observer-0", "validator-0"], PATIENCE_S)
    for txid in disaster.final:
        assert disaster.net.ask("observer-0", rpc.transaction_status(txid)).status == "FINAL"
    stop([home])
    assert drexnode("verify", "--home", home).returncode == output.OK
