"""A wallet: names and keys, coin selection, and transactions built, signed and followed to finality.

It reads the chain through a node's RPC and signs here: no key ever leaves the process. Selection is
deterministic: an exact coin, else the smallest single coin that covers, else the largest coins first. When a
coin turns out to be spent by a transaction still pending, other coins are tried.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drexnode import client as rpc
from ledger.build import build_body, build_transaction, make_output
from ledger.locks import key_lock
from ledger.payloads import Kind
from ledger.transaction import OutPoint, Output, Transaction
from primitives.address import decode_address, encode_address
from primitives.errors import DecodeError, DrexError
from primitives.keys import SigningKey
from primitives.limits import MAX_INPUTS, MAX_NOTE_BYTES

PAGE_ROWS = 200
MAX_COINS_READ = 20_000
MAX_ATTEMPTS = 8
WAIT_STEP_MS = 30_000
EMISSION_VALID_BLOCKS = 1_000
CONSOLIDATE_INPUTS = 500


class WalletError(DrexError):
    """The wallet can't do what was asked. Codes WALLET_*, TX_NOT_FINAL, TX_REJECTED."""


@dataclass(frozen=True, slots=True)
class Account:
    """An address, and its key when it is ours."""

    name: str
    address: str
    key: SigningKey | None = None


