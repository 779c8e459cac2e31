"""The mempool: transactions that may enter a block, and what this node remembers of those it refused.

Pure: time and height come as parameters; lists go in and out. Promises: no two entries spend one outpoint;
bytes, count and each participant's share are bounded; an entry's unconfirmed parents are entries too, and
leave the pool no later than it does; an entry stays until it is final, refused, expired or evicted, so a
failed round loses nothing. A refusal is remembered by wtxid and never bars the txid: a bad witness must not
block a good one. The rules of money are not checked here: whoever adds has checked them (docs/ledger.md).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ledger import codes
from ledger.mempool_order import fair_order
from ledger.refusals import Refusals, Rejection
from ledger.slices import Slices
from ledger.state import output_key
from ledger.transaction import OutPoint, Transaction, keep_plan
from primitives.limits import (
    MEMPOOL_FINALISED_PER_SLICE,
    MEMPOOL_MAX_ANCESTORS,
    MEMPOOL_MAX_BYTES,
    MEMPOOL_MAX_TRANSACTIONS,
    MEMPOOL_PARTICIPANT_BYTES,
    MEMPOOL_PARTICIPANT_TRANSACTIONS,
    MEMPOOL_PLANS,
    MEMPOOL_RECHECK_BLOCKS,
)


@dataclass(frozen=True, slots=True)
class MempoolLimits:
    """How much the pool holds, in all and of one participant."""

    max_transactions: int = MEMPOOL_MAX_TRANSACTIONS
    max_bytes: int = MEMPOOL_MAX_BYTES
    participant_transactions: int = MEMPOOL_PARTICIPANT_TRANSACTIONS
    participant_bytes: int = MEMPOOL_PARTICIPANT_BYTES


class NewEntry(NamedTuple):
    """A checked transaction, and the participant whose room it takes (`ledger/quota.py`)."""

    transaction: Transaction
    participant: str


class Entry:
    """A transaction in the pool."""

    __slots__ = ("added_ms", "checked_height", "children", "parents", "participant", "transaction")

    def __init__(self, transaction: Transaction, participant: str, added_ms: int, height: int) -> None:
        self.transaction = transaction
        self.participant = participant
        self.added_ms = added_ms
        self.checked_height = height
        self.parents: tuple[bytes, ...] = ()
        self.children: set[bytes] | None = None


@dataclass(slots=True)
class AddReport:
    """What became of a batch: in the order of the batch within each list."""

    added: list[Transaction] = field(default_factory=list)
    known: list[Transaction] = field(default_factory=list)  # this txid is in the pool already
    refused: list[Rejection] = field(default_factory=list)
    evicted: list[Rejection] = field(default_factory=list)


class _Share:
    """One participant's entries in order of arrival, and their bytes."""

    __slots__ = ("entries", "size")

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.size = 0


