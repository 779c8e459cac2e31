"""Everything a wallet holds to a new key, in one transaction: all of it moves, or nothing does."""

from __future__ import annotations

from collections.abc import Mapping

from drexnode import client as rpc
from drexnode.wallet import Wallet
from drexnode.wallet_accounts import WalletError
from drexnode.wallet_coins import outpoint
from drexnode.wallet_draft import Draft, make_draft
from ledger.build import build_body, make_output
from ledger.payloads import Kind
from primitives.limits import MAX_INPUTS


def rotate_draft(wallet: Wallet, old: str, new: str) -> tuple[Draft, Mapping[str, int]]:
    """A TRANSFER of every unspent output of the address `old` to `new`, and what moves of each asset.

    What is frozen stays, with change to `old`, until its order is lifted. Raises `WalletError` WALLET_FUNDS
    when there is nothing to move, WALLET_TOO_MANY_COINS above the inputs of one transaction."""
    target, source = wallet.lock(new), wallet.lock(old)
    inputs, outputs, moved = [], [], {}
    for name, balance in sorted(wallet.client.run(rpc.balance(old)).items()):
        if balance.free <= 0:
            continue
        coins = wallet.coins(old, name)
        inputs += [outpoint(coin) for coin in coins]
        stays = sum(coin.amount for coin in coins) - balance.free
        outputs.append(make_output(name, balance.free, target))
        outputs += [make_output(name, stays, source)] if stays else []
        moved[name] = balance.free
    if not moved:
        raise WalletError("WALLET_FUNDS", f"{old} holds nothing that is free to move", address=old)
    if len(inputs) > MAX_INPUTS:
        message = (
            f"{len(inputs)} outputs would have to move at once, at most {MAX_INPUTS} can; merge them first"
        )
        raise WalletError("WALLET_TOO_MANY_COINS", message, next="drexnode tx consolidate WALLET")
    return make_draft(build_body(Kind.TRANSFER, inputs, outputs), wallet.chain_id), moved
