"""Measure submit → final on all validators: idle and at a steady rate, by JSON-RPC and by P2P.

    python -m scripts.bench.latency [--payments 200] [--rate 2000] [--seconds 20] [--out FILE]

Final on all is the latest `block.final` of the validators' logs. Idle payments go one after another, by
JSON-RPC and by P2P in turn: a P2P payment is a frame that a registered full node (this process) sends to
one validator. Beside the logs' moment stands what a client sees, the answer of `drex_waitTransaction`. At
a steady rate payments go out every 50 ms whatever happens, and count from the moment they were due.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import trio

from drexnode import client as rpc
from drexnode.client_values import Status
from drexnode.home import read_genesis
from drexnode.telemetry import setup_logging
from drexnode.wire import TransactionBatch, encode_message
from ledger.transaction import decode_transaction
from p2p.host import open_host
from p2p.identity import PeerId
from p2p.transport import Channel, Transport
from primitives.errors import DrexError
from scripts.bench.arena import Arena, Shape, open_arena
from scripts.bench.report import Figures, Watch, emit, percentile, percentiles_ms, say, spread

WAIT_MS = 60_000
PAUSE_S = 0.05
SLICE_S = 0.05
SENDERS = 64
RUNS = 5
ENTRY = "full-0"
CONNECT_S = 30.0


def idle(arena: Arena, payments: int) -> Figures:
    """One payment after another by JSON-RPC, to the validators in turn."""
    arena.load.sign_up_to(payments)
    watch, urls = Watch(arena.pids()), arena.urls
    final_s, answered_s = [], []
    clients = [rpc.Client(url, timeout_s=60) for url in urls]
    for place in range(payments):
        [raw] = arena.load.take(1)
        final, answered = by_rpc(arena, clients[place % len(clients)], raw)
        final_s.append(final)
        answered_s.append(answered)
        time.sleep(PAUSE_S)
    for client in clients:
        client.close()
    return watch.figures(payments) | {
        "final_on_all": percentiles_ms(final_s),
        "answered_by_rpc": percentiles_ms(answered_s),
    }


def by_rpc(arena: Arena, client: rpc.Client, raw: bytes) -> tuple[float, float]:
    """Seconds from submission to final on all, and to the answer that says so."""
    begin, clock = time.time(), time.perf_counter()
    txid = client.run(rpc.send(raw))
    status = _final(client.run(rpc.wait_transaction(txid, WAIT_MS)))
    answered = time.perf_counter() - clock
    return arena.final_everywhere(status) - begin, answered


def _final(status: Status) -> int:
    """The height. Raises `DrexError` BENCH_NOT_FINAL."""
    if status.status != "FINAL" or status.height is None:
        raise DrexError("BENCH_NOT_FINAL", f"{status.txid} is {status.status}: {status.code} {status.reason}")
    return status.height


def open_loop(arena: Arena, rate: int, seconds: float) -> Figures:
    """`rate` payments a second for so long, shared between the validators."""
    size, count = max(1, int(rate * SLICE_S)), int(seconds / SLICE_S)
    arena.load.sign_up_to(size * count)
    slices = [arena.load.take(size) for _ in range(count)]
    watch, urls, local = Watch(arena.pids()), arena.urls, threading.local()
    chain_id = arena.load.chain_id
    start, wall = time.perf_counter() + 0.2, time.time() + 0.2

    def send(place: int) -> tuple[float, float, float]:
        due = place * SLICE_S
        clients: dict[str, rpc.Client] = local.__dict__.setdefault("clients", {})
        url = urls[place % len(urls)]
        client = clients.get(url) or clients.setdefault(url, rpc.Client(url, timeout_s=120))
        time.sleep(max(0.0, start + due - time.perf_counter()))
        late = time.perf_counter() - start - due
        answers = client.run(rpc.send_many(slices[place]))
        refused = [answer.code for answer in answers if answer.code]
        if refused:
            raise DrexError("BENCH_REFUSED", f"{len(refused)} payments are refused: {refused[0]}")
        last = decode_transaction(slices[place][-1], chain_id).txid.hex()
        height = _final(client.run(rpc.wait_transaction(last, WAIT_MS)))
        answered = time.perf_counter() - start - due
        return late, answered, arena.final_everywhere(height) - wall - due

    with ThreadPoolExecutor(SENDERS) as pool:
        made = list(pool.map(send, range(count)))
    late, answered, final = zip(*made, strict=True)
    return watch.figures(size * count) | {
        "rate": rate,
        "payments": size * count,
        "final_on_all": percentiles_ms(final),
        "answered_by_rpc": percentiles_ms(answered),
        "sent_late_p99_ms": round(1000 * percentile(late, 99), 2),
    }


async def compare_entries(arena: Arena, payments: int) -> Figures:
    """Idle payments by JSON-RPC and by P2P in turn, to the same validator each."""
    nodes = arena.living
    peers = [PeerId(node.p2p_address.rsplit("/", 1)[1]) for node in nodes]
    document = arena.devnet.folder / "genesis.json"
    network = f"{_name(document)}-{arena.load.chain_id.hex()[:16]}"
    place_of = arena.devnet.node(ENTRY)
    listen = place_of.p2p_address.rsplit("/p2p/", 1)[0]
    clients = [rpc.Client(node.rpc_url, timeout_s=60) for node in nodes]
    arena.load.sign_up_to(2 * payments)
    rpc_final, rpc_answered, p2p_final = [], [], []
    async with open_host(seed=arena.seeds[ENTRY], network=network, listen=(listen,)) as host:
        host.set_permitted({peer: (node.p2p_address,) for peer, node in zip(peers, nodes, strict=True)})
        for peer, node in zip(peers, nodes, strict=True):
            host.add_persistent(peer, [node.p2p_address])
        with trio.fail_after(CONNECT_S):
            while not all(host.is_connected(peer) for peer in peers):  # noqa: ASYNC110 - no event of it
                await trio.sleep(0.05)
        say("the measurement's own peer is connected")
        for place in range(payments):
            number = place % len(nodes)
            client = clients[number]
            first, second = arena.load.take(2)
            final, answered = await trio.to_thread.run_sync(by_rpc, arena, client, first)
            rpc_final.append(final)
            rpc_answered.append(answered)
            await trio.sleep(PAUSE_S)
            p2p_final.append(await _by_p2p(arena, host, peers[number], client, second))
            await trio.sleep(PAUSE_S)
    tax = [seen - entered for seen, entered in zip(rpc_answered, p2p_final, strict=True)]
    return {
        "by_rpc_final_on_all": percentiles_ms(rpc_final),
        "by_rpc_answered": percentiles_ms(rpc_answered),
        "by_p2p_final_on_all": percentiles_ms(p2p_final),
        "rpc_more_than_p2p_p50_ms": round(
            1000 * (percentile(rpc_answered, 50) - percentile(p2p_final, 50)), 2
        ),
        "rpc_more_than_p2p_pairs_p50_ms": round(1000 * percentile(tax, 50), 2),
    }


async def _by_p2p(arena: Arena, host: Transport, peer: PeerId, client: rpc.Client, raw: bytes) -> float:
    """Seconds from the frame's departure to final on all."""
    txid = decode_transaction(raw, arena.load.chain_id).txid.hex()
    payload = encode_message(TransactionBatch(True, (raw,)))
    begin = time.time()
    if not host.send(peer, Channel.TRANSACTIONS, payload):
        raise DrexError("BENCH_NOT_SENT", f"the frame to {peer} did not leave")

    def wait() -> float:
        while True:  # a validator that has not seen it yet answers at once
            status = client.run(rpc.wait_transaction(txid, WAIT_MS))
            if status.status != "UNKNOWN":
                return arena.final_everywhere(_final(status)) - begin
            if time.time() > begin + CONNECT_S:
                raise DrexError("BENCH_NOT_FINAL", f"{txid} is not known after {CONNECT_S} s")
            time.sleep(0.002)

    return await trio.to_thread.run_sync(wait)


