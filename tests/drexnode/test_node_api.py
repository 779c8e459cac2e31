"""The node behind its RPC, over a real chain: answers are of final blocks, pages go on where they ended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import trio

from drexnode.config import NodeConfig, NodeSection
from drexnode.executor import Executor
from drexnode.gauges import directory_bytes
from drexnode.heads import HeadTracker
from drexnode.node_api import LocalNode
from drexnode.override_exchange import OverrideExchange
from drexnode.permits import Permits
from drexnode.rpc.api import NodeApi
from drexnode.rpc.node_values import SyncStatus
from drexnode.sync import Synchroniser
from drexnode.validator_watch import ValidatorWatch
from drexnode.verifier import Verifier
from drexnode.wire import Role
from ledger.build import build_body, build_transaction, make_output
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB
from ledger.genesis import decode_genesis
from ledger.locks import key_lock
from ledger.payloads import Kind
from ledger.state import NODE
from ledger.transaction import Transaction
from p2p.memory import MemoryHost, MemoryNetwork
from primitives.errors import DrexError, InvariantViolation, StorageFailure
from primitives.limits import MAX_REGISTERED_NODES
from storage.layout import VALIDATOR_SET, after
from tests.drexnode.chain import FUNDS, key
from tests.drexnode.desk import Desk, codes, open_desk
from tests.drexnode.follower import connect

ALICE, BOB = (key_lock(key(name).public_key) for name in ("alice", "bob"))


@dataclass
class Running:
    """A node's API and what stands behind it."""

    api: LocalNode
    desk: Desk
    host: MemoryHost
    network: MemoryNetwork


@asynccontextmanager
async def open_api(path: Path, role: Role = "validator") -> AsyncIterator[Running]:
    """A node without consensus: blocks are decided by the test (`desk.decide`)."""
    network = MemoryNetwork()
    own = "peer-0" if role == "validator" else "full-0"
    async with open_desk(path, role) as desk, network.open_host(key(own).seed) as host:
        finalizer, metrics = desk.finalizer, desk.finalizer._metrics
        permits = Permits(
            finalizer.queries.state_entries(NODE, MAX_REGISTERED_NODES),
            finalizer.head.validators,
            host.peer_id,
            {},
        )
        own_key = permits.validator_key_of(host.peer_id)
        heads = HeadTracker(
            host,
            finalizer,
            role=role,
            name="node",
            validator_key=own_key,
            is_validator=lambda peer: permits.validator_key_of(peer) is not None,
            random=Random(3),
        )
        executor = Executor(finalizer, metrics)
        overrides = OverrideExchange(host, finalizer)
        sync = Synchroniser(
            host, finalizer, executor, Verifier(), desk.admission.verify_bodies, metrics, overrides
        )
        watch = ValidatorWatch(
            finalizer,
            host,
            permits,
            metrics,
            own_key=key("validator-0").public_key if role == "validator" else None,
            own_name="node",
            observe=lambda: None,
        )
        api = LocalNode(
            config=NodeConfig(path, NodeSection(name="node", role=role)),
            finalizer=finalizer,
            admission=desk.admission,
            transport=host,
            permits=permits,
            heads=heads,
            sync=sync,
            watch=watch,
            metrics=metrics,
        )
        yield Running(api, desk, host, network)


def as_node_api(api: LocalNode) -> NodeApi:
    """The type checker's proof that nothing is missing."""
    return api


def emission(desk: Desk, amount: int, reference: bytes) -> Transaction:
    """Bank A emits its deposit token to alice."""
    body = build_body(
        Kind.EMISSION,
        outputs=[make_output(BANK_A_DVT, amount, ALICE, b"a note")],
        valid_until=desk.finalizer.head.height + 100,
        reference=reference,
    )
    return build_transaction(body, desk.finalizer.chain_id, [key("bank-a")])


