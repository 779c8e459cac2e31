"""A simulated validator: the real engine and the host around it, on a simulated disk and network.

The host is small but whole: bodies, a pool, block building, fetching, syncing, the signer with its journal
and watermark, crash and restart. Villains override what it sends (`tests.simulator.villains`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consensus.config import QbftConfig
from consensus.core import QbftCore
from consensus.effects import (
    BodySource,
    Broadcast,
    BuildBlock,
    CancelTimer,
    Decide,
    EvidenceFound,
    FetchBlock,
    Halt,
    Persist,
    PushPool,
    QuarantineLifted,
    Reject,
    RequestSync,
    SendTo,
    SetTimer,
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
    Input,
    MessageReceived,
    Outcome,
    PeerConnected,
    PeerId,
    Recovered,
    SigningFailed,
    StartHeight,
    Timer,
    TimerExpired,
    TimerKind,
    TipReported,
    Verdict,
    VoteSigned,
    WorkAvailable,
)
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.codec import encode
from storage.signing_state import Quarantine, RecoveredSigner
from storage.vote_journal import parse_journal
from tests.simulator import chain
from tests.simulator.disk import Disk
from tests.simulator.oracle import Violation
from tests.simulator.world import World

STATUS_PERIOD_MS = 700
FETCH_PERIOD_MS = 30
SKEW_BOUND_MS = 500
_PEER_NAMES = tuple(PeerId(str(number)) for number in range(2 * chain.MAX_NODES))


@dataclass
class Faults:
    """What this node's machine does to it."""

    crash_in_vote: float = 0.0  # chance that a vote is interrupted by a power cut
    restart_after_ms: int = 800
    sync_ms: int = 1  # one fsync
    clock_rate: float = 1.0  # timers run this much slower or faster
    clock_offset_ms: int = 0
    signer_fails: float = 0.0  # chance that the signer can't be reached for a vote; nothing is written
    journal_rot: float = 0.0  # chance that a bit of the journal is flipped while the machine is down
    slot_rot: float = 0.0  # the same for a watermark's slot
    forgets_votes: bool = False  # an amnesiac: journal and watermark are gone at each restart
    has_journal_sync: bool = True
    has_watermark: bool = True
    levels_watermark: bool = True


