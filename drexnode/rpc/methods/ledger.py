"""What a transaction would do, who may hold, what is frozen, and the votes that stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drexnode import client_values
from drexnode.rpc import answers
from drexnode.rpc.errors import from_drex, invalid_params, too_large
from drexnode.rpc.examples import ADDRESS, TRANSACTION
from drexnode.rpc.ledger_api import Simulated
from drexnode.rpc.params import Address, ProofOf, ProofSubject, RawTransaction, RawTransactions
from drexnode.rpc.registry import Context, method
from ledger.proof import Question, Subject
from ledger.transaction import OutPoint
from primitives.address import encode_address
from primitives.block import block_id
from primitives.codec import encode
from primitives.limits import SIMULATED_TRANSACTIONS


@method(
    "drex_simulateTransaction",
    "{txid, height, valid, changes, code, …}",
    client_values.Simulation,
    rest="POST /simulations",
    example=(TRANSACTION,),
)
async def simulate_transaction(context: Context, transaction: RawTransaction) -> dict[str, Any]:
    """What a transaction would do in the next block, or the code by which it would be refused."""
    [answer] = await context.api.simulate([transaction], together=False)
    return _answer(context, answer)


@method(
    "drex_validateAtomicity",
    "{valid, height, transactions}",
    client_values.Atomicity,
    rest="POST /atomicity",
    example=([TRANSACTION],),
)
async def validate_atomicity(context: Context, transactions: RawTransactions) -> dict[str, Any]:
    """Whether transactions would all apply one after another: all of them, or the first one refused."""
    if not transactions:
        raise invalid_params("at least one transaction is expected")
    if len(transactions) > SIMULATED_TRANSACTIONS:
        raise too_large("transactions to try together", len(transactions), SIMULATED_TRANSACTIONS)
    answers: Sequence[Simulated] = await context.api.simulate(transactions, together=True)
    return {
        "valid": len(answers) == len(transactions) and all(item.error is None for item in answers),
        "height": answers[0].height,
        "transactions": [_answer(context, item) for item in answers],
    }


def _answer(context: Context, item: Simulated) -> dict[str, Any]:
    prefix = context.api.identity.address_prefix
    view: dict[str, Any] = {
        "txid": None if item.txid is None else item.txid.hex(),
        "height": item.height,
        "valid": item.error is None,
        "changes": [
            {
                "address": encode_address(prefix, change.lock),
                "asset": change.asset,
                "amount": str(change.amount),
            }
            for change in item.changes
        ],
        "code": None,
    }
    if item.error is not None:
        refusal = from_drex(item.error).body()
        view |= {"code": item.error.code, "message": item.error.message, "data": refusal["data"]}
    return view


@method(
    "drex_getWallet",
    "{address, lock, participant, clients_of}",
    client_values.RegisteredWallet,
    rest="GET /addresses/{address}",
    example=(ADDRESS,),
)
async def get_wallet(context: Context, address: Address) -> dict[str, Any]:
    """What the registry says of an address: whose own lock it is, and which institutions enabled it."""
    found = await context.api.wallet(address)
    own = {
        "ispb": found.ispb,
        "purpose": found.purpose,
        "reserve_of": found.reserve_of,
        "disabled_by": list(found.disabled_by),
    }
    return {
        "address": encode_address(context.api.identity.address_prefix, address),
        "lock": address.hex(),
        "height": found.height,
        "participant": None if found.ispb is None else own,
        "clients_of": [
            {"issuer": item.issuer, "disabled_by": list(item.disabled_by)} for item in found.clients_of
        ],
    }


@method(
    "drex_getFrozen",
    "list of {asset, author, order_id, amount}",
    list[client_values.StandingFreeze],
    rest="GET /addresses/{address}/freezes",
    example=(ADDRESS,),
)
async def get_frozen(context: Context, address: Address) -> list[dict[str, Any]]:
    """The freezes that stand on an address: order ids in hex, amounts in smallest units as text."""
    return [
        {
            "asset": item.asset,
            "author": item.author,
            "order_id": item.order_id.hex(),
            "amount": str(item.amount),
        }
        for item in await context.api.frozen(address)
    ]


@method(
    "drex_getProof",
    "{height, block_id, state_root, size_bytes, proof (hex)}",
    client_values.ProofAnswer,
    rest="POST /proofs",
    example=({"supply": "BRL"},),
)
async def get_proof(context: Context, of: ProofSubject) -> dict[str, Any]:
    """What the tip's state says of an output, an address or a supply, with all it takes to believe it."""
    proof = await context.api.prove(await _question(context, of))
    raw = encode(proof)
    return {
        "height": proof.header.height,
        "block_id": block_id(proof.header).hex(),
        "state_root": proof.header.state_root.hex(),
        "size_bytes": len(raw),
        "proof": raw.hex(),
    }


async def _question(context: Context, of: ProofOf) -> Question:
    if of.supply is not None:
        return Question(Subject.SUPPLY, b"", of.supply.encode())
    if of.outpoint is None:
        return Question(Subject.ADDRESS, of.lock or b"", b"")
    txid, index = of.outpoint
    lock = of.lock if of.lock is not None else await context.api.lock_of_output(OutPoint(txid, index))
    return Question(Subject.OUTPUT, lock, txid + index.to_bytes(4, "big"))


@method(
    "qbft_getPendingVotes",
    "list of {subject, voter, add, expires}",
    list[answers.StandingVote],
    rest="GET /consensus/votes",
)
async def get_pending_votes(context: Context) -> list[dict[str, Any]]:
    """Validator votes that stand, and the height until which each counts."""
    return [
        {
            "subject": vote.subject.hex(),
            "voter": vote.voter.hex(),
            "add": vote.add,
            "expires": vote.expires,
        }
        for vote in await context.api.pending_votes()
    ]