async def test_the_identity_is_that_of_genesis_and_configuration(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        who = as_node_api(node.api).identity
        assert (who.name, who.role, who.network, who.address_prefix) == (
            "node",
            "validator",
            "devnet",
            "drexdev",
        )
        assert decode_genesis(who.genesis) == node.desk.chain.document
        assert who.chain_id == node.desk.finalizer.chain_id
        assert who.peer_id == node.host.peer_id
        assert who.validator_key == key("validator-0").public_key
        assert node.api.started()


async def test_a_transaction_goes_from_submitted_to_final(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        [transfer] = node.desk.chain.transfers(1)
        assert (await node.api.transaction(transfer.txid)) is None
        assert codes(await node.api.submit([transfer.raw])) == [None]
        pending = await node.api.transaction(transfer.txid)
        assert pending is not None
        assert (pending.raw, pending.wtxid, pending.height) == (transfer.raw, transfer.wtxid, None)
        assert node.api.pool().transactions == 1
        await node.desk.decide(transfer)
        final = await node.api.transaction(transfer.txid)
        assert final is not None
        assert (final.raw, final.wtxid, final.height, final.index) == (transfer.raw, transfer.wtxid, 1, 0)
        assert final.block_id == node.api.tip().block_id
        assert (await node.api.transaction_state(transfer.txid)).status == "FINAL"
        assert (await node.api.wait_final(transfer.txid, 0)).height == 1
        assert node.api.pool().transactions == 0


async def test_blocks_are_read_by_height_and_by_id(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        transfers = node.desk.chain.transfers(40)
        await node.desk.decide(*transfers)
        tip = node.api.tip()
        block = await node.api.block_by_height(1, full=True)
        assert block is not None
        assert (block.block_id, tip.height, tip.round) == (tip.block_id, 1, 0)
        assert block.txids == tuple(item.txid for item in transfers)
        assert block.transactions == tuple(item.raw for item in transfers)
        assert block.certificate == await node.api.certificate(1)
        short = await node.api.block_by_id(tip.block_id, full=False)
        assert short is not None
        assert (short.txids, short.transactions) == (block.txids, ())
        genesis = await node.api.block_by_height(0, full=True)
        assert genesis is not None
        assert (genesis.certificate, genesis.txids) == (None, ())
        assert await node.api.block_by_height(2, full=False) is None
        assert await node.api.block_by_id(bytes(32), full=False) is None


async def test_headers_end_at_the_tip_and_heights_can_be_waited_for(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        heights = []

        async def wait() -> None:
            heights.append((await node.api.wait_height(2)).height)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await node.desk.decide()
            assert not heights
            await node.desk.decide()
        assert heights == [2]
        assert [header.height for header in await node.api.headers(0, 100)] == [0, 1, 2]
        assert [header.height for header in await node.api.headers(2, 2)] == [2]
        assert await node.api.headers(3, 9) == []


async def test_the_set_of_each_height_is_known_across_a_change(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        votes = [node.desk.chain.vote(f"validator-{number}", "validator-3", add=False) for number in range(3)]
        await node.desk.decide(*votes)
        await node.desk.decide()
        sets = [await node.api.validators_at(height) for height in range(4)]
        assert [None if found is None else found.size for found in sets] == [4, 4, 3, 3]
        assert await node.api.validators_at(4) is None
        assert await node.api.validators_at(-1) is None
        database = node.desk.finalizer.store.database
        batch = database.batch()
        for key, _ in database.scan(VALIDATOR_SET, after(VALIDATOR_SET)):
            batch.delete(key)
        database.write(batch)
        await node.desk.decide()
        with pytest.raises(DrexError) as unknown:
            await node.api.validators_at(1)
        assert unknown.value.code == "VALIDATORS_NOT_KEPT"


async def test_balances_supply_and_references_follow_the_chain(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        before = (await node.api.balances(ALICE)).assets[BANK_A_DVT].total
        minted = emission(node.desk, 500, b"order 7")
        await node.desk.decide(minted, *node.desk.chain.transfers(2))
        found = await node.api.balances(ALICE)
        assert found.height == 1
        assert found.assets[BANK_A_DVT].total == before + 500 - 2
        assert (await node.api.balances(BOB)).assets[BANK_A_DVT].total == 2
        assert (await node.api.balances(bytes(32))).assets == {}
        supply = await node.api.supply(BANK_A_DVT)
        assert supply is not None
        assert (supply.emitted - supply.burned, supply.height) == (before + 500, 1)
        assert await node.api.supply("BRL@99999999/DVT") is None
        assert await node.api.transaction_by_reference(BANK_A_DVT, b"order 7") == minted.txid
        assert await node.api.transaction_by_reference(BANK_A_DVT, b"order 8") is None


async def test_unspent_outputs_come_page_by_page_in_one_view(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        await node.desk.decide(emission(node.desk, 500, b"r"), *node.desk.chain.transfers(3))
        whole = await node.api.unspent(ALICE, BANK_A_DVT, height=None, after=None, limit=1000)
        assert (len(whole.outputs), whole.after) == (65, None)
        assert {(item.note, item.height) for item in whole.outputs} == {(b"", 0), (b"", 1), (b"a note", 1)}
        for asset in (BANK_A_DVT, None):
            page = await node.api.unspent(ALICE, asset, height=None, after=None, limit=20)
            collected = list(page.outputs)
            while page.after is not None:
                await node.desk.decide(*node.desk.chain.transfers(1))  # the chain goes on meanwhile
                page = await node.api.unspent(ALICE, asset, height=page.height, after=page.after, limit=20)
                collected += page.outputs
            assert [item.height is not None and item.height <= page.height for item in collected]
            assert sum(item.amount for item in collected) == 64 * FUNDS + 500 - page.height - 2
            assert len(set(collected)) == len(collected) == 65


async def test_a_page_of_a_view_that_is_gone_is_refused(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        await node.desk.decide()
        page = await node.api.unspent(ALICE, None, height=None, after=None, limit=64)
        assert page.after is None
        after = page.outputs[9].txid + page.outputs[9].index.to_bytes(4, "big")
        await node.desk.decide()
        for height, where in ((1, after), (1, None), (77, after)):
            with pytest.raises(DrexError) as refused:
                await node.api.unspent(ALICE, None, height=height, after=where, limit=5)
            assert refused.value.code == "CURSOR_EXPIRED"
        for nowhere in (bytes(36), node.desk.finalizer.chain_id + b"\xff\xff\xff\xff"):
            with pytest.raises(DrexError) as refused:
                await node.api.unspent(ALICE, None, height=2, after=nowhere, limit=5)
            assert refused.value.code == "CURSOR_INVALID"


async def test_history_comes_newest_first_page_by_page(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        transfers = node.desk.chain.transfers(9)
        for start in range(0, 9, 3):
            await node.desk.decide(*transfers[start : start + 3])
        page = await node.api.history(BOB, height=None, before=None, limit=4)
        collected = list(page.entries)
        while page.before is not None:
            await node.desk.decide(*node.desk.chain.transfers(1))
            page = await node.api.history(BOB, height=page.height, before=page.before, limit=4)
            collected += page.entries
        assert [item.txid for item in collected] == [item.txid for item in reversed(transfers)]
        assert page.height == 3
        assert (await node.api.history(bytes(32), height=None, before=None, limit=4)).entries == ()


async def test_the_registry_is_listed(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        assets = {item.asset: item for item in await node.api.assets()}
        assert (assets["BRL"].holders, assets[BANK_A_DVT].issuer) == ("participants", BANK_A_ISPB)
        assert list(assets) == sorted(assets)
        participants = await node.api.participants()
        assert [item.name for item in participants] == [
            "Banco Central do Brasil",
            "Bank A",
            "Bank B",
            "Tesouro Nacional",
        ]
        [bank_a] = [item for item in participants if item.ispb == BANK_A_ISPB]
        assert bank_a.settlement_lock == key_lock(key("bank-a").public_key)
        assert bank_a.settlement_lock in bank_a.locks
        assert (bank_a.role, bank_a.sponsor) == ("bank", None)


async def test_readiness_names_what_is_missing(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        assert [reason.code for reason in node.api.not_ready()] == ["NO_PEERS", "NO_QUORUM"]
        async with (
            node.network.open_host(key("peer-1").seed) as one,
            node.network.open_host(key("peer-2").seed) as two,
        ):
            await connect(node.host, one, two)
            assert node.api.not_ready() == []
            assert [peer.role for peer in await node.api.peers()] == ["validator", "validator"]
            assert node.api.consensus().reachable == 3
    async with open_api(tmp_path / "other", "full") as node:
        assert [reason.code for reason in node.api.not_ready()] == ["NO_PEERS"]


async def test_a_node_far_behind_is_not_ready_and_accepts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_api(tmp_path) as node:
        [transfer] = node.desk.chain.transfers(1)
        monkeypatch.setattr(node.api._sync, "status", lambda: SyncStatus(True, 0, 500))
        assert "SYNCING" in [reason.code for reason in node.api.not_ready()]
        with pytest.raises(DrexError, match="at block 0, its peers are at 500") as refused:
            await node.api.submit([transfer.raw])
        assert refused.value.code == "NODE_NOT_READY"


async def test_a_read_that_failed_stops_the_node_with_the_first_failure(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        node.api.halt(StorageFailure("STORAGE_CORRUPT", "a bad checksum"))
        node.api.halt(InvariantViolation("LATER", "another"))
        assert "HALTED" in [reason.code for reason in node.api.not_ready()]
        with pytest.raises(StorageFailure):
            await node.api.run()


async def test_metrics_are_brought_up_to_date(tmp_path: Path) -> None:
    async with open_api(tmp_path) as node:
        await node.api.submit([item.raw for item in node.desk.chain.transfers(3)] + [b"junk"])
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "file").write_bytes(bytes(77))
        async with node.network.open_host(key("peer-1").seed) as other:
            await connect(node.host, other)
            lines = node.api.metrics_text().decode().splitlines()
            again = node.api.metrics_text().decode().splitlines()
        for text in (lines, again):
            assert "drex_mempool_txs 3.0" in text
            assert 'drex_tx_rejected_total{code="TX_MALFORMED"} 1.0' in text
            assert "drex_db_bytes 77.0" in text
            assert any(line.startswith('drex_peers{direction="') for line in text)
        assert directory_bytes(tmp_path / "nowhere") == 0
