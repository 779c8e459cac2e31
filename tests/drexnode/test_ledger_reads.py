"""What wallets ask before they sign: simulations, registered wallets, freezes, votes. Nothing asked changes
anything."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import trio

import drexnode.ledger_api
from drexnode import client as rpc
from ledger.build import build_body, build_transaction, make_output
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB, BANK_B_ISPB, BCB_ISPB
from ledger.payloads import DisableWallet, Freeze, Kind, Payload, RegistryAct
from ledger.transaction import OutPoint, Transaction
from tests.drexnode.chain import FUNDS, key
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving
from tests.drexnode.test_node_api import ALICE, BOB, open_api
from tests.drexnode.test_rpc import address, lock, payment


def act(chain: MemoryChain, signer: str, kind: Kind, payload: Payload) -> Transaction:
    body = build_body(kind, valid_until=chain.tip().height + 100, payload=payload)
    return build_transaction(body, chain.chain_id, [chain.plan.wallets[signer]])


async def test_a_simulation_says_who_gains_and_loses_and_changes_nothing() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        good = payment(chain, 12_50)
        found = await client.run(rpc.simulate(good.raw))
        assert (found.valid, found.txid, found.height) == (True, good.txid.hex(), 1)
        changes = {(item.address, item.asset): item.amount for item in found.changes}
        assert changes == {
            (address(chain, "alice"), BANK_A_DVT): -12_50,
            (address(chain, "bob"), BANK_A_DVT): 12_50,
        }
        assert await client.run(rpc.block_number()) == 0
        assert (await client.run(rpc.transaction_status(good.txid.hex()))).status == "UNKNOWN"
        bent = good.raw[:-20] + bytes([good.raw[-20] ^ 1]) + good.raw[-19:]
        for raw, code in ((bent, "TX_BAD_SIGNATURE"), (b"\x92\x90", "TX_MALFORMED")):
            refused = await client.run(rpc.simulate(raw))
            assert (refused.valid, refused.code, refused.changes) == (False, code, ())


async def test_atomicity_is_of_all_in_order_or_of_none() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        parent = payment(chain, 5)
        body = build_body(
            Kind.TRANSFER, [OutPoint(parent.txid, 0)], [make_output(BANK_A_DVT, 5, lock(chain, "alice"))]
        )
        child = build_transaction(body, chain.chain_id, [chain.plan.wallets["bob"]])
        rival = payment(chain, 7)
        both = await client.run(rpc.validate_atomicity([parent.raw, child.raw]))
        assert (both.valid, [item.code for item in both.transactions]) == (True, [None, None])
        swapped = await client.run(rpc.validate_atomicity([child.raw, parent.raw]))
        assert (swapped.valid, [item.code for item in swapped.transactions]) == (False, ["TX_UNKNOWN_OUTPUT"])
        twice = await client.run(rpc.validate_atomicity([parent.raw, rival.raw, child.raw]))
        assert [item.code for item in twice.transactions] == [None, "TX_DOUBLE_SPEND"]
        assert chain.tip().height == 0


async def test_a_wallet_names_its_institutions_and_a_lock_its_participant() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        bob = await client.run(rpc.wallet(address(chain, "bob")))
        assert [item.issuer for item in bob.clients_of] == [BANK_A_ISPB, BANK_B_ISPB]
        assert bob.participant is None
        bank = await client.run(rpc.wallet(address(chain, "bank-a")))
        assert bank.participant is not None
        assert (bank.participant["ispb"], bank.participant["purpose"]) == (BANK_A_ISPB, "settlement")
        disabling = DisableWallet(BANK_A_ISPB, lock(chain, "bob"), b"order-1")
        order = act(chain, "bank-a", Kind.REGISTRY, RegistryAct(BANK_A_ISPB, disabling))
        await client.run(rpc.send(order.raw))
        bob = await client.run(rpc.wallet(address(chain, "bob")))
        assert [item.disabled_by for item in bob.clients_of] == [("issuer",), ()]


async def test_freezes_are_listed_with_author_and_order() -> None:
    chain = MemoryChain()
    async with serving(chain) as url, rpc.AsyncClient(url) as client:
        alice = lock(chain, "alice")
        for signer, author, order in (
            ("bcb-orders", BCB_ISPB, b"court-7"),
            ("bank-a", BANK_A_ISPB, b"fraud-1"),
        ):
            freeze = Freeze(author, alice, BANK_A_DVT, 100, order)
            await client.run(rpc.send(act(chain, signer, Kind.FREEZE, freeze).raw))
        found = await client.run(rpc.frozen(address(chain, "alice")))
        assert [(item.author, bytes.fromhex(item.order_id), item.amount) for item in found] == [
            (BCB_ISPB, b"court-7", 100),
            (BANK_A_ISPB, b"fraud-1", 100),
        ]
        assert await client.run(rpc.frozen(address(chain, "bob"))) == []
        assert await client.run(rpc.pending_votes()) == []


async def test_a_running_node_answers_the_same_after_pending_parents(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        [parent] = node.desk.chain.transfers(1)
        body = build_body(Kind.TRANSFER, [OutPoint(parent.txid, 0)], [make_output(BANK_A_DVT, 1, ALICE)])
        child = build_transaction(body, node.desk.finalizer.chain_id, [key("bob")])
        [orphan] = await node.api.simulate([child.raw], together=False)
        assert (orphan.error and orphan.error.code) == "TX_UNKNOWN_OUTPUT"
        assert (await node.api.submit([parent.raw]))[0].error is None
        [found] = await node.api.simulate([child.raw], together=False)
        assert found.error is None
        assert {change.lock: change.amount for change in found.changes} == {BOB: -1, ALICE: 1}
        family = await node.api.simulate([parent.raw, child.raw, b"\x00"], together=True)
        assert [item.error and item.error.code for item in family] == [None, None, "TX_MALFORMED"]
        assert await node.api.frozen(BOB) == []
        assert [item.issuer for item in (await node.api.wallet(BOB)).clients_of] == [BANK_A_ISPB, BANK_B_ISPB]
        vote = node.desk.chain.vote("validator-0", "validator-3", add=False)
        await node.desk.decide(vote)
        [standing] = await node.api.pending_votes()
        assert (standing.subject, standing.add) == (key("validator-3").public_key, False)


async def test_a_simulation_that_a_block_overtakes_begins_again_on_the_new_state(tmp_path: Path) -> None:
    """Bob's balance was read before the block, the coin he spends is made by it."""
    async with open_api(tmp_path) as node:
        chain_id, (first, second) = node.desk.finalizer.chain_id, node.desk.chain.transfers(2)
        to_bob = build_body(Kind.TRANSFER, second.body.inputs, [make_output(BANK_A_DVT, FUNDS, BOB)])
        salary = build_transaction(to_bob, chain_id, [key("alice")])
        spending = build_body(Kind.TRANSFER, [salary.outpoint(0)], [make_output(BANK_A_DVT, FUNDS, ALICE)])
        rent = build_transaction(spending, chain_id, [key("bob")])
        turns = 0

        async def overtaken() -> None:
            nonlocal turns
            turns += 1
            if turns == 2:
                await node.desk.decide(salary)

        slow = SimpleNamespace(to_thread=trio.to_thread, lowlevel=SimpleNamespace(checkpoint=overtaken))
        with mock.patch.object(drexnode.ledger_api, "trio", slow):
            found = await node.api.simulate([first.raw, rent.raw], together=True)
        assert [item.error for item in found] == [None, None]
        assert {change.lock: change.amount for change in found[1].changes} == {BOB: -FUNDS, ALICE: FUNDS}
        assert turns == 4


async def test_a_parent_that_is_final_and_not_yet_out_of_the_pool_is_not_applied_twice(
    tmp_path: Path,
) -> None:
    async with open_api(tmp_path) as node:
        [parent] = node.desk.chain.transfers(1)
        assert (await node.api.submit([parent.raw]))[0].error is None
        body = build_body(Kind.TRANSFER, [OutPoint(parent.txid, 0)], [make_output(BANK_A_DVT, 1, ALICE)])
        child = build_transaction(body, node.desk.finalizer.chain_id, [key("bob")])
        with mock.patch.object(node.desk.admission._gate, "next_leaving", return_value=None):
            await node.desk.decide(parent)
            assert parent.txid in node.desk.admission.pool
            [found] = await node.api.simulate([child.raw], together=False)
        assert found.error is None
