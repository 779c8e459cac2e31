"""Reads of the ledger for wallets, over any state: `drexnode.rpc.ledger_api` without a node around it.

Guarantees: a simulation applies the ledger's own rules to a view that is thrown away; it checks shape and
signatures as well, so what it accepts the next block would accept, if nothing else spends the same first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from drexnode.rpc.ledger_api import BalanceChange, Enabled, FreezeInfo, Simulated, WalletInfo
from ledger.apply import apply_transaction
from ledger.checks import check_stateless, verify_signatures
from ledger.context import BlockContext
from ledger.registry import DISABLED_BY_BCB, DISABLED_BY_OWNER, find_lock, find_wallet
from ledger.state import BALANCE, FREEZE, LOCK_BYTES, Change, StateReader, StateView
from ledger.transaction import Transaction, decode_transaction
from primitives.errors import DecodeError, InvalidTransaction
from primitives.keys import verify_many

ISPB_CHARS = 8


def read_checked(raw: bytes, chain_id: bytes) -> Transaction:
    """Decode, and check shape and signatures. Raises `DecodeError`, `InvalidTransaction`."""
    transaction = decode_transaction(raw, chain_id)
    check_stateless(transaction)
    verify_signatures(transaction, verify_many)
    return transaction


def try_read(raw: bytes, chain_id: bytes, height: int) -> Transaction | Simulated:
    """`read_checked`, its refusal as a value."""
    try:
        return read_checked(raw, chain_id)
    except (DecodeError, InvalidTransaction) as error:
        return Simulated(_txid(raw, chain_id), height, error)


def try_apply(
    view: StateView, transaction: Transaction, context: BlockContext, ancestors: Sequence[Transaction] = ()
) -> Simulated:
    """Apply `transaction` to `view` after its ancestors; a refusal leaves the view as after the ancestors."""
    try:
        for ancestor in ancestors:
            apply_transaction(view, ancestor, context)
        before = _balances(view)
        apply_transaction(view, transaction, context)
    except InvalidTransaction as error:
        return Simulated(transaction.txid, context.height, error)
    after, changes = _balances(view), list[BalanceChange]()
    for key in sorted(before.keys() | after.keys()):
        base = (before.get(key) or after[key])[0]  # the same in both; what equals it is in neither
        amount = _amount(after[key][1] if key in after else base)
        amount -= _amount(before[key][1] if key in before else base)
        if amount:
            asset = key[1 + LOCK_BYTES :].decode()
            changes.append(BalanceChange(key[1 : 1 + LOCK_BYTES], asset, amount))
    return Simulated(transaction.txid, context.height, None, tuple(changes))


def _balances(view: StateView) -> dict[bytes, Change]:
    """Every balance that differs from the base's: (the base's value, the value now)."""
    return {key: change for key, change in view.delta().changes.items() if key[:1] == BALANCE}


def wallet_info(state: StateReader, height: int, ispbs: Iterable[str], lock: bytes) -> WalletInfo:
    """What the registry says of `lock`; `ispbs` are all participants."""
    clients = []
    for ispb in sorted(ispbs):
        disabled = find_wallet(state, ispb, lock)
        if disabled is not None:
            clients.append(Enabled(ispb, _authors(disabled)))
    record = find_lock(state, lock)
    if record is None:
        return WalletInfo(height, clients_of=tuple(clients))
    return WalletInfo(
        height,
        record.ispb,
        record.purpose.name.lower(),
        record.asset or None,
        _authors(record.disabled),
        tuple(clients),
    )


def freeze_infos(entries: Iterable[tuple[bytes, bytes]]) -> list[FreezeInfo]:
    """Read the state's freeze entries of one lock: `f` + lock + length(1) + asset + author(8) + order id."""
    start = len(FREEZE) + LOCK_BYTES
    found = []
    for key, value in entries:
        author = start + 1 + key[start]
        order = author + ISPB_CHARS
        asset, who = key[start + 1 : author].decode(), key[author:order].decode()
        found.append(FreezeInfo(asset, who, key[order:], _amount(value)))
    return sorted(found, key=lambda item: (item.asset, item.author, item.order_id))


def _authors(disabled: int) -> tuple[str, ...]:
    bits = (("bcb", DISABLED_BY_BCB), ("issuer", DISABLED_BY_OWNER))
    return tuple(name for name, bit in bits if disabled & bit)


def _amount(value: bytes | None) -> int:
    return 0 if value is None else int.from_bytes(value, "big")


def _txid(raw: bytes, chain_id: bytes) -> bytes | None:
    try:
        return decode_transaction(raw, chain_id).txid
    except DecodeError:
        return None