def _name(genesis: Path) -> str:
    return read_genesis(genesis).name


def repeated(found: Sequence[Figures], name: str) -> Figures:
    """Spread over runs of one latency's percentiles."""
    return {key: spread([run[name][key] for run in found]) for key in ("p50_ms", "p99_ms")}


@click.command(epilog="Example: python -m scripts.bench.latency --payments 200 --rate 2000 --seconds 10")
@click.option("--validators", default=4, show_default=True)
@click.option("--payments", default=200, show_default=True, help="Of an idle network, in each run.")
@click.option("--rate", default=2_000, show_default=True, help="Payments a second of the open loop.")
@click.option("--seconds", default=20.0, show_default=True, help="Of an open loop.")
@click.option("--repeat", default=RUNS, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON here as well.")
def main(validators: int, payments: int, rate: int, seconds: float, repeat: int, out: Path | None) -> None:
    """Start a network, measure its latency, stop it."""
    setup_logging("error")
    entries, loops = [], []
    with open_arena(Shape(validators, full=1, absent=(ENTRY,))) as arena:
        say("warm-up")
        idle(arena, 20)
        for number in range(repeat):
            say(f"idle, run {number + 1} of {repeat}")
            entries.append(trio.run(compare_entries, arena, payments))
            say(f"open loop of {rate} a second, run {number + 1} of {repeat}")
            loops.append(open_loop(arena, rate, seconds))
    results = {
        "idle_by_rpc_final_on_all": repeated(entries, "by_rpc_final_on_all"),
        "idle_by_rpc_answered": repeated(entries, "by_rpc_answered"),
        "idle_by_p2p_final_on_all": repeated(entries, "by_p2p_final_on_all"),
        "rpc_more_than_p2p_p50_ms": spread([run["rpc_more_than_p2p_p50_ms"] for run in entries]),
        f"open_loop_{rate}_final_on_all": repeated(loops, "final_on_all"),
        f"open_loop_{rate}_answered": repeated(loops, "answered_by_rpc"),
        "runs": {"idle": entries, "open_loop": loops},
    }
    setting = {"validators": validators, "payments": payments, "rate": rate, "seconds": seconds}
    emit(setting, results, out)


if __name__ == "__main__":
    main()
