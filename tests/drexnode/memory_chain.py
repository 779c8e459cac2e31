"""A chain of one validator in memory, behind the RPC's `NodeApi`: real rules, real signatures, no disk or
peers.

Each accepted transaction becomes a block of its own, sealed at once. It lets RPC, client and command line be
tested in milliseconds; the same calls run against real processes in tests/network.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from drexnode.ledger_reads import freeze_infos, try_apply, try_read, wallet_info
from drexnode.metrics import Metrics
from drexnode.network_plan import NetworkPlan, plan_network
from drexnode.proofs import state_proof
from drexnode.rpc.chain_values import StoredBlock, StoredTransaction, Submitted, Tip, TransactionState
from drexnode.rpc.events_api import EventLog
from drexnode.rpc.ledger_api import FreezeInfo, Simulated, WalletInfo
from drexnode.rpc.maintenance_api import MaintenanceApi
from drexnode.rpc.money_values import (
    AssetInfo,
    Balance,
    Balances,
    HistoryEntry,
    HistoryPage,
    ParticipantInfo,
    Supply,
    UnspentOutput,
    UnspentPage,
)
from drexnode.rpc.node_values import (
    CastVote,
    ConsensusStatus,
    EvidenceInfo,
    NodeIdentity,
    PeerInfo,
    PendingInfo,
    PoolStatus,
    Reason,
    Role,
    SyncStatus,
    ValidatorInfo,
)
from drexnode.rpc.peering_api import PeeringApi
from drexnode.rpc.upgrade_api import NodeProtocol, UpgradeStatus
from ledger.assets import find_asset
from ledger.block import Block
from ledger.checks import check_stateless
from ledger.execute import ExecutionContext, build_block
from ledger.freezes import read_floor
from ledger.genesis import chain_id_of, encode_genesis, ledger_parameters, make_genesis_state
from ledger.override import Override
from ledger.payloads import Kind, VoteOperation
from ledger.proof import Proof, Question
from ledger.registry import find_participant
from ledger.slices import finish
from ledger.state import ASSET, BALANCE, FREEZE, OUTPUT, PARTICIPANT, StateView, read_balance, read_output
from ledger.state_tree import StateTree
from ledger.supply import read_supply
from ledger.transaction import OutPoint, Transaction, decode_transaction, signature_checks
from ledger.trust_path import TrustPath
from ledger.votes import PendingVote, pending_votes, validators_value
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate, commit_sighash, vote_domain
from primitives.errors import DecodeError, DrexError, InvalidTransaction
from primitives.keys import SigningKey, verify
from primitives.validators import ValidatorSet

ENTROPY = bytes(range(32))
START_MS = 1_767_225_600_000


class _Memory(dict[bytes, bytes]):
    """State and tree pages."""

    def load(self, page_key: bytes) -> bytes | None:
        return self.get(page_key)

    def write(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.pop(key, None)
        else:
            self[key] = value


class MemoryChain:
    """Implements `NodeApi`. `role` and `reasons` can be set by a test."""

    def __init__(self, role: Role = "validator") -> None:
        self.plan: NetworkPlan = plan_network(
            validators=1, full=0, observers=0, base_port=40000, entropy=ENTROPY, timestamp_ms=START_MS
        )
        seed = self.plan.nodes[0].validator_seed
        assert seed is not None
        self.key = SigningKey(seed)
        self.document = self.plan.document
        self.chain_id = chain_id_of(self.document)
        self.state, self._pages = _Memory(), _Memory()
        self.tree = StateTree(self.document.parameters.bucket_count, self._pages)
        start = make_genesis_state(self.document, self.tree)
        self.validators: ValidatorSet = start.validators
        self.headers_: list[BlockHeader] = [start.header]
        self.blocks: list[tuple[tuple[Transaction, ...], CommitCertificate | None]] = [((), None)]
        self.places: dict[bytes, tuple[Transaction, int, int]] = {}
        self.rejected: dict[bytes, DrexError] = {}
        self.reasons: list[Reason] = []
        self.votes: list[tuple[bytes, VoteOperation]] = []
        self.halted: DrexError | None = None
        self.waiting: list[PendingInfo] = []
        self.logs = {kind: EventLog(kind) for kind in ("consensus", "alerts")}
        self.metrics = Metrics()
        self._moved = trio.Event()
        self._commit(start.delta.changes, start.patch)
        self.identity = NodeIdentity(
            name="memory",
            role=role,
            chain_id=self.chain_id,
            genesis=encode_genesis(self.document),
            network=self.document.name,
            address_prefix=self.document.address_prefix,
            peer_id=self.plan.nodes[0].peer_id,
            listen_addresses=(self.plan.nodes[0].listen,),
            validator_key=self.key.public_key,
        )

    def _commit(self, changes, patch) -> None:  # type: ignore[no-untyped-def]
        for key, (_, new) in changes.items():
            self.state.write(key, new)
        for page, value in patch.page_writes():
            self._pages.write(page, value)
        self.tree.commit(patch)

    # --- transactions

    @property
    def maintenance(self) -> MaintenanceApi:
        raise DrexError("NODE_STOPPED", "a chain in memory has no data")

    @property
    def peering(self) -> PeeringApi:
        raise DrexError("NODE_STOPPED", "a chain in memory has no peers")

    async def submit(self, transactions: Sequence[bytes]) -> list[Submitted]:
        if self.identity.role == "observer":
            raise DrexError("NODE_OBSERVER", "an observer accepts no transactions")
        return [self._submit(raw) for raw in transactions]

    def _submit(self, raw: bytes) -> Submitted:
        try:
            transaction = decode_transaction(raw, self.chain_id)
        except DecodeError as error:
            return Submitted(None, error)
        if transaction.txid in self.places:
            return Submitted(transaction.txid)
        try:
            check_stateless(transaction)
            if not all(verify(*check) for check in signature_checks(transaction)):
                raise InvalidTransaction("TX_BAD_SIGNATURE", "a signature does not verify")
            self._make_block(transaction)
        except InvalidTransaction as error:
            self.rejected[transaction.txid] = error
            return Submitted(transaction.txid, error)
        return Submitted(transaction.txid)

    def _make_block(self, transaction: Transaction) -> None:
        context = self._context()
        time_ms = context.parent.timestamp_ms + 1
        built = finish(
            build_block(self.state, self.tree, context, self.key.public_key, time_ms, [transaction])
        )
        if built.refused:
            raise built.refused[0].error
        self._seal(built.executed.block)
        self._commit(built.executed.delta.changes, built.executed.patch)

    def _context(self) -> ExecutionContext:
        parameters = self.document.parameters
        return ExecutionContext(
            self.headers_[-1], self.validators, parameters, ledger_parameters(self.document)
        )

    def _seal(self, block: Block) -> None:
        domain = vote_domain(self.chain_id, self.validators.hash)
        seal = self.key.sign(commit_sighash(domain, block.height, 0, block.block_id))
        certificate = CommitCertificate(1, block.height, 0, block.block_id, ((0, seal),))
        self.headers_.append(block.header)
        self.blocks.append((block.transactions, certificate))
        for index, transaction in enumerate(block.transactions):
            self.places[transaction.txid] = (transaction, block.height, index)
        self._moved.set()
        self._moved = trio.Event()

    async def transaction_state(self, txid: bytes) -> TransactionState:
        if txid in self.places:
            _, height, index = self.places[txid]
            found = block_id(self.headers_[height])
            return TransactionState(txid, "FINAL", height, index, found, 0)
        if txid in self.rejected:
            error = self.rejected[txid]
            return TransactionState(txid, "REJECTED", code=error.code, reason=error.message)
        return TransactionState(txid, "UNKNOWN")

    async def wait_final(self, txid: bytes, timeout_ms: int) -> TransactionState:
        with trio.move_on_after(timeout_ms / 1000):
            while txid not in self.places and txid not in self.rejected:
                await self._moved.wait()
        return await self.transaction_state(txid)

    async def transaction(self, txid: bytes) -> StoredTransaction | None:
        if txid not in self.places:
            return None
        found, height, index = self.places[txid]
        place = block_id(self.headers_[height])
        return StoredTransaction(txid, found.wtxid, found.raw, height, index, place)

    async def transaction_by_reference(self, asset: str, reference: bytes) -> bytes | None:
        for found, _, _ in self.places.values():
            body = found.body
            if body.kind == Kind.EMISSION and (body.outputs[0].asset, body.reference) == (asset, reference):
                return found.txid
        return None

    # --- chain

    def tip(self) -> Tip:
        header = self.headers_[-1]
        certified = self.blocks[-1][1] is not None
        return Tip(
            header.height, block_id(header), header.timestamp_ms, header.state_root, 0 if certified else None
        )

    async def wait_height(self, height: int) -> Tip:
        while self.tip().height < height:
            await self._moved.wait()
        return self.tip()

    async def block_by_height(self, height: int, *, full: bool) -> StoredBlock | None:
        if height >= len(self.headers_):
            return None
        transactions, certificate = self.blocks[height]
        header = self.headers_[height]
        raws = tuple(item.raw for item in transactions) if full else ()
        return StoredBlock(
            header, block_id(header), certificate, tuple(item.txid for item in transactions), raws
        )

    async def block_by_id(self, block_id: bytes, *, full: bool) -> StoredBlock | None:
        for height in range(len(self.headers_)):
            found = await self.block_by_height(height, full=full)
            if found is not None and found.block_id == block_id:
                return found
        return None

    async def headers(self, first: int, last: int) -> list[BlockHeader]:
        return self.headers_[first : last + 1]

    async def certificate(self, height: int) -> CommitCertificate | None:
        return self.blocks[height][1] if height < len(self.blocks) else None

    async def validators_at(self, height: int) -> ValidatorSet | None:
        return self.validators if height <= len(self.headers_) else None

    def overrides(self) -> tuple[Override, ...]:
        return ()

    # --- money

    async def balances(self, lock: bytes) -> Balances:
        names = [key[33:].decode() for key in sorted(self.state) if key.startswith(BALANCE + lock)]
        found = {
            name: Balance(read_balance(self.state, lock, name), read_floor(self.state, lock, name).total)
            for name in names
        }
        return Balances(self.tip().height, found)

    async def unspent(
        self, lock: bytes, asset: str | None, *, height: int | None, after: bytes | None, limit: int
    ) -> UnspentPage:
        tip = self.tip().height
        if height is not None and height != tip:
            raise DrexError("CURSOR_EXPIRED", f"height {height} is no longer the tip {tip}", height=height)
        found = []
        for key in sorted(self.state):
            if key[:1] != OUTPUT or (after is not None and key[1:] <= after):
                continue
            value = read_output(self.state[key])
            if value.lock == lock and asset in (None, value.asset):
                index = int.from_bytes(key[33:37], "big")
                found.append(UnspentOutput(key[1:33], index, value.asset, value.amount, lock))
        page = found[:limit]
        last = page[-1].txid + page[-1].index.to_bytes(4, "big") if len(found) > limit else None
        return UnspentPage(tip, tuple(page), last)

    async def history(
        self, lock: bytes, *, height: int | None, before: tuple[int, int] | None, limit: int
    ) -> HistoryPage:
        at = self.tip().height if height is None else height
        entries = []
        for found, block_height, index in self.places.values():
            place = (block_height, index)
            touched = any(output.lock == lock for output in found.body.outputs) or any(
                self._lock_of_input(point.txid, point.index) == lock for point in found.body.inputs
            )
            if touched and block_height <= at and (before is None or place < before):
                entries.append(HistoryEntry(block_height, index, found.txid))
        entries.sort(key=lambda entry: (entry.height, entry.index), reverse=True)
        page = entries[:limit]
        more = (page[-1].height, page[-1].index) if len(entries) > limit else None
        return HistoryPage(at, tuple(page), more)

    def _lock_of_input(self, txid: bytes, index: int) -> bytes | None:
        if txid == self.chain_id:
            return self.document.outputs[index].lock
        return self.places[txid][0].body.outputs[index].lock

    async def supply(self, asset: str) -> Supply | None:
        if find_asset(self.state, asset) is None:
            return None
        found = read_supply(self.state, asset)
        return Supply(self.tip().height, found.emitted, found.burned)

    async def assets(self) -> list[AssetInfo]:
        infos = []
        for key in sorted(key for key in self.state if key[:1] == ASSET):
            name = key[1:].decode()
            record = find_asset(self.state, name)
            assert record is not None
            infos.append(
                AssetInfo(
                    asset=name,
                    issuer=record.issuer,
                    decimals=record.decimals,
                    holders=record.holders.name.lower(),
                    order_authority=record.order_authority,
                    cap=record.cap,
                    min_value=record.min_value,
                    paused=bool(record.paused_by),
                    burn_needs_issuer=record.burn_needs_issuer,
                    standing_consent=record.standing_consent,
                    reserve_lock=record.reserve_lock or None,
                )
            )
        return infos

    async def participants(self) -> list[ParticipantInfo]:
        infos = []
        for key in sorted(key for key in self.state if key[:1] == PARTICIPANT):
            ispb = key[1:].decode()
            record = find_participant(self.state, ispb)
            assert record is not None
            infos.append(
                ParticipantInfo(
                    ispb,
                    record.name,
                    record.role.name.lower(),
                    record.settlement_lock or None,
                    sponsor=record.sponsor or None,
                )
            )
        return infos

    # --- ledger

    async def simulate(self, transactions: Sequence[bytes], *, together: bool) -> list[Simulated]:
        context = self._context().at(self.headers_[-1].timestamp_ms + 1)
        view, answers = StateView(self.state), list[Simulated]()
        for raw in transactions:
            read = try_read(raw, self.chain_id, context.height)
            if not together:
                view = StateView(self.state)
            answers.append(read if isinstance(read, Simulated) else try_apply(view, read, context))
            if together and answers[-1].error is not None:
                break
        return answers

    async def wallet(self, lock: bytes) -> WalletInfo:
        ispbs = [key[1:].decode() for key in self.state if key[:1] == PARTICIPANT]
        return wallet_info(self.state, self.tip().height, ispbs, lock)

    async def frozen(self, lock: bytes) -> list[FreezeInfo]:
        return freeze_infos(item for item in self.state.items() if item[0].startswith(FREEZE + lock))

    async def prove(self, question: Question) -> Proof:
        certificate = self.blocks[-1][1]
        if certificate is None:
            raise DrexError("PROOF_NO_BLOCK", "there is no block yet")
        state, first = state_proof(self.tree, self.state, question), validators_value(self.validators)
        return Proof(1, self.chain_id, question, self.headers_[-1], certificate, first, TrustPath(), state)

    async def lock_of_output(self, outpoint: OutPoint) -> bytes:
        value = self.state.get(OUTPUT + outpoint.txid + outpoint.index.to_bytes(4, "big"))
        if value is None:
            raise DrexError("PROOF_NEEDS_ADDRESS", "unknown")
        return read_output(value).lock

    async def pending_votes(self) -> list[PendingVote]:
        return pending_votes(self.state)

    # --- network and node

    async def peers(self) -> list[PeerInfo]:
        return []

    def consensus(self) -> ConsensusStatus:
        me = ValidatorInfo(0, self.key.public_key, "memory", True, self.tip().height or None)
        return ConsensusStatus(self.tip().height + 1, 0, "waiting", None, 1, 1, (me,))

    def stall_causes(self) -> list[Reason]:
        return self.reasons

    async def cast_vote(self, subject: bytes, operation: VoteOperation) -> CastVote:
        self.votes.append((subject, operation))
        return CastVote(bytes(32), self.key.public_key, 1_000)

    def evidence(self) -> tuple[EvidenceInfo, ...]:
        return (EvidenceInfo(self.key.public_key, 1, 0, 2, b"proof"),)

    def sync(self) -> SyncStatus:
        return SyncStatus(False, self.tip().height, self.tip().height)

    def pool(self) -> PoolStatus:
        return PoolStatus(0, 0, 1000, 1 << 20)

    def pending(self, after: tuple[int, bytes] | None, limit: int) -> list[PendingInfo]:
        start = 0 if after is None else [item.txid for item in self.waiting].index(after[1]) + 1
        return self.waiting[start : start + limit]

    def events(self, kind: str) -> EventLog:
        return self.logs[kind]

    def started(self) -> bool:
        return True

    def upgrade(self) -> UpgradeStatus:
        return UpgradeStatus(
            self.tip().height, 1, 2, 10**6, 1, 3, (NodeProtocol("12D3", "n", "full", False, "1", 1),)
        )

    def not_ready(self) -> list[Reason]:
        return self.reasons

    def halt(self, failure: DrexError) -> None:
        self.halted = failure

    def metrics_text(self) -> bytes:
        self.metrics.chain_height.set(self.tip().height)
        return self.metrics.render()
