"""What a node remembers of transactions beside its pool: bounded, and the newest half never lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from drexnode.bodies import Bodies
from drexnode.metrics import Metrics
from drexnode.own_transactions import OwnTransactions
from drexnode.signatures import Signatures
from drexnode.verifier import Verifier
from ledger.transaction import Transaction
from primitives.limits import RESEND_INTERVAL_MS
from tests.drexnode.chain import Chain, genesis_document, open_finalizer

COUNT = 40


@pytest.fixture(scope="module")
def transfers(tmp_path_factory: pytest.TempPathFactory) -> list[Transaction]:
    """So many signed transfers, of one size within a byte or two."""
    folder: Path = tmp_path_factory.mktemp("chain")
    document = genesis_document(outputs=COUNT)
    with open_finalizer(folder, document) as finalizer:
        return Chain(finalizer, document).transfers(COUNT)


def test_a_body_is_found_by_its_wtxid_and_by_its_bytes(transfers: list[Transaction]) -> None:
    bodies = Bodies()
    bodies.keep(transfers[:2])
    assert bodies.get(transfers[0].wtxid) is transfers[0]
    assert bodies.of_raw(bytes(bytearray(transfers[1].raw))) is transfers[1]
    assert bodies.get(transfers[2].wtxid) is None
    assert bodies.of_raw(transfers[2].raw) is None


def test_never_more_than_the_bound_are_kept_and_the_newest_half_always(transfers: list[Transaction]) -> None:
    bodies = Bodies(max_transactions=10)
    for place, transaction in enumerate(transfers):
        bodies.keep([transaction])
        assert len(bodies) <= 10
        for recent in transfers[max(0, place - 4) : place + 1]:
            assert bodies.get(recent.wtxid) is recent
            assert bodies.of_raw(recent.raw) is recent
    assert bodies.get(transfers[0].wtxid) is None
    assert bodies.of_raw(transfers[0].raw) is None


def test_the_bound_holds_for_bytes(transfers: list[Transaction]) -> None:
    largest = max(len(transaction.raw) for transaction in transfers)
    bodies = Bodies(max_bytes=6 * largest)
    for transaction in transfers:
        bodies.keep([transaction])
        assert sum(len(each.raw) for each in transfers if bodies.get(each.wtxid)) <= 6 * largest
        assert bodies.get(transaction.wtxid) is transaction


def test_what_comes_again_takes_no_more_room(transfers: list[Transaction]) -> None:
    bodies = Bodies(max_transactions=10)
    bodies.keep(transfers[:4])
    for _ in range(20):
        bodies.keep(transfers[:4])
    assert len(bodies) == 4
    assert bodies.get(transfers[0].wtxid) is transfers[0]


async def test_marks_of_verified_signatures_are_bounded_and_the_newest_half_is_kept(
    transfers: list[Transaction],
) -> None:
    verifier = Verifier()
    signatures = Signatures(verifier, max_marks=10)
    for place in range(0, COUNT, 2):
        assert await signatures.check(transfers[place : place + 2]) == {}
        assert sum(each in signatures for each in transfers) <= 10
        assert all(each in signatures for each in transfers[max(0, place - 2) : place + 2])
    assert verifier.verified == COUNT
    assert transfers[0] not in signatures
    assert await signatures.check(transfers[-2:]) == {}
    assert verifier.verified == COUNT  # marked: not verified again
    assert await signatures.check(transfers[:1]) == {}
    assert verifier.verified == COUNT + 1  # forgotten: verified again


def test_own_transactions_are_offered_again_each_in_its_turn(transfers: list[Transaction]) -> None:
    now_s = [0.0]
    own = OwnTransactions(Metrics(), clock=lambda: now_s[0])
    own.add(transfers)
    assert own.due() == []
    now_s[0] = RESEND_INTERVAL_MS / 1000
    own.final(transfers[:1])
    assert own.due() == transfers[1:]
    assert own.due() == []  # they were just sent
    now_s[0] *= 2
    assert own.due() == transfers[1:]
    assert len(own) == COUNT - 1


def test_no_more_is_offered_at_one_time_than_its_bytes_allow(
    transfers: list[Transaction], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = sum(len(transaction.raw) for transaction in transfers[:3])
    monkeypatch.setattr("drexnode.own_transactions.RESEND_BYTES", room)
    now_s = [0.0]
    own = OwnTransactions(Metrics(), clock=lambda: now_s[0])
    own.add(transfers)
    now_s[0] = RESEND_INTERVAL_MS / 1000
    assert own.due() == transfers[:3]
    assert own.due()[0] is transfers[3]
