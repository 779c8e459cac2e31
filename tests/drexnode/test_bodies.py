"""What a node remembers of transactions beside its pool: bounded, and the newest half never lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from drexnode.bodies import Bodies
from drexnode.metrics import Metrics
from drexnode.own_transactions import OwnTransactions
from drexnode.signatures import Signatures
from drexnode.slicing import RightOfWay
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


def test_a_body_is_found_by_its_wtxid(transfers: list[Transaction]) -> None:
    bodies = Bodies()
    bodies.keep(transfers[:2], verified=True)
    assert bodies.get(transfers[0].wtxid) is transfers[0]
    assert bodies.get(transfers[2].wtxid) is None


def test_only_what_was_verified_counts_as_verified(transfers: list[Transaction]) -> None:
    bodies = Bodies()
    good, fetched, later = transfers[:3]
    bodies.keep([good], verified=True)
    bodies.keep([good, fetched, later], verified=False)
    bodies.keep([later], verified=True)
    assert [bodies.is_verified(each.wtxid) for each in transfers[:4]] == [True, False, True, False]
    assert not bodies.is_verified(good.txid)


def test_never_more_than_the_bound_are_kept_and_always_the_newest(transfers: list[Transaction]) -> None:
    bodies = Bodies(max_transactions=10)
    for place, transaction in enumerate(transfers):
        bodies.keep([transaction], verified=place % 2 == 0)
        kept = transfers[max(0, place - 9) : place + 1]
        assert [each for each in transfers if bodies.get(each.wtxid)] == kept
        assert len(bodies) == len(kept)
        assert len(bodies._unverified) == sum(not bodies.is_verified(each.wtxid) for each in kept)


def test_the_bound_holds_for_bytes(transfers: list[Transaction]) -> None:
    largest = max(len(transaction.raw) for transaction in transfers)
    bodies = Bodies(max_bytes=6 * largest)
    for transaction in transfers:
        bodies.keep([transaction], verified=True)
        assert sum(len(each.raw) for each in transfers if bodies.get(each.wtxid)) <= 6 * largest
        assert bodies.get(transaction.wtxid) is transaction


def test_what_comes_again_takes_no_more_room(transfers: list[Transaction]) -> None:
    bodies = Bodies(max_transactions=10)
    bodies.keep(transfers[:4], verified=True)
    for _ in range(20):
        bodies.keep(transfers[:4], verified=True)
    assert len(bodies) == 4
    assert bodies.get(transfers[0].wtxid) is transfers[0]


async def test_what_has_good_signatures_is_kept_as_verified(transfers: list[Transaction]) -> None:
    verifier, bodies = Verifier(), Bodies()
    witness = structs.replace(transfers[1].witness, signatures=transfers[2].witness.signatures)
    bad = structs.replace(transfers[1], witness=witness, wtxid=b"w" * 32)
    errors = await Signatures(verifier, bodies, RightOfWay()).check([transfers[0], bad, transfers[3]])
    assert {wtxid: error.code for wtxid, error in errors.items()} == {bad.wtxid: "TX_BAD_SIGNATURE"}
    assert errors[bad.wtxid].data["public_key"] == transfers[1].witness.signatures[0][0].hex()
    assert [bodies.is_verified(each.wtxid) for each in (transfers[0], bad, transfers[3])] == [
        True,
        False,
        True,
    ]
    assert verifier.verified == 3


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
