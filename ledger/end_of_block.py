"""What every block does after its last transaction, in this order: validator votes, suspensions, forgetting.

Promise: it never refuses. A recovery that falls due needs no act here: a credential is read as it is in force
at a height (`ledger/registry.py`).
"""

from __future__ import annotations

from ledger.proposers import apply_proposer
from ledger.slices import Slices
from ledger.state import EXPIRY, REMEMBERED, StateView
from ledger.votes import apply_votes
from primitives.block import BlockHeader
from primitives.limits import EXPIRIES_PER_SLICE
from primitives.validators import ValidatorSet


def end_block(
    view: StateView, validators: ValidatorSet, parent: BlockHeader, proposer: bytes, min_validators: int
) -> Slices[ValidatorSet]:
    """Close the block after `parent` that `proposer`, a member of `validators`, made; return the next set."""
    height = parent.height + 1
    next_validators = apply_votes(view, validators, height, min_validators)
    apply_proposer(view, validators, next_validators, parent.proposer, proposer, height)
    yield from forget_expired(view, height)
    return next_validators


def forget_expired(view: StateView, height: int) -> Slices[None]:
    """Drop the remembered txids whose validity ends with block `height`: from now on they are too late."""
    head = EXPIRY + height.to_bytes(8, "big")
    value = view.get(head)
    if value is None:
        return
    for place in range(int.from_bytes(value, "big")):
        entry = head + place.to_bytes(4, "big")
        txid = view.get(entry)
        if txid is not None:
            view.delete(REMEMBERED + txid)
            view.delete(entry)
        if place % EXPIRIES_PER_SLICE == EXPIRIES_PER_SLICE - 1:
            yield
    view.delete(head)
