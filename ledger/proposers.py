"""Who proposes: the order of a height, and the suspension of validators that let their turn pass.

Promises: every node computes the same order from the parent and the state; a dead validator costs a timeout
once and is then skipped for n, 2n, 4n … heights; at most f are suspended at once; proposing clears it
(docs/consensus.md, "Proposer"). Each entry is `SUSPENSION + public key` → [misses, last suspended height].
"""

from __future__ import annotations

from collections.abc import Mapping

from ledger.state import SUSPENSION, StateReader, StateView
from primitives.codec import Record, decode_typed, encode
from primitives.keys import PublicKey
from primitives.validators import ValidatorSet

MAX_MISSES = 6  # a suspension lasts n * 2^min(misses, 6) heights


class Suspension(Record, frozen=True):
    """How often a validator missed its turn since it last proposed (at most 6 are told apart), and the last
    height at which it stands behind the others (0 = not suspended)."""

    misses: int
    until: int


def read_suspensions(reader: StateReader, validators: ValidatorSet) -> dict[PublicKey, Suspension]:
    """What the state says about the members of `validators`; members in good standing have no entry."""
    entries = ((key, reader.get(SUSPENSION + key)) for key in validators.keys)
    return {key: decode_typed(value, Suspension, max_bytes=32) for key, value in entries if value is not None}


def proposer_order(
    validators: ValidatorSet,
    suspensions: Mapping[PublicKey, Suspension],
    parent_proposer: bytes,
    height: int,
) -> tuple[PublicKey, ...]:
    """All validators in the order in which they propose at `height`; round r belongs to order[r mod n].

    The set by key, rotated to start after the parent's proposer (or where it would stand), the suspended
    last. `parent_proposer` is 32 zero bytes for the genesis block."""
    keys = validators.keys
    start = next((place for place, key in enumerate(keys) if key > parent_proposer), 0)
    rotated = keys[start:] + keys[:start]
    return tuple(sorted(rotated, key=lambda key: _is_suspended(suspensions.get(key), height)))


def read_proposer_order(
    reader: StateReader, validators: ValidatorSet, parent_proposer: bytes, height: int
) -> tuple[PublicKey, ...]:
    """`proposer_order` of the block after the state's."""
    return proposer_order(validators, read_suspensions(reader, validators), parent_proposer, height)


def apply_proposer(
    view: StateView,
    validators: ValidatorSet,
    next_validators: ValidatorSet,
    parent_proposer: bytes,
    proposer: bytes,
    height: int,
) -> None:
    """End of block `height`, which `proposer` made: suspend whom it had to stand in for, clear its own.

    Whoever leaves the set loses its entry."""
    before = read_suspensions(view, validators)
    order = proposer_order(validators, before, parent_proposer, height)
    after = dict(before)
    after.pop(PublicKey(proposer), None)
    for key in order[: order.index(PublicKey(proposer))]:
        if not _is_suspended(before.get(key), height):
            misses = before[key].misses if key in before else 0
            until = height + (validators.size << misses)
            after[key] = Suspension(min(misses + 1, MAX_MISSES), until)
    members = {key: entry for key, entry in after.items() if key in next_validators}
    settled = _release_excess(members, next_validators.max_faulty, height)
    for key in validators.keys:
        entry = settled.get(key)
        if entry != before.get(key):
            view.put(SUSPENSION + key, None if entry is None else encode(entry))


def _release_excess(
    suspensions: dict[PublicKey, Suspension], max_faulty: int, height: int
) -> dict[PublicKey, Suspension]:
    """Suspend at most `max_faulty` at the next height: earliest expiry, then lowest key, goes free."""
    suspended = sorted(
        (entry.until, key) for key, entry in suspensions.items() if _is_suspended(entry, height + 1)
    )
    released = dict(suspensions)
    for _, key in suspended[: max(0, len(suspended) - max_faulty)]:
        released[key] = Suspension(suspensions[key].misses, 0)
    return released


def _is_suspended(entry: Suspension | None, height: int) -> bool:
    return entry is not None and entry.until >= height
