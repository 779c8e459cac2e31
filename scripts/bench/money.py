"""The money of a measurement, put into its genesis, and chains of payments signed beforehand.

Each coin is spent again and again: payment n spends what payment n - 1 left. Payments are made coin after
coin, so two of one coin are as far apart as there are coins, and with less than that under way a parent is
final before its child is sent. Loads: `transfers` between a thousand wallets of Bank A, `one-holder` (all
money under one lock), `interbank` (clients of Bank A pay clients of Bank B, and back: three assets, and two
signatures, move in each).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

from msgspec import structs

from ledger.assets import WHOLESALE
from ledger.build import build_body, build_transaction, make_output
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB, BANK_B_DVT, BANK_B_ISPB
from ledger.genesis_records import GenesisDocument, GenesisOutput, GenesisWallets
from ledger.locks import key_lock
from ledger.payloads import Kind
from ledger.transaction import OutPoint
from primitives.errors import DrexError
from primitives.hashing import tagged_hash
from primitives.keys import SigningKey
from scripts.bench.report import say

LoadName = Literal["transfers", "one-holder", "interbank"]
LOADS: tuple[LoadName, ...] = ("transfers", "one-holder", "interbank")
SIGNATURES: dict[str, int] = {"transfers": 1, "one-holder": 1, "interbank": 2}

COIN = 100  # one smallest unit is paid at a time: enough for 99 payments
SIGN_AT_ONCE = 2_000


class Coin(NamedTuple):
    """One chain of payments: what its last one left. `cash`: the BRL that goes with an interbank payment."""

    number: int
    payments: int
    outpoint: OutPoint
    amount: int
    cash: OutPoint | None


class Signed(NamedTuple):
    """A part of the load: raw transactions in order, and each coin as it is after."""

    raws: list[bytes]
    coins: list[Coin]


@dataclass(frozen=True, slots=True)
class Money:
    """Who holds what at the beginning. `wallets` clients for each bank."""

    load: LoadName
    coins: int
    wallets: int
    banks: tuple[SigningKey, SigningKey]

    def keys(self, bank: int) -> list[SigningKey]:
        """The wallets of Bank A's (0) or Bank B's (1) clients."""
        count = 1 if self.load == "one-holder" else self.wallets
        return [
            SigningKey(tagged_hash(f"bench/client-{bank}", place.to_bytes(8, "big")))
            for place in range(count)
        ]

    def document(self, document: GenesisDocument) -> GenesisDocument:
        """The genesis with this money instead of a devnet's."""
        locks = [[key_lock(key.public_key) for key in self.keys(bank)] for bank in range(2)]
        others = [entry for entry in document.wallets if entry.issuer not in (BANK_A_ISPB, BANK_B_ISPB)]
        mine = [
            GenesisWallets(issuer, tuple(sorted(set(enabled))))
            for issuer, enabled in zip((BANK_A_ISPB, BANK_B_ISPB), locks, strict=True)
        ]
        holders = locks[0]
        outputs = [
            GenesisOutput(BANK_A_DVT, COIN, holders[number % len(holders)]) for number in range(self.coins)
        ]
        if self.load == "interbank":
            outputs += [GenesisOutput(WHOLESALE, COIN, key_lock(self.banks[0].public_key))] * self.coins
        wallets = tuple(sorted((*others, *mine), key=lambda entry: entry.issuer))
        return structs.replace(document, wallets=wallets, outputs=tuple(outputs))

    def begin(self, chain_id: bytes) -> list[Coin]:
        """The coins as the genesis has them."""
        return [
            Coin(
                number, 0, OutPoint(chain_id, number), COIN,
                OutPoint(chain_id, self.coins + number) if self.load == "interbank" else None,
            )
            for number in range(self.coins)
        ]  # fmt: skip


