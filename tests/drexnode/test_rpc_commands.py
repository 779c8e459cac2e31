"""`drexnode rpc`: tokens and keys as an operator makes them, used by other commands, taken back; misuse."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from drexnode.cli import output
from drexnode.rpc import credentials
from tests.drexnode.homes import done, make_home, refused
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving


@pytest.fixture
def chain() -> MemoryChain:
    return MemoryChain()


@pytest.fixture
def home(tmp_path: Path, chain: MemoryChain) -> Path:
    return make_home(tmp_path, document=chain.document)


async def in_thread(function: Any, *arguments: object) -> Any:
    return await trio.to_thread.run_sync(partial(function, *arguments))


async def test_a_token_made_for_an_admin_method_runs_it_until_its_key_is_revoked(
    home: Path, chain: MemoryChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "RELOAD_S", 0.0)
    token, weak = home / "ops.token", home / "reader.token"
    async with serving(chain, access_path=home / "rpc-access.json") as url:
        done("rpc", "token", "new-key", "ops", "--home", home)
        common = ("--key-id", "ops", "--home", home, "--expires", "5m")
        done("rpc", "token", "create", "--methods", "admin_*", "--out", token, *common)
        done("rpc", "token", "create", "--methods", "drex_*", "--out", weak, *common)
        call = ("peers", "list", "--rpc", url)
        assert (await in_thread(refused, *call))[1] == "RPC_UNAUTHORISED"
        assert (await in_thread(refused, *call, "--token-file", weak))[1] == "RPC_FORBIDDEN"
        await in_thread(done, *call, "--token-file", token)
        monkeypatch.setenv("DREX_TOKEN", token.read_text().strip())
        await in_thread(done, *call)
        done("rpc", "token", "revoke", "ops", "--home", home)
        assert (await in_thread(refused, *call))[1] == "RPC_TOKEN_REVOKED"


async def test_an_api_key_reads_and_is_taken_back(
    home: Path, chain: MemoryChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "RELOAD_S", 0.0)
    async with serving(chain, access_path=home / "rpc-access.json", public=()) as url:
        made = done("rpc", "key", "create", "bank-a", "--methods", "drex_*", "--rate", 50, "--home", home)
        file = home / "bank-a.key"
        file.write_text(made["key"] + "\n")
        supply = ("query", "supply", "BRL", "--rpc", url)
        assert (await in_thread(refused, *supply))[1] == "RPC_UNAUTHORISED"
        await in_thread(done, *supply, "--token-file", file)
        done("rpc", "key", "revoke", "bank-a", "--home", home)
        assert (await in_thread(refused, *supply, "--token-file", file))[1] == "RPC_API_KEY_REVOKED"


def test_list_shows_all_and_no_secret(home: Path) -> None:
    done("rpc", "token", "new-key", "--home", home)
    made = done("rpc", "key", "create", "bank-a", "--methods", "drex_*", "--home", home)
    done("rpc", "key", "revoke", "bank-a", "--home", home)
    assert (home / "keys" / "rpc-default.key").stat().st_mode & 0o777 == 0o600
    listed = done("rpc", "list", "--home", home)
    assert listed["token_keys"]["default"]["revoked"] is False
    assert listed["api_keys"]["bank-a"]["revoked"] is True
    assert made["key"].rpartition("_")[2] not in str(listed)


def test_misuse_is_told_with_what_to_do(home: Path, tmp_path: Path) -> None:
    create = ("rpc", "token", "create", "--home", home, "--methods")
    assert refused(*create, "*")[1] == "KEY_MISSING"
    done("rpc", "token", "new-key", "--home", home)
    assert refused("rpc", "token", "new-key", "--home", home)[1] == "RPC_KEY_ID_TAKEN"
    assert refused(*create, "a b")[1] == "RPC_BAD_GLOB"
    assert refused(*create, "*", "--subject", "a b")[1] == "RPC_BAD_TOKEN_CLAIMS"
    assert refused(*create, "*", "--expires", "999d")[1] == "RPC_BAD_TOKEN_CLAIMS"
    assert refused("rpc", "token", "revoke", "nobody", "--home", home)[1] == "RPC_KEY_UNKNOWN"
    assert refused("rpc", "key", "revoke", "nobody", "--home", home)[1] == "RPC_KEY_UNKNOWN"
    done("rpc", "token", "revoke", "default", "--home", home)
    assert refused(*create, "*")[1] == "RPC_KEY_NOT_TRUSTED"
    code, name = refused("status", "--rpc", "http://127.0.0.1:1", "--token-file", tmp_path / "absent")
    assert (code, name) == (output.FAILURE, "TOKEN_UNREADABLE")


def test_config_check_tells_a_broken_access_file(home: Path) -> None:
    (home / "rpc-access.json").write_text("{")
    assert refused("config", "check", "--home", home) == (output.CONFIGURATION, "RPC_ACCESS_UNREADABLE")
    (home / "rpc-access.json").unlink()
    found = done("config", "check", "--home", home)
    assert (found["rpc_tls"], found["rpc_token_keys"], found["rpc_api_keys"]) == ("off", 0, 0)


def test_the_pages_commands_for_credentials_run_in_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/rpc.md, "Credentials": all but the call of another machine's node."""
    monkeypatch.chdir(home.parent)
    page = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text("utf-8")
    lines = [line for block in re.findall(r"```console\n(.*?)```", page, re.S) for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("drexnode rpc ")]
    assert len(commands) == 6
    for command in commands:
        done(*[str(home) if word == "node" else word for word in command[1:]])
    states = done("rpc", "list", "--home", home)
    assert states["token_keys"]["ops"]["revoked"]
    assert states["api_keys"]["bank-a"]["revoked"]