class Mempool:
    """See the module's promise. Not meant for concurrent use."""

    def __init__(self, limits: MempoolLimits | None = None) -> None:
        self.limits = limits or MempoolLimits()
        self.refusals = Refusals()
        self.size_bytes = 0
        self._entries: dict[bytes, Entry] = {}
        self._by_wtxid: dict[bytes, Entry] = {}
        self._spender: dict[bytes, Entry] = {}  # state key of an output -> the entry that spends it
        self._shares: dict[str, _Share] = {}
        self._expiring: dict[int, set[bytes]] = {}  # valid_until -> txids
        self._expiries: list[int] = []  # heap of every valid_until that has or had a set

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, txid: bytes) -> bool:
        return txid in self._entries

    def get(self, txid: bytes) -> Transaction | None:
        """The entry of `txid`, or None."""
        entry = self._entries.get(txid)
        return None if entry is None else entry.transaction

    def get_by_wtxid(self, wtxid: bytes) -> Transaction | None:
        """The entry with exactly this witness, or None."""
        entry = self._by_wtxid.get(wtxid)
        return None if entry is None else entry.transaction

    def spender_of(self, outpoint: OutPoint) -> Transaction | None:
        """The entry that spends `outpoint`, or None."""
        entry = self._spender.get(output_key(outpoint.txid, outpoint.index))
        return None if entry is None else entry.transaction

    def usage(self) -> dict[str, tuple[int, int]]:
        """Transactions and bytes of each participant that has any, ascending by its name."""
        return {name: (len(share.entries), share.size) for name, share in sorted(self._shares.items())}

    # --- in

    def add(self, batch: Iterable[NewEntry], now_ms: int, height: int) -> AddReport:
        """Take in checked transactions; `height` is the tip's. An entry that is known stays as it is.

        Refused (and remembered): an input that another entry spends (TX_DOUBLE_SPEND), validity that ends
        with the tip (TX_EXPIRED), no room (TX_QUOTA)."""
        report = AddReport()
        for transaction, participant in batch:
            if transaction.txid in self._entries:
                report.known.append(transaction)
                continue
            problem = self._problem(transaction, participant, height)
            if problem is None and not self._has_room(transaction):
                problem = self._make_room(transaction, participant, now_ms, report)
            if problem is None:
                self._insert(transaction, participant, now_ms, height)
                report.added.append(transaction)
            else:
                keep_plan(transaction, None)
                report.refused.append(self.refusals.add(transaction, *problem, now_ms))
        return report

    def entries(self) -> Iterator[Entry]:
        """Every entry, the oldest first. The pool must not change meanwhile."""
        yield from self._entries.values()

    def oldest(self, before_ms: int, max_bytes: int) -> list[Transaction]:
        """Entries added before `before_ms`, the oldest first, up to `max_bytes` together; the first in any
        case."""
        found: list[Transaction] = []
        room = max_bytes
        for entry in self._entries.values():
            room -= len(entry.transaction.raw)
            if entry.added_ms >= before_ms or (found and room < 0):
                break
            found.append(entry.transaction)
        return found

    def ancestors(self, transaction: Transaction) -> list[Transaction] | None:
        """The unconfirmed transactions that `transaction` builds on, parents before children; None when
        they are more than `MEMPOOL_MAX_ANCESTORS`. `transaction` need not be in the pool."""
        order: dict[bytes, Transaction] = {}
        stack = [(txid, False) for txid in self._parents_of(transaction)]
        while stack:
            txid, ready = stack.pop()
            if txid in order:
                continue
            entry = self._entries[txid]
            if ready:
                order[txid] = entry.transaction
                if len(order) > MEMPOOL_MAX_ANCESTORS:
                    return None
                continue
            stack.append((txid, True))
            stack.extend((parent, False) for parent in entry.parents if parent not in order)
        return list(order.values())

    # --- out

    def candidates(self, height: int) -> Iterator[Transaction]:
        """Entries for the block of `height`, parents first, the room shared fairly between participants.

        The order is taken at the first call of `next`; what leaves the pool meanwhile is left out."""
        queues = {name: list(share.entries.values()) for name, share in self._shares.items()}
        given: set[bytes] = set()  # of those with children: only they are given before their turn
        for entry in fair_order(queues, height):
            txid = entry.transaction.txid
            if txid not in self._entries:
                continue
            if entry.children is not None:
                if txid in given:
                    continue
                given.add(txid)
            if entry.parents:
                for parent in self.ancestors(entry.transaction) or ():
                    if parent.txid not in given:
                        given.add(parent.txid)
                        yield parent
            yield entry.transaction

    def finalise(
        self, transactions: Sequence[Transaction], height: int, now_ms: int
    ) -> Slices[list[Rejection]]:
        """A block of `height` is final: its transactions leave, and with a code all that conflicts with them
        (TX_DOUBLE_SPEND) or can enter no later block (TX_EXPIRED). Sliced; nothing may be added meanwhile
        that was not checked on the new tip."""
        strangers: list[Transaction] = []  # what was no entry may conflict with one
        for count, transaction in enumerate(transactions, 1):
            entry = self._entries.get(transaction.txid)
            if entry is None:
                strangers.append(transaction)
            else:
                self._remove(entry)
            if self.refusals:
                self.refusals.clear(transaction.wtxid)
            if count % MEMPOOL_FINALISED_PER_SLICE == 0:
                yield
        rejections: list[Rejection] = []
        for count, transaction in enumerate(strangers, 1):
            for place, key in enumerate(_input_keys(transaction)):
                loser = self._spender.get(key)
                if loser is not None:
                    winner = transaction.txid.hex()
                    message = f"an input was spent by {winner} (its input {place}) at height {height}"
                    rejections += self._refuse(loser.transaction.txid, codes.DOUBLE_SPEND, message, now_ms)
            if count % MEMPOOL_FINALISED_PER_SLICE == 0:
                yield
        while self._expiries and self._expiries[0] <= height:
            valid_until = heapq.heappop(self._expiries)
            message = f"valid until {valid_until}, height {height} is final"
            for txid in sorted(self._expiring.get(valid_until, ())):
                rejections += self._refuse(txid, codes.EXPIRED, message, now_ms)
        self.refusals.forget(now_ms)
        return rejections

    def refuse(self, transaction: Transaction, code: str, message: str, now_ms: int) -> list[Rejection]:
        """The rules refuse `transaction` now: it leaves with all that builds on it, and is remembered."""
        if transaction.wtxid in self._by_wtxid:
            return self._refuse(transaction.txid, code, message, now_ms)
        return [self.refusals.add(transaction, code, message, now_ms)]

    def due_for_check(self, height: int, count: int) -> list[Transaction]:
        """At most `count` entries, oldest first, that were not checked for `MEMPOOL_RECHECK_BLOCKS`.

        The caller checks them on the tip of `height` and refuses what fails; they count as checked."""
        due: list[Transaction] = []
        for entry in self._entries.values():
            if len(due) == count:
                break
            if entry.checked_height + MEMPOOL_RECHECK_BLOCKS <= height:
                entry.checked_height = height
                due.append(entry.transaction)
        return due

    # --- inside

    def _problem(self, transaction: Transaction, participant: str, height: int) -> tuple[str, str] | None:
        body = transaction.body
        if body.valid_until and body.valid_until <= height:
            return codes.EXPIRED, f"valid until {body.valid_until}, the next block is {height + 1}"
        for place, key in enumerate(_input_keys(transaction)):
            spender = self._spender.get(key)
            if spender is not None:
                name = spender.transaction.txid.hex()
                return codes.DOUBLE_SPEND, f"input {place} is spent by {name}, which is pending"
        share = self._shares.get(participant)
        if share is not None and (
            len(share.entries) >= self.limits.participant_transactions
            or share.size + len(transaction.raw) > self.limits.participant_bytes
        ):
            return codes.QUOTA, f"{participant} has {len(share.entries)} transactions pending already"
        return None

    def _has_room(self, transaction: Transaction) -> bool:
        limits = self.limits
        return (
            len(self._entries) < limits.max_transactions
            and self.size_bytes + len(transaction.raw) <= limits.max_bytes
        )

    def _make_room(
        self, transaction: Transaction, participant: str, now_ms: int, report: AddReport
    ) -> tuple[str, str] | None:
        """Evict the newest entries of whoever holds most, while that is more than `participant` would."""
        own = self._shares.get(participant)
        wanted = (own.size if own else 0) + len(transaction.raw)
        parents = set(self._parents_of(transaction))
        while not self._has_room(transaction):
            name, share = max(
                self._shares.items(), key=lambda item: (item[1].size, item[0]), default=("", None)
            )
            if share is None or share.size <= wanted or name == participant:
                return codes.QUOTA, f"the pool is full and {participant} has its share of it"
            newest = next(reversed(share.entries))
            message = f"evicted: the pool is full and {name} holds most of it"
            report.evicted += self._refuse(newest, codes.QUOTA, message, now_ms)
            if any(parent not in self._entries for parent in parents):
                return codes.QUOTA, "the pool is full, and what it builds on was evicted"
        return None

    def _insert(self, transaction: Transaction, participant: str, now_ms: int, height: int) -> None:
        txid, body = transaction.txid, transaction.body
        entry = Entry(transaction, participant, now_ms, height)
        self._entries[txid] = entry
        self._by_wtxid[transaction.wtxid] = entry
        for key in _input_keys(transaction):
            self._spender[key] = entry
        parents = self._parents_of(transaction)
        if parents:
            entry.parents = parents
            for parent in parents:
                siblings = self._entries[parent]
                if siblings.children is None:
                    siblings.children = set()
                siblings.children.add(txid)
        share = self._shares.get(participant)
        if share is None:
            share = self._shares[participant] = _Share()
        share.entries[txid] = entry
        size = len(transaction.raw)
        share.size += size
        self.size_bytes += size
        if body.valid_until:
            if body.valid_until not in self._expiring:
                self._expiring[body.valid_until] = set()
                heapq.heappush(self._expiries, body.valid_until)
            self._expiring[body.valid_until].add(txid)
        if self.refusals:
            self.refusals.clear(transaction.wtxid)
        if transaction.plan is not None and len(self._entries) > MEMPOOL_PLANS:
            keep_plan(transaction, None)

    def _parents_of(self, transaction: Transaction) -> tuple[bytes, ...]:
        if transaction.plan is not None:  # all that it spends is final
            return ()
        entries, inputs = self._entries, transaction.body.inputs
        if len(inputs) == 1:
            txid = inputs[0].txid
            return (txid,) if txid in entries else ()
        return tuple(sorted({outpoint.txid for outpoint in inputs if outpoint.txid in entries}))

    def _refuse(self, txid: bytes, code: str, message: str, now_ms: int) -> list[Rejection]:
        """Remove an entry and its descendants (parents first), and remember why."""
        rejections: list[Rejection] = []
        pending = [(txid, code, message)]
        while pending:
            txid, code, message = pending.pop()
            entry = self._entries.get(txid)
            if entry is None:
                continue
            reason = f"{txid.hex()}, which it builds on, left the pool: {code}"
            pending += [(child, codes.UNKNOWN_OUTPUT, reason) for child in sorted(entry.children or ())]
            self._remove(entry)
            rejections.append(self.refusals.add(entry.transaction, code, message, now_ms))
        return rejections

    def _remove(self, entry: Entry) -> None:
        """Take out one entry; its children stay and lose a parent."""
        transaction = entry.transaction
        txid, body = transaction.txid, transaction.body
        del self._entries[txid]
        del self._by_wtxid[transaction.wtxid]
        for key in _input_keys(transaction):
            del self._spender[key]
        for child in entry.children or ():
            other = self._entries[child]
            other.parents = tuple(parent for parent in other.parents if parent != txid)
        for parent in entry.parents:
            children = self._entries[parent].children
            if children is not None:
                children.discard(txid)
        size = len(transaction.raw)
        share = self._shares[entry.participant]
        del share.entries[txid]
        share.size -= size
        if not share.entries:
            del self._shares[entry.participant]
        self.size_bytes -= size
        if body.valid_until:
            expiring = self._expiring[body.valid_until]
            expiring.discard(txid)
            if not expiring:
                del self._expiring[body.valid_until]
        keep_plan(transaction, None)


def _input_keys(transaction: Transaction) -> Iterable[bytes]:
    """The state key of each output that is spent, in the order of the inputs."""
    plan = transaction.plan
    if plan is not None:
        return plan.spent
    return [output_key(point.txid, point.index) for point in transaction.body.inputs]
