"""What may enter the pool, what each submitter is told, and that everything is done once."""

from collections.abc import Awaitable
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from drexnode.outcomes import Outcomes
from drexnode.rpc.chain_values import TransactionState
from ledger.build import build_body, build_transaction, make_output
from ledger.devnet import BANK_A_DVT
from ledger.execute import Refusal
from ledger.locks import key_lock
from ledger.mempool import MempoolLimits
from ledger.payloads import Kind
from ledger.transaction import Transaction, Witness, make_transaction
from p2p.transport import Offence, PeerId
from primitives.errors import DrexError, InvalidTransaction
from primitives.limits import (
    ADMIT_PART,
    ADMIT_SLICE,
    DECODE_SLICE,
    MAX_TRANSACTION_BYTES,
    RESEND_INTERVAL_MS,
)
from tests.drexnode.chain import FUNDS, genesis_document, key
from tests.drexnode.desk import Desk, codes, open_desk

PEER = PeerId("full-0")
OTHER = PeerId("validator-1")


def child_of(parent: Transaction, chain_id: bytes, amount: int) -> Transaction:
    """A transfer of a transfer's change back to alice."""
    alice = key("alice")
    body = build_body(
        Kind.TRANSFER,
        [parent.outpoint(1)],
        [make_output(BANK_A_DVT, amount, key_lock(alice.public_key))],
    )
    return build_transaction(body, chain_id, [alice])


def with_false_signature(transaction: Transaction, chain_id: bytes) -> Transaction:
    """The same body, signed by the right key over something else."""
    public_key, _ = transaction.witness.signatures[0]
    witness = Witness(((public_key, key("alice").sign(b"something else")),), (), ())
    return make_transaction(transaction.body, witness, chain_id)


def conflicting(transaction: Transaction, chain_id: bytes) -> Transaction:
    """Another spend of the same coin."""
    alice = key("alice")
    outputs = [make_output(BANK_A_DVT, FUNDS, key_lock(alice.public_key))]
    body = build_body(Kind.TRANSFER, transaction.body.inputs, outputs)
    return build_transaction(body, chain_id, [alice])


