"""No authorised act applies twice: kinds without inputs are remembered by txid until they expire.

A transaction with inputs spends them, so it can't be applied again; one without has nothing to spend. It must
say `valid_until` within the replay window, and its txid stays in the state until then. The end of a block
forgets what expired (`ledger/end_of_block.py`).
"""

from __future__ import annotations

from ledger import codes
from ledger.context import BlockContext
from ledger.state import EXPIRY, REMEMBERED, StateView
from ledger.transaction import Transaction


def check_validity(transaction: Transaction, context: BlockContext) -> None:
    """The block lies within valid_from … valid_until. Refuses TX_NOT_YET_VALID, TX_EXPIRED."""
    body, height = transaction.body, context.height
    if body.valid_from > height:
        codes.refuse(codes.NOT_YET_VALID, f"valid from height {body.valid_from}, this is {height}")
    if body.valid_until and body.valid_until < height:
        codes.refuse(codes.EXPIRED, f"valid until height {body.valid_until}, this is {height}")


def remember(view: StateView, transaction: Transaction, context: BlockContext) -> None:
    """Remember a transaction without inputs. Refuses TX_VALIDITY_TOO_LONG, TX_REPLAYED."""
    until = transaction.body.valid_until
    latest = context.height + context.parameters.replay_window_blocks
    if until > latest:
        codes.refuse(codes.VALIDITY_TOO_LONG, f"valid until height {until}, at most {latest} is accepted now")
    key = REMEMBERED + transaction.txid
    if view.get(key) is not None:
        codes.refuse(
            codes.REPLAYED, f"{transaction.txid.hex()} was applied already", txid=transaction.txid.hex()
        )
    until_bytes = until.to_bytes(8, "big")
    view.put(key, until_bytes)
    counter = EXPIRY + until_bytes
    value = view.get(counter)
    count = 0 if value is None else int.from_bytes(value, "big")
    view.put(counter + count.to_bytes(4, "big"), transaction.txid)
    view.put(counter, (count + 1).to_bytes(4, "big"))
