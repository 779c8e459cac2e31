"""Every command, by enumeration: its example, its JSON, its completion, and that a test carries it out.

What a command does is told in the test of its subject; here nothing may be forgotten.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import trio

from drexnode.cli.main import root
from drexnode.cli.options import ExampleCommand, LazyGroup
from ledger.devnet import BANK_A_ISPB
from ledger.locks import key_lock
from primitives.address import encode_address
from primitives.keys import SigningKey
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving
from tests.drexnode.shell import Shell

ROOT = Path(__file__).parents[2]

# These print something that is no table of facts: a stream, a document of its own, or a shell's program.
WITHOUT_JSON = {
    "completion": "a program for a shell",
    "devnet up": "runs until Ctrl-C; devnet status -o json tells what runs",
    "export": "JSON lines or Parquet",
    "genesis show": "the document itself, as JSON",
    "signer run": "runs until it is stopped",
    "start": "runs until it is stopped",
}


def every(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from every(below, (*path, name))


COMMANDS = dict(every(root))


def test_every_command_answers_json_but_those_that_are_no_table_of_facts() -> None:
    without = {
        path
        for path, command in COMMANDS.items()
        if not any("--output" in parameter.opts for parameter in command.params)
    }
    assert without == set(WITHOUT_JSON)


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_an_examples_words_are_those_of_the_command(path: str) -> None:
    command = COMMANDS[path]
    assert isinstance(command, ExampleCommand)
    for line in command.example.splitlines():
        words = shlex.split(line)
        if words[0] == "eval":  # a shell's way to take what the command prints
            words = shlex.split(line.partition("$(")[2].partition(")")[0])
        assert words[0] == "drexnode"
        if words[1 : 1 + len(path.split())] != path.split():
            continue
        given = words[1 + len(path.split()) :]
        context = click.Context(command)
        parser = command.make_parser(context)
        parser.parse_args(args=[word for word in given if word != "…"])  # raises for an unknown option


def test_what_a_lazy_group_says_of_a_command_is_what_the_command_says_itself() -> None:
    groups = [("tx", root.get_command(click.Context(root), "tx"))]
    groups.append(("registry", root.get_command(click.Context(root), "registry")))
    for _, group in groups:
        assert isinstance(group, LazyGroup)
        context = click.Context(group)
        for name, (_, what) in group.later.items():
            found = group.get_command(context, name)
            assert found is not None
            assert (found.name, found.get_short_help_str(200)) == (name, what)


@pytest.mark.parametrize("group", ["", "tx"])
def test_the_help_of_a_lazy_group_imports_neither_ledger_nor_network(group: str) -> None:
    code = (
        f"import sys; from drexnode.cli.main import run; run('{group} --help'.split())\n"
        "heavy = {'trio', 'libp2p', 'plyvel', 'starlette', 'httpx', 'ledger', 'structlog', 'msgspec'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("drexnode t", "tx"), ("drexnode tx tr", "transfer"), ("drexnode registry pa", "participant")],
)
def test_a_shell_completes_commands_at_every_depth(words: str, wanted: str) -> None:
    given = words.split()
    environment = {
        **os.environ,
        "_DREXNODE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(given) - 1),
    }
    program = "from drexnode.cli.main import root; root(prog_name='drexnode')"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60
    )
    assert f"plain,{wanted}" in result.stdout.split()


def spoken_of() -> str:
    """All tests' source and the pages whose commands they carry out, with words joined by single spaces."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    executed = [page for page in pages if page.name not in ("cli.md", "rpc.md")]
    texts = [path.read_text("utf-8") for path in [*executed, *(ROOT / "tests").rglob("*.py")]]
    return re.sub(r"""["',\s]+""", " ", " ".join(texts))


def test_every_command_is_carried_out_by_some_test() -> None:
    text = spoken_of()
    missing = [path for path in COMMANDS if not re.search(rf"(^|[ (\[*]){re.escape(path)}\b", text)]
    assert missing == []


def test_a_configuration_is_begun_once_and_a_key_is_shown_without_its_secret(tmp_path: Path) -> None:
    home, secret = tmp_path / "node", tmp_path / "secret"
    begun = answered("config", "init", "--home", home)
    assert Path(begun["file"]).read_text("utf-8").startswith("# drexnode configuration")
    assert run("config", "init", "--home", home).returncode != 0
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    store = ("--keystore", tmp_path / "keys")
    made = answered("keys", "new", "alice", *store, "--passphrase-file", secret)
    assert answered("keys", "show", "alice", *store)["public_key"] == made["public_key"]
    opened = ("--to", tmp_path / "seed", "--passphrase-file", secret)
    assert answered("keys", "export", "alice", *store, *opened)["public_key"] == made["public_key"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "drexnode", *map(str, arguments), "-o", "json"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DREX_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def answered(*arguments: object) -> dict[str, Any]:
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


async def test_a_participant_names_the_lock_where_it_settles(tmp_path: Path) -> None:
    chain = MemoryChain()
    wallets = chain.plan.wallets_view()
    (tmp_path / "wallets.json").write_text(json.dumps(wallets))
    fresh = encode_address(chain.document.address_prefix, key_lock(SigningKey(bytes(31) + b"7").public_key))
    async with serving(chain) as url:
        shell = Shell(url, tmp_path, ("--dir", str(tmp_path)))

        def work() -> None:
            shell.done("registry", "lock", "add", BANK_A_ISPB, fresh, "--by", "bank-a")
            shell.done("registry", "lock", "settle", BANK_A_ISPB, fresh, "--by", "bank-a")
            found = shell.done("query", "participants")["participants"]
            assert next(item for item in found if item["ispb"] == BANK_A_ISPB)["settlement_address"] == fresh

        await trio.to_thread.run_sync(work)