class WalletBook:
    """A devnet's `wallets.json`: accounts by name."""

    def __init__(self, accounts: dict[str, Account]) -> None:
        self.accounts = accounts

    @classmethod
    def load(cls, path: Path) -> WalletBook:
        """Read `{name: {seed, public_key, address}}`. Raises `WalletError` WALLET_UNREADABLE."""
        try:
            document: Any = json.loads(path.read_text("utf-8"))
            return cls(
                {
                    name: Account(name, entry["address"], SigningKey(bytes.fromhex(entry["seed"])))
                    for name, entry in document.items()
                }
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            message = f"{path} is not a file of wallets"
            raise WalletError("WALLET_UNREADABLE", message, path=str(path)) from None

    def find(self, text: str) -> Account | None:
        """The account of that name or address."""
        if text in self.accounts:
            return self.accounts[text]
        return next((account for account in self.accounts.values() if account.address == text), None)


@dataclass(frozen=True, slots=True)
class Finality:
    """A transaction that is final: where, who sealed it, and how long it took from submission."""

    txid: str
    height: int
    round: int
    block_id: str
    signers: tuple[str, ...]
    latency_ms: int


def select_coins(
    coins: Sequence[rpc.Unspent], amount: int, min_change: int, max_inputs: int = MAX_INPUTS
) -> list[rpc.Unspent]:
    """Coins that sum to `amount`, or to at least `amount + min_change`.

    Raises `WalletError` WALLET_FUNDS or, when too many small ones would be needed, WALLET_TOO_MANY_COINS.
    """

    def enough(total: int) -> bool:
        return total == amount or total >= amount + min_change

    ascending = sorted(coins, key=lambda coin: (coin.amount, coin.txid, coin.index))
    for coin in ascending:
        if enough(coin.amount):
            return [coin]
    chosen: list[rpc.Unspent] = []
    total = 0
    for coin in reversed(ascending):
        chosen.append(coin)
        total += coin.amount
        if enough(total) and len(chosen) <= max_inputs:
            return chosen
    if total < amount:
        raise WalletError("WALLET_FUNDS", f"{total} is there, {amount} is needed", found=total, needed=amount)
    if len(chosen) > max_inputs:
        message = f"more than {max_inputs} outputs would be needed; merge them first"
        raise WalletError("WALLET_TOO_MANY_COINS", message, limit=max_inputs)
    message = f"the change of {total - amount} would be below the asset's min_value {min_change}"
    raise WalletError("WALLET_DUST_CHANGE", message, change=total - amount, min_value=min_change)


class Wallet:
    """Builds and submits transactions through one node."""

    def __init__(self, client: rpc.Client) -> None:
        self.client = client
        info = client.run(rpc.network_info())
        self.chain_id = bytes.fromhex(info["node"]["chain_id"])
        self.prefix: str = info["node"]["address_prefix"]
        self._assets = {item.asset: item for item in client.run(rpc.assets())}

    def asset(self, name: str) -> rpc.Asset:
        """A registered asset. Raises `WalletError` WALLET_ASSET_UNKNOWN."""
        if name not in self._assets:
            known = ", ".join(sorted(self._assets))
            raise WalletError("WALLET_ASSET_UNKNOWN", f"no asset {name!r} is registered; there are {known}")
        return self._assets[name]

    def only_asset(self, account: Account) -> rpc.Asset:
        """The one asset an account holds. Raises `WalletError` WALLET_FUNDS, WALLET_ASSET_NEEDED."""
        balances = self.client.run(rpc.balance(account.address))
        held = sorted(balances)
        if not held:
            raise WalletError("WALLET_FUNDS", f"{account.name} holds nothing", address=account.address)
        if len(held) > 1:
            message = f"{account.name} holds {', '.join(held)}; name one with --asset"
            raise WalletError("WALLET_ASSET_NEEDED", message)
        return self.asset(held[0])

    def lock(self, address: str) -> bytes:
        """The lock of an address of this network. Raises `DecodeError` ADDRESS_INVALID."""
        return decode_address(self.prefix, address)

    def coins(self, address: str, asset: str) -> list[rpc.Unspent]:
        """All unspent outputs of one asset, at one height."""
        found: list[rpc.Unspent] = []
        cursor = None
        while True:
            page = self.client.run(rpc.unspent(address, asset, cursor, PAGE_ROWS))
            found.extend(page.outputs)
            cursor = page.cursor
            if cursor is None or len(found) >= MAX_COINS_READ:
                return found

    def transfer(
        self,
        sender: Account,
        to: str,
        asset: rpc.Asset,
        amount: int,
        *,
        note: bytes = b"",
        reference: bytes = b"",
    ) -> Transaction:
        """Submit a transfer. Raises `WalletError`, `RpcRefused` (TX_…)."""
        target = self.lock(to)
        if len(note) > MAX_NOTE_BYTES:
            raise WalletError("WALLET_NOTE_TOO_LONG", f"a note has at most {MAX_NOTE_BYTES} bytes")
        key = _key(sender)

        def build(inputs: list[rpc.Unspent], change: list[Output]) -> Transaction:
            outputs = [make_output(asset.asset, amount, target, note), *change]
            body = build_body(Kind.TRANSFER, _points(inputs), outputs, reference=reference)
            return build_transaction(body, self.chain_id, [key])

        return self._spend(sender, asset, amount, build)

    def burn(
        self,
        holder: Account,
        asset: rpc.Asset,
        amount: int,
        issuer: SigningKey | None,
        *,
        reference: bytes = b"",
    ) -> Transaction:
        """Submit a burn; the issuer signs too where the policy says so. Raises as `transfer`."""
        keys = [_key(holder)] + ([issuer] if issuer is not None else [])

        def build(inputs: list[rpc.Unspent], change: list[Output]) -> Transaction:
            body = build_body(Kind.BURN, _points(inputs), change, reference=reference)
            return build_transaction(body, self.chain_id, keys)

        return self._spend(holder, asset, amount, build)

    def emit(
        self, issuer: SigningKey, to: str, asset: rpc.Asset, amount: int, reference: bytes
    ) -> Transaction:
        """Submit an emission; `reference` is its operation id, unique per asset for ever."""
        height = self.client.run(rpc.block_number())
        body = build_body(
            Kind.EMISSION,
            (),
            [make_output(asset.asset, amount, self.lock(to))],
            valid_until=height + EMISSION_VALID_BLOCKS,
            reference=reference,
        )
        transaction = build_transaction(body, self.chain_id, [issuer])
        self.client.run(rpc.send(transaction.raw))
        return transaction

    def consolidate(
        self, account: Account, asset: rpc.Asset, limit: int = CONSOLIDATE_INPUTS
    ) -> Transaction | None:
        """Merge an account's smallest outputs into one; None when there is nothing to merge."""
        coins = sorted(self.coins(account.address, asset.asset), key=lambda coin: coin.amount)[:limit]
        if len(coins) < 2:
            return None
        output = make_output(asset.asset, sum(coin.amount for coin in coins), self.lock(account.address))
        body = build_body(Kind.TRANSFER, _points(coins), [output])
        transaction = build_transaction(body, self.chain_id, [_key(account)])
        self.client.run(rpc.send(transaction.raw))
        return transaction

    def issuer_address(self, asset: rpc.Asset) -> str | None:
        """Settlement address of an asset's issuer, by which a devnet finds the issuer's wallet."""
        for party in self.client.run(rpc.participants()):
            if party["ispb"] == asset.issuer:
                address: str | None = party["settlement_address"]
                return address
        return None

    def address_of(self, key: SigningKey) -> str:
        """The address of a single key."""
        return encode_address(self.prefix, key_lock(key.public_key))

    def _spend(
        self,
        owner: Account,
        asset: rpc.Asset,
        amount: int,
        build: Callable[[list[rpc.Unspent], list[Output]], Transaction],
    ) -> Transaction:
        """Select, build, submit; coins that a pending transaction spends are left out and others tried."""
        available = self.coins(owner.address, asset.asset)
        lock = self.lock(owner.address)
        refusal: rpc.RpcRefused | None = None
        for _ in range(MAX_ATTEMPTS):
            try:
                chosen = select_coins(available, amount, asset.min_value)
            except WalletError:
                if refusal is not None:
                    raise refusal from None
                raise
            left = sum(coin.amount for coin in chosen) - amount
            transaction = build(chosen, [make_output(asset.asset, left, lock)] if left else [])
            try:
                self.client.run(rpc.send(transaction.raw))
                return transaction
            except rpc.RpcRefused as error:
                if error.code != "TX_DOUBLE_SPEND":
                    raise
                refusal = error
                available = [coin for coin in available if coin not in chosen]
        assert refusal is not None
        raise refusal


def _points(coins: Sequence[rpc.Unspent]) -> list[OutPoint]:
    return [OutPoint(bytes.fromhex(coin.txid), coin.index) for coin in coins]


def _key(account: Account) -> SigningKey:
    if account.key is None:
        raise WalletError("WALLET_NO_KEY", f"the key of {account.name} is not here", address=account.address)
    return account.key


def wait_final(client: rpc.Client, txid: str, timeout_s: float, started: float | None = None) -> Finality:
    """Wait for finality. `started` is when it was submitted (`time.monotonic`).

    Raises `WalletError` TX_NOT_FINAL, naming why no block comes if the node knows, or the node's own code
    when it was refused after all.
    """
    begun = time.monotonic() if started is None else started
    deadline = time.monotonic() + timeout_s
    while True:
        left_ms = max(0, int((deadline - time.monotonic()) * 1000))
        status = client.run(rpc.wait_transaction(txid, min(left_ms, WAIT_STEP_MS)))
        if status.status == "FINAL" and status.height is not None:
            return _finality(client, status, int((time.monotonic() - begun) * 1000))
        if status.status == "REJECTED":
            reason = status.reason or "the node refused it"
            raise WalletError(status.code or "TX_REJECTED", reason, txid=txid)
        if left_ms == 0:
            raise _not_final(client, status, timeout_s)


def _finality(client: rpc.Client, status: rpc.Status, latency_ms: int) -> Finality:
    assert status.height is not None
    certificate = client.run(rpc.certificate(status.height)) or {}
    return Finality(
        txid=status.txid,
        height=status.height,
        round=certificate.get("round", status.round or 0),
        block_id=status.block_id or "",
        signers=tuple(certificate.get("signers", ())),
        latency_ms=latency_ms,
    )


def _not_final(client: rpc.Client, status: rpc.Status, timeout_s: float) -> WalletError:
    info = client.run(rpc.network_info())
    why = info["consensus"]["stalled_reason"] or "; ".join(item["message"] for item in info["reasons"])
    message = f"{status.status} after {timeout_s:g} s" + (f": {why}" if why else "")
    height = info["tip"]["height"]
    return WalletError("TX_NOT_FINAL", message, txid=status.txid, status=status.status, tip=height)


def find_account(text: str, book: WalletBook | None, prefix: str) -> Account:
    """An account by name or address; an unknown address has no key. Raises `WalletError` WALLET_UNKNOWN."""
    found = None if book is None else book.find(text)
    if found is not None:
        return found
    try:
        decode_address(prefix, text)
    except DecodeError as error:
        known = "" if book is None else f"; wallets here: {', '.join(sorted(book.accounts))}"
        message = f"{text[:90]!r} is no wallet's name and no address ({error.message}){known}"
        raise WalletError("WALLET_UNKNOWN", message) from None
    return Account(text[:16] + "…", text)