class Node:
    """One node of the world. `number` names it to the others; `key_index` is its validator's."""

    refuses_regression = True  # the signer's own rule; a mutant takes it away

    def __init__(self, world: World, number: int, key_index: int, size: int, config: dict[str, int]) -> None:
        self.world = world
        self.number = number
        self.key = chain.public_key(key_index)
        self.config = QbftConfig(
            chain_id=chain.CHAIN_ID, public_key=self.key, verify=chain.verifier(), **config
        )
        state = chain.genesis_state(size)
        self.disk = Disk(chain.CHAIN_ID, self.key, chain.genesis_header(state))
        self.states = [state]  # after each height
        self.faults = Faults()
        self.pool: dict[bytes, None] = {}
        self.bodies: set[bytes] = set()
        self.core: QbftCore | None = None
        self.life = 0  # counts boots: what was under way in an earlier life is void
        self.is_halted = False
        self.is_dead = False
        self.peers: dict[PeerId, int] = {}
        self.rejects = 0
        self._timers: dict[TimerKind, tuple[Timer, int]] = {}
        self._timer_count = 0
        self._signer_free_at = 0
        self._fetching: dict[str, int] = {}
        self._offered: dict[int, tuple[BlockHeader, tuple[bytes, ...], CommitCertificate]] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            Broadcast: self._on_broadcast,
            Persist: self._on_persist,
            SetTimer: self._on_set_timer,
            CancelTimer: self._on_cancel_timer,
            ValidateProposal: self._on_validate,
            BuildBlock: self._on_build,
            Decide: self._on_decide,
            StoreBlock: self._on_store,
            SendTo: self._on_send_to,
            FetchBlock: self._on_fetch,
            RequestSync: self._on_request_sync,
            PushPool: self._on_push_pool,
            BodySource: self._on_body_source,
            Reject: self._on_reject,
            EvidenceFound: self._on_evidence,
            Halt: self._on_halt,
            QuarantineLifted: self._on_quarantine_lifted,
        }

    def current_round(self) -> int:
        """The round the engine is in, or will resume in."""
        machine = self.core._machine if self.core is not None else None
        if machine is not None:
            return machine.round
        last = self.disk.last
        return last.round if last is not None and last.height == len(self.disk.chain) else 0

    # --- life and death

    def boot(self) -> None:
        """Start on what the disk holds."""
        if self.is_dead or self.core is not None:
            return
        self.life += 1
        self._timers.clear()
        self._offered.clear()
        self._signer_free_at = 0
        self._sources: list[PeerId] = []
        recovery = self.recover_signer()
        if isinstance(recovery, Quarantine):
            self.core = QbftCore(self.config, quarantined=True)
            self._start_height(None)
        else:
            if self.faults.levels_watermark:
                self.disk.level(recovery)
            else:
                self.disk.last = recovery.last
            self.core = QbftCore(self.config)
            wtxids = self.disk.lock_wtxids(recovery, len(self.disk.chain))
            self._start_height(Recovered(recovery.records, recovery.watermark, wtxids))
        self._later(1 + self.world.random.randrange(STATUS_PERIOD_MS), self._ask_status)
        for peer in self.world.nodes:
            if peer.core is not None and peer is not self and self.world.can_talk(self.number, peer.number):
                peer.feed(PeerConnected(self.peer_name(self.number)))

    def recover_signer(self) -> RecoveredSigner | Quarantine:
        """What is known of own votes; an amnesiac knows nothing and thinks it has never signed."""
        if self.faults.forgets_votes:
            self.disk.restart_journal(())
            return RecoveredSigner((), None)
        if not self.faults.has_watermark:
            return RecoveredSigner(parse_journal(self.disk.journal).records, None)
        return self.disk.recover()

    def crash(self, restart: bool = True) -> None:
        """The power is cut: what was not synced may be lost."""
        if self.core is None:
            return
        self.core = None
        self.life += 1
        self.disk.crash(lambda size: self.world.random.randrange(size + 1) if size else 0)
        rots = self.faults.journal_rot and self.world.random.random() < self.faults.journal_rot
        if rots and self.disk.has_whole_watermark:  # both at once, on more than f, would end the chain
            self.disk.flip_journal_bit(self.world.random.random())
        if self.faults.slot_rot and self.world.random.random() < self.faults.slot_rot:
            self.disk.flip_slot_bit(self.world.random.random())
        if restart and not self.is_dead:
            self.world.after(self.faults.restart_after_ms, self.boot)

    def die(self) -> None:
        """Never come back."""
        self.crash(restart=False)
        self.is_dead = True

    def release(self) -> None:
        """The schedule is over: cut the rings that would keep engine and node until a collection."""
        machine = self.core._machine if self.core is not None else None
        if machine is not None:
            vars(machine).clear()
        vars(self).clear()

    def _later(self, delay: int, action: Callable[..., None], *arguments: Any) -> None:
        self.world.after(delay, self._if_alive, self.life, action, arguments)

    def _if_alive(self, life: int, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if life == self.life and self.core is not None:
            action(*arguments)

    # --- in and out

    @staticmethod
    def peer_name(number: int) -> PeerId:
        """How nodes are called on the wire."""
        return _PEER_NAMES[number]

    def receive(self, source: int, data: bytes) -> None:
        """A message arrives."""
        if self.core is not None:
            self.world.note(self.number, data)
            self.feed(MessageReceived(_PEER_NAMES[source], data))

    def feed(self, event: Input) -> None:
        """One input to the engine, its effects carried out in order."""
        if self.core is None or self.is_halted:
            return
        self.world.steps += 1
        life, handlers = self.life, self._handlers
        for effect in self.core.step(event):
            handlers[type(effect)](effect)
            if self.life != life:
                return  # the machine died in the middle

    def _on_broadcast(self, effect: Broadcast) -> None:
        self.broadcast(effect.data)

    def broadcast(self, data: bytes) -> None:
        """Send to every other node."""
        self.world.broadcast(self.number, data)

    def _on_send_to(self, effect: SendTo) -> None:
        if effect.peer.isdigit():
            self.world.send(self.number, int(effect.peer), effect.data)

    def _on_reject(self, effect: Reject) -> None:
        self.rejects += 1

    # --- timers

    def _on_set_timer(self, effect: SetTimer) -> None:
        self._timer_count += 1
        self._timers[effect.timer.kind] = (effect.timer, self._timer_count)
        delay = max(1, int(effect.delay_ms * self.faults.clock_rate))
        self.world.after(delay, self._expire, effect.timer, self._timer_count)

    def _on_cancel_timer(self, effect: CancelTimer) -> None:
        self._timers.pop(effect.kind, None)

    def _expire(self, timer: Timer, count: int) -> None:
        if self._timers.get(timer.kind) == (timer, count):
            del self._timers[timer.kind]
            self.feed(TimerExpired(timer))

    # --- signing

    def _on_persist(self, effect: Persist) -> None:
        start = max(self.world.now, self._signer_free_at)
        self._signer_free_at = start + 2 * self.faults.sync_ms
        self._later(self._signer_free_at - self.world.now, self._sign, effect)

    def _sign(self, effect: Persist) -> None:
        record, disk, random = effect.record, self.disk, self.world.random.random
        if self.faults.signer_fails and random() < self.faults.signer_fails:
            self.feed(SigningFailed(effect.token, "SIGNER_UNREACHABLE"))
            return None
        last = disk.last
        repeats = last is not None and record.payload_hash == last.payload_hash
        if last is not None and record.position <= last.position and self.refuses_regression and not repeats:
            self.feed(SigningFailed(effect.token, "SIGN_REGRESSION"))
            return None
        if not repeats:
            cut = int(random() * 4) if self.faults.crash_in_vote > random() else -1
            disk.append(record)
            if cut == 0:
                return self.crash()
            if self.faults.has_journal_sync:
                disk.sync_journal()
            if cut == 1:
                return self.crash()
            if self.faults.has_watermark:
                disk.write_watermark(record)
                if cut == 2:
                    return self.crash()
                disk.sync_watermark()
            disk.last = record
            if cut == 3:
                return self.crash()
        signature = chain.sign(self.key, record.payload_hash)
        self.world.oracle.on_sign(
            self.number, self.key, record.position, record.payload_hash, disk.holds(record)
        )
        self.feed(VoteSigned(effect.token, signature))
        return None

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

    def _on_quarantine_lifted(self, effect: QuarantineLifted) -> None:
        self.disk.renew()
