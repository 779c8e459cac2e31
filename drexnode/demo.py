"""The demonstration: money moves to finality on a devnet, step by step, each step told with its evidence.

An emission of BRL by `bcb` to itself, a transfer of bank-a's deposit token from `alice` to `bob`, and a burn
by `bcb` of BRL it holds; then every node must stand at the same block.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from drexnode import client as rpc
from drexnode.devnet import WALLETS_FILE, Devnet, DevnetError
from drexnode.wallet import Account, Wallet, WalletBook, wait_final
from ledger.transaction import Transaction
from primitives.keys import SigningKey
from primitives.units import format_amount

EMITTED = 1_000_00
TRANSFERRED = 25_00
BURNED = 400_00
TIMEOUT_S = 30.0
_POLL_S = 0.1

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of the demonstration and where it became final."""

    what: str
    txid: str
    height: int
    round: int
    signers: int
    validators: int
    latency_ms: int

    def __str__(self) -> str:
        return (
            f"{self.what}\n  FINAL at height {self.height}, round {self.round}, "
            f"{self.signers} of {self.validators} signers, {self.latency_ms} ms  {self.txid}"
        )


def run_demo(devnet: Devnet, report: Report) -> list[Step]:
    """Carry the demonstration out. Raises `WalletError` or `RpcRefused` when a step does not become final."""
    book = WalletBook.load(devnet.folder / WALLETS_FILE)
    with rpc.Client(devnet.nodes[0].rpc_url) as client:
        wallet = Wallet(client)
        brl = wallet.asset("BRL")
        bcb, alice, bob = (book.accounts[name] for name in ("bcb", "alice", "bob"))
        dvt = wallet.only_asset(alice)
        assert bcb.key is not None
        steps = [
            _step(
                client,
                f"emission of {_text(EMITTED, brl)} by bcb to its own wallet",
                lambda: wallet.emit(_key(bcb), bcb.address, brl, EMITTED, secrets.token_bytes(16)),
                report,
            ),
            _step(
                client,
                f"transfer of {_text(TRANSFERRED, dvt)} from alice to bob",
                lambda: wallet.transfer(alice, bob.address, dvt, TRANSFERRED),
                report,
            ),
            _step(
                client,
                f"burn of {_text(BURNED, brl)} by bcb",
                lambda: wallet.burn(bcb, brl, BURNED, _key(bcb)),
                report,
            ),
        ]
    report(_agreement(devnet, steps[-1].height))
    return steps


def _key(account: Account) -> SigningKey:
    assert account.key is not None
    return account.key


def _text(amount: int, asset: rpc.Asset) -> str:
    return f"{format_amount(amount, asset.decimals)} {asset.asset}"


def _step(client: rpc.Client, what: str, submit: Callable[[], Transaction], report: Report) -> Step:
    started = time.monotonic()
    transaction = submit()
    done = wait_final(client, transaction.txid.hex(), TIMEOUT_S, started)
    validators = len(client.run(rpc.validators(done.height)))
    step = Step(what, done.txid, done.height, done.round, len(done.signers), validators, done.latency_ms)
    report(str(step))
    return step


def _agreement(devnet: Devnet, height: int) -> str:
    """A sentence once all nodes have the same block at a height. Raises `DevnetError` DEVNET_DISAGREES."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        blocks = {node.name: _block_at(node.rpc_url, height) for node in devnet.running()}
        ids = {found for found in blocks.values() if found is not None}
        if len(ids) > 1:
            raise DevnetError("DEVNET_DISAGREES", f"blocks differ at height {height}", blocks=blocks)
        if len(ids) == 1 and None not in blocks.values():
            block_id, state_root = next(iter(ids))
            return (
                f"all {len(blocks)} nodes have block {block_id[:16]}… with state {state_root[:16]}… "
                f"at height {height}"
            )
        if time.monotonic() > deadline:
            behind = sorted(name for name, found in blocks.items() if found is None)
            raise DevnetError("DEVNET_BEHIND", f"{', '.join(behind)} did not reach height {height}")
        time.sleep(_POLL_S)


def _block_at(url: str, height: int) -> tuple[str, str] | None:
    with rpc.Client(url) as client:
        found = client.run(rpc.block(height))
    return None if found is None else (found["block_id"], found["state_root"])
