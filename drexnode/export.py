"""A stopped node's chain as tables for other programs: JSON lines, or Parquet where pyarrow is installed.

Promises: rows stream, so memory does not grow with the chain; amounts are exact integers of the smallest unit
(text in JSON, as everywhere); a file appears under its name only when it is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from drexnode.config import ConfigError
from drexnode.stopped import StoppedChain
from ledger.state import BALANCE, LOCK_BYTES, OUTPUT, SUPPLY, read_output
from ledger.supply import decode_supply
from ledger.transaction import Transaction, decode_transaction
from primitives.address import encode_address
from primitives.block import block_id
from primitives.errors import DrexError
from storage.files import sync_directory, write_failed

Row = Mapping[str, Any]
Kind = Literal["text", "integer", "amount"]
Progress = Callable[[str, int, int], None]
ROWS_PER_GROUP = 20_000  # of a Parquet file: about 5 MB in RAM


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of rows: its columns, and where they come from. `of_state` tables are of the tip alone."""

    columns: Mapping[str, Kind]
    rows: Callable[[StoppedChain, int, int], Iterator[Row]]
    of_state: bool = False


def _address(chain: StoppedChain, lock: bytes) -> str:
    return encode_address(chain.document.address_prefix, lock)


def _blocks(chain: StoppedChain, first: int, last: int) -> Iterator[Row]:
    for height in range(first, last + 1):
        header, certificate = chain.queries.header(height), chain.queries.certificate(height)
        if header is not None:
            yield {
                "height": height,
                "block_id": block_id(header).hex(),
                "parent_id": header.parent_id.hex(),
                "timestamp_ms": header.timestamp_ms,
                "proposer": header.proposer.hex(),
                "round": None if certificate is None else certificate.round,
                "tx_count": header.tx_count,
                "state_root": header.state_root.hex(),
            }


def _each_transaction(chain: StoppedChain, first: int, last: int) -> Iterator[tuple[int, int, Transaction]]:
    for height in range(first, last + 1):
        block = chain.queries.block(height)
        for index, raw in enumerate(() if block is None else block.transactions):
            yield height, index, decode_transaction(raw, chain.chain_id)


def _transactions(chain: StoppedChain, first: int, last: int) -> Iterator[Row]:
    for height, index, transaction in _each_transaction(chain, first, last):
        body = transaction.body
        yield {
            "height": height,
            "index": index,
            "txid": transaction.txid.hex(),
            "kind": transaction.kind.name,
            "inputs": len(body.inputs),
            "outputs": len(body.outputs),
            "reference": body.reference.hex(),
            "signers": " ".join(key.hex() for key, _ in transaction.witness.signatures),
            "size_bytes": transaction.size,
        }


def _outputs(chain: StoppedChain, first: int, last: int) -> Iterator[Row]:
    for height, _, transaction in _each_transaction(chain, first, last):
        for index, output in enumerate(transaction.body.outputs):
            yield {
                "height": height,
                "txid": transaction.txid.hex(),
                "index": index,
                "asset": output.asset,
                "amount": output.value,
                "address": _address(chain, output.lock),
                "note": output.note.hex(),
            }


def _inputs(chain: StoppedChain, first: int, last: int) -> Iterator[Row]:
    for height, _, transaction in _each_transaction(chain, first, last):
        for spent in transaction.body.inputs:
            yield {
                "height": height,
                "txid": transaction.txid.hex(),
                "spent_txid": spent.txid.hex(),
                "spent_index": spent.index,
            }


def _unspent(chain: StoppedChain, first: int, last: int) -> Iterator[Row]:
    for key, value in chain.queries.scan_state(OUTPUT):
        output = read_output(value)
        yield {
            "txid": key[1:33].hex(),
            "index": int.from_bytes(key[33:], "big"),
            "asset": output.asset,
            "amount": output.amount,
            "address": _address(chain, output.lock),
        }


def _balances(chain: StoppedChain, first: int, last: int) -> Iterator[Row]:
    asset_at = len(BALANCE) + LOCK_BYTES
    for key, value in chain.queries.scan_state(BALANCE):
        yield {
            "address": _address(chain, key[len(BALANCE) : asset_at]),
            "asset": key[asset_at:].decode(),
            "amount": int.from_bytes(value, "big"),
        }


