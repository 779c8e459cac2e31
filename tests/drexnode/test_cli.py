"""The command line: exit codes, JSON, coded errors with the next command, and a help that is quick."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import trio

from drexnode.cli import main, output, start
from drexnode.cli.main import SECTIONS, root
from drexnode.cli.options import ExampleCommand, ExampleGroup
from drexnode.config import ConfigError, load_config
from drexnode.home import check_home, read_genesis
from drexnode.version import VERSION
from primitives.errors import DrexError, InvariantViolation, StorageFailure
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving

DREXNODE = [sys.executable, "-m", "drexnode"]


def drexnode(*arguments: str | int | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DREX_")}
    environment |= options.pop("env", {})
    command = [*DREXNODE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, **options)


def data(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["schema_version"] == 1
    return document


def error(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.stderr)
    return dict(document["error"])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network") / "net"
    data(drexnode("genesis", "new", "--validators", "4", "--observers", "1", "--out", folder, "-o", "json"))
    return folder


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize(("path", "command"), commands(root), ids=lambda value: str(value))
def test_every_command_has_help_with_an_example_that_names_it(
    path: tuple[str, ...], command: click.Command
) -> None:
    assert isinstance(command, ExampleCommand | ExampleGroup)
    assert command.help
    assert f"drexnode {' '.join(path)}" in command.example


def test_help_is_quick_and_imports_neither_network_nor_store() -> None:
    code = (
        "import sys; from drexnode.cli.main import run; run(['--help'])\n"
        "heavy = {'trio', 'libp2p', 'plyvel', 'starlette', 'httpx', 'ledger', 'structlog'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    times = []
    for _ in range(3):  # processor time: a busy machine stretches the clock and not the work
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert result.returncode == 0, result.stderr
    assert all(section in result.stdout for section in SECTIONS)
    assert min(times) < 0.2


def test_version_and_completion_answer() -> None:
    assert data(drexnode("version", "-o", "json"))["drexnode"] == VERSION
    assert VERSION in drexnode("--version").stdout
    assert "_drexnode_completion" in drexnode("completion", "bash").stdout


def test_wrong_usage_ends_with_2_and_a_hint() -> None:
    for arguments in (
        ("nonsense",),
        ("tx", "transfer"),
        ("genesis", "new", "--validators", "x", "--out", "y"),
    ):
        result = drexnode(*arguments)
        assert result.returncode == output.USAGE
        assert "--help" in result.stderr
        assert result.stdout == ""


def test_the_package_and_the_command_line_name_one_version() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'version = "{VERSION}"' in text


# --- homes, genesis, configuration


def test_a_new_networks_homes_are_whole_and_private(network: Path) -> None:
    homes = sorted(path.parent for path in network.glob("*/drexnode.toml"))
    assert [home.name for home in homes] == ["observer-0", *(f"validator-{n}" for n in range(4))]
    for home in homes:
        check_home(load_config(home, environment={}))
        for key in (home / "keys").iterdir():
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (network / "validator-0" / "signer" / "watermark").is_dir()
    assert not (network / "observer-0" / "signer").exists()
    assert set(json.loads((network / "wallets.json").read_text())) >= {"bcb", "bank-a", "alice", "bob", "stn"}


@pytest.mark.parametrize(("validators", "quorum"), [(1, 1), (4, 3), (7, 5)])
def test_a_genesis_for_one_four_and_seven_validators_is_made_and_checked(
    tmp_path: Path, validators: int, quorum: int
) -> None:
    made = data(drexnode("genesis", "new", "--validators", validators, "--out", tmp_path / "n", "-o", "json"))
    checked = data(drexnode("genesis", "check", tmp_path / "n" / "genesis.json", "-o", "json"))
    assert (checked["validators"], checked["quorum"]) == (validators, quorum)
    assert checked["chain_id"] == made["chain_id"]
    shown = json.loads(drexnode("genesis", "show", tmp_path / "n" / "genesis.json").stdout)
    assert len(shown["validators"]) == validators


def test_a_changed_genesis_is_refused_with_the_place(network: Path, tmp_path: Path) -> None:
    view = json.loads((network / "genesis.json").read_text())
    view["assets"][0]["decimals"] = 3
    (tmp_path / "genesis.json").write_text(json.dumps(view))
    result = drexnode("genesis", "check", tmp_path / "genesis.json", "-o", "json")
    assert result.returncode == output.CONFIGURATION
    assert error(result)["code"] == "GENESIS_INVALID"
    assert "assets[0]" in error(result)["message"]
    (tmp_path / "genesis.json").write_text("[" * 5000)
    assert (
        error(drexnode("genesis", "check", tmp_path / "genesis.json", "-o", "json"))["code"]
        == "GENESIS_UNREADABLE"
    )


def test_init_makes_a_home_once_and_never_overwrites_it(network: Path, tmp_path: Path) -> None:
    home = tmp_path / "node"
    arguments = (
        "init",
        "--home",
        home,
        "--genesis",
        network / "genesis.json",
        "--role",
        "validator",
        "-o",
        "json",
    )
    made = data(drexnode(*arguments))
    assert made["role"] == "validator"
    checked = data(drexnode("config", "check", "--home", home, "-o", "json"))
    assert (checked["peer_id"], checked["validator_key"]) == (made["peer_id"], made["validator_key"])
    assert checked["in_genesis"] is False
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    again = drexnode(*arguments)
    assert again.returncode == output.UNSAFE
    assert error(again)["code"] == "HOME_EXISTS"
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_config_show_names_where_each_value_comes_from(network: Path) -> None:
    home = network / "validator-0"
    shown = data(drexnode("config", "show", "--home", home, "-o", "json", env={"DREX_LOG_LEVEL": "debug"}))[
        "keys"
    ]
    assert shown["log.level"] == {"value": "debug", "origin": "environment", "variable": "DREX_LOG_LEVEL"}
    assert shown["node.name"]["origin"] == "file"
    assert shown["pool.max_bytes"]["origin"] == "default"
    table = drexnode("config", "show", "--home", home, "--origin").stdout
    assert table.splitlines()[0].split() == ["KEY", "ORIGIN", "VALUE"]


def test_a_bad_configuration_ends_with_3_and_a_suggestion(network: Path) -> None:
    result = drexnode("start", "--home", network / "validator-0", "--set", "rpc.prot=1")
    assert result.returncode == output.CONFIGURATION
    assert "did you mean rpc.port?" in result.stderr
    assert "next: drexnode config show" in result.stderr


def test_a_node_does_not_start_without_its_keys_or_with_exposed_ones(network: Path, tmp_path: Path) -> None:
    home = tmp_path / "node"
    data(drexnode("init", "--home", home, "--genesis", network / "genesis.json", "-o", "json"))
    (home / "keys" / "peer.key").chmod(0o644)
    exposed = drexnode("start", "--home", home)
    assert (exposed.returncode, "chmod 600" in exposed.stderr) == (output.UNSAFE, True)
    (home / "keys" / "peer.key").unlink()
    assert drexnode("start", "--home", home).returncode == output.CONFIGURATION


def test_the_document_read_back_from_a_home_is_the_networks(network: Path) -> None:
    assert read_genesis(network / "validator-1" / "genesis.json") == read_genesis(network / "genesis.json")


# --- keys


def test_keys_are_made_listed_exported_and_imported_by_file_and_descriptor(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    store = ("--keystore", tmp_path / "keys")
    made = data(drexnode("keys", "new", "alice", *store, "--passphrase-file", secret, "-o", "json"))
    listed = data(drexnode("keys", "list", *store, "-o", "json"))["keys"]
    assert listed == [{key: made[key] for key in ("name", "public_key", "address", "file")}]
    seed = tmp_path / "seed"
    exported = drexnode("keys", "export", "alice", *store, "--to", seed, "--passphrase-file", secret)
    assert (exported.returncode, stat.S_IMODE(seed.stat().st_mode)) == (0, 0o600)
    imported = drexnode(
        "keys",
        "import",
        "copy",
        *store,
        "--seed-file",
        seed,
        "--passphrase-fd",
        "0",
        "-o",
        "json",
        input="other\n",
    )
    assert data(imported)["public_key"] == made["public_key"]
    wrong = drexnode(
        "keys", "export", "alice", *store, "--to", tmp_path / "x", "--passphrase-fd", "0", input="no\n"
    )
    assert (wrong.returncode, "KEY_WRONG_PASSPHRASE" in wrong.stderr) == (output.CONFIGURATION, True)
    again = drexnode("keys", "new", "alice", *store, "--passphrase-file", secret)
    assert again.returncode == output.UNSAFE


def test_no_terminal_and_no_passphrase_is_said_and_not_waited_for(tmp_path: Path) -> None:
    result = drexnode("keys", "new", "alice", "--keystore", tmp_path, stdin=subprocess.DEVNULL)
    assert (result.returncode, "--passphrase-file" in result.stderr) == (output.CONFIGURATION, True)


# --- against a chain


async def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return await trio.to_thread.run_sync(lambda: drexnode(*arguments, **options))


async def test_money_is_sent_and_seen_by_the_command_line(tmp_path: Path) -> None:
    chain = MemoryChain()
    (tmp_path / "wallets.json").write_text(json.dumps(chain.plan.wallets_view()))
    async with serving(chain) as url:
        at = ("--rpc", url, "--dir", tmp_path, "-o", "json")
        sent = data(await run("tx", "transfer", "alice", "bob", "12.50", "--wait", *at))
        assert (sent["status"], sent["height"], sent["round"], len(sent["signers"])) == ("FINAL", 1, 0, 1)
        assert sent["latency_ms"] >= 0
        held = data(await run("query", "balance", "bob", *at))["balances"]
        assert held == [{"asset": "BRL@99990001/DVT", "total": "12.50", "frozen": "0.00", "free": "12.50"}]
        emitted = data(await run("tx", "emit", "bcb", "bcb", "1000.00", "--reference", "op-1", "--wait", *at))
        assert emitted["height"] == 2
        burned = data(await run("tx", "burn", "bcb", "400", "--wait", *at))
        assert burned["asset"] == "BRL"
        supply = data(await run("query", "supply", "BRL", *at))
        assert (supply["emitted"], supply["burned"], supply["circulating"]) == ("1000.00", "400.00", "600.00")
        shown = data(await run("query", "tx", sent["txid"], *at))
        assert (shown["status"], shown["kind"]) == ("FINAL", "TRANSFER")
        assert data(await run("query", "block", "latest", *at))["height"] == 3
        assert len(data(await run("query", "utxos", "alice", *at))["outputs"]) == 4
        assert data(await run("query", "history", "bob", *at))["entries"][0]["txid"] == sent["txid"]
        again = data(await run("tx", "send", shown["raw"], *at))
        assert again["txid"] == sent["txid"]
        assert data(await run("tx", "wait", sent["txid"], *at))["status"] == "FINAL"
        assert data(await run("tx", "consolidate", "alice", "--wait", *at))["merged"] == 4
        assert len(data(await run("query", "validators", *at))["validators"]) == 1
        assert len(data(await run("query", "participants", *at))["participants"]) >= 3
        status = data(await run("status", *at))
        assert (status["tip"]["height"], status["ready"]) == (4, True)


async def test_tables_say_the_same_to_people(tmp_path: Path) -> None:
    chain = MemoryChain()
    (tmp_path / "wallets.json").write_text(json.dumps(chain.plan.wallets_view()))
    async with serving(chain) as url:
        at = ("--rpc", url, "--dir", tmp_path)
        sent = (await run("tx", "transfer", "alice", "bob", "1.00", "--wait", *at)).stdout
        assert "FINAL" in sent
        assert "TRANSFER" in sent
        for arguments, word in (
            (("query", "balance", "alice"), "BRL@99990001/DVT"),
            (("query", "block"), "1 of 1"),
            (("query", "assets"), "99990001"),
            (("status",), "1 of 1, 1 needed"),
        ):
            result = await run(*arguments, *at)
            assert (result.returncode, word in result.stdout) == (0, True), result


async def test_refusals_end_with_their_documented_exit_codes(tmp_path: Path) -> None:
    chain = MemoryChain()
    (tmp_path / "wallets.json").write_text(json.dumps(chain.plan.wallets_view()))
    async with serving(chain) as url:
        at = ("--rpc", url, "--dir", tmp_path, "-o", "json")
        cases = (
            (("tx", "send", "9200"), output.REJECTED, "TX_MALFORMED"),
            (("tx", "send", "xyz"), output.USAGE, None),
            (("tx", "transfer", "alice", "bob", "1.001"), output.USAGE, "AMOUNT_INVALID"),
            (("tx", "transfer", "alice", "stn", "1.00"), output.REJECTED, "TX_WALLET_NOT_ENABLED"),
            (("tx", "transfer", "alice", "carol", "1.00"), output.FAILURE, "WALLET_UNKNOWN"),
            (("tx", "transfer", "alice", "bob", "99999999.00"), output.FAILURE, "WALLET_FUNDS"),
            (("tx", "emit", "alice", "bcb", "1.00"), output.REJECTED, "TX_NOT_AUTHORISED"),
            (("tx", "wait", "00" * 32, "--timeout", "0.05"), output.TRY_AGAIN, "TX_NOT_FINAL"),
            (("query", "tx", "00" * 32), output.FAILURE, "NOT_FOUND"),
            (("query", "supply", "EUR"), output.FAILURE, "RPC_ASSET_UNKNOWN"),
        )
        for arguments, code, name in cases:
            result = await run(*arguments, *at)
            assert result.returncode == code, (arguments, result.stderr)
            if name is not None:
                assert error(result)["code"] == name
        assert chain.tip().height == 0
    result = await run("query", "supply", "--rpc", url, "-o", "json")
    assert result.returncode == output.UNREACHABLE
    assert error(result)["next"].startswith("drexnode devnet status")


def test_every_family_of_codes_has_its_exit_code() -> None:
    expected = {
        "TX_FROZEN": 6,
        "NODE_OBSERVER": 6,
        "CONFIG_UNKNOWN_KEY": 3,
        "NODE_UNREACHABLE": 5,
        "NODE_NOT_READY": 4,
        "KEY_EXISTS": 8,
        "TX_NOT_FINAL": 75,
        "SOMETHING": 1,
    }
    assert {code: output.exit_code(DrexError(code, "")) for code in expected} == expected


def test_a_node_ends_with_the_code_of_what_stopped_it() -> None:
    failures = [
        (StorageFailure("STORAGE_WRITE_FAILED", ""), output.TRY_AGAIN),
        (StorageFailure("STORAGE_DISK_FULL", ""), output.TRY_AGAIN),
        (StorageFailure("STORAGE_CORRUPT", ""), output.CORRUPT),
        (StorageFailure("WATERMARK_MISSING", ""), output.CONFIGURATION),
        (ConfigError("RPC_PORT_IN_USE", ""), output.CONFIGURATION),
        (InvariantViolation("BOOKS", ""), output.CORRUPT),
        (RuntimeError("a bug"), output.FAILURE),
    ]
    for failure, code in failures:
        nested = BaseExceptionGroup("", [KeyboardInterrupt(), ExceptionGroup("", [failure])])
        assert start.exit_code_of(nested) == code


def test_an_error_is_shown_with_code_cause_evidence_and_next_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.show_error(DrexError("NODE_UNREACHABLE", "no node answers", url="http://x"), as_json=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error NODE_UNREACHABLE: no node answers"
    assert lines[1] == "  url: http://x"
    assert lines[2].startswith("  next: drexnode ")
    assert main.run(["devnet", "status", "--dir", "/nonexistent/devnet"]) == output.FAILURE
    assert "drexnode devnet up" in capsys.readouterr().err
