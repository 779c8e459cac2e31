"""Measure a node with a large state: payments a second at 10 k, 1 M and 5 M unspent outputs, and where its
memory is.

    python -m scripts.bench.big_state [--outputs 10000 --outputs 1000000 --outputs 5000000] [--out FILE]

A network for each size (`scripts/bench/grow.py` makes the state) lives side by side with the others and is
loaded in turn. Memory is told apart by opening the first validator's store step by step in a process of its
own: interpreter, program, LevelDB, hot set, tree, without pages of mapped files; beside it stands
what the running validator uses, and how much of that are such pages.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from drexnode import client as rpc
from scripts.bench.arena import Arena, Shape, open_arena
from scripts.bench.report import Figures, emit, mapped_bytes, rss_bytes, say
from scripts.bench.window import in_turn

BUCKETS = 16**5
HOT_SET_BYTES = 8 << 30
MIB = 1 << 20

_PARTS = """
import json, os, sys
def rss():
    resident, mapped = map(int, open("/proc/self/statm").read().split()[1:3])
    return (resident - mapped) * os.sysconf("SC_PAGE_SIZE")
steps = {"interpreter": rss()}
import drexnode.node
from pathlib import Path
from drexnode.config import load_config
from drexnode.home import read_genesis
from drexnode.recovery import STORE_FOLDER
from ledger.genesis import chain_id_of
from storage.chain_store import open_chain_store
from storage.integrity import check_open
steps["program"] = rss()
config = load_config(Path(sys.argv[1]), environment={})
document = read_genesis(config.genesis_path)
chain_id, buckets = chain_id_of(document), document.parameters.bucket_count
del document
store = open_chain_store(config.data_path / STORE_FOLDER, chain_id, hot_set_bytes=int(sys.argv[2]))
steps["genesis and LevelDB"] = rss()
store.state.warm()
entries = store.state.figures().entries
steps["hot set"] = rss()
tree = check_open(store, chain_id, buckets, tree_bytes=config.storage.tree_bytes)
steps["tree"] = rss()
store.close()
print(json.dumps({"entries": entries, "steps": steps}))
"""


def memory_parts(home: Path) -> Figures:
    """Megabytes of RAM by part, of a home whose node does not run, and bytes of the hot set an entry."""
    made = subprocess.run(
        [sys.executable, "-c", _PARTS, str(home), str(HOT_SET_BYTES)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(made.stdout.splitlines()[-1])
    parts, before = {}, 0
    for name, reached in found["steps"].items():
        parts[name] = (reached - before) / MIB
        before = reached
    entries = found["entries"]
    return {
        "mib": {name: round(size, 1) for name, size in parts.items()},
        "entries": entries,
        "hot_set_bytes_an_entry": round(parts["hot set"] * MIB / max(1, entries), 1),
    }


def memory(arena: Arena) -> Figures:
    """What the first validator's process uses now, and how much of it its pool and hot set say they hold."""
    node = arena.validators[0]
    with rpc.Client(node.rpc_url, timeout_s=60) as client:
        pool = client.get("/metrics")[1].decode().splitlines()
    wanted = ("drex_mempool_bytes ", "drex_hotset_bytes ", "drex_hotset_entries ", "drex_db_bytes ")
    named = dict(line.rsplit(" ", 1) for line in pool if line.startswith(wanted))
    pid = arena.pids()[node.name]
    resident = {"rss_mib": rss_bytes(pid), "mapped_files_mib": mapped_bytes(pid)}
    return {name: round(size / MIB, 1) for name, size in resident.items()} | {
        name: int(float(value)) for name, value in named.items()
    }


@click.command(
    epilog="Example: python -m scripts.bench.big_state --outputs 10000 --outputs 1000000 --seconds 10"
)
@click.option("--outputs", "sizes", multiple=True, type=int, default=(10_000, 1_000_000, 5_000_000),
              show_default=True, help="Unspent outputs at the beginning.")  # fmt: skip
@click.option("--validators", default=1, show_default=True)
@click.option("--wallets", default=40_000, show_default=True, help="Locks that hold the outputs.")
@click.option("--buckets", default=BUCKETS, show_default=True, help="Of the state tree.")
@click.option("--seconds", default=10.0, show_default=True, help="Of a window.")
@click.option("--repeat", default=5, show_default=True, help="Windows of each.")
@click.option("--backlog", default=12_000, show_default=True, help="Payments under way at most.")
@click.option("--coins", default=10_000, show_default=True, help="Chains of payments.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(
    sizes: tuple[int, ...], validators: int, wallets: int, buckets: int, seconds: float, repeat: int,
    backlog: int, coins: int, out: Path | None,
) -> None:  # fmt: skip
    """Grow the states, measure them in turn."""
    results: Figures = {}
    with ExitStack() as networks:
        arenas = {}
        for size in sizes:
            say(f"growing {size:,} outputs")
            shape = Shape(
                validators, coins=coins, wallets=wallets, outputs=max(0, size - coins), buckets=buckets,
                variables={"DREX_STORAGE_HOT_SET_BYTES": str(HOT_SET_BYTES)},
            )  # fmt: skip
            arenas[f"{size} outputs"] = networks.enter_context(open_arena(shape))
        started = {name: memory(arena) for name, arena in arenas.items()}
        results["throughput"] = in_turn(arenas, seconds, backlog, repeat)
        for name, arena in arenas.items():
            results[name] = {"at_start": started[name], "after_the_load": memory(arena)}
            arena.devnet.stop()
            say(f"memory by part, {name}")
            results[name]["parts"] = memory_parts(arena.validators[0].home)
    setting = {
        "validators": validators, "wallets": wallets, "buckets": buckets, "seconds": seconds,
        "backlog": backlog, "outputs": sizes,
    }  # fmt: skip
    emit(setting, results, out)


if __name__ == "__main__":
    main()
