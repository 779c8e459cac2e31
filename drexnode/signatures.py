"""Signatures of transactions: each verified once, however often the transaction comes, alone or in a block.

Guarantees: a transaction is marked only after every signature it carries was verified; marks go by wtxid,
since the same body with another witness is another claim. They are bounded: when half as many are full, what
is older than those is forgotten at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from drexnode.slicing import slices_of
from drexnode.verifier import Check, Verifier
from ledger import codes
from ledger.transaction import Transaction, signature_checks
from primitives.errors import InvalidTransaction
from primitives.limits import ADMIT_PART, VERIFIED_MARKS


class Signatures:
    """What one node has verified."""

    def __init__(self, verifier: Verifier, max_marks: int = VERIFIED_MARKS) -> None:
        self._verifier = verifier
        self._half = max_marks // 2
        self._marks: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, transaction: Transaction) -> bool:
        return transaction.wtxid in self._marks or transaction.wtxid in self._old

    async def check(self, transactions: Iterable[Transaction]) -> dict[bytes, InvalidTransaction]:
        """Verify all that is not marked. wtxid → TX_BAD_SIGNATURE, naming the first key whose signature is
        false; what is not in the answer is marked."""
        unknown = [transaction for transaction in transactions if transaction not in self]
        errors: dict[bytes, InvalidTransaction] = {}
        for part in slices_of(unknown, ADMIT_PART):
            errors |= await self._check(part)
        return errors

    async def _check(self, unknown: Sequence[Transaction]) -> dict[bytes, InvalidTransaction]:
        groups = [signature_checks(transaction) for transaction in unknown]
        answers = await self._verifier.verify(list(chain.from_iterable(groups)))
        errors = {} if all(answers) else _errors(unknown, groups, answers)
        self._mark([transaction.wtxid for transaction in unknown if transaction.wtxid not in errors])
        return errors

    def _mark(self, wtxids: Sequence[bytes]) -> None:
        if len(self._marks) + len(wtxids) > self._half:
            self._old, self._marks = self._marks, set()
        self._marks.update(wtxids)


def _errors(
    transactions: Sequence[Transaction], groups: Sequence[Sequence[Check]], answers: Iterable[bool]
) -> dict[bytes, InvalidTransaction]:
    """The transactions with a false signature, by wtxid."""
    errors: dict[bytes, InvalidTransaction] = {}
    answer = iter(answers)
    for transaction, group in zip(transactions, groups, strict=True):
        valid = [next(answer) for _ in group]
        if not all(valid):
            errors[transaction.wtxid] = _bad_signature(group[valid.index(False)][0])
    return errors


def _bad_signature(public_key: bytes) -> InvalidTransaction:
    message = f"the signature of key {public_key.hex()} does not verify"
    return InvalidTransaction(codes.BAD_SIGNATURE, message, public_key=public_key.hex())
