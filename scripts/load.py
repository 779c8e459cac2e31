"""Load for a running devnet: transfers signed beforehand, sent in backlog or at a steady rate.

    python -m scripts.load --dir devnet --transactions 20000               as fast as the network takes them
    python -m scripts.load --dir devnet --transactions 20000 --rate 2000   open loop

Each transfer has one input, two outputs and one signature: alice pays herself from outputs made for the
purpose, so that every transaction stands alone and none waits for another. Figures go to stdout as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from drexnode import client as rpc
from drexnode.devnet import Devnet
from drexnode.wallet import Account, WalletBook
from ledger.build import build_body, build_transaction, make_output
from ledger.devnet import BANK_A_ISPB
from ledger.locks import key_lock
from ledger.payloads import EnableWallets, Kind, RegistryAct
from ledger.transaction import OutPoint, Transaction
from primitives.errors import DrexError
from primitives.hashing import tagged_hash
from primitives.keys import SigningKey
from primitives.limits import MAX_WALLETS_PER_ACT

CHUNK = 250
FAN_OUT = 500
WAIT_MS = 60_000
PAYMENT_CENTAVOS = 40
COIN_CENTAVOS = 100
ACT_VALID_UNTIL = 5_000  # a height within the replay window of a young devnet


@dataclass(frozen=True, slots=True)
class Target:
    """A devnet under load: the RPC of each validator, and who pays."""

    urls: tuple[str, ...]
    chain_id: bytes
    payer: Account
    bank: SigningKey

    @property
    def lock(self) -> bytes:
        assert self.payer.key is not None
        return key_lock(self.payer.key.public_key)


def find_target(folder: Path, role: str = "validator") -> Target:
    """The devnet in `folder`; load goes to its nodes of `role`."""
    devnet = Devnet(folder)
    urls = tuple(node.rpc_url for node in devnet.nodes if node.role == role and node.process is not None)
    accounts = WalletBook.load(folder / "wallets.json").accounts
    payer, bank = accounts["alice"], accounts["bank-a"].key
    assert bank is not None
    with rpc.Client(urls[0]) as client:
        chain_id = bytes.fromhex(client.run(rpc.chain_id()))
    return Target(urls, chain_id, payer, bank)


def make_coins(target: Target, count: int, holders: Sequence[SigningKey] = ()) -> tuple[str, list[OutPoint]]:
    """Turn the payer's outputs into at least `count` equal ones; returns their asset and outpoints. Coin
    number n belongs to `holders[n % len(holders)]`, all to the payer when there are none."""
    assert target.payer.key is not None
    locks = [key_lock(holder.public_key) for holder in holders] or [target.lock]
    with rpc.Client(target.urls[0], timeout_s=60) as client:
        owned = all_coins(client, target.payer.address)
        asset = max(owned, key=lambda coin: coin.amount).asset
        coins = [coin for coin in owned if coin.asset == asset and coin.amount > COIN_CENTAVOS * FAN_OUT]
        made: list[OutPoint] = []
        heap = [(OutPoint(bytes.fromhex(coin.txid), coin.index), coin.amount) for coin in coins]
        while len(made) < count:
            if not heap:
                raise DrexError("LOAD_FUNDS", f"{target.payer.name} can't make {count} outputs")
            outpoint, amount = heap.pop()
            pieces = min(FAN_OUT, (amount - COIN_CENTAVOS) // COIN_CENTAVOS, count - len(made))
            rest = amount - pieces * COIN_CENTAVOS
            owners = (locks[place % len(locks)] for place in range(len(made), len(made) + pieces))
            outputs = [make_output(asset, COIN_CENTAVOS, lock) for lock in owners]
            outputs.append(make_output(asset, rest, target.lock))
            body = build_body(Kind.TRANSFER, [outpoint], outputs)
            transaction = build_transaction(body, target.chain_id, [target.payer.key])
            client.run(rpc.send(transaction.raw))
            status = client.run(rpc.wait_transaction(transaction.txid.hex(), WAIT_MS))
            if status.status != "FINAL":
                raise DrexError("LOAD_COINS", f"a fan-out is {status.status}: {status.code} {status.reason}")
            made += [OutPoint(transaction.txid, index) for index in range(pieces)]
            if rest > COIN_CENTAVOS * FAN_OUT:
                heap.append((OutPoint(transaction.txid, pieces), rest))
    return asset, made


def all_coins(client: rpc.Client, address: str) -> list[rpc.Unspent]:
    """Every unspent output of an address."""
    page = client.run(rpc.unspent(address, limit=250))
    coins = list(page.outputs)
    while page.cursor is not None:
        page = client.run(rpc.unspent(address, cursor=page.cursor, limit=250))
        coins += page.outputs
    return coins


def sign_transfers(
    target: Target, asset: str, coins: Sequence[OutPoint], holders: Sequence[SigningKey] = ()
) -> list[Transaction]:
    """One transfer per coin: the payer to itself, or each of `holders` (see `make_coins`) to another."""
    assert target.payer.key is not None
    keys = holders or [target.payer.key]
    locks = [key_lock(key.public_key) for key in keys]
    transfers = []
    for place, coin in enumerate(coins):
        own, other = place % len(keys), (7 * place + 1) % len(keys)
        outputs = [
            make_output(asset, PAYMENT_CENTAVOS, locks[other]),
            make_output(asset, COIN_CENTAVOS - PAYMENT_CENTAVOS, locks[own]),
        ]
        body = build_body(Kind.TRANSFER, [coin], outputs)
        transfers.append(build_transaction(body, target.chain_id, [keys[own]]))
    return transfers


def enable_wallets(target: Target, count: int) -> list[SigningKey]:
    """New clients' wallets of Bank A, whose key is a devnet's: so many that no lock holds much."""
    holders = [SigningKey(tagged_hash("load/wallet", number.to_bytes(8, "big"))) for number in range(count)]
    locks = [key_lock(holder.public_key) for holder in holders]
    with rpc.Client(target.urls[0], timeout_s=60) as client:
        for start in range(0, count, MAX_WALLETS_PER_ACT):
            act = EnableWallets(BANK_A_ISPB, tuple(sorted(locks[start : start + MAX_WALLETS_PER_ACT])))
            body = build_body(
                Kind.REGISTRY, payload=RegistryAct(BANK_A_ISPB, act), valid_until=ACT_VALID_UNTIL
            )
            transaction = build_transaction(body, target.chain_id, [target.bank])
            client.run(rpc.send(transaction.raw))
            _await_final(client, transaction)
    return holders


def send_backlog(target: Target, transfers: Sequence[Transaction]) -> dict[str, float | int]:
    """Send everything at once, shared between the nodes; final transactions a second until the last is."""
    chunks = [transfers[i : i + CHUNK] for i in range(0, len(transfers), CHUNK)]
    begin = time.monotonic()

    def feed(place: int) -> int:
        refused = 0
        with rpc.Client(target.urls[place], timeout_s=120) as client:
            for chunk in chunks[place :: len(target.urls)]:
                waiting = [transaction.raw for transaction in chunk]
                while waiting:
                    sent = client.run(rpc.send_many(waiting))
                    busy = [raw for raw, answer in zip(waiting, sent, strict=True) if _is_busy(answer)]
                    refused += sum(answer.code is not None for answer in sent) - len(busy)
                    waiting = busy
                    if busy:
                        time.sleep(0.1)
        return refused

    with ThreadPoolExecutor(len(target.urls)) as pool:
        refused = sum(pool.map(feed, range(len(target.urls))))
    sent_s = time.monotonic() - begin
    with rpc.Client(target.urls[0], timeout_s=120) as client:
        for chunk in chunks:
            _await_final(client, chunk[-1])
    taken_s = time.monotonic() - begin
    return {
        "transactions": len(transfers),
        "refused": refused,
        "sent_s": round(sent_s, 3),
        "final_s": round(taken_s, 3),
        "final_tx_per_s": round(len(transfers) / taken_s, 1),
    }


def send_open_loop(
    target: Target, transfers: Sequence[Transaction], rate: int, slice_ms: int = 50
) -> dict[str, float | int]:
    """Send at `rate` a second whatever happens; latency of the last of each slice, from its submission."""
    size = max(1, rate * slice_ms // 1000)
    slices = [transfers[i : i + size] for i in range(0, len(transfers), size)]
    latencies: list[float] = []
    late: list[float] = []
    lock = threading.Lock()
    begin = time.monotonic() + 0.1
    local = threading.local()

    def send(place: int) -> None:
        due = begin + place * slice_ms / 1000
        client = getattr(local, "client", None)
        if client is None:
            client = local.client = rpc.Client(target.urls[place % len(target.urls)], timeout_s=120)
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.monotonic()
        client.run(rpc.send_many([transaction.raw for transaction in slices[place]]))
        _await_final(client, slices[place][-1])
        with lock:
            latencies.append(time.monotonic() - due)
            late.append(started - due)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(send, range(len(slices))))
    return {"rate": rate, "slices": len(slices), "late_p99_ms": percentile(late, 99)} | summary(latencies)


def send_one_by_one(target: Target, transfers: Sequence[Transaction]) -> dict[str, float | int]:
    """Idle network: submit → final, one after another, over the nodes in turn."""
    latencies = []
    clients = [rpc.Client(url, timeout_s=60) for url in target.urls]
    for place, transaction in enumerate(transfers):
        client = clients[place % len(clients)]
        begin = time.monotonic()
        client.run(rpc.send(transaction.raw))
        _await_final(client, transaction)
        latencies.append(time.monotonic() - begin)
        time.sleep(0.1)
    for client in clients:
        client.close()
    return summary(latencies)


def summary(latencies: Sequence[float]) -> dict[str, float | int]:
    """Count and percentiles in ms."""
    return {
        "count": len(latencies),
        "p50_ms": percentile(latencies, 50),
        "p90_ms": percentile(latencies, 90),
        "p99_ms": percentile(latencies, 99),
    }


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which `percent` of `values` lie, in ms."""
    ordered = sorted(values)
    return round(1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2)


def _is_busy(answer: rpc.Sent) -> bool:
    return answer.code == "TX_QUOTA"


def _await_final(client: rpc.Client, transaction: Transaction) -> None:
    status = client.run(rpc.wait_transaction(transaction.txid.hex(), WAIT_MS))
    if status.status != "FINAL":
        raise DrexError("LOAD_NOT_FINAL", f"{status.txid} is {status.status}: {status.code} {status.reason}")


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path, exists=True), default=Path("devnet"))
@click.option("--transactions", default=10_000, show_default=True)
@click.option("--rate", default=0, help="Transactions a second; 0: backlog.")
@click.option("--idle", is_flag=True, help="One after another, for the latency of an idle network.")
def main(folder: Path, transactions: int, rate: int, idle: bool) -> None:
    """Put a running devnet under load."""
    target = find_target(folder)
    print(f"load: making {transactions} outputs and signing as many transfers", file=sys.stderr)
    asset, coins = make_coins(target, transactions)
    transfers = sign_transfers(target, asset, coins)
    print("load: sending", file=sys.stderr)
    if idle:
        figures = send_one_by_one(target, transfers)
    elif rate:
        figures = send_open_loop(target, transfers, rate)
    else:
        figures = send_backlog(target, transfers)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
