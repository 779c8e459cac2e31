"""`drexnode export`: every table, exact amounts, whole files or none."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from drexnode.cli import main
from drexnode.cli.export import TABLES as NAMES
from drexnode.export import TABLES
from tests.drexnode.homes import grow, make_home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_home(tmp_path_factory.mktemp("export"))
    grow(made, 4, transfers=2)
    return made


def export(*arguments: str | int | Path) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, rows of stdout, stderr."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main.run(["export", *(str(argument) for argument in arguments)])
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


def test_the_command_offers_every_table() -> None:
    assert set(NAMES) == set(TABLES)


@pytest.mark.parametrize("name", NAMES)
def test_rows_have_the_columns_that_are_promised(home: Path, name: str) -> None:
    code, rows, _ = export(name, "--home", home)
    assert code == 0
    assert rows
    assert all(list(row) == list(TABLES[name].columns) for row in rows)


def test_what_is_unspent_and_the_balances_sum_to_the_supply(home: Path) -> None:
    unspent = sum(int(row["amount"]) for row in export("unspent", "--home", home)[1])
    balances = sum(int(row["amount"]) for row in export("balances", "--home", home)[1])
    supply = export("supply", "--home", home)[1][0]
    assert unspent == balances == int(supply["emitted"]) - int(supply["burned"])


def test_a_range_of_heights_and_a_file(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "transactions.jsonl"
    code, _, said = export("transactions", "--home", home, "--from", 2, "--to", 3, "--out", target)
    assert code == 0
    assert "4 rows" in said
    heights = [json.loads(line)["height"] for line in target.read_text().splitlines()]
    assert heights == [2, 2, 3, 3]
    code, _, said = export("transactions", "--home", home, "--out", target)
    assert code == 8
    assert "FILE_EXISTS" in said


def test_a_full_disk_leaves_no_half_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("drexnode.export.os.fsync", full)
    code, _, said = export("blocks", "--home", home, "--out", tmp_path / "blocks.jsonl")
    assert code == 75
    assert "STORAGE_WRITE_FAILED" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is an extra")
@pytest.mark.parametrize("name", NAMES)
def test_parquet_holds_what_json_lines_hold(home: Path, tmp_path: Path, name: str) -> None:
    from pyarrow.parquet import read_table

    code, _, _ = export(name, "--home", home, "--format", "parquet", "--out", tmp_path / "table.parquet")
    assert code == 0
    rows = read_table(tmp_path / "table.parquet").to_pylist()
    amounts = [column for column, kind in TABLES[name].columns.items() if kind == "amount"]
    expected = export(name, "--home", home)[1]
    assert [{**row, **{column: str(row[column]) for column in amounts}} for row in rows] == expected


@pytest.mark.skipif(find_spec("pyarrow") is not None, reason="pyarrow is here")
def test_parquet_without_pyarrow_names_what_to_install(home: Path, tmp_path: Path) -> None:
    code, _, said = export("blocks", "--home", home, "--format", "parquet", "--out", tmp_path / "b.parquet")
    assert code == 3
    assert "drexnode[parquet]" in said
