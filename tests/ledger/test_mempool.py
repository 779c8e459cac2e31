"""The mempool: conflicts, bounds, fair shares, families of unconfirmed transactions, what is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.build import build_body, make_output
from ledger.mempool import AddReport, Mempool, MempoolLimits, NewEntry
from ledger.payloads import Freeze, Kind, Unfreeze, ValidatorVote, VoteOperation
from ledger.quota import UNKNOWN_SHARE, VALIDATORS_SHARE, charged_to
from ledger.refusals import Refusals, Rejection
from ledger.slices import finish
from ledger.transaction import OutPoint, Output, Transaction, Witness, make_transaction
from primitives.limits import MEMPOOL_MAX_ANCESTORS, MEMPOOL_RECHECK_BLOCKS, REJECTION_MEMORY_MS
from tests.ledger.chain import Chain, lock

CHAIN_ID = bytes(32)
TIP = 10
HOUR_MS = REJECTION_MEMORY_MS


def point(name: str) -> OutPoint:
    """An output that is final."""
    return OutPoint(sha256(name.encode()).digest(), 0)


def tx(
    *inputs: OutPoint,
    outputs: int = 1,
    until: int = 0,
    note: bytes = b"",
    witness: int = 0,
    name: bytes = b"",
) -> Transaction:
    """A transaction that has the right shape for a pool; no rule of money is asked here."""
    made = [make_output("BRL", 1, bytes(32), note) for _ in range(outputs)]
    kind = Kind.TRANSFER if inputs else Kind.EMISSION
    body = build_body(kind, inputs, made, valid_until=until, reference=name)
    signatures = tuple((bytes([number]) * 32, bytes([witness]) * 64) for number in range(1 + witness % 2))
    return make_transaction(body, Witness(signatures, (), ()), CHAIN_ID)


def add(pool: Mempool, *transactions: Transaction, who: str = "a", now_ms: int = 0) -> AddReport:
    return pool.add([NewEntry(transaction, who) for transaction in transactions], now_ms, TIP)


def final(
    pool: Mempool, transactions: Sequence[Transaction], height: int, now_ms: int = 0
) -> list[Rejection]:
    return finish(pool.finalise(transactions, height, now_ms))


def codes_of(rejections: Iterable[Rejection]) -> list[tuple[bytes, str]]:
    return [(rejection.txid, rejection.code) for rejection in rejections]


# --- in


def test_a_new_transaction_is_added_and_found_by_both_ids() -> None:
    pool, new = Mempool(), tx(point("x"))
    assert add(pool, new).added == [new]
    assert (len(pool), new.txid in pool, pool.size_bytes) == (1, True, new.size)
    assert pool.get(new.txid) is pool.get_by_wtxid(new.wtxid) is pool.spender_of(point("x")) is new
    assert pool.usage() == {"a": (1, new.size)}


def test_a_known_transaction_stays_as_it_is_even_with_another_witness() -> None:
    pool, first, again = Mempool(), tx(point("x")), tx(point("x"), witness=1)
    assert first.txid == again.txid != first.wtxid != again.wtxid
    add(pool, first)
    report = add(pool, first, again)
    assert (report.known, report.added, report.refused) == ([first, again], [], [])
    assert pool.get_by_wtxid(again.wtxid) is None


def test_the_second_spender_of_an_outpoint_is_refused_whoever_it_is() -> None:
    pool, first, second = Mempool(), tx(point("x")), tx(point("y"), point("x"))
    add(pool, first)
    report = add(pool, second, who="b")
    assert codes_of(report.refused) == [(second.txid, "TX_DOUBLE_SPEND")]
    assert first.txid.hex() in report.refused[0].message
    assert list(pool.candidates(11)) == [first]
    assert pool.spender_of(point("y")) is None


def test_what_expires_with_the_tip_is_refused() -> None:
    pool = Mempool()
    assert codes_of(add(pool, late := tx(point("x"), until=TIP)).refused) == [(late.txid, "TX_EXPIRED")]
    assert add(pool, tx(point("x"), until=TIP + 1)).added


# --- bounds


def test_a_participant_has_its_bound_and_the_others_keep_their_room() -> None:
    pool = Mempool(MempoolLimits(participant_transactions=2))
    report = add(pool, *(tx(point(name)) for name in "xyz"))
    assert [rejection.code for rejection in report.refused] == ["TX_QUOTA"]
    assert add(pool, tx(point("v")), who="b").added


def test_bytes_of_a_participant_are_bounded() -> None:
    big = tx(point("x"), outputs=10, note=bytes(200))
    pool = Mempool(MempoolLimits(participant_bytes=big.size * 2))
    report = add(pool, *(tx(point(name), outputs=10, note=bytes(200)) for name in "abc"))
    assert (len(report.added), [item.code for item in report.refused]) == (2, ["TX_QUOTA"])


def test_a_full_pool_makes_room_at_the_expense_of_whoever_holds_most() -> None:
    pool = Mempool(MempoolLimits(max_transactions=4))
    flood = [tx(point(f"flood {number}")) for number in range(4)]
    add(pool, *flood, who="flooder")
    report = add(pool, small := tx(point("x")), who="b")
    assert report.added == [small]
    assert codes_of(report.evicted) == [(flood[-1].txid, "TX_QUOTA")]
    again = add(pool, flood[-1], who="flooder")
    assert codes_of(again.refused) == [(flood[-1].txid, "TX_QUOTA")]
    assert len(pool) == 4


def test_the_pool_never_exceeds_its_bytes() -> None:
    size = tx(point("0")).size
    pool = Mempool(MempoolLimits(max_bytes=3 * size))
    for number in range(9):
        add(pool, tx(point(str(number))), who=f"bank {number % 3}")
        assert pool.size_bytes <= 3 * size
    assert pool.usage() == {f"bank {number}": (1, size) for number in range(3)}


def test_what_builds_on_an_evicted_transaction_leaves_with_it() -> None:
    pool = Mempool(MempoolLimits(max_transactions=3))
    parent = tx(point("p"), outputs=3, note=bytes(250))
    child = tx(parent.outpoint(0))
    add(pool, tx(point("other")), who="c")
    add(pool, parent, who="flooder")
    add(pool, child, who="b")
    report = add(pool, tx(point("x")), who="d")
    assert codes_of(report.evicted) == [(parent.txid, "TX_QUOTA"), (child.txid, "TX_UNKNOWN_OUTPUT")]
    assert len(pool) == 2


def test_a_child_does_not_push_out_its_own_parent() -> None:
    parent = tx(point("p"), outputs=9, note=bytes(250))
    child = tx(parent.outpoint(0))
    pool = Mempool(MempoolLimits(max_transactions=1))
    add(pool, parent, who="a")
    report = add(pool, child, who="b")
    assert child.txid not in pool
    assert codes_of(report.refused) == [(child.txid, "TX_QUOTA")]


# --- families


def test_ancestors_come_parents_first() -> None:
    pool = Mempool()
    first = tx(point("x"), outputs=2)
    second = tx(first.outpoint(0))
    third = tx(second.outpoint(0), first.outpoint(1))
    add(pool, first, second)
    assert pool.ancestors(third) == [first, second]
    assert pool.ancestors(first) == []


def test_too_many_ancestors_are_said_so() -> None:
    pool, last = Mempool(), tx(point("x"))
    for _ in range(MEMPOOL_MAX_ANCESTORS):
        assert pool.ancestors(last) is not None
        add(pool, last)
        last = tx(last.outpoint(0))
    assert len(pool.ancestors(last) or ()) == MEMPOOL_MAX_ANCESTORS
    add(pool, last)
    assert pool.ancestors(tx(last.outpoint(0))) is None


def test_a_child_follows_its_parent_into_the_block_whoever_pays_for_it() -> None:
    pool = Mempool()
    others = [tx(point(f"a{number}")) for number in range(5)]
    parent = tx(point("p"))
    child = tx(parent.outpoint(0))
    add(pool, *others, parent, who="a")
    add(pool, child, who="b")
    for height in (11, 12):
        given = list(pool.candidates(height))
        assert given.index(parent) < given.index(child)
        assert len(given) == 7 == len({transaction.txid for transaction in given})


def test_when_the_parent_is_final_the_child_stands_alone() -> None:
    pool = Mempool()
    parent = tx(point("p"))
    child = tx(parent.outpoint(0))
    add(pool, parent, child)
    assert final(pool, [parent], 11) == []
    assert (list(pool.candidates(12)), pool.ancestors(child)) == ([child], [])


# --- out


def test_participants_share_a_block_in_turns_by_the_room_they_take() -> None:
    pool = Mempool()
    flood = [tx(point(f"flood {number}")) for number in range(20)]
    add(pool, *flood, who="flooder")
    add(pool, *(modest := [tx(point(f"modest {number}")) for number in range(3)]), who="modest")
    add(pool, big := tx(point("big"), outputs=5, note=bytes(200)), after := tx(point("after")), who="big")
    given = list(pool.candidates(12))
    assert all(first in given[:3] for first in (flood[0], modest[0], big))
    assert all(transaction in given[:9] for transaction in modest)
    assert given.index(after) > given.index(flood[3])
    assert [transaction for transaction in given if transaction in flood] == flood


def test_nobody_is_always_first() -> None:
    pool = Mempool()
    for who in "abc":
        add(pool, tx(point(who)), who=who)
    firsts = [next(iter(pool.candidates(height))) for height in range(6)]
    assert firsts[:3] == firsts[3:]
    assert len({first.txid for first in firsts}) == 3


def test_candidates_leave_out_what_left_meanwhile() -> None:
    pool, pair = Mempool(), [tx(point("x")), tx(point("y"))]
    add(pool, *pair)
    candidates = pool.candidates(11)
    assert next(candidates) is pair[0]
    pool.refuse(pair[1], "TX_FROZEN", "", 0)
    assert list(candidates) == []


def test_building_a_block_takes_nothing_out_so_a_failed_round_loses_nothing() -> None:
    pool, pair = Mempool(), [tx(point("x")), tx(point("y"))]
    add(pool, *pair)
    assert list(pool.candidates(11)) == list(pool.candidates(11)) == pair


def test_a_final_block_takes_out_its_transactions_and_what_conflicts_with_them() -> None:
    pool = Mempool()
    included = tx(point("x"), point("y"))
    loser = tx(point("z"))
    child = tx(loser.outpoint(0))
    bystander = tx(point("w"))
    add(pool, included, loser, child, bystander)
    foreign = tx(point("z"), outputs=2)
    rejections = final(pool, [included, foreign], 11)
    assert codes_of(rejections) == [(loser.txid, "TX_DOUBLE_SPEND"), (child.txid, "TX_UNKNOWN_OUTPUT")]
    assert foreign.txid.hex() in rejections[0].message
    assert "height 11" in rejections[0].message
    assert list(pool.candidates(12)) == [bystander]


def test_a_final_block_with_another_witness_takes_the_transaction_out_too() -> None:
    pool = Mempool()
    add(pool, tx(point("x")))
    assert final(pool, [tx(point("x"), witness=1)], 11) == []
    assert len(pool) == 0


def test_what_can_enter_no_later_block_expires_and_what_was_included_does_not() -> None:
    pool = Mempool()
    included, late, in_time = (
        tx(point(name), until=until) for name, until in (("x", 11), ("y", 11), ("z", 12))
    )
    add(pool, included, late, in_time)
    assert codes_of(final(pool, [included], 11)) == [(late.txid, "TX_EXPIRED")]
    assert list(pool.candidates(12)) == [in_time]
    assert codes_of(final(pool, [], 12)) == [(in_time.txid, "TX_EXPIRED")]


def test_entries_that_wait_long_come_up_for_a_check_once_in_a_while() -> None:
    pool = Mempool()
    add(pool, first := tx(point("x")), second := tx(point("y")))
    assert pool.due_for_check(TIP + MEMPOOL_RECHECK_BLOCKS - 1, 10) == []
    assert pool.due_for_check(TIP + MEMPOOL_RECHECK_BLOCKS, 1) == [first]
    assert pool.due_for_check(TIP + MEMPOOL_RECHECK_BLOCKS, 10) == [second]
    assert pool.due_for_check(TIP + MEMPOOL_RECHECK_BLOCKS, 10) == []


# --- what is remembered


def test_a_bad_witness_never_bars_the_good_one() -> None:
    pool, bad, good = Mempool(), tx(point("x"), witness=1), tx(point("x"))
    pool.refuse(bad, "TX_BAD_SIGNATURE", "a signature is false", 5)
    assert add(pool, good).added == [good]
    assert pool.refusals.get(good.wtxid) is None
    remembered = pool.refusals.get(bad.wtxid)
    assert remembered is not None
    assert (remembered.code, remembered.lasting) == ("TX_BAD_SIGNATURE", True)
    assert pool.refuse(bad, "TX_BAD_SIGNATURE", "", 6)
    assert good.txid in pool


def test_a_refusal_is_forgotten_when_the_transaction_is_accepted_or_after_an_hour() -> None:
    pool, moody = Mempool(), tx(point("x"))
    pool.refuse(moody, "TX_FROZEN", "", 0)
    assert pool.refusals.latest_of(moody.txid) is not None
    add(pool, moody)
    assert pool.refusals.latest_of(moody.txid) is None
    pool.refuse(moody, "TX_FROZEN", "", 100)
    final(pool, [], 11, now_ms=100 + HOUR_MS - 1)
    assert pool.refusals.latest_of(moody.txid) is not None
    final(pool, [], 12, now_ms=100 + HOUR_MS)
    assert pool.refusals.latest_of(moody.txid) is None


def test_refusals_are_bounded_and_the_latest_answer_counts() -> None:
    refusals = Refusals(max_count=3)
    witnesses = [tx(point("x"), witness=number) for number in range(4)]
    for number, transaction in enumerate(witnesses):
        refusals.add(transaction, f"TX_{number}", "", number)
    assert len(refusals) == 3
    assert refusals.get(witnesses[0].wtxid) is None
    latest = refusals.latest_of(witnesses[0].txid)
    assert latest is not None
    assert latest.code == "TX_3"


# --- whose room


def test_the_room_is_charged_to_whoever_acts_or_stands_behind_the_first_input() -> None:
    chain = Chain()
    held = chain.unspent("alice", "BRL@99990001/DVT")[0]
    by_bank = chain.pay([held], "alice", "bob", 1)
    emission = chain.emission(5, "bank-b")
    spent = tx(emission.outpoint(0))

    def unconfirmed(outpoint: OutPoint) -> Output | None:
        return emission.body.outputs[outpoint.index] if outpoint.txid == emission.txid else None

    freeze = Freeze("99990002", bytes(32), "BRL@99990002/DVT", 1, b"order")
    unfreeze = Unfreeze("00038166", bytes(32), "BRL", "99990002", b"order")
    vote = ValidatorVote(bytes(32), bytes(32), VoteOperation.ADD, 5)
    expected = [
        (by_bank, "99990001"),
        (emission, "00038166"),
        (spent, "99990002"),
        (chain.order_act(Kind.FREEZE, freeze, "bank-b"), "99990002"),
        (chain.order_act(Kind.UNFREEZE, unfreeze, "bcb-orders"), "00038166"),
        (chain.order_act(Kind.VALIDATOR_VOTE, vote, "bob"), VALIDATORS_SHARE),
        (tx(point("nowhere")), UNKNOWN_SHARE),
    ]
    assert [charged_to(chain.state, item, unconfirmed) for item, _ in expected] == [
        who for _, who in expected
    ]
    assert lock("bank-b") == emission.body.outputs[0].lock


# --- against a model


class Model:
    """What must hold of a pool after every step, told without its code."""

    def __init__(self, limits: MempoolLimits) -> None:
        self.pool = Mempool(limits)
        self.limits = limits

    def check(self) -> None:
        entries = list(self.pool.candidates(11))
        seen: set[bytes] = set()
        spent: set[OutPoint] = set()
        inside = {transaction.txid for transaction in entries}
        assert len(inside) == len(entries) == len(self.pool)
        for transaction in entries:
            for outpoint in transaction.body.inputs:
                assert outpoint not in spent
                spent.add(outpoint)
                assert self.pool.spender_of(outpoint) is transaction
                assert outpoint.txid not in inside or outpoint.txid in seen, "a child before its parent"
            seen.add(transaction.txid)
            assert self.pool.get_by_wtxid(transaction.wtxid) is transaction
            assert self.pool.refusals.get(transaction.wtxid) is None
        assert self.pool.size_bytes == sum(transaction.size for transaction in entries)
        assert len(entries) <= self.limits.max_transactions
        usage = self.pool.usage()
        assert sum(count for count, _ in usage.values()) == len(entries)
        assert all(0 < count <= self.limits.participant_transactions for count, _ in usage.values())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_pool_keeps_its_promises_in_any_order_of_events(data: st.DataObject) -> None:
    model = Model(MempoolLimits(max_transactions=8, participant_transactions=5))
    pool, known, height = model.pool, [tx(point("root"), outputs=2)], TIP
    settled: set[bytes] = set()  # final: in a block, or built upon without being in the pool
    for _ in range(data.draw(st.integers(1, 25))):
        event = data.draw(st.sampled_from(["add", "add", "add", "final", "refuse"]))
        if event == "add":
            parents = data.draw(st.lists(st.sampled_from(known[-8:]), max_size=2, unique_by=lambda t: t.txid))
            inputs = [parent.outpoint(data.draw(st.integers(0, 1))) for parent in parents]
            name = data.draw(st.sampled_from("abcdefgh"))
            until = data.draw(st.sampled_from([0, 0, height + 1, height + 2]))
            new = tx(*inputs, point(name), outputs=2, until=until, witness=data.draw(st.integers(0, 1)))
            missing = [parent for parent in parents if parent.txid not in pool]
            if new.txid not in settled and (not missing or data.draw(st.booleans())):
                settled.update(parent.txid for parent in missing)
                known.append(new)
                who = data.draw(st.sampled_from(["a", "b", "c"]))
                report = pool.add([NewEntry(new, who)], 0, height)
                assert (new.txid in pool) is bool(report.added or report.known)
                assert all(rejection.txid not in pool for rejection in report.evicted)
        elif event == "final":
            height += 1
            chosen = list(pool.candidates(height))[: data.draw(st.integers(0, 3))]
            outside = [tx(point(data.draw(st.sampled_from("abcdefgh"))), outputs=1, name=b"outside")]
            block = chosen if data.draw(st.booleans()) else outside
            left = final(pool, block, height)
            settled.update(transaction.txid for transaction in block)
            assert all(transaction.txid not in pool for transaction in block)
            assert all(rejection.txid not in pool for rejection in left)
        else:
            victim = data.draw(st.sampled_from(known))
            pool.refuse(victim, "TX_FROZEN", "", 0)
            assert pool.get_by_wtxid(victim.wtxid) is None
        model.check()


@pytest.mark.parametrize("count", [1, 40])
def test_ancestors_of_a_wide_family_are_bounded(count: int) -> None:
    pool = Mempool()
    parents = [tx(point(str(number))) for number in range(count)]
    add(pool, *parents)
    family = pool.ancestors(tx(*(parent.outpoint(0) for parent in parents)))
    assert (family is None) is (count > MEMPOOL_MAX_ANCESTORS)


def test_the_oldest_go_first_up_to_their_bytes_and_one_of_them_in_any_case() -> None:
    pool = Mempool()
    large, small, late = tx(point("a"), note=bytes(200)), tx(point("b")), tx(point("c"))
    add(pool, large, small, now_ms=1)
    add(pool, late, now_ms=2)
    assert pool.oldest(1, 10_000) == []
    assert pool.oldest(2, 10_000) == [large, small]
    assert pool.oldest(3, large.size + small.size) == [large, small]
    assert pool.oldest(3, large.size + small.size - 1) == [large]
    assert pool.oldest(3, 10) == [large]
