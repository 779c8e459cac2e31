"""A simulated validator: a machine (`tests.simulator.machine`) with the host's side of the ledger.

The host is small but whole: bodies, a pool, block building, fetching, syncing. Villains override what it
sends (`tests.simulator.villains`).
"""

from __future__ import annotations

from consensus.effects import (
    BodySource,
    BuildBlock,
    Decide,
    EvidenceFound,
    FetchBlock,
    Halt,
    PushPool,
    RequestSync,
    StoreBlock,
    ValidateProposal,
)
from consensus.evidence import (
    decode_conflict_proof,
    decode_evidence,
    verify_conflict_proof,
    verify_evidence,
)
from consensus.inputs import (
    BlockBuilt,
    BlockFetched,
    BlockSynced,
    Outcome,
    PeerId,
    Recovered,
    StartHeight,
    TipReported,
    Verdict,
    WorkAvailable,
)
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.codec import encode
from tests.simulator import chain
from tests.simulator.machine import Machine
from tests.simulator.oracle import Violation
from tests.simulator.world import World

STATUS_PERIOD_MS = 700
FETCH_PERIOD_MS = 30
SKEW_BOUND_MS = 500


class Node(Machine):
    """One node: a machine with a ledger, a pool, and peers to fetch and sync from."""

    def __init__(self, world: World, number: int, key_index: int, size: int, config: dict[str, int]) -> None:
        super().__init__(world, number, key_index, size, config)
        self.states = [chain.genesis_state(size)]  # after each height
        self.pool: dict[bytes, None] = {}
        self.bodies: set[bytes] = set()
        self._sources: list[PeerId] = []
        self._offered: dict[int, tuple[BlockHeader, tuple[bytes, ...], CommitCertificate]] = {}
        self._handlers |= {
            StoreBlock: self._on_store,
            ValidateProposal: self._on_validate,
            BuildBlock: self._on_build,
            Decide: self._on_decide,
            FetchBlock: self._on_fetch,
            RequestSync: self._on_request_sync,
            PushPool: self._on_push_pool,
            BodySource: self._on_body_source,
            EvidenceFound: self._on_evidence,
            Halt: self._on_halt,
        }

    def start(self, recovered: Recovered | None) -> None:
        """Nothing is remembered but what the disk holds; peers are asked for their tips from now on."""
        self._offered.clear()
        self._sources = []
        self._start_height(recovered)
        self._later(1 + self.world.random.randrange(STATUS_PERIOD_MS), self._ask_status)

    def _on_store(self, effect: StoreBlock) -> None:
        self.disk.store_block(effect.header, effect.wtxids)

    # --- blocks

    def _tip_state(self) -> chain.State:
        return self.states[-1]

    def add_transaction(self, wtxid: bytes) -> None:
        """A body arrives at this node."""
        if wtxid in self.bodies:
            return
        self.bodies.add(wtxid)
        if wtxid not in self._tip_state().spent:
            self.pool[wtxid] = None
            self.feed(WorkAvailable())

    def _on_build(self, effect: BuildBlock) -> None:
        self._later(1, self._build, effect)

    def _build(self, effect: BuildBlock) -> None:
        parent = self.disk.chain[-1][0]
        if block_id(parent) != effect.parent_id:
            return
        wtxids = tuple(self.pool)[: chain.MAX_TRANSACTIONS]
        now = self.world.now + self.faults.clock_offset_ms
        header = chain.make_header(self._tip_state(), parent, effect.parent_id, now, self.key, wtxids)
        self.feed(BlockBuilt(effect.height, effect.round, header, wtxids))

    def _on_validate(self, effect: ValidateProposal) -> None:
        self._sources = list(effect.sources)
        self._later(1, self._validate, effect)

    def _on_body_source(self, effect: BodySource) -> None:
        self._sources.append(effect.peer)

    def _validate(self, effect: ValidateProposal) -> None:
        if effect.height != len(self.disk.chain):
            return
        ahead = effect.header.timestamp_ms - self.world.now - self.faults.clock_offset_ms
        if chain.list_root(effect.wtxids) != effect.header.tx_root:
            self.feed(Verdict(effect.ref, Outcome.WRONG_LIST, "TX_ROOT"))
        elif effect.fresh and ahead > SKEW_BOUND_MS:
            self.feed(Verdict(effect.ref, Outcome.LATER, "FUTURE", ahead - SKEW_BOUND_MS))
        elif effect.fresh and ahead < -10 * SKEW_BOUND_MS:
            self.feed(Verdict(effect.ref, Outcome.INVALID, "PAST"))
        elif not self._get_bodies(effect.wtxids, self._sources):
            self._later(FETCH_PERIOD_MS, self._validate, effect)
        elif chain.is_valid(self._tip_state(), effect.header, effect.wtxids):
            self.feed(Verdict(effect.ref, Outcome.OK))
        else:
            self.feed(Verdict(effect.ref, Outcome.INVALID, "STATE_ROOT"))

    def _get_bodies(self, wtxids: tuple[bytes, ...], sources: list[PeerId]) -> bool:
        """True when all bodies are held; asks whoever can be reached for the missing ones."""
        missing = [wtxid for wtxid in wtxids if wtxid not in self.bodies]
        for peer in sources if missing else ():
            node = self.world.nodes[int(peer)]
            if node.core is not None and self.world.can_talk(self.number, node.number):
                self.bodies.update(wtxid for wtxid in missing if wtxid in node.bodies)
        return all(wtxid in self.bodies for wtxid in missing)

    def _on_fetch(self, effect: FetchBlock) -> None:
        self._later(2 * self.world.network.max_delay, self._fetch, effect)

    def _fetch(self, effect: FetchBlock) -> None:
        wanted = block_id(effect.header)
        holders = [self, *(self.world.nodes[int(peer)] for peer in effect.sources)]
        for node in holders:
            stored = node.disk.blocks.get(wanted)
            reachable = node is self or (
                node.core is not None and self.world.can_talk(self.number, node.number)
            )
            if stored is not None and reachable:
                self.bodies.update(stored[1])
                self.feed(BlockFetched(effect.ref, stored[1]))
                return
        self.feed(BlockFetched(effect.ref, None))

    # --- decisions and syncing

    def _on_decide(self, effect: Decide) -> None:
        self._finalize(effect.header, effect.wtxids, effect.certificate)

    def _finalize(
        self, header: BlockHeader, wtxids: tuple[bytes, ...], certificate: CommitCertificate
    ) -> None:
        if header.height != len(self.disk.chain):
            return
        found = self._find_block(header, wtxids)
        if found is None:
            self._later(FETCH_PERIOD_MS, self._finalize, header, wtxids, certificate)
            return
        state = self._tip_state()
        after = chain.execute(state, found)
        assert after is not None
        assert after.root == header.state_root
        self.world.note(self.number, certificate.block_id)
        self.report_decision(header, certificate, state)
        self.disk.store_decided(header, found, certificate)
        self.states.append(after)
        self.world.has_news = True
        self.bodies.update(found)
        for wtxid in found:
            self.pool.pop(wtxid, None)
        self._later(1, self._start_height, None)

    def report_decision(
        self, header: BlockHeader, certificate: CommitCertificate, state: chain.State
    ) -> None:
        """Tell the oracle, in plain values."""
        fields = [getattr(header, name) for name in header.__struct_fields__]
        plain = {
            "height": certificate.height,
            "round": certificate.round,
            "block_id": certificate.block_id,
            "seals": certificate.seals,
            "validators_hash": state.validators.hash,
        }
        self.world.oracle.on_decide(self.number, {"fields": fields}, plain, list(state.validators.keys))

    def _find_block(self, header: BlockHeader, wtxids: tuple[bytes, ...]) -> tuple[bytes, ...] | None:
        """The list that matches the header: the hint, or what a reachable node has."""
        if chain.list_root(wtxids) == header.tx_root:
            return wtxids
        wanted = block_id(header)
        for node in self.world.nodes:
            if node.core is None or not self.world.can_talk(self.number, node.number):
                continue
            if (stored := node.disk.blocks.get(wanted)) is not None:
                return stored[1]
            if header.height < len(node.disk.chain):
                known, known_list, _ = node.disk.chain[header.height]
                if block_id(known) == wanted:
                    return known_list
        return None

    def _start_height(self, recovered: Recovered | None) -> None:
        parent, _, certificate = self.disk.chain[-1]
        height = len(self.disk.chain)
        validators = self._tip_state().validators
        order = chain.proposer_order(validators, parent.proposer)
        if recovered is None:
            self.disk.rotate()
        over = self.core._machine if self.core is not None else None
        self.feed(StartHeight(height, parent, certificate, validators, order, bool(self.pool), recovered))
        if over is not None and self.core is not None and self.core._machine is not over:
            vars(over).clear()  # a ring of objects that nobody refers to: freed now, not by a collection
        offered = self._offered.pop(height, None)
        if offered is not None:
            self.feed(BlockSynced(PeerId("sync"), *offered))

    def _on_request_sync(self, effect: RequestSync) -> None:
        self._later(2 * self.world.network.max_delay, self._sync_from, int(effect.peer))

    def _ask_status(self) -> None:
        """Hosts tell each other their tips now and then; whoever is behind catches up."""
        self._later(STATUS_PERIOD_MS, self._ask_status)
        for node in self.world.nodes:
            if node is self or node.core is None or not self.world.can_talk(self.number, node.number):
                continue
            self.feed(TipReported(node.key, len(node.disk.chain) - 1))
            if len(node.disk.chain) > len(self.disk.chain):
                self._sync_from(node.number)

    def _sync_from(self, number: int) -> None:
        node, height = self.world.nodes[number], len(self.disk.chain)
        if node.core is None or not self.world.can_talk(self.number, number):
            return
        for header, wtxids, certificate in node.disk.chain[height : height + 50]:
            assert certificate is not None
            self._offered[header.height] = (header, wtxids, certificate)
        if (offered := self._offered.pop(height, None)) is not None:
            self.feed(BlockSynced(PeerId(str(number)), *offered))

    def _on_push_pool(self, effect: PushPool) -> None:
        for node in self.world.nodes:
            if node is self or (effect.recipient is not None and node.key != effect.recipient):
                continue
            if self.world.can_talk(self.number, node.number) and not self.pool.keys() <= node.bodies:
                self.world.after(self.world.network.max_delay, node.add_transactions, tuple(self.pool))

    def add_transactions(self, wtxids: tuple[bytes, ...]) -> None:
        """Bodies somebody pushed."""
        if self.core is not None:
            for wtxid in wtxids:
                self.add_transaction(wtxid)

    # --- the end

    def _on_evidence(self, effect: EvidenceFound) -> None:
        evidence = decode_evidence(encode(effect.evidence))
        if not verify_evidence(evidence, chain.CHAIN_ID, self.config.verify):
            raise Violation(f"accountability: node {self.number} found evidence that does not stand")
        self.world.oracle.on_evidence(self.number, evidence.validator)

    def _on_halt(self, effect: Halt) -> None:
        self.is_halted = True
        verify_conflict_proof(decode_conflict_proof(encode(effect.proof)), self.config.verify)
        faulty = (len(effect.proof.validators) - 1) // 3
        self.world.oracle.on_halt(self.number, len(effect.proof.accused), faulty)
