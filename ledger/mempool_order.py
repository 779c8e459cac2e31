"""How participants share a block: whoever took the least room so far is next, ties by turns.

Room is bytes, signatures and net new outputs together, in bytes. A burst of one participant waits behind the
others' single transactions and never the other way round (docs/ledger.md, "Mempool").
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from ledger.transaction import Transaction

SIGNATURE_ROOM_BYTES = 256  # what verifying a signature weighs beside a byte
NEW_OUTPUT_ROOM_BYTES = 128  # what an output weighs that stays in the state


class HasTransaction(Protocol):
    """An entry of a queue."""

    transaction: Transaction


E = TypeVar("E", bound=HasTransaction)


def room_of(transaction: Transaction) -> int:
    """The room a transaction takes in a block and in the state, in bytes."""
    body = transaction.body
    grown = len(body.outputs) - len(body.inputs)
    signatures = len(transaction.witness.signatures)
    return (
        len(transaction.raw)
        + SIGNATURE_ROOM_BYTES * signatures
        + NEW_OUTPUT_ROOM_BYTES * (grown if grown > 0 else 0)
    )


def fair_order(queues: Mapping[str, Sequence[E]], height: int) -> Iterator[E]:
    """All entries of all queues, each queue in its order. The participant that wins ties changes with
    `height`, so that nobody is always first."""
    names = sorted(name for name, queue in queues.items() if queue)
    if not names:
        return
    start = height % len(names)
    turns = [(0, turn, name) for turn, name in enumerate(names[start:] + names[:start])]
    waiting = {name: iter(queues[name]) for name in names}
    while len(turns) > 1:
        used, turn, name = turns[0]
        entry = next(waiting[name], None)
        if entry is None:
            heapq.heappop(turns)
            continue
        heapq.heapreplace(turns, (used + room_of(entry.transaction), turn, name))
        yield entry
    yield from waiting[turns[0][2]]  # nobody is left to share with
