"""The state: a flat map from key bytes to value bytes, and a write overlay over it.

The first byte of a key is its category; layouts are written byte by byte in docs/encodings.md, "State".
`StateView` guarantees: reads see the writes before them; a refused transaction leaves no trace (`savepoint`,
`rollback`); the base is never written; the resulting `StateDelta` carries old and new values.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from ledger.slices import Slices, finish
from primitives.errors import InvariantViolation

if TYPE_CHECKING:
    from ledger.assets import AssetRecord
    from ledger.transaction import Transaction

# Categories: the first byte of every key.
OUTPUT = b"o"  # + txid(32) + index(4)              -> lock(32) + amount(8) + asset name
BALANCE = b"b"  # + lock(32) + asset name            -> amount(8); no entry = 0
SUPPLY = b"s"  # + asset name                       -> emitted(8) + burned(8)
ASSET = b"a"  # + asset name                       -> AssetRecord
PARTICIPANT = b"p"  # + ispb(8)                    -> ParticipantRecord
AUTHORITY = b"k"  # + number(1)                   -> CredentialRecord
RECOVERY = b"K"  # alone                          -> condition: BCB's recovery, fixed in the genesis
LOCK = b"l"  # + lock(32)                         -> LockRecord (a participant's own lock)
WALLET = b"w"  # + issuer(8) + lock(32)            -> disabled flags(1)
FREEZE = b"f"  # + lock(32) + length(1) + asset + author(8) + order id  -> amount(8)
FLOOR = b"z"  # + lock(32) + asset name            -> frozen by all(16) + frozen by BCB(16)
REFERENCE = b"r"  # + length(1) + asset + reference  -> txid(32)
REMEMBERED = b"t"  # + txid(32)                   -> valid_until(8)
EXPIRY = b"u"  # + height(8)                      -> count(4);  + height(8) + place(4) -> txid(32)
NODE = b"n"  # + peer id                          -> NodeRecord
CANDIDATE = b"c"  # + public key(32)              -> CandidateRecord
PROTOCOL = b"e"  # alone                          -> ProtocolRecord
VOTE = b"v"  # + subject(32) + voter(32)          -> [operation, expiry]
VOTE_SUBJECTS = b"j"  # alone                     -> subjects with votes, ascending
VALIDATORS = b"y"  # alone                        -> [epoch, public keys ascending]
SUSPENSION = b"m"  # + public key(32)             -> misses and expiry (ledger/proposers.py)

_OUTPUT, _BALANCE = OUTPUT[0], BALANCE[0]

AMOUNT_BYTES = 8
LOCK_BYTES = 32

Change = tuple[bytes | None, bytes | None]  # old value, new value; None = no entry
_UNCHANGED: Change = (b"", b"")


class StateReader(Protocol):
    """Anything that answers for a key: a store, a dictionary in tests, or a `StateView` itself."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None when the state has no such entry."""
        ...


@dataclass(frozen=True, slots=True)
class StateDelta:
    """What a block (or a transaction) changes, walked once and sorted out for books, tree and storage.

    Entries whose value did not change are left out. Nothing here is in key order: iterate `sorted(changes)`
    wherever it touches bytes.
    """

    changes: Mapping[bytes, Change]  # all of it: key -> (old value or None, new value or None)
    made: Sequence[tuple[bytes, bytes]]  # outputs that are new: key, entry
    gone: Sequence[tuple[bytes, bytes]]  # outputs that were spent: key, entry
    balances: Sequence[bytes]  # keys
    others: Sequence[bytes]  # keys of everything else
    sums: Mapping[bytes, int]  # asset name -> sum of the outputs made less those gone, smallest units

    @staticmethod
    def of(changes: Mapping[bytes, Change]) -> StateDelta:
        """Sort `changes` out. Raises `InvariantViolation` (OUTPUT_CHANGED)."""
        return finish(_sort_out(dict(changes), len(changes) + 1))


class UnspentOutput(NamedTuple):
    """An entry of category `o`. The note is not state: it lies in the transaction that made the output."""

    lock: bytes
    amount: int
    asset: str


def output_key(txid: bytes, index: int) -> bytes:
    """Key of an unspent output: `o` + txid(32) + index(4, big-endian)."""
    return OUTPUT + txid + index.to_bytes(4, "big")


