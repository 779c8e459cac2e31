"""Execution: builder and validator agree to the byte, a bad block changes nothing, replay repeats itself."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import execute as execution
from ledger.apply import apply_transaction
from ledger.block import Block, tx_root
from ledger.build import make_output
from ledger.devnet import BANK_A_DVT
from ledger.execute import build_block, check_candidate, execute_block
from ledger.payloads import Kind
from ledger.slices import finish
from ledger.state import EXPIRY, REMEMBERED
from ledger.supply import read_supply
from ledger.transaction import Transaction
from primitives.errors import InvalidBlock, InvalidTransaction
from primitives.hashing import ZERO_HASH
from tests.ledger.chain import BRL, Chain, devnet, forged, lock, small_limits, with_parameters
from tests.ledger.test_state_tree import naive_root

BUCKETS = 16**3
ROOT = Path(__file__).parents[2]


def test_emission_transfer_and_burn_become_part_of_the_state() -> None:
    chain = Chain()
    emission = chain.emission(5_000)
    (point, amount), *_ = chain.unspent("alice", BANK_A_DVT)
    payment = chain.pay([(point, amount)], "alice", "bob", 100)
    chain.extend(emission, payment)
    assert sum(value for _, value in chain.unspent("bob", BANK_A_DVT)) == 100
    burn = chain.body(Kind.BURN, [emission.outpoint(0)], [make_output(BRL, 4_000, lock("bcb"))])
    chain.extend(chain.sign(burn, "bcb"))
    supply = read_supply(chain.state, BRL)
    assert (supply.emitted, supply.burned, supply.circulating) == (5_000, 1_000, 4_000)
    assert chain.tip.state_root == naive_root(chain.state, BUCKETS)


def test_a_transaction_sees_those_before_it_in_its_block() -> None:
    chain = Chain()
    point = chain.unspent("alice", BANK_A_DVT)[0]
    first = chain.pay([point], "alice", "bob", point[1])
    second = chain.pay([(first.outpoint(0), point[1])], "bob", "alice", 1)
    chain.extend(first, second)
    other = Chain()
    swapped = forged_transactions(other, second, first)
    with pytest.raises(InvalidBlock, match="BLOCK_TRANSACTION"):
        other.execute(swapped)


def forged_transactions(chain: Chain, *transactions: Transaction) -> Block:
    """A block that claims `transactions`, whatever the rules say about them."""
    block = chain.build().executed.block
    honest = forged(block, tx_count=len(transactions), tx_root=tx_root(transactions))
    return replace(honest, transactions=transactions)


def test_a_block_with_a_double_spend_is_refused_whole_and_changes_nothing() -> None:
    chain = Chain()
    point = chain.unspent("alice", BANK_A_DVT)[0]
    block = forged_transactions(chain, *(chain.pay([point], "alice", "bob", amount) for amount in (1, 2)))
    before, root = dict(chain.state), chain.tree.root
    with pytest.raises(InvalidBlock) as refusal:
        chain.execute(block)
    assert refusal.value.data["tx_code"] in ("TX_DOUBLE_SPEND", "TX_UNKNOWN_OUTPUT")
    assert refusal.value.data["place"] == 1
    assert (chain.state, chain.tree.root) == (before, root)


def test_a_builder_leaves_out_what_is_refused_and_it_leaves_no_trace() -> None:
    chain, clean = Chain(), Chain()
    points = chain.unspent("alice", BANK_A_DVT)
    good = chain.pay([points[0]], "alice", "bob", 1)
    spent_twice = chain.pay([points[0]], "alice", "bob", 2)
    stranger = chain.pay([points[1]], "alice", "stn", 3)
    last = chain.pay([points[2]], "alice", "bob", 4)
    built = chain.build([good, spent_twice, stranger, last])
    assert built.executed.block.transactions == (good, last)
    assert [(item.transaction, item.error.code) for item in built.refused][1] == (
        stranger,
        "TX_WALLET_NOT_ENABLED",
    )
    assert built.executed.state_root == clean.build([good, last]).executed.state_root
    chain.commit(chain.execute(built.executed.block))


@pytest.mark.parametrize(
    ("limits", "fits"), [({"max_transactions": 2}, 2), ({"max_signatures": 3}, 3), ({"max_bytes": 900}, 3)]
)
def test_a_builder_stays_within_the_limits_of_a_block(limits: dict[str, int], fits: int) -> None:
    chain = Chain(devnet(parameters=small_limits(max_bytes=262_144)))
    context = replace(chain.context, chain=small_limits(**limits))
    points = chain.unspent("alice", BANK_A_DVT)
    payments = [chain.pay([point], "alice", "bob", 1) for point in points]
    assert len(payments) == 4
    assert 900 // payments[0].size == 3
    steps = build_block(
        chain.state, chain.tree, context, chain.order()[0], chain.tip.timestamp_ms + 1, payments
    )
    block = finish(steps).executed.block
    assert block.transactions == tuple(payments[:fits])
    whole = finish(
        build_block(
            chain.state, chain.tree, chain.context, chain.order()[0], chain.tip.timestamp_ms + 1, payments
        )
    )
    with pytest.raises(InvalidBlock, match="BLOCK_TOO_LARGE"):
        finish(execute_block(chain.state, chain.tree, context, whole.executed.block))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"height": 2}, "BLOCK_HEIGHT"),
        ({"height": 0}, "BLOCK_HEIGHT"),
        ({"parent_id": ZERO_HASH}, "BLOCK_PARENT"),
        ({"timestamp_ms": 1_767_225_600_000}, "BLOCK_TIMESTAMP"),
        ({"validators_hash": ZERO_HASH}, "BLOCK_VALIDATORS"),
        ({"proposer": bytes(32)}, "BLOCK_PROPOSER"),
        ({"tx_count": 2}, "BLOCK_TX_ROOT"),
        ({"tx_root": bytes(range(32))}, "BLOCK_TX_ROOT"),
        ({"next_validators_hash": ZERO_HASH}, "BLOCK_NEXT_VALIDATORS"),
        ({"state_root": ZERO_HASH}, "BLOCK_STATE_ROOT"),
    ],
)
def test_a_header_that_says_something_else_is_refused(fields: dict[str, object], code: str) -> None:
    chain = Chain()
    block = chain.build([chain.emission(1)]).executed.block
    chain.execute(block)
    with pytest.raises(InvalidBlock) as refusal:
        chain.execute(forged(block, **fields))
    assert refusal.value.code == code


def test_the_same_header_with_another_witness_is_refused() -> None:
    """`tx_root` covers the wtxids: nobody can exchange a witness under a certificate."""
    chain = Chain()
    emission = chain.emission(1)
    block = chain.build([emission]).executed.block
    other = chain.sign(emission.body, "bcb", "stn")
    assert (other.txid, other.wtxid) != (emission.txid, emission.wtxid)
    assert other.txid == emission.txid
    with pytest.raises(InvalidBlock, match="BLOCK_TX_ROOT"):
        chain.execute(replace(block, transactions=(other,)))


def test_remembered_txids_are_forgotten_when_they_are_too_late() -> None:
    chain = Chain(devnet(1, with_parameters(replay_window_blocks=3)))
    emission = chain.emission(1, valid_until=3)
    chain.extend(emission)
    for _ in range(2):
        assert REMEMBERED + emission.txid in chain.state
        assert chain.build([emission]).refused[0].error.code in ("TX_REPLAYED", "TX_REFERENCE_USED")
        chain.extend()
    assert not [key for key in chain.state if key[:1] in (REMEMBERED, EXPIRY)]
    assert chain.build([emission]).refused[0].error.code == "TX_EXPIRED"


def test_a_candidate_is_checked_on_top_of_its_unconfirmed_ancestors() -> None:
    chain = Chain()
    point = chain.unspent("alice", BANK_A_DVT)[0]
    first = chain.pay([point], "alice", "bob", point[1])
    second = chain.pay([(first.outpoint(0), point[1])], "bob", "alice", 1)
    time = chain.tip.timestamp_ms + 1
    check_candidate(chain.state, chain.context, time, [first], second)
    with pytest.raises(InvalidTransaction, match="TX_UNKNOWN_OUTPUT"):
        check_candidate(chain.state, chain.context, time, [], second)


def test_execution_breathes_often() -> None:
    chain = Chain()
    emissions = [chain.emission(1) for _ in range(100)]
    built = chain.build(emissions)
    steps = execute_block(chain.state, chain.tree, chain.context, built.executed.block)
    assert sum(1 for _ in steps) >= 100 // 8 + 10


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_replay_from_genesis_gives_the_same_blocks_roots_and_pages(data: st.DataObject) -> None:
    """Random payments, emissions, bad candidates and silent proposers; then all of it again elsewhere."""
    chain = Chain(devnet(data.draw(st.sampled_from([1, 4, 7]))))
    for _ in range(data.draw(st.integers(1, 6))):
        candidates = []
        for _ in range(data.draw(st.integers(0, 6))):
            sender, to = data.draw(st.sampled_from([("alice", "bob"), ("bob", "alice"), ("alice", "stn")]))
            points = chain.unspent(sender, BANK_A_DVT)
            if points:
                point = data.draw(st.sampled_from(points))
                amount = data.draw(st.integers(1, point[1]))
                candidates.append(chain.pay([point], sender, to, amount))
            candidates.append(chain.emission(data.draw(st.integers(1, 10**6))))
        round = data.draw(st.integers(0, 3))
        built = chain.build(candidates, round=round)
        chain.extend(*built.executed.block.transactions, round=round)
    assert chain.tip.state_root == chain.tree.root == naive_root(chain.state, BUCKETS)
    again = Chain(chain.genesis)
    for block in chain.blocks:
        again.commit(again.execute(block))
    assert again.headers == chain.headers
    assert again.state == chain.state
    assert again.pages == chain.pages


REPLAY = """
from tests.ledger.chain import BANK_A_DVT, Chain
chain = Chain()
for number in range(6):
    points = chain.unspent("alice", BANK_A_DVT)
    pay = [chain.pay([point], "alice", "bob", 10 + number) for point in points]
    chain.extend(chain.emission(7 + number), *pay, round=number % 3)
