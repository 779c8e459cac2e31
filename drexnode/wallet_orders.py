"""Acts of authorities: freeze, unfreeze, move, registry, votes. Who may is the ledger's to say.

Each names its acting participant. An act without inputs is valid for a bounded time and never twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from drexnode import client as rpc
from drexnode.wallet import ACT_VALID_BLOCKS, Avoid, Wallet
from drexnode.wallet_accounts import WalletError
from drexnode.wallet_draft import Draft, make_draft
from ledger.build import build_body, make_output, sort_conditions
from ledger.locks import Condition
from ledger.payloads import (
    Act,
    Freeze,
    Kind,
    Move,
    Payload,
    RegistryAct,
    Unfreeze,
    ValidatorVote,
    VoteOperation,
)


def acting_participant(wallet: Wallet, address: str) -> str:
    """The ispb that acts when none is named: whose own lock the address is, else BCB, whose authorities have
    keys without a lock. Raises `WalletError` WALLET_ACTOR_NEEDED."""
    own = wallet.client.run(rpc.wallet(address)).participant
    if own is not None:
        return str(own["ispb"])
    for party in wallet.client.run(rpc.participants()):
        if party["role"] == "bcb":
            return str(party["ispb"])
    raise WalletError("WALLET_ACTOR_NEEDED", "name the acting participant with --as ISPB")


def act_draft(
    wallet: Wallet, kind: Kind, payload: Payload, *, reference: bytes = b"", blocks: int = ACT_VALID_BLOCKS
) -> Draft:
    """A kind without inputs, valid for so many blocks."""
    body = build_body(kind, valid_until=wallet.until(blocks), reference=reference, payload=payload)
    return make_draft(body, wallet.chain_id)


def freeze_draft(wallet: Wallet, actor: str, holder: str, asset: str, amount: int, order_id: bytes) -> Draft:
    """Freeze `amount` at an address."""
    return act_draft(wallet, Kind.FREEZE, Freeze(actor, wallet.lock(holder), asset, amount, order_id))


def unfreeze_draft(
    wallet: Wallet, actor: str, holder: str, asset: str, author: str, order_id: bytes
) -> Draft:
    """Lift the whole order of `author`."""
    order = Unfreeze(actor, wallet.lock(holder), asset, author, order_id)
    return act_draft(wallet, Kind.UNFREEZE, order)


def registry_draft(wallet: Wallet, actor: str, act: Act) -> Draft:
    """One act of the registry."""
    return act_draft(wallet, Kind.REGISTRY, RegistryAct(actor, act))


def vote_draft(wallet: Wallet, voter: bytes, subject: bytes, operation: VoteOperation, blocks: int) -> Draft:
    """A validator's vote, which counts for so many blocks."""
    vote = ValidatorVote(voter, subject, operation, wallet.until(blocks))
    return act_draft(wallet, Kind.VALIDATOR_VOTE, vote, blocks=min(blocks, ACT_VALID_BLOCKS))


def move_draft(
    wallet: Wallet,
    actor: str,
    holder: str,
    to: str | None,
    asset: rpc.Asset,
    amount: int,
    order_id: bytes,
    *,
    avoid: Avoid = (),
    shown: Iterable[Condition] = (),
) -> Draft:
    """Take `amount` from an address by force: to another one, or (None) out of circulation. What is left
    of the coins stays with the holder. Raises `WalletError` WALLET_FUNDS."""
    payment = wallet.payment(holder, asset, amount, avoid)
    moved = [] if to is None else [make_output(asset.asset, amount, wallet.lock(to))]
    payload = Move(actor, order_id, sort_conditions(shown))
    body = build_body(Kind.MOVE, payment.inputs, [*moved, *payment.change], payload=payload)
    return make_draft(body, wallet.chain_id)