async def test_a_good_transaction_is_pending_and_spread_once(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        answers = await desk.submit(transfer)
        assert [answer.txid for answer in answers] == [transfer.txid]
        assert codes(answers) == [None]
        assert desk.admission.state_of(transfer.txid).status == "PENDING"
        assert desk.spread == [([transfer], True)]
        assert desk.woken == 1
        assert desk.admission.has_work


async def test_a_known_transaction_answers_with_its_id_again_and_costs_nothing(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        transfers = desk.chain.transfers(3)
        await desk.submit(*transfers)
        again = await desk.submit(*transfers)
        assert [answer.txid for answer in again] == [transfer.txid for transfer in transfers]
        assert codes(again) == [None] * 3
        assert len(desk.spread) == 1
        assert sum(desk.verifier.calls) == 3


async def test_a_batch_is_verified_in_one_call_and_spread_in_one_piece(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        transfers = desk.chain.transfers(3 * max(DECODE_SLICE, ADMIT_SLICE) + 1)
        assert codes(await desk.submit(*transfers)) == [None] * len(transfers)
        assert desk.verifier.calls == [len(transfers)]
        assert desk.spread == [(transfers, True)]


async def test_a_chain_of_unconfirmed_transactions_enters_in_one_batch(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [parent] = desk.chain.transfers(1)
        child = child_of(parent, desk.finalizer.chain_id, FUNDS - 1)
        assert codes(await desk.submit(parent, child)) == [None, None]
        assert list(desk.admission.candidates()) == [parent, child]


async def test_each_refusal_has_its_code_and_changes_nothing(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        chain_id = desk.finalizer.chain_id
        first, second = desk.chain.transfers(2)
        unbalanced = child_of(second, chain_id, FUNDS)
        orphan = child_of(first, chain_id, FUNDS - 1)
        answers = await desk.admission.admit(
            [
                with_false_signature(first, chain_id).raw,
                b"\x92\x01\x02",
                first.raw + b"\x00",
                bytes(MAX_TRANSACTION_BYTES + 1),
                orphan.raw,
                second.raw,
                unbalanced.raw,
                conflicting(second, chain_id).raw,
            ]
        )
        assert codes(answers) == [
            "TX_BAD_SIGNATURE",
            "TX_MALFORMED",
            "TX_MALFORMED",
            "TX_TOO_LARGE",
            "TX_UNKNOWN_OUTPUT",
            None,
            "TX_UNBALANCED",
            "TX_DOUBLE_SPEND",
        ]
        assert [answer.txid is None for answer in answers] == [False, True, True, True, False] + [False] * 3
        assert len(desk.admission.pool) == 1
        assert desk.spread == [([second], True)]
        assert desk.admission.state_of(unbalanced.txid).status == "REJECTED"
        assert desk.admission.state_of(unbalanced.txid).code == "TX_UNBALANCED"
        assert not desk.reports


async def test_a_bad_witness_does_not_bar_a_good_one(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        bad = with_false_signature(transfer, desk.finalizer.chain_id)
        assert bad.txid == transfer.txid
        assert codes(await desk.submit(bad)) == ["TX_BAD_SIGNATURE"]
        assert desk.admission.state_of(transfer.txid).status == "REJECTED"
        assert codes(await desk.submit(transfer)) == [None]
        assert desk.admission.state_of(transfer.txid).status == "PENDING"
        assert codes(await desk.submit(bad)) == [None]  # a copy of what is pending
        assert desk.admission.lookup(bad.wtxid) is None


async def test_a_lasting_refusal_is_answered_without_verifying_again(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        bad = with_false_signature(transfer, desk.finalizer.chain_id)
        for _ in range(3):
            assert codes(await desk.submit(bad)) == ["TX_BAD_SIGNATURE"]
        assert sum(desk.verifier.calls) == 1


async def test_a_refusal_by_the_state_is_judged_anew(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [parent] = desk.chain.transfers(1)
        child = child_of(parent, desk.finalizer.chain_id, FUNDS - 1)
        assert codes(await desk.submit(child)) == ["TX_UNKNOWN_OUTPUT"]
        assert codes(await desk.submit(parent, child)) == [None, None]
        assert sum(desk.verifier.calls) == 2
        assert desk.admission.state_of(child.txid).status == "PENDING"


async def test_two_submitters_of_one_transaction_get_the_same_answer(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        good, other = desk.chain.transfers(2)
        bad = with_false_signature(other, desk.finalizer.chain_id)
        answers: list[list[str | None]] = []

        async def submit() -> None:
            answers.append(codes(await desk.submit(good, bad)))

        desk.verifier.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(submit)
            await trio.testing.wait_all_tasks_blocked()
            desk.verifier.gate.set()
        assert answers == [[None, "TX_BAD_SIGNATURE"]] * 3
        assert sum(desk.verifier.calls) == 2
        assert len(desk.spread) == 1


async def test_a_copy_within_a_batch_gets_the_answer_of_the_first(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        assert codes(await desk.submit(transfer, transfer)) == [None, None]
        assert sum(desk.verifier.calls) == 1


async def test_a_cancelled_submission_leaves_no_trace(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        desk.verifier.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.submit, transfer)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert desk.admission.state_of(transfer.txid).status == "UNKNOWN"
        desk.verifier.gate.set()
        assert codes(await desk.submit(transfer)) == [None]


# --- roles and peers


async def test_an_observer_refuses(tmp_path: Path) -> None:
    async with open_desk(tmp_path, "observer") as desk:
        [transfer] = desk.chain.transfers(1)
        with pytest.raises(DrexError) as refused:
            await desk.submit(transfer)
        assert refused.value.code == "NODE_OBSERVER"


async def test_a_node_that_is_catching_up_refuses_and_says_why(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        desk.admission.closed_because = lambda: "this node is catching up"
        with pytest.raises(DrexError, match="catching up") as refused:
            await desk.submit(transfer)
        assert refused.value.code == "NODE_NOT_READY"
        assert await desk.admission.admit([transfer.raw], source=PEER) == []
        assert not desk.admission.has_work
        assert not desk.reports


async def test_a_peers_transactions_are_passed_on_only_when_it_asks(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first, second = desk.chain.transfers(2)
        await desk.admission.admit([first.raw], source=PEER, relay=False)
        assert not desk.spread
        await desk.admission.admit([second.raw], source=PEER, relay=True)
        assert desk.spread == [([second], False)]
        assert desk.woken == 2


async def test_a_peer_is_charged_once_a_batch_for_what_no_honest_node_sends(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        good, other, third = desk.chain.transfers(3)
        chain_id = desk.finalizer.chain_id
        bad = [with_false_signature(item, chain_id).raw for item in (other, third)]
        assert await desk.admission.admit([good.raw, *bad, b"junk"], source=PEER) == []
        assert list(desk.admission.candidates()) == [good]
        assert refused_so_far(desk) == {"TX_BAD_SIGNATURE": 2, "TX_MALFORMED": 1}
        assert [report[:2] for report in desk.reports] == [(PEER, Offence.INVALID_MESSAGE)]


async def test_a_peer_is_not_charged_for_what_the_state_refuses(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        await desk.submit(transfer)
        rival = conflicting(transfer, desk.finalizer.chain_id)
        await desk.admission.admit([rival.raw], source=PEER)
        assert refused_so_far(desk) == {"TX_DOUBLE_SPEND": 1}
        assert not desk.reports


def refused_so_far(desk: Desk) -> dict[str, int]:
    """Refusals by code, as the metric has them."""
    [metric] = desk.finalizer._metrics.tx_rejected_total.collect()
    samples = [sample for sample in metric.samples if sample.name.endswith("_total")]
    return {sample.labels["code"]: int(sample.value) for sample in samples}


async def test_what_a_peer_brings_while_others_judge_it_is_judged_once(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        desk.verifier.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.submit, transfer)
            await trio.testing.wait_all_tasks_blocked()
            assert desk.admission.lookup(transfer.wtxid) == transfer  # a block may name it already
            assert await desk.admission.admit([transfer.raw, transfer.raw], source=PEER) == []
            desk.verifier.gate.set()
        assert desk.verifier.calls == [1]
        assert list(desk.admission.candidates()) == [transfer]


async def test_the_batches_of_one_peer_enter_in_order_though_judged_side_by_side(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [parent] = desk.chain.transfers(1)
        child = child_of(parent, desk.finalizer.chain_id, FUNDS - 1)
        desk.verifier.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            for raw in (parent.raw, child.raw):
                nursery.start_soon(lambda raw=raw: desk.admission.admit([raw], source=PEER))
                await trio.testing.wait_all_tasks_blocked()
            assert desk.verifier.calls == [1, 1]  # both are being judged
            desk.verifier.gate.set()
        assert list(desk.admission.candidates()) == [parent, child]


async def test_a_long_batch_of_a_peer_is_not_overtaken_by_its_next_one(tmp_path: Path) -> None:
    document = genesis_document(outputs=2 * ADMIT_PART)
    async with open_desk(tmp_path, document=document) as desk:
        parents = desk.chain.transfers(ADMIT_PART + 5)
        child = child_of(parents[-1], desk.finalizer.chain_id, FUNDS - 1)
        async with trio.open_nursery() as nursery:
            for raws in ([item.raw for item in parents], [child.raw]):
                nursery.start_soon(lambda raws=raws: desk.admission.admit(raws, source=PEER))
                await trio.lowlevel.checkpoint()
        assert list(desk.admission.candidates()) == [*parents, child]


# --- outcomes


async def test_final_is_told_to_who_waits_and_to_who_asks_later(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first, second = desk.chain.transfers(2)
        await desk.submit(first, second)
        states: list[TransactionState] = []
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(lambda: collect(states, desk.admission.wait_final(second.txid, 10_000)))
            await trio.testing.wait_all_tasks_blocked()
            await desk.decide(first, second)
        later = desk.admission.state_of(second.txid)
        assert states == [later, later]
        assert (later.status, later.height, later.index, later.round) == ("FINAL", 1, 1, 0)
        assert later.block_id == desk.finalizer.head.block_id
        assert not desk.admission.has_work
        assert len(desk.admission.pool) == 0
        assert codes(await desk.submit(first)) == [None]  # known for good: nothing to refuse
        assert not list(desk.admission.candidates())


async def collect(into: list[TransactionState], waited: Awaitable[TransactionState]) -> None:
    into.append(await waited)


async def test_waiting_ends_with_the_time_and_forgets(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        await desk.submit(transfer)
        begin = trio.current_time()
        assert (await desk.admission.wait_final(transfer.txid, 1500)).status == "PENDING"
        assert trio.current_time() - begin == pytest.approx(1.5)
        assert (await desk.admission.wait_final(bytes(32), 0)).status == "UNKNOWN"
        assert len(desk.admission._outcomes) == 0


async def test_what_a_final_block_made_impossible_is_rejected_and_told(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        rival = conflicting(transfer, desk.finalizer.chain_id)
        child = child_of(transfer, desk.finalizer.chain_id, FUNDS - 1)
        await desk.submit(transfer, child)
        states: list[TransactionState] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: collect(states, desk.admission.wait_final(transfer.txid, 10_000)))
            await trio.testing.wait_all_tasks_blocked()
            await desk.decide(rival)
        assert [(state.status, state.code) for state in states] == [("REJECTED", "TX_DOUBLE_SPEND")]
        assert desk.admission.state_of(child.txid).code == "TX_UNKNOWN_OUTPUT"
        assert codes(await desk.submit(transfer)) == ["TX_DOUBLE_SPEND"]


async def test_what_the_builder_refuses_leaves_the_pool_with_its_code(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        await desk.submit(transfer)
        desk.admission.refuse([Refusal(transfer, InvalidTransaction("TX_FROZEN", "free 0.00 of 1.00"))])
        assert desk.admission.state_of(transfer.txid).code == "TX_FROZEN"
        assert not desk.admission.has_work


async def test_a_judgement_from_before_finality_never_rejects_what_is_final(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        transfers = desk.chain.transfers(2)
        await desk.submit(*transfers)
        final, executed = desk.chain.build(transfers)

        def refuse_too_late(*_: object) -> None:  # in the same breath, before the pool is tidied
            late = [Refusal(item, InvalidTransaction("TX_DOUBLE_SPEND", "spent")) for item in transfers]
            desk.admission.refuse(late)
            assert not list(desk.admission.candidates())
            assert not desk.admission.has_work

        desk.finalizer.on_final(refuse_too_late)
        await desk.finalizer.finalize(final, executed)
        assert [desk.admission.state_of(item.txid).status for item in transfers] == ["FINAL", "FINAL"]


async def test_a_child_enters_while_its_final_parent_is_still_leaving(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [parent] = desk.chain.transfers(1)
        await desk.submit(parent)
        child = child_of(parent, desk.finalizer.chain_id, FUNDS - 1)
        entered = []
        desk.finalizer.on_final(lambda *_: entered.append(desk.admission._gate.enter([child])))
        await desk.decide(parent)
        assert [item.added for item in entered] == [[child]]
        assert list(desk.admission.candidates()) == [child]


async def test_the_pool_is_bounded_and_says_so(tmp_path: Path) -> None:
    async with open_desk(tmp_path, limits=MempoolLimits(2, 1 << 20, 2, 1 << 20)) as desk:
        answers = await desk.submit(*desk.chain.transfers(4))
        assert codes(answers) == [None, None, "TX_QUOTA", "TX_QUOTA"]
        assert len(desk.admission.pool) == 2


# --- what consensus and catching up need


async def test_bodies_are_verified_once_whether_from_a_block_or_from_the_pool(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        transfers = desk.chain.transfers(10)
        await desk.submit(*transfers[:5])
        await desk.admission.verify_bodies(transfers)
        await desk.admission.verify_bodies(transfers)
        assert sum(desk.verifier.calls) == 10


async def test_a_body_with_a_false_signature_or_shape_is_refused(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        good, other = desk.chain.transfers(2)
        bad = with_false_signature(other, desk.finalizer.chain_id)
        with pytest.raises(InvalidTransaction) as refused:
            await desk.admission.verify_bodies([good, bad])
        assert refused.value.code == "TX_BAD_SIGNATURE"
        empty = msgspec.structs.replace(good.body, outputs=())
        misshapen = build_transaction(empty, desk.finalizer.chain_id, [key("alice")])
        with pytest.raises(InvalidTransaction) as refused:
            await desk.admission.verify_bodies([misshapen])
        assert refused.value.code == "TX_OUTPUTS_MISSING"


async def test_bodies_are_found_in_the_pool_and_among_those_fetched(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        pending, fetched, unknown = desk.chain.transfers(3)
        await desk.submit(pending)
        desk.admission.remember([fetched])
        assert desk.admission.lookup(pending.wtxid) == pending
        assert desk.admission.lookup(fetched.wtxid) == fetched
        assert desk.admission.lookup(unknown.wtxid) is None
        assert codes(await desk.submit(fetched)) == [None]


async def test_fetched_bodies_are_not_taken_for_verified(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        bad = with_false_signature(transfer, desk.finalizer.chain_id)
        desk.admission.remember([bad])
        assert codes(await desk.submit(bad)) == ["TX_BAD_SIGNATURE"]


async def test_own_transactions_that_wait_are_offered_again_until_final(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_desk(tmp_path) as desk:
        own, peers = desk.chain.transfers(2)
        await desk.submit(own)
        await desk.admission.admit([peers.raw], source=PEER)
        assert desk.admission.unfinished() == []
        await trio.sleep(RESEND_INTERVAL_MS / 1000 + 0.1)
        assert desk.admission.unfinished() == [own]
        assert desk.admission.unfinished() == []
        await desk.decide(own)
        await trio.sleep(RESEND_INTERVAL_MS / 1000 + 0.1)
        assert desk.admission.unfinished() == []


async def test_who_waits_for_a_fuller_block_hears_when_something_is_judged(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        limits = desk.finalizer.genesis.parameters.limits
        assert not desk.admission.fills(limits)
        assert not await desk.admission.judged()  # nothing is under way
        desk.verifier.gate = trio.Event()
        heard: list[bool] = []

        async def hear() -> None:
            heard.append(await desk.admission.judged())

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.submit, *desk.chain.transfers(1))
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(hear)
                await trio.testing.wait_all_tasks_blocked()
                assert heard == []
                desk.verifier.gate.set()
        assert heard == [True]
        assert desk.admission.has_work


async def test_a_block_under_discussion_goes_first_and_what_it_verified_is_not_verified_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_desk(tmp_path) as desk:
        transfers = desk.chain.transfers(5)
        async with trio.open_nursery() as nursery:
            with desk.finalizer.right_of_way.urgent():
                nursery.start_soon(desk.submit, *transfers)
                for _ in range(20):
                    await trio.lowlevel.checkpoint()
                assert desk.verifier.verified == 0  # what was submitted waits
                await desk.admission.verify_bodies(transfers)
                assert desk.verifier.verified == 5
        assert all(desk.admission.state_of(transfer.txid).status == "PENDING" for transfer in transfers)
        assert desk.verifier.verified == 5


async def test_what_waits_long_is_checked_again_and_leaves_if_it_no_longer_may(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        [transfer] = desk.chain.transfers(1)
        await desk.submit(transfer)
        before = desk.woken
        for _ in range(12):
            await desk.decide()
        assert desk.woken > before  # there is still work, and consensus is told so
        assert desk.admission.state_of(transfer.txid).status == "PENDING"
        assert spend_behind_the_pools_back(desk, transfer)
        for _ in range(12):
            await desk.decide()
        assert desk.admission.state_of(transfer.txid).status == "REJECTED"


def spend_behind_the_pools_back(desk: Desk, transfer: Transaction) -> bool:
    """The rules change under an entry, as a freeze or a disabled wallet would."""
    coin = transfer.body.inputs[0]
    gate = desk.admission._gate
    checked = gate._problem

    def refuse(transaction, context, time_ms):  # type: ignore[no-untyped-def]
        if coin in transaction.body.inputs:
            return InvalidTransaction("TX_FROZEN", "frozen meanwhile")
        return checked(transaction, context, time_ms)

    gate._problem = refuse  # type: ignore[method-assign]
    return True


async def test_waiters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drexnode.outcomes.MAX_WAITERS", 1)
    outcomes = Outcomes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outcomes.wait, b"a" * 32, 60_000)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(DrexError) as refused:
            await outcomes.wait(b"b" * 32, 60_000)
        assert refused.value.code == "NODE_BUSY"
        nursery.cancel_scope.cancel()
    assert len(outcomes) == 0
