"""Signatures of transactions: each verified once, however often the transaction comes, alone or in a block.

Guarantees: a transaction is kept as verified (drexnode/bodies.py) only after every signature it carries was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from drexnode.bodies import Bodies
from drexnode.slicing import RightOfWay, slices_of
from drexnode.verifier import Verifier
from ledger import codes
from ledger.transaction import Transaction, signature_checks
from primitives.errors import InvalidTransaction
from primitives.limits import VERIFY_BATCH


class Signatures:
    """What one node verifies, and keeps among its bodies."""

    def __init__(self, verifier: Verifier, bodies: Bodies, right_of_way: RightOfWay) -> None:
        self._verifier = verifier
        self._bodies = bodies
        self._right_of_way = right_of_way

    async def check(
        self, transactions: Sequence[Transaction], *, urgent: bool = False
    ) -> dict[bytes, InvalidTransaction]:
        """Verify all. wtxid → TX_BAD_SIGNATURE, naming the first key whose signature is false; what is not in
        the answer is kept as verified: its shape was checked before. `urgent`: for a block under discussion,
        which gives way to nothing; what it has verified meanwhile is not verified again."""
        errors: dict[bytes, InvalidTransaction] = {}
        is_verified = self._bodies.is_verified
        for asked in slices_of(transactions, VERIFY_BATCH):
            if not urgent:
                await self._right_of_way.give_way()
            part = [transaction for transaction in asked if not is_verified(transaction.wtxid)]
            checks = [check for transaction in part for check in signature_checks(transaction)]
            answers = await self._verifier.verify(checks)
            if all(answers):
                self._bodies.keep(part, verified=True)
            else:
                errors |= _errors(part, answers)
                good = [transaction for transaction in part if transaction.wtxid not in errors]
                self._bodies.keep(good, verified=True)
        return errors


def _errors(transactions: Sequence[Transaction], answers: Iterable[bool]) -> dict[bytes, InvalidTransaction]:
    """The transactions with a false signature, by wtxid."""
    errors: dict[bytes, InvalidTransaction] = {}
    answer = iter(answers)
    for transaction in transactions:
        for public_key, _ in transaction.witness.signatures:
            if not next(answer) and transaction.wtxid not in errors:
                errors[transaction.wtxid] = _bad_signature(public_key)
    return errors


def _bad_signature(public_key: bytes) -> InvalidTransaction:
    message = f"the signature of key {public_key.hex()} does not verify"
    return InvalidTransaction(codes.BAD_SIGNATURE, message, public_key=public_key.hex())