def output_value(lock: bytes, amount: int, asset: str) -> bytes:
    """Value of an unspent output: lock(32) + amount(8, big-endian) + asset name."""
    return lock + amount.to_bytes(8, "big") + asset.encode()


def read_output(value: bytes) -> UnspentOutput:
    """Read the value of an unspent output."""
    return UnspentOutput(value[:32], int.from_bytes(value[32:40], "big"), value[40:].decode())


def balance_key(lock: bytes, asset: str) -> bytes:
    """Key of a running balance: `b` + lock(32) + asset name."""
    return BALANCE + lock + asset.encode()


def read_balance(reader: StateReader, lock: bytes, asset: str) -> int:
    """Sum of the unspent outputs of `asset` under `lock`, in smallest units."""
    value = reader.get(BALANCE + lock + asset.encode())
    return int.from_bytes(value, "big") if value is not None else 0


RULE_CATEGORIES = (ASSET, FLOOR, LOCK, WALLET)
_RULES = b"".join(RULE_CATEGORIES)


class AssetFacts:
    """What plain transfers of one asset found out while nothing but money moved (ledger/plain_transfer.py):
    its name and policy, which locks may hold and pay it, and whose share of the pool a payer takes. They
    follow from entries of `RULE_CATEGORIES` alone."""

    __slots__ = ("charged", "holders", "name", "payers", "policy")

    def __init__(self, name: str, policy: AssetRecord) -> None:
        self.name = name
        self.policy = policy
        self.holders: set[bytes] = set()
        self.payers: set[bytes] = set()
        self.charged: dict[bytes, str] = {}


class RuleFacts(dict[bytes, AssetFacts]):
    """Asset name -> what plain transfers found out about it. `locks` counts what all of them keep: dropping
    it must not hold the event loop. `era` names the rules it is true of: a transfer's plan keeps it."""

    def __init__(self) -> None:
        self.locks = 0
        self.era = object()

    def forget(self) -> None:
        """Begin anew, for everyone who shares it. The rules are still the same."""
        self.clear()
        self.locks = 0


class TransferPlan(msgspec.Struct, frozen=True, gc=False):
    """A plain transfer, worked out. It is right on any state that holds what it spends while the rules are
    those of `era`: what an output holds never changes. Nothing in it is visited by the collector of cycles:
    thousands wait in the pool."""

    spent: dict[bytes, bytes]  # key of each input -> the output's entry
    gains: dict[bytes, int]  # what each lock receives, less what it pays
    era: object  # `RuleFacts.era` of the rules it was checked against
    lock: bytes  # who pays
    asset: bytes


