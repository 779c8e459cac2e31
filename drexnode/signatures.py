"""Signatures of transactions: each verified once, however often the transaction comes, alone or in a block.

Guarantees: a transaction is marked only after every signature it carries was verified; marks go by wtxid,
since the same body with another witness is another claim; they are bounded, the oldest are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from drexnode.slicing import slices_of
from drexnode.verifier import Verifier
from ledger import codes
from ledger.transaction import Transaction, signature_checks
from primitives.errors import InvalidTransaction
from primitives.limits import ADMIT_PART, VERIFIED_MARKS


class Signatures:
    """What one node has verified."""

    def __init__(self, verifier: Verifier, max_marks: int = VERIFIED_MARKS) -> None:
        self._verifier = verifier
        self._max_marks = max_marks
        self._marks: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, transaction: Transaction) -> bool:
        return transaction.wtxid in self._marks

    async def check(self, transactions: Iterable[Transaction]) -> dict[bytes, InvalidTransaction]:
        """Verify all that is not marked. wtxid → TX_BAD_SIGNATURE, naming the first key whose signature is
        false; what is not in the answer is marked."""
        unknown = [transaction for transaction in transactions if transaction.wtxid not in self._marks]
        errors: dict[bytes, InvalidTransaction] = {}
        for part in slices_of(unknown, ADMIT_PART):
            errors |= await self._check(part)
        return errors

    async def _check(self, unknown: Sequence[Transaction]) -> dict[bytes, InvalidTransaction]:
        groups = [signature_checks(transaction) for transaction in unknown]
        answers = iter(await self._verifier.verify([check for group in groups for check in group]))
        errors: dict[bytes, InvalidTransaction] = {}
        for transaction, group in zip(unknown, groups, strict=True):
            valid = [next(answers) for _ in group]
            if all(valid):
                self._marks[transaction.wtxid] = None
            else:
                errors[transaction.wtxid] = _bad_signature(group[valid.index(False)][0])
        while len(self._marks) > self._max_marks:
            self._marks.popitem(last=False)
        return errors


def _bad_signature(public_key: bytes) -> InvalidTransaction:
    message = f"the signature of key {public_key.hex()} does not verify"
    return InvalidTransaction(codes.BAD_SIGNATURE, message, public_key=public_key.hex())