class Signer:
    """Signs the next payment of coins; one for each process."""

    def __init__(self, money: Money, chain_id: bytes) -> None:
        self._money, self._chain_id = money, chain_id
        self._keys = [money.keys(bank) for bank in range(2)]
        self._locks = [[key_lock(key.public_key) for key in keys] for keys in self._keys]
        self._cash_locks = [key_lock(bank.public_key) for bank in money.banks]

    def sign(self, coins: Sequence[Coin]) -> Signed:
        """One payment of each coin."""
        one = self._interbank if self._money.load == "interbank" else self._transfer
        made = [one(coin) for coin in coins]
        return Signed([raw for raw, _ in made], [coin for _, coin in made])

    def _transfer(self, coin: Coin) -> tuple[bytes, Coin]:
        """One unit to another wallet, the rest back."""
        keys, locks = self._keys[0], self._locks[0]
        own, other = coin.number % len(keys), (7 * coin.number + coin.payments + 1) % len(keys)
        rest = coin.amount - 1
        if not rest:
            raise DrexError(
                "BENCH_SPENT", f"a coin has paid {coin.payments} times", next="give it more --coins"
            )
        outputs = [make_output(BANK_A_DVT, 1, locks[other]), make_output(BANK_A_DVT, rest, locks[own])]
        body = build_body(Kind.TRANSFER, [coin.outpoint], outputs)
        transaction = build_transaction(body, self._chain_id, [keys[own]])
        return transaction.raw, Coin(coin.number, coin.payments + 1, transaction.outpoint(1), rest, None)

    def _interbank(self, coin: Coin) -> tuple[bytes, Coin]:
        """All of it to the other bank's client; the next payment goes back."""
        payer_bank = coin.payments % 2
        payee_bank, place = 1 - payer_bank, coin.number % self._money.wallets
        assert coin.cash is not None
        outputs = [
            make_output((BANK_A_DVT, BANK_B_DVT)[payee_bank], coin.amount, self._locks[payee_bank][place]),
            make_output(WHOLESALE, coin.amount, self._cash_locks[payee_bank]),
        ]
        body = build_body(Kind.INTERBANK_TRANSFER, [coin.outpoint, coin.cash], outputs)
        keys = [self._keys[payer_bank][place], self._money.banks[payer_bank]]
        transaction = build_transaction(body, self._chain_id, keys)
        outpoint, cash = transaction.outpoint(0), transaction.outpoint(1)
        return transaction.raw, Coin(coin.number, coin.payments + 1, outpoint, coin.amount, cash)


_signer: Signer


def _begin_process(money: Money, chain_id: bytes) -> None:
    global _signer
    os.nice(5)
    _signer = Signer(money, chain_id)


def _sign(coins: list[Coin]) -> Signed:
    return _signer.sign(coins)


class Load:
    """Signed payments that wait to be sent: taken from the front, signed anew at the end."""

    def __init__(self, money: Money, chain_id: bytes) -> None:
        self._money, self.chain_id = money, chain_id
        self._coins = deque(money.begin(chain_id))  # whose turn it is, first
        self.waiting: deque[bytes] = deque()

    def sign_up_to(self, count: int) -> None:
        """Sign until `count` wait, on all cores, in processes that are gone afterwards."""
        missing = count - len(self.waiting)
        if missing <= 0:
            return
        done = 0
        with _processes(self._money, self.chain_id) as pool:
            while done < missing:
                turn = min(missing - done, len(self._coins))
                coins = [self._coins.popleft() for _ in range(turn)]
                parts = [coins[start : start + SIGN_AT_ONCE] for start in range(0, turn, SIGN_AT_ONCE)]
                for signed in pool.map(_sign, parts):
                    self.waiting.extend(signed.raws)
                    self._coins.extend(signed.coins)
                done += turn
                say(f"{done:,} of {missing:,} payments are signed")

    def take(self, count: int) -> list[bytes]:
        """The next `count`; fewer when fewer wait."""
        return [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]


@contextmanager
def _processes(money: Money, chain_id: bytes) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(
        os.cpu_count() or 1, initializer=_begin_process, initargs=(money, chain_id)
    ) as pool:
        yield pool
