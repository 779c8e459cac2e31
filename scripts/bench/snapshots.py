"""Measure snapshots: a chain of signed transfers, restored from its state and replayed from its blocks.

    .venv/bin/python -m scripts.bench.snapshots [--outputs 60000] [--folder DIR]

Processor time of this process, one core; each transfer adds one unspent output.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog
import trio

from drexnode.rebuild import open_builder, read_source
from primitives.keys import verify
from storage.snapshot_format import read_chunks
from storage.snapshot_restore import restore_snapshot
from storage.snapshot_writer import write_snapshot
from tests.drexnode.chain import Chain, genesis_document, open_finalizer

T = TypeVar("T")
TRANSFERS_A_BLOCK = 500
HOT_SET_BYTES = 256 << 20


def timed(what: str, work: Callable[[], T]) -> tuple[T, float]:
    """Do `work`, print and return its processor time in seconds."""
    begin = time.process_time()
    result = work()
    seconds = time.process_time() - begin
    print(f"{what:10} {seconds:8.2f} s", flush=True)
    return result, seconds


async def measure(outputs: int, folder: Path) -> None:
    """Make the chain, then time a snapshot, a restore and a replay of it."""
    document = genesis_document(outputs=TRANSFERS_A_BLOCK)
    with open_finalizer(folder / "source", document) as finalizer:
        chain = Chain(finalizer, document)
        await chain.grow(-(-outputs // TRANSFERS_A_BLOCK), TRANSFERS_A_BLOCK)
        view, tip = finalizer.store.state.view, finalizer.head
        manifest, _ = timed("snapshot", lambda: write_snapshot(view, finalizer.chain_id, folder / "snapshot"))
        print(f"{manifest.entries} entries, {manifest.size_bytes / manifest.entries:.0f} bytes each")
        chunks = read_chunks(folder / "snapshot", manifest)
        _, restored = timed(
            "restore",
            lambda: restore_snapshot(manifest, chunks, document, folder / "restored", verify=verify),
        )

        def replay() -> bytes:
            builder = open_builder(folder / "replayed", document, hot_set_bytes=HOT_SET_BYTES)
            for height in range(1, tip.height + 1):
                builder.append(read_source(finalizer.queries, height))
            builder.store.close()
            return builder.state_root

        root, replayed = timed("replay", replay)
        assert root == tip.header.state_root
        print(f"a restore is {replayed / restored:.1f} times as fast as a replay")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outputs", type=int, default=60_000)
    parser.add_argument("--folder", type=Path, help="where the chains lie meanwhile")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="drexnode-bench-", dir=given.folder) as folder:
        trio.run(measure, given.outputs, Path(folder))


if __name__ == "__main__":
    main()
