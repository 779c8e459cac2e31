"""The host of the QBFT engine: feeds it inputs, carries out its effects in order (docs/node.md).

Promises: one input at a time, in this trio thread; votes become durable one after another, in the order the
engine asked, and leave only after that (durable_work.py); timers are never dropped; building and checking a
block run beside the engine and are abandoned when the engine no longer waits for them. What the engine can't
survive (a failed disk, conflicting certificates, a certified block that does not execute) leaves `run` as an
exception and stops the node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

import trio

from consensus import effects as fx
from consensus import inputs as inp
from consensus.core import QbftCore
from drexnode.block_builder import BlockBuilder
from drexnode.candidates import BLOCK_FROM_THE_PAST, Candidates
from drexnode.durable_work import DurableWork, HeightDecided, LeaveQuarantine
from drexnode.evidence_store import EvidenceStore
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.permits import Permits
from drexnode.phase_clock import PhaseClock
from drexnode.signer import Signer
from drexnode.telemetry import get_logger
from drexnode.timers import Timers
from ledger.payloads import NodeRole
from ledger.proposers import read_proposer_order
from p2p.transport import Channel, Message, Offence, PeerId, Transport
from primitives.block import BlockHeader, block_id
from primitives.certificate import CERTIFICATE_VERSION
from primitives.codec import encode
from primitives.errors import InvariantViolation
from primitives.limits import DRIVER_SLICE_SECONDS, EXECUTED_BLOCKS

_log = get_logger("consensus")
T = TypeVar("T")

STORED_AHEAD_TRANSACTIONS = 32
"""A block with fewer is written in 0.1 ms, sync apart."""

# Refusals that an honest validator may earn by being slow, late or misled: never charged to it.
HONEST_REASONS = frozenset({"INVALID_BLOCK", "UNBACKED_CLAIM", "NOT_PROPOSER", "FOREIGN_BLOCK"})


class ConsensusDriver:
    """One engine and all it touches. `start_height` begins, `run` works until cancelled."""

    def __init__(
        self,
        core: QbftCore,
        signer: Signer,
        *,
        transport: Transport,
        permits: Permits,
        finalizer: Finalizer,
        candidates: Candidates,
        builder: BlockBuilder,
        evidence: EvidenceStore,
        metrics: Metrics,
        has_work: Callable[[], bool],
        push_pool: Callable[[PeerId | None], None],
        request_sync: Callable[[int, PeerId], None],
        on_phase: Callable[[int, int, str], None] = lambda height, round_, phase: None,
    ) -> None:
        self.core = core
        self._signer = signer
        self._transport = transport
        self._permits = permits
        self._finalizer = finalizer
        self._candidates = candidates
        self._builder = builder
        self._metrics = metrics
        self._has_work = has_work
        self._push_pool = push_pool
        self._request_sync = request_sync
        self._evidence = evidence
        self._phases = PhaseClock(metrics, on_phase=on_phase)
        self._timers = Timers(lambda timer: self.feed(inp.TimerExpired(timer)))
        self._durable = DurableWork(
            signer,
            write_bodies=finalizer.store.write_bodies,
            evidence=evidence,
            answer=self.feed,
            metrics=metrics,
        )
        self._proposed: tuple[int, float] = (0, 0.0)  # the last height that was proposed, and when
        self._nursery: trio.Nursery | None = None
        self._build_scope = trio.CancelScope()
        self._check_scope = trio.CancelScope()
        self._fetch_scope = trio.CancelScope()
        finalizer.on_final(lambda block, executed: self._start_next_height())

    # --- life

    async def run(self, recovered: inp.Recovered | None = None) -> None:
        """Work on the height after the tip, and on every one after it, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._timers.run)
                nursery.start_soon(self._durable.run)
                nursery.start_soon(self._read_messages)
                self._start_next_height(recovered)
        finally:
            self._nursery = None  # a block may still become final: nobody works on the next height

    def feed(self, event: inp.Input) -> None:
        """Give one input to the engine and carry out what it answers."""
        for effect in self.core.step(event):
            if type(effect) is fx.Persist:
                self._phases.vote(effect.record, by_timer=type(event) is inp.TimerExpired)
            self._carry_out(effect)

    def peer_connected(self, peer: PeerId) -> None:
        """A validator's connection is usable (again)."""
        if self._nursery is not None and self._permits.validator_key_of(peer) is not None:
            self.feed(inp.PeerConnected(inp.PeerId(peer)))

    def work_available(self) -> None:
        """The pool holds something executable."""
        if self._nursery is not None:
            self.feed(inp.WorkAvailable())

    def tip_reported(self, peer: PeerId, height: int) -> None:
        """A validator said how far it is: what ends a quarantine."""
        key = self._permits.validator_key_of(peer)
        if self._nursery is not None and key is not None and self._signer.in_quarantine:
            self.feed(inp.TipReported(key, height))

    def _start_next_height(self, recovered: inp.Recovered | None = None) -> None:
        if self._nursery is None:
            return
        head = self._finalizer.head
        height = head.height + 1
        # A block that is final by a recovery override has no COMMITs: laggards get it by sync.
        certificate = head.certificate
        if certificate is not None and certificate.version != CERTIFICATE_VERSION:
            certificate = None
        order = read_proposer_order(self._finalizer.state, head.validators, head.header.proposer, height)
        self._abandon_work()
        self._candidates.start_height(height)
        self._durable.put(HeightDecided(head.height))
        if self._finalizer.upgrade_needed is not None:
            return  # nothing is proposed or voted by rules that this program lacks
        self._phases.height_started(height)
        self.feed(
            inp.StartHeight(
                height,
                head.header,
                certificate,
                head.validators,
                order,
                self._has_work(),
                recovered,
                self._since_proposal_ms(head.height),
            )
        )

    def _note_proposal(self, height: int) -> None:
        if height > self._proposed[0]:
            self._proposed = height, trio.current_time()

    def _since_proposal_ms(self, height: int) -> int:
        """How long ago the block of a height was first proposed; 0 if this node does not know."""
        proposed, at = self._proposed
        return int((trio.current_time() - at) * 1000) if proposed == height else 0

    async def _read_messages(self) -> None:
        inbox = self._transport.inbox(Channel.CONSENSUS)
        while True:
            messages = await inbox.receive()
            begin = monotonic()
            for message in messages:
                self._take_message(message)
                if monotonic() - begin > DRIVER_SLICE_SECONDS:
                    await trio.lowlevel.checkpoint()
                    begin = monotonic()
            await trio.lowlevel.checkpoint()

    def _take_message(self, message: Message) -> None:
        permits, peer = self._permits, message.peer
        if permits.validator_key_of(peer) is not None:
            self.feed(inp.MessageReceived(inp.PeerId(peer), message.payload))
        elif permits.role_of(peer) is not NodeRole.VALIDATOR:  # such a one may have left or not joined yet
            self._transport.report(peer, Offence.STALE, "consensus message by no validator")

    # --- effects

    def _carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Broadcast(data):
                self._transport.broadcast(self._permits.other_validators(), Channel.CONSENSUS, data)
            case fx.Persist():
                self._durable.put(effect)
            case fx.SetTimer(timer, delay_ms):
                self._timers.set(timer, delay_ms)
            case fx.CancelTimer(kind):
                self._timers.cancel(kind)
            case fx.SendTo(peer, data):
                self._transport.send(PeerId(peer), Channel.CONSENSUS, data)
            case fx.ValidateProposal():
                self._note_proposal(effect.height)
                self._check_scope = self._instead_of(self._check_scope, self._check, effect)
            case fx.BodySource(ref, peer):
                self._candidates.add_source(ref, PeerId(peer))
            case fx.StoreBlock():
                self._durable.put(self._candidates.keep_for_vote(effect.header))
            case fx.BuildBlock():
                self._build_scope = self._instead_of(self._build_scope, self._build, effect)
            case fx.FetchBlock():
                self._fetch_scope = self._instead_of(self._fetch_scope, self._fetch, effect)
            case fx.Decide():
                self._phases.decided()
                self._abandon_work()
                self._running.start_soon(self._decide, effect)
            case fx.RequestSync(height, peer):
                self._request_sync(height, PeerId(peer))
            case fx.PushPool(recipient):
                self._push(recipient)
            case fx.Reject(peer, reason, detail):
                self._reject(PeerId(peer), reason, detail)
            case fx.EvidenceFound():
                self._keep_evidence(effect)
            case fx.QuarantineLifted(height):
                _log.warning("consensus.quarantine_lifted", height=height)
                self._durable.put(LeaveQuarantine())
            case fx.Halt(proof):
                raise InvariantViolation(
                    "CONFLICTING_CERTIFICATES",
                    "two certified blocks contradict each other; both were sealed by "
                    + ", ".join(key.hex() for key in proof.accused),
                    height=proof.header_a.height,
                    proof=encode(proof),
                )

    @property
    def _running(self) -> trio.Nursery:
        if self._nursery is None:
            raise InvariantViolation("DRIVER_NOT_RUNNING", "an effect outside of run")
        return self._nursery

    def _instead_of(
        self, earlier: trio.CancelScope, work: Callable[[T], Awaitable[None]], effect: T
    ) -> trio.CancelScope:
        """Start `work(effect)`; the earlier work of the same sort is no longer wanted."""
        earlier.cancel()
        scope = trio.CancelScope()

        async def within_scope() -> None:
            with scope:
                await work(effect)

        self._running.start_soon(within_scope)
        return scope

    def _abandon_work(self) -> None:
        """The height is decided: what is built, checked or fetched for it is no longer wanted."""
        for scope in (self._build_scope, self._check_scope, self._fetch_scope):
            scope.cancel()

    async def _check(self, effect: fx.ValidateProposal) -> None:
        verdict = await self._candidates.check(effect)
        self.feed(verdict)
        if verdict.outcome is inp.Outcome.OK:
            await self._work_ahead(effect.header)

    async def _build(self, effect: fx.BuildBlock) -> None:
        executed = await self._builder.build(effect.round)
        self._candidates.adopt(executed)
        block = executed.block
        self._note_proposal(effect.height)
        self.feed(inp.BlockBuilt(effect.height, effect.round, block.header, tuple(block.wtxids)))
        await self._work_ahead(block.header)

    async def _work_ahead(self, header: BlockHeader) -> None:
        """While votes travel: the block becomes durable (behind the vote just asked for, before the COMMIT
        that rests on it), and what its decision needs is prepared. A small one is stored with the COMMIT: to
        wake the thread costs as much. A height that goes on for many rounds stores no more blocks than
        `EXECUTED_BLOCKS` so; those of a COMMIT are stored in any case."""
        head, block = self._finalizer.head, self._candidates.find(block_id(header))
        stored = len(self._finalizer.store.undecided)
        is_worth_it = header.tx_count >= STORED_AHEAD_TRANSACTIONS and stored < EXECUTED_BLOCKS
        if block is not None and header.height > head.height and is_worth_it:
            self._durable.put(block)
        await self._candidates.prepare_ahead(header)

    async def _fetch(self, effect: fx.FetchBlock) -> None:
        self.feed(inp.BlockFetched(effect.ref, await self._candidates.fetch(effect)))

    async def _decide(self, effect: fx.Decide) -> None:
        await self._candidates.finalize(effect.header, effect.wtxids, effect.certificate)

    def _push(self, recipient: bytes | None) -> None:
        if recipient is None:
            self._push_pool(None)
            return
        for peer in self._permits.peers_of_validator(recipient):
            self._push_pool(peer)

    def _reject(self, peer: PeerId, reason: str, detail: str) -> None:
        if not peer:  # what this node itself made
            if detail == BLOCK_FROM_THE_PAST:  # a slow disk or a restart let it grow too old: nobody's fault
                _log.warning("consensus.own_block_too_old", reason=reason)
            else:
                _log.error("consensus.own_message_rejected", reason=reason, detail=detail)
            return
        _log.info("consensus.message_rejected", peer=peer, reason=reason, detail=detail)
        if reason not in HONEST_REASONS:
            self._transport.report(peer, Offence.INVALID_MESSAGE, reason)

    def _keep_evidence(self, effect: fx.EvidenceFound) -> None:
        """Once for each step; who goes on signing other things for it is a flooder."""
        evidence = effect.evidence
        if not self._evidence.admit(evidence):
            peer = self._permits.peer_of_validator(evidence.validator)
            if peer is not None:
                self._transport.report(peer, Offence.FLOODING, "signs one step again and again")
            return
        _log.error(
            "consensus.equivocation",
            validator=evidence.validator.hex(),
            height=evidence.height,
            round=evidence.round,
            step=evidence.step,
        )
        self._metrics.equivocations_total.inc()
        self._durable.put(evidence)
