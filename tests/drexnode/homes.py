"""Homes with a real chain on disk, made without a network: for the commands that work on a stopped node."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import trio

from drexnode.cli import main, output
from drexnode.config import Value
from drexnode.home import create_home
from ledger.genesis_records import GenesisDocument
from tests.drexnode.chain import Chain, genesis_document, key, open_finalizer

DOCUMENT = genesis_document(outputs=64)


def make_home(
    folder: Path, name: str = "observer-0", role: str = "observer", document: GenesisDocument = DOCUMENT
) -> Path:
    """A home without data."""
    seed = key("validator-0").seed if role == "validator" else None
    settings: dict[str, Value] = {"node.name": name, "storage.free_floor_bytes": 0}
    create_home(folder / name, document, role, key(f"peer-{name}").seed, seed, settings)
    return folder / name


def grow(
    home: Path,
    blocks: int,
    transfers: int = 3,
    document: GenesisDocument = DOCUMENT,
    before: Callable[[Chain], None] = lambda chain: None,
) -> None:
    """Let the chain of a home without blocks reach height `blocks`, with `transfers` in each block."""

    async def run() -> None:
        with open_finalizer(home / "data", document) as finalizer:
            chain = Chain(finalizer, document)
            before(chain)
            await chain.grow(blocks, transfers)

    trio.run(run)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(*arguments: str | int | Path) -> tuple[int, dict[str, Any]]:
    """Run a command in this process with `-o json`: its exit code, and the JSON of stdout or of its error."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main.run([*(str(argument) for argument in arguments), "-o", "json"])
    text = out.getvalue() if out.getvalue() else (err.getvalue().splitlines() or [""])[-1]
    document = json.loads(text) if text.startswith("{") else {"text": err.getvalue()}
    return code, document.get("error", document)


def done(*arguments: str | int | Path) -> dict[str, Any]:
    """`command` that succeeds."""
    code, document = command(*arguments)
    assert code == output.OK, document
    return document


def refused(*arguments: str | int | Path) -> tuple[int, str]:
    """`command` that fails: exit code and error code."""
    code, document = command(*arguments)
    assert code != output.OK, document
    return code, str(document["code"])
