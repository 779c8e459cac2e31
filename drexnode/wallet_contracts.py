"""Money under a condition: hashed time locks and vaults, and the files that remember their conditions.

A lock is the hash of its condition, so whoever is to spend must keep the condition: the contract file holds
it. It holds no secret. Times are milliseconds since 1970 (UTC), compared with the block's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drexnode.wallet import Avoid, Wallet
from drexnode.wallet_accounts import WalletError
from drexnode.wallet_draft import FILE_VERSION, Draft, make_draft, read_document, write_new
from ledger.build import build_body, make_output
from ledger.locks import (
    AfterTime,
    Condition,
    HashLeaf,
    KeyLeaf,
    check_condition,
    lock_of,
    threshold,
)
from ledger.payloads import Kind
from primitives.errors import DecodeError, InvalidTransaction

CONTRACT = "drexnode contract"
HTLC = "htlc"
VAULT = "vault"


@dataclass(frozen=True, slots=True)
class Contract:
    """A condition, what it is for, and the asset it holds."""

    form: str  # htlc | vault
    asset: str
    condition: Condition

    @property
    def lock(self) -> bytes:
        """The lock that holds the money."""
        return lock_of(self.condition)


def htlc_condition(digest: bytes, payee_key: bytes, payer_key: bytes, refund_after_ms: int) -> Condition:
    """The payee with the preimage of `digest` (SHA-256), or the payer from `refund_after_ms` on."""
    claim = threshold(2, HashLeaf(digest), KeyLeaf(payee_key))
    refund = threshold(2, AfterTime(refund_after_ms), KeyLeaf(payer_key))
    return threshold(1, claim, refund)


def vault_condition(needed: int, public_keys: Sequence[bytes]) -> Condition:
    """`needed` of the keys. Raises `WalletError` WALLET_CONDITION_INVALID."""
    condition = threshold(needed, *(KeyLeaf(key) for key in public_keys))
    try:
        check_condition(condition)
    except InvalidTransaction as error:
        raise WalletError("WALLET_CONDITION_INVALID", error.message) from None
    return condition


def lock_draft(
    wallet: Wallet, owner: str, contract: Contract, amount: int, *, reference: bytes = b"", avoid: Avoid = ()
) -> Draft:
    """Money of `owner` (an address) under the contract; the payload shows whose keys may open it."""
    return wallet.transfer_draft(
        owner,
        wallet.address(contract.lock),
        wallet.asset(contract.asset),
        amount,
        reference=reference,
        avoid=avoid,
        shown=[contract.condition],
    )


def unlock_draft(
    wallet: Wallet,
    contract: Contract,
    to: str,
    amount: int | None = None,
    *,
    reference: bytes = b"",
    avoid: Avoid = (),
) -> Draft:
    """Money of the contract to an address, all of it when no amount is named; what is left stays under the
    contract. Raises `WalletError` WALLET_FUNDS."""
    held = wallet.address(contract.lock)
    if amount is None:
        amount = sum(coin.amount for coin in wallet.coins(held, contract.asset))
    if amount < 1:
        raise WalletError("WALLET_FUNDS", f"the {contract.form} holds no {contract.asset}", address=held)
    payment = wallet.payment(held, wallet.asset(contract.asset), amount, avoid)
    outputs = [make_output(contract.asset, amount, wallet.lock(to)), *payment.change]
    body = build_body(
        Kind.TRANSFER,
        payment.inputs,
        outputs,
        reference=reference,
        payload=(contract.condition,) if payment.change else (),
    )
    return make_draft(body, wallet.chain_id, [contract.condition])


def write_contract(path: Path, contract: Contract, address: str) -> None:
    """Write a contract to a new file. Raises `WalletError` WALLET_FILE_EXISTS."""
    from ledger import genesis_json  # its checks are a third of what a command loads

    document = {
        "type": CONTRACT,
        "version": FILE_VERSION,
        "form": contract.form,
        "asset": contract.asset,
        "address": address,
        "condition": genesis_json.condition_to_json(contract.condition),
    }
    write_new(path, document)


def read_contract(path: Path, form: str | None = None) -> Contract:
    """Read a contract, of one form when it is named. Raises `WalletError` WALLET_FILE."""
    from ledger import genesis_json

    document: dict[str, Any] = read_document(path, CONTRACT)
    try:
        condition = genesis_json.condition_from_json(document["condition"])
        check_condition(condition)
        found = Contract(str(document["form"]), str(document["asset"]), condition)
    except (KeyError, DecodeError, InvalidTransaction) as error:
        raise WalletError("WALLET_FILE", f"{path} holds no condition: {error}", path=str(path)) from None
    if form is not None and found.form != form:
        raise WalletError("WALLET_FILE", f"{path} is a {found.form}, not a {form}", path=str(path))
    return found