class StateView:
    """Reads through to a base and keeps writes to itself, with one savepoint.

    One owner at a time: it is not meant for concurrent use. Memory is bounded by what one block touches.
    `facts` (asset name -> what was found out) begins as the base's, should it keep any (`shared_facts`), and
    is the view's own and empty after every `put` of an entry that rules consist of.
    """

    __slots__ = ("_base_get", "_changes", "_facts_before", "_log", "_read", "facts")

    def __init__(self, base: StateReader) -> None:
        self._base_get = base.get
        self._changes: dict[bytes, Change] = {}  # of every key written: the base's value, and that of now
        self._read: dict[bytes, bytes | None] = {}  # what the base answered to `get`
        self._log: list[tuple[bytes, Change | None]] = []  # undo: key, its change before
        shared: RuleFacts | None = getattr(base, "shared_facts", None)
        self.facts = self._facts_before = RuleFacts() if shared is None else shared

    def get(self, key: bytes) -> bytes | None:
        """The value of `key` after the writes so far, or None."""
        change = self._changes.get(key)
        if change is not None:
            return change[1]
        read = self._read
        if key not in read:
            read[key] = self._base_get(key)
        return read[key]

    def peek(self, key: bytes) -> bytes | None:
        """`get` without remembering the answer: for keys that are read once."""
        change = self._changes.get(key)
        return self._base_get(key) if change is None else change[1]

    def put(self, key: bytes, value: bytes | None) -> None:
        """Write `value` under `key`; None deletes."""
        if key[0] in _RULES:
            self.facts = RuleFacts()
        self.replace(key, self.get(key), value)

    def replace(self, key: bytes, before: bytes | None, value: bytes | None) -> None:
        """`put` of an output or balance for a caller that has read `before` under `key`, or knows that there
        is no entry (None)."""
        change = self._changes.get(key)
        self._log.append((key, change))
        self._changes[key] = (before if change is None else change[0], value)

    def delete(self, key: bytes) -> None:
        """Remove the entry of `key`, if any."""
        self.put(key, None)

    def fits(self, plan: TransferPlan) -> bool:
        """True when all that `plan` spends lies there, and the rules are those it was checked against."""
        if plan.era is not self.facts.era:
            return False
        changes, base_get = self._changes, self._base_get
        for key, entry in plan.spent.items():
            change = changes.get(key)
            if (base_get(key) if change is None else change[1]) != entry:
                return False
        return True

    def carry_out(self, plan: TransferPlan, transaction: Transaction) -> None:
        """Write what `transaction` does by its plan, which `fits`: the same as `replace` one by one."""
        changes, log, number = self._changes, self._log, int.from_bytes
        for key, entry in plan.spent.items():
            change = changes.get(key)
            log.append((key, change))
            changes[key] = (entry if change is None else change[0], None)
        head, asset = OUTPUT + transaction.txid, plan.asset
        for index, output in enumerate(transaction.body.outputs):  # a new txid: nothing was there
            key = head + index.to_bytes(4, "big")
            log.append((key, None))
            changes[key] = (None, output.lock + output.value.to_bytes(AMOUNT_BYTES, "big") + asset)
        for lock, gain in plan.gains.items():
            if not gain:
                continue
            key = BALANCE + lock + asset
            change = changes.get(key)
            log.append((key, change))
            before = self._base_get(key) if change is None else change[1]
            balance = gain if before is None else number(before, "big") + gain
            after = balance.to_bytes(AMOUNT_BYTES, "big") if balance else None
            changes[key] = (before if change is None else change[0], after)

    def savepoint(self) -> None:
        """What was written so far stays: the next `rollback` comes back to here."""
        self._log.clear()
        self._facts_before = self.facts

    def rollback(self) -> None:
        """Undo every write since the last savepoint, as if it had never been."""
        while self._log:
            key, change = self._log.pop()
            if change is None:
                del self._changes[key]
            else:
                self._changes[key] = change
        self.facts = self._facts_before

    def spent_here(self, key: bytes) -> bool:
        """True when this view removed the entry under `key`, its own or the base's."""
        return self._changes.get(key, _UNCHANGED)[1] is None

    def delta(self) -> StateDelta:
        """What the view changed so far, without entries that ended where they began."""
        return StateDelta.of(self._changes)

    def delta_in_slices(self, keys_per_slice: int) -> Slices[StateDelta]:
        """`delta` that yields every so many keys, and makes the view's own writes its `changes`: the view has
        done its work, nothing may be written to it any more."""
        return _sort_out(self._changes, keys_per_slice)


def _sort_out(changes: dict[bytes, Change], keys_per_slice: int) -> Slices[StateDelta]:
    """The delta of `changes`, from which goes what ended where it began: one look at each entry for all who
    need it."""
    made: list[tuple[bytes, bytes]] = []
    gone: list[tuple[bytes, bytes]] = []
    balances: list[bytes] = []
    others: list[bytes] = []
    unchanged: list[bytes] = []
    sums: dict[bytes, int] = {}
    number = int.from_bytes
    items = iter(changes.items())
    while part := list(itertools.islice(items, keys_per_slice)):
        for key, (before, after) in part:
            if before == after:
                unchanged.append(key)
            elif (category := key[0]) == _BALANCE:
                balances.append(key)
            elif category != _OUTPUT:
                others.append(key)
            elif before is None and after is not None:
                made.append((key, after))
                asset = after[40:]
                sums[asset] = sums.get(asset, 0) + number(after[32:40], "big")
            elif after is None and before is not None:
                gone.append((key, before))
                asset = before[40:]
                sums[asset] = sums.get(asset, 0) - number(before[32:40], "big")
            else:
                raise InvariantViolation("OUTPUT_CHANGED", f"output {key[1:].hex()} was overwritten")
        yield
    for key in unchanged:
        del changes[key]
    return StateDelta(changes, made, gone, balances, others, sums)
