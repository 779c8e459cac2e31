"""The state: a flat map from key bytes to value bytes, and a write overlay over it.

The first byte of a key is its category; layouts are written byte by byte in docs/encodings.md, "State".
`StateView` guarantees: reads see the writes before them; a refused transaction leaves no trace (`savepoint`,
`rollback`); the base is never written; the resulting `StateDelta` carries old and new values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ledger.slices import Slices, finish
from primitives.errors import InvariantViolation

if TYPE_CHECKING:
    from ledger.assets import AssetRecord

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
        old = {key: change[0] for key, change in changes.items()}
        return finish(_sort_out(old, {key: change[1] for key, change in changes.items()}, len(changes) + 1))


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
    it must not hold the event loop."""

    locks = 0

    def forget(self) -> None:
        """Begin anew, for everyone who shares it."""
        self.clear()
        self.locks = 0


_ABSENT = b"\x00a key that the overlay has not seen"  # None already says that there is no entry


class StateView:
    """Reads through to a base and keeps writes to itself, with savepoints.

    One owner at a time: it is not meant for concurrent use. Memory is bounded by what one block touches.
    `facts` (asset name -> what was found out) begins as the base's, should it keep any (`shared_facts`), and
    is the view's own and empty after every `put` and `rollback`: rules are written by no other way.
    """

    __slots__ = ("_base", "_current", "_log", "_old", "facts")

    def __init__(self, base: StateReader) -> None:
        self._base = base
        self._current: dict[bytes, bytes | None] = {}  # every key read or written, as it is now
        self._old: dict[bytes, bytes | None] = {}  # the base's value of every key written
        self._log: list[tuple[bytes, bytes | None, bool]] = []  # undo: key, value before, first write of it
        shared: RuleFacts | None = getattr(base, "shared_facts", None)
        self.facts = RuleFacts() if shared is None else shared

    def get(self, key: bytes) -> bytes | None:
        """The value of `key` after the writes so far, or None."""
        value = self._current.get(key, _ABSENT)
        if value is _ABSENT:
            value = self._current[key] = self._base.get(key)
        return value

    def peek(self, key: bytes) -> bytes | None:
        """`get` without remembering the answer: for keys that are read once."""
        value = self._current.get(key, _ABSENT)
        return self._base.get(key) if value is _ABSENT else value

    def put(self, key: bytes, value: bytes | None) -> None:
        """Write `value` under `key`; None deletes."""
        self.facts = RuleFacts()
        self.replace(key, self.get(key), value)

    def replace(self, key: bytes, before: bytes | None, value: bytes | None) -> None:
        """`put` of an output or balance for a caller that has read `before` under `key`, or knows that there
        is no entry (None)."""
        if key in self._old:
            self._log.append((key, before, False))
        else:
            self._old[key] = before
            self._log.append((key, before, True))
        self._current[key] = value

    def delete(self, key: bytes) -> None:
        """Remove the entry of `key`, if any."""
        self.put(key, None)

    def savepoint(self) -> int:
        """A mark to which `rollback` can return."""
        return len(self._log)

    def rollback(self, mark: int) -> None:
        """Undo every write after `mark`, as if it had never been."""
        self.facts = RuleFacts()
        while len(self._log) > mark:
            key, before, first = self._log.pop()
            self._current[key] = before
            if first:
                del self._old[key]

    def spent_here(self, key: bytes) -> bool:
        """True when this view removed the entry under `key`, its own or the base's."""
        return key in self._old and self._current[key] is None

    def delta(self) -> StateDelta:
        """What the view changed so far, without entries that ended where they began."""
        return finish(self.delta_in_slices(len(self._old) + 1))

    def delta_in_slices(self, keys_per_slice: int) -> Slices[StateDelta]:
        """`delta` that yields every so many keys; nothing may be written meanwhile."""
        return _sort_out(self._old, self._current, keys_per_slice)


def _sort_out(
    old: Mapping[bytes, bytes | None], current: Mapping[bytes, bytes | None], keys_per_slice: int
) -> Slices[StateDelta]:
    """The delta from `old` to `current` of the keys in `old`: one look at each entry for all who need it."""
    changes: dict[bytes, Change] = {}
    made: list[tuple[bytes, bytes]] = []
    gone: list[tuple[bytes, bytes]] = []
    balances: list[bytes] = []
    others: list[bytes] = []
    sums: dict[bytes, int] = {}
    number = int.from_bytes
    for count, (key, before) in enumerate(old.items(), 1):
        after = current[key]
        if before != after:
            changes[key] = (before, after)
            if (category := key[0]) == _BALANCE:
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
        if count % keys_per_slice == 0:
            yield
    return StateDelta(changes, made, gone, balances, others, sums)