def _supply(chain: StoppedChain, first: int, last: int) -> Iterator[Row]:
    for key, value in chain.queries.scan_state(SUPPLY):
        found = decode_supply(value)
        yield {"asset": key[1:].decode(), "emitted": found.emitted, "burned": found.burned}


TABLES: dict[str, Table] = {
    "blocks": Table(
        {
            "height": "integer",
            "block_id": "text",
            "parent_id": "text",
            "timestamp_ms": "integer",
            "proposer": "text",
            "round": "integer",
            "tx_count": "integer",
            "state_root": "text",
        },
        _blocks,
    ),
    "transactions": Table(
        {
            "height": "integer",
            "index": "integer",
            "txid": "text",
            "kind": "text",
            "inputs": "integer",
            "outputs": "integer",
            "reference": "text",
            "signers": "text",
            "size_bytes": "integer",
        },
        _transactions,
    ),
    "outputs": Table(
        {
            "height": "integer",
            "txid": "text",
            "index": "integer",
            "asset": "text",
            "amount": "amount",
            "address": "text",
            "note": "text",
        },
        _outputs,
    ),
    "inputs": Table(
        {"height": "integer", "txid": "text", "spent_txid": "text", "spent_index": "integer"}, _inputs
    ),
    "unspent": Table(
        {"txid": "text", "index": "integer", "asset": "text", "amount": "amount", "address": "text"},
        _unspent,
        of_state=True,
    ),
    "balances": Table({"address": "text", "asset": "text", "amount": "amount"}, _balances, of_state=True),
    "supply": Table({"asset": "text", "emitted": "amount", "burned": "amount"}, _supply, of_state=True),
}


def export_table(
    chain: StoppedChain, name: str, first: int, last: int, write: Callable[[Row], None], progress: Progress
) -> int:
    """Hand every row of a table to `write`; returns how many. Raises `QueryError` (BLOCK_PRUNED)."""
    table, count = TABLES[name], 0
    for count, row in enumerate(table.rows(chain, first, last), 1):
        write(row)
        if table.of_state:
            progress("rows", count, 0)
        else:
            progress("blocks", row["height"] - first + 1, last - first + 1)
    return count


@contextmanager
def json_lines(name: str, file: IO[str]) -> Iterator[Callable[[Row], None]]:
    """A writer of one JSON object a line."""
    amounts = [column for column, kind in TABLES[name].columns.items() if kind == "amount"]

    def write(row: Row) -> None:
        view = {**row, **{column: str(row[column]) for column in amounts}}
        file.write(json.dumps(view, ensure_ascii=False, separators=(",", ":")) + "\n")

    yield write
    file.flush()


@contextmanager
def parquet(name: str, path: Path) -> Iterator[Callable[[Row], None]]:
    """A writer of a Parquet file. Raises `ConfigError` (EXPORT_NO_PARQUET) where pyarrow is missing."""
    try:
        import pyarrow as arrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        message = "Parquet needs pyarrow, which is not installed: pip install 'drexnode[parquet]'"
        raise ConfigError("EXPORT_NO_PARQUET", message) from None
    types = {"text": arrow.string(), "integer": arrow.int64(), "amount": arrow.int64()}
    schema = arrow.schema([(column, types[kind]) for column, kind in TABLES[name].columns.items()])
    waiting: list[Row] = []
    with ParquetWriter(path, schema, compression="zstd") as writer:

        def flush() -> None:
            writer.write_table(arrow.Table.from_pylist(waiting, schema=schema))
            waiting.clear()

        def write(row: Row) -> None:
            waiting.append(row)
            if len(waiting) >= ROWS_PER_GROUP:
                flush()

        yield write
        flush()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write what shall appear at `path` only when it is whole. Raises `DrexError` (FILE_EXISTS) and
    `StorageFailure` (STORAGE_WRITE_FAILED)."""
    if path.exists():
        raise DrexError("FILE_EXISTS", f"{path} exists and is not overwritten", path=str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise write_failed(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