print(chain.tip.state_root.hex(), chain.context.parent.parent_id.hex())
"""


def test_two_processes_with_other_hash_seeds_agree() -> None:
    """Sets and dictionaries of bytes iterate in another order in each; the roots may not notice."""
    outputs = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        result = subprocess.run(
            [sys.executable, "-c", REPLAY],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(result.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 2


def test_a_slice_ends_after_so_many_entries_however_many_transactions_bring_them() -> None:
    """Eight transactions may hold sixteen thousand outputs, which no event loop can wait for."""
    chain = Chain()
    coins = chain.unspent("alice", BANK_A_DVT)[:1]
    wide = [make_output(BANK_A_DVT, 1, lock("alice"))] * 40
    payments = []
    for _ in range(4):
        point, amount = coins.pop()
        outputs = [make_output(BANK_A_DVT, amount - 40, lock("alice")), *wide]
        payments.append(chain.sign(chain.body(Kind.TRANSFER, [point], outputs), "alice"))
        coins.append((payments[-1].outpoint(0), amount - 40))
    applied: list[int] = []
    with mock.patch.object(execution, "apply_transaction", side_effect=apply_transaction) as apply:
        slices = build_block(
            chain.state, chain.tree, chain.context, chain.order()[0], chain.tip.timestamp_ms + 1, payments
        )
        for _ in slices:
            applied.append(apply.call_count)
    assert applied[:4] == [1, 2, 3, 4]
