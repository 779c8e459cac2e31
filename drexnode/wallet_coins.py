"""Which coins pay. Deterministic: an exact coin, else the smallest single one that covers, else the largest
first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from drexnode.client_values import Unspent
from drexnode.wallet_accounts import WalletError
from ledger.transaction import OutPoint, Output
from primitives.limits import MAX_INPUTS


@dataclass(frozen=True, slots=True)
class Payment:
    """Inputs of one lock and asset, and the change that goes back there (none when it is exact)."""

    inputs: tuple[OutPoint, ...]
    change: tuple[Output, ...]


def select_coins(
    coins: Sequence[Unspent], amount: int, min_change: int, max_inputs: int = MAX_INPUTS
) -> list[Unspent]:
    """Coins that sum to `amount`, or to at least `amount + min_change`.

    Raises `WalletError` WALLET_FUNDS or, when too many small ones would be needed, WALLET_TOO_MANY_COINS.
    """

    def enough(total: int) -> bool:
        return total == amount or total >= amount + min_change

    ascending = sorted(coins, key=lambda coin: (coin.amount, coin.txid, coin.index))
    for coin in ascending:
        if enough(coin.amount):
            return [coin]
    chosen: list[Unspent] = []
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


def pay(
    coins: Sequence[Unspent],
    lock: bytes,
    amount: int,
    min_change: int,
    avoid: Collection[OutPoint] = (),
) -> Payment:
    """Choose among the coins of `lock`, all of one asset, leaving out those to `avoid`. Raises as
    `select_coins`."""
    chosen = select_coins([coin for coin in coins if outpoint(coin) not in avoid], amount, min_change)
    left = sum(coin.amount for coin in chosen) - amount
    change = (Output(chosen[0].asset, left, lock, b""),) if left else ()
    return Payment(tuple(outpoint(coin) for coin in chosen), change)


def outpoint(coin: Unspent) -> OutPoint:
    """The name of an unspent output."""
    return OutPoint(bytes.fromhex(coin.txid), coin.index)
