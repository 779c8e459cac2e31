"""Coin selection and the wallet's own transactions, against a chain in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from drexnode import client as rpc
from drexnode.wallet import Account, Wallet, WalletBook, WalletError, find_account, select_coins, wait_final
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving

T = TypeVar("T")
DVT = "BRL@99990001/DVT"


def coin(amount: int, index: int) -> rpc.Unspent:
    return rpc.Unspent("00" * 32, index, "BRL", amount, "drexdev1…")


def coins(amounts: list[int]) -> list[rpc.Unspent]:
    return [coin(amount, index) for index, amount in enumerate(amounts)]


@given(st.lists(st.integers(1, 1000), max_size=20), st.integers(1, 3000), st.integers(1, 50))
def test_selected_coins_cover_exactly_or_leave_change_that_is_no_dust(
    amounts: list[int], amount: int, dust: int
) -> None:
    total = sum(amounts)
    refusal: WalletError | None = None
    try:
        chosen = select_coins(coins(amounts), amount, dust)
    except WalletError as error:
        refusal = error
    if refusal is not None:  # never while all coins together would do
        assert (refusal.code == "WALLET_FUNDS") == (total < amount)
        assert total < amount + dust
        assert total != amount
        return
    left = sum(item.amount for item in chosen) - amount
    assert left == 0 or left >= dust
    assert len({item.index for item in chosen}) == len(chosen)


def test_an_exact_coin_is_taken_although_all_together_would_leave_dust() -> None:
    assert [item.amount for item in select_coins(coins([1, 1]), 1, 2)] == [1]


def test_an_exact_coin_is_taken_before_a_larger_and_a_single_one_before_several() -> None:
    assert [item.amount for item in select_coins(coins([5, 7, 100, 3]), 7, 1)] == [7]
    assert [item.amount for item in select_coins(coins([5, 7, 100, 3]), 8, 1)] == [100]
    assert [item.amount for item in select_coins(coins([5, 7, 3]), 11, 1)] == [7, 5]


def test_too_many_small_coins_ask_for_a_merge() -> None:
    with pytest.raises(WalletError) as refused:
        select_coins(coins([1] * 30), 25, 1, max_inputs=20)
    assert refused.value.code == "WALLET_TOO_MANY_COINS"


async def with_wallet(chain: MemoryChain, work: Callable[[Wallet, WalletBook], T]) -> T:
    """Run blocking work in a thread while the chain is served."""
    book = WalletBook(
        {
            name: Account(name, view["address"], chain.plan.wallets[name])
            for name, view in chain.plan.wallets_view().items()
        }
    )

    def run(url: str) -> T:
        with rpc.Client(url) as client:
            return work(Wallet(client), book)

    async with serving(chain) as url:
        return await trio.to_thread.run_sync(run, url)


async def test_the_wallet_emits_transfers_and_burns_to_finality() -> None:
    chain = MemoryChain()

    def work(wallet: Wallet, book: WalletBook) -> list[int]:
        bcb, alice, bob = (book.accounts[name] for name in ("bcb", "alice", "bob"))
        assert bcb.key is not None
        brl, dvt = wallet.asset("BRL"), wallet.only_asset(alice)
        heights = []
        for transaction in (
            wallet.emit(bcb.key, bcb.address, brl, 1000, b"op-1"),
            wallet.transfer(alice, bob.address, dvt, 250_000_00 + 1, note=b"rent"),
            wallet.burn(bcb, brl, 400, bcb.key),
        ):
            done = wait_final(wallet.client, transaction.txid.hex(), 5)
            assert len(done.signers) == 1
            heights.append(done.height)
        supply = wallet.client.run(rpc.supply("BRL"))
        assert (supply.emitted, supply.burned, supply.circulating) == (1000, 400, 600)
        found = wallet.client.run(rpc.transaction_by_reference("BRL", b"op-1"))
        assert found is not None
        assert found["height"] == 1
        return heights

    assert await with_wallet(chain, work) == [1, 2, 3]


async def test_consolidating_merges_all_small_outputs_into_one() -> None:
    chain = MemoryChain()

    def work(wallet: Wallet, book: WalletBook) -> None:
        alice = book.accounts["alice"]
        dvt = wallet.asset(DVT)
        assert wallet.consolidate(alice, dvt) is not None
        assert [item.amount for item in wallet.coins(alice.address, DVT)] == [4 * 250_000_00]
        assert wallet.consolidate(alice, dvt) is None

    await with_wallet(chain, work)


async def test_coins_that_a_pending_transaction_spends_are_left_for_others() -> None:
    chain = MemoryChain()

    def work(wallet: Wallet, book: WalletBook) -> None:
        alice, bob = book.accounts["alice"], book.accounts["bob"]
        dvt = wallet.asset(DVT)
        stale = wallet.coins(alice.address, DVT)
        wallet.transfer(alice, bob.address, dvt, 250_000_00)
        wallet.coins = lambda address, asset: stale  # type: ignore[method-assign]
        again = wallet.transfer(alice, bob.address, dvt, 250_000_00)
        assert wallet.client.run(rpc.transaction_status(again.txid.hex())).status == "FINAL"

    await with_wallet(chain, work)


async def test_what_the_wallet_cannot_do_is_said_before_anything_is_sent() -> None:
    chain = MemoryChain()

    def work(wallet: Wallet, book: WalletBook) -> None:
        alice, bob = book.accounts["alice"], book.accounts["bob"]
        dvt = wallet.asset(DVT)
        stranger = Account("x", bob.address)
        for code, action in (
            ("WALLET_FUNDS", lambda: wallet.transfer(alice, bob.address, dvt, 10**15)),
            ("WALLET_FUNDS", lambda: wallet.only_asset(bob)),
            ("WALLET_ASSET_UNKNOWN", lambda: wallet.asset("EUR")),
            ("WALLET_NO_KEY", lambda: wallet.transfer(stranger, bob.address, dvt, 1)),
            ("WALLET_NOTE_TOO_LONG", lambda: wallet.transfer(alice, bob.address, dvt, 1, note=b"x" * 257)),
            ("WALLET_UNKNOWN", lambda: find_account("carol", book, wallet.prefix)),
            ("TX_NOT_FINAL", lambda: wait_final(wallet.client, "00" * 32, 0.01)),
        ):
            with pytest.raises(WalletError) as refused:
                action()
            assert refused.value.code == code
        assert wallet.client.run(rpc.block_number()) == 0

    await with_wallet(chain, work)


def test_a_file_that_is_no_wallet_book_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wallets.json"
    for content in ("", "[]", '{"a": {}}', '{"a": {"seed": "zz", "address": "x"}}', '{"a": 5}'):
        path.write_text(content)
        with pytest.raises(WalletError, match="WALLET_UNREADABLE"):
            WalletBook.load(path)
