"""Submitting transactions, and what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from drexnode import client_values
from drexnode.rpc import answers
from drexnode.rpc.chain_values import Submitted, TransactionState
from drexnode.rpc.errors import from_drex, too_many_waiters
from drexnode.rpc.examples import TRANSACTION, TXID
from drexnode.rpc.params import Asset, Hash32, RawTransaction, RawTransactions, Reference, TimeoutMs
from drexnode.rpc.registry import Context, method
from drexnode.rpc.views import state_view, transaction_view


@method(
    "drex_sendTransaction",
    "txid (hex)",
    answers.Hash,
    rest="POST /transactions",
    sends=True,
    example=(TRANSACTION,),
)
async def send_transaction(context: Context, transaction: RawTransaction) -> str:
    """Submit one transaction `[body, witness]` in hex; a known one answers with its id again."""
    [answer] = await context.api.submit([transaction])
    if answer.error is not None:
        raise from_drex(answer.error)
    assert answer.txid is not None
    return answer.txid.hex()


@method(
    "drex_sendTransactions",
    "list of {txid, code, message, data}",
    list[client_values.Sent],
    rest="POST /transaction-batches",
    sends=True,
    example=([TRANSACTION],),
)
async def send_transactions(context: Context, transactions: RawTransactions) -> list[dict[str, Any]]:
    """Submit many transactions at once; each has its own answer, in order."""
    return [_answer(item) for item in await context.api.submit(transactions)]


def _answer(item: Submitted) -> dict[str, Any]:
    txid = None if item.txid is None else item.txid.hex()
    if item.error is None:
        return {"txid": txid, "code": None}
    body = from_drex(item.error).body()
    return {"txid": txid, "code": item.error.code, "message": item.error.message, "data": body["data"]}


@method(
    "drex_getTransaction",
    "transaction or null",
    answers.Transaction | None,
    rest="GET /transactions/{txid}",
    example=(TXID,),
)
async def get_transaction(context: Context, txid: Hash32) -> dict[str, Any] | None:
    """A transaction by its id, pending or final, decoded and as bytes."""
    stored = await context.api.transaction(txid)
    return None if stored is None else transaction_view(stored, context.api.identity)


@method(
    "drex_getTransactionStatus",
    "{txid, status, height, code, reason, …}",
    client_values.Status,
    rest="GET /transactions/{txid}/status",
    example=(TXID,),
)
async def get_transaction_status(context: Context, txid: Hash32) -> dict[str, Any]:
    """UNKNOWN, PENDING, FINAL or REJECTED, with height and round, or code and reason."""
    return state_view(await context.api.transaction_state(txid))


@method(
    "drex_waitTransaction",
    "as drex_getTransactionStatus",
    client_values.Status,
    rest="GET /transactions/{txid}/outcome",
    example=(TXID, 1000),
)
async def wait_transaction(context: Context, txid: Hash32, timeout_ms: TimeoutMs = 10_000) -> dict[str, Any]:
    """Answer when the transaction is FINAL or REJECTED, or with its state when the time is over."""
    async with waiting(context):
        left_ms = max(0, int((context.deadline - trio.current_time()) * 1000))
        state: TransactionState = await context.api.wait_final(txid, min(timeout_ms, left_ms))
    return state_view(state)


@asynccontextmanager
async def waiting(context: Context) -> AsyncIterator[None]:
    """Take one of the bounded places for calls that wait. Raises `RpcError` RPC_TOO_MANY_WAITERS."""
    if context.waiters[0] >= context.config.max_waiters:
        raise too_many_waiters(context.config.max_waiters)
    context.waiters[0] += 1
    try:
        yield
    finally:
        context.waiters[0] -= 1


@method(
    "drex_getTransactionByReference",
    "transaction or null",
    answers.Transaction | None,
    rest="GET /emissions",
    example=("BRL", "6f702d31"),
)
async def get_transaction_by_reference(
    context: Context, asset: Asset, reference: Reference
) -> dict[str, Any] | None:
    """The emission of an asset that carries a reference (hex)."""
    txid = await context.api.transaction_by_reference(asset, reference)
    stored = None if txid is None else await context.api.transaction(txid)
    return None if stored is None else transaction_view(stored, context.api.identity)
