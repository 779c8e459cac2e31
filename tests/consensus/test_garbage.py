"""Whatever bytes arrive, and whatever well-formed nonsense, nothing is raised and little is kept."""

from __future__ import annotations

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.evidence import decode_conflict_proof, decode_evidence
from consensus.inputs import TimerKind
from consensus.journal import decode_record
from consensus.messages import (
    Claim,
    Commit,
    Message,
    Prepare,
    Proposal,
    RoundChange,
    Seal,
    SignedRoundChange,
    Vote,
    decode_message,
    encode_message,
)
from primitives.block import BlockHeader, block_id
from primitives.errors import DecodeError
from tests.consensus.engine import Engine
from tests.scenarios.cast import Cast
from tests.simulator.disk import Disk

_CAST = Cast(4, fake=True)
_BLOCKS = [_CAST.block(name, 1, "A") for name in "xyz"]
_VALID = [
    Engine().message(text)
    for text in (
        "PROPOSAL A r0 x",
        "PREPARE B r0 x",
        "COMMIT C r0 x",
        "ROUND_CHANGE B r1 prepared 0 x by A B C",
        "PROPOSAL B r1 x with A:0:x B C prepares 0 A B C",
    )
]

_rounds = st.one_of(st.integers(0, 4), st.sampled_from([7, 16, 17, 2**31 - 1]))
_names = st.sampled_from("ABC")
_hashes = st.one_of(
    st.sampled_from([block_id(block) for block in _BLOCKS]), st.binary(min_size=32, max_size=32)
)
_claims = st.none() | st.tuples(_rounds, _hashes)
_headers: st.SearchStrategy[BlockHeader] = st.sampled_from([*_BLOCKS, _CAST.block("far", 2, "B")])


@st.composite
def _seals(draw: st.DrawFn) -> tuple[Seal, ...]:
    round, block = draw(_rounds), draw(st.sampled_from(_BLOCKS))
    authors = draw(st.lists(st.sampled_from(["A", "B", "C", "D", "B!"]), max_size=5))
    return _CAST.prepares(1, round, block_id(block), authors)


@st.composite
def _changes(draw: st.DrawFn, round: int) -> tuple[SignedRoundChange, ...]:
    specs = draw(
        st.lists(st.sampled_from(["A", "B", "C", "D", "A:0:x", "B:1:y", "C:0:x", "D!", "A@2"]), max_size=5)
    )
    return tuple(_CAST.signed_change(spec, 1, round) for spec in specs)


@st.composite
def _messages(draw: st.DrawFn) -> Message:
    """Signed by whom it says, otherwise anything a villain could think of."""
    kind, name, round = draw(st.integers(0, 3)), draw(_names), draw(_rounds)
    height, signer = draw(st.sampled_from([1, 1, 1, 1, 2, 5, 2**40])), _CAST.index(name)
    unsigned: Vote
    claim: Claim | None
    if kind == 0:
        claim = draw(_claims)
        header = draw(st.none() | _headers)
        unsigned = RoundChange(height, round, signer, bytes(64), claim, header, draw(_seals()))
    elif kind == 1:
        header = draw(_headers)
        wtxids = tuple(draw(st.lists(_hashes, max_size=2)))
        changes = draw(_changes(round))
        unsigned = Proposal(height, round, signer, bytes(64), header, wtxids, changes, draw(_seals()))
    else:
        make = Prepare if kind == 2 else Commit
        unsigned = make(height, round, signer, bytes(64), draw(_hashes))
    return _CAST.sign(name, unsigned, forged=draw(st.integers(0, 9)) == 0)


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_bytes_to_step_never_raise(arrivals: list[bytes]) -> None:
    engine = Engine()
    engine.start()
    for data in arrivals:
        engine.hear(data)


@given(
    st.sampled_from(_VALID),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
    st.integers(0, 4000),
)
@settings(max_examples=300, deadline=None)
def test_changed_bytes_of_real_messages_never_raise(
    data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    engine = Engine()
    engine.start()
    spoiled = bytearray(data)
    for place, value in changes:
        spoiled[place % len(data)] = value
    engine.hear(bytes(spoiled[: cut or None]))
    engine.hear(bytes(spoiled))


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=70)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=9),
    max_leaves=25,
)


@given(_json)
@settings(max_examples=300, deadline=None)
def test_any_array_is_read_or_refused_and_nothing_else(value: object) -> None:
    data = bytes(msgpack.packb(value, use_bin_type=True))
    for decoder in (decode_message, decode_record, decode_evidence, decode_conflict_proof):
        try:
            decoder(data)
        except DecodeError:
            continue


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_what_is_read_encodes_to_itself(data: bytes) -> None:
    for candidate in (data, *_VALID):
        try:
            message = decode_message(candidate)
        except DecodeError:
            continue
        assert encode_message(message) == candidate


@given(
    st.lists(
        st.one_of(_messages(), st.sampled_from(["ROUND", "RESEND", "EMPTY_BLOCK", "SYNC", "LAGGARD"])),
        max_size=40,
    )
)
@settings(max_examples=150, deadline=None)
def test_signed_nonsense_never_raises_nor_makes_us_sign_twice(events: list[Message | str]) -> None:
    engine = Engine()
    disk = Disk(engine.config.chain_id, engine.key.public_key, engine.cast.genesis)
    engine.start()
    for event in events:
        if isinstance(event, str):
            if TimerKind[event] in engine.timers:
                engine.expire(TimerKind[event])
        else:
            engine.hear(encode_message(event), "B")
    positions = [effect.record.position for effect in engine.effects if hasattr(effect, "record")]
    assert positions == sorted(set(positions))
    for effect in engine.effects:
        if hasattr(effect, "record"):
            disk.append(effect.record)  # each record is one that the journal can hold and read again
    disk.sync_journal()
    machine = engine.core._machine
    assert machine is not None
    assert len(machine.proposals.candidates) <= 17
    assert all(len(rounds) <= 17 for rounds in machine.ballots.commits._by_signer)
    assert len(engine.core._future) <= 256
