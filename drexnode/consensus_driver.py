"""The host of the QBFT engine: feeds it inputs, carries out its effects in order (docs/node.md).

Promises: one input at a time, in this trio thread; votes become durable one after another, in the order the
engine asked, and leave only after that; timers are never dropped; building and checking a block run beside
the engine and are abandoned when the engine no longer waits for them. What the engine can't survive (a failed
disk, conflicting certificates, a certified block that does not execute) leaves `run` as an exception and
stops the node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import TypeVar

import trio

from consensus import effects as fx
from consensus import inputs as inp
from consensus.core import QbftCore
from consensus.evidence import Evidence
from consensus.journal import VoteRecord
from drexnode.block_builder import BlockBuilder
from drexnode.candidates import Candidates
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.permits import Permits
from drexnode.signer import Signer
from drexnode.telemetry import get_logger
from drexnode.timers import Timers
from ledger.block import Block
from ledger.proposers import read_proposer_order
from p2p.transport import Channel, Offence, PeerId, Transport
from primitives.errors import InvariantViolation
from primitives.limits import DRIVER_DURABLE_QUEUE, DRIVER_EVIDENCE_KEPT
from storage.signing_state import SigningRefused

_log = get_logger("consensus")
T = TypeVar("T")

# Refusals that an honest validator may earn by being slow, late or misled: never charged to it.
HONEST_REASONS = frozenset({"INVALID_BLOCK", "UNBACKED_CLAIM", "NOT_PROPOSER", "FOREIGN_BLOCK"})

# Durable work, in order: keep a block's bodies, sign a vote, forget the votes of a decided height.
Durable = Block | fx.Persist | int


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
        metrics: Metrics,
        has_work: Callable[[], bool],
        push_pool: Callable[[PeerId | None], None],
        request_sync: Callable[[int, PeerId], None],
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
        self.evidence: deque[Evidence] = deque(maxlen=DRIVER_EVIDENCE_KEPT)
        self._timers = Timers(lambda timer: self.feed(inp.TimerExpired(timer)))
        self._durable_in, self._durable_out = trio.open_memory_channel[Durable](DRIVER_DURABLE_QUEUE)
        self._nursery: trio.Nursery | None = None
        self._build_scope = trio.CancelScope()
        self._check_scope = trio.CancelScope()
        self._fetch_scope = trio.CancelScope()
        finalizer.on_final(lambda block, executed: self._start_next_height())

    # --- life

    async def run(self, recovered: inp.Recovered | None = None) -> None:
        """Work on the height after the tip, and on every one after it, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._timers.run)
            nursery.start_soon(self._make_durable)
            nursery.start_soon(self._read_messages)
            self._start_next_height(recovered)

    def feed(self, event: inp.Input) -> None:
        """Give one input to the engine and carry out what it answers."""
        for effect in self.core.step(event):
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
        order = read_proposer_order(self._finalizer.state, head.validators, head.header.proposer, height)
        self._candidates.start_height(height)
        self._durable_in.send_nowait(head.height)
        self.feed(
            inp.StartHeight(
                height, head.header, head.certificate, head.validators, order, self._has_work(), recovered
            )
        )

    async def _read_messages(self) -> None:
        inbox = self._transport.inbox(Channel.CONSENSUS)
        while True:
            for message in await inbox.receive():
                if self._permits.validator_key_of(message.peer) is None:
                    self._transport.report(message.peer, Offence.STALE, "consensus message by no validator")
                    continue
                self.feed(inp.MessageReceived(inp.PeerId(message.peer), message.payload))
            await trio.lowlevel.checkpoint()

    # --- effects

    def _carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Broadcast(data):
                self._transport.broadcast(self._permits.other_validators(), Channel.CONSENSUS, data)
            case fx.Persist():
                self._durable_in.send_nowait(effect)
            case fx.SetTimer(timer, delay_ms):
                self._timers.set(timer, delay_ms)
            case fx.CancelTimer(kind):
                self._timers.cancel(kind)
            case fx.SendTo(peer, data):
                self._transport.send(PeerId(peer), Channel.CONSENSUS, data)
            case fx.ValidateProposal():
                self._check_scope = self._instead_of(self._check_scope, self._check, effect)
            case fx.BodySource(ref, peer):
                self._candidates.add_source(ref, PeerId(peer))
            case fx.StoreBlock():
                self._durable_in.send_nowait(self._candidates.keep_for_vote(effect.header))
            case fx.BuildBlock():
                self._build_scope = self._instead_of(self._build_scope, self._build, effect)
            case fx.FetchBlock():
                self._fetch_scope = self._instead_of(self._fetch_scope, self._fetch, effect)
            case fx.Decide():
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
                self._signer.leave_quarantine()
            case fx.Halt(proof):
                raise InvariantViolation(
                    "CONFLICTING_CERTIFICATES",
                    "two certified blocks contradict each other: more than f validators signed both",
                    proof=proof,
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

    async def _check(self, effect: fx.ValidateProposal) -> None:
        self.feed(await self._candidates.check(effect))

    async def _build(self, effect: fx.BuildBlock) -> None:
        executed = await self._builder.build(effect.round)
        self._candidates.adopt(executed)
        block = executed.block
        self.feed(inp.BlockBuilt(effect.height, effect.round, block.header, tuple(block.wtxids)))

    async def _fetch(self, effect: fx.FetchBlock) -> None:
        self.feed(inp.BlockFetched(effect.ref, await self._candidates.fetch(effect)))

    async def _decide(self, effect: fx.Decide) -> None:
        await self._candidates.finalize(effect.header, effect.wtxids, effect.certificate)

    def _push(self, recipient: bytes | None) -> None:
        if recipient is None:
            self._push_pool(None)
        elif (peer := self._permits.peer_of_validator(recipient)) is not None:
            self._push_pool(peer)

    def _reject(self, peer: PeerId, reason: str, detail: str) -> None:
        _log.info("consensus.message_rejected", peer=peer, reason=reason, detail=detail)
        if reason not in HONEST_REASONS:
            self._transport.report(peer, Offence.INVALID_MESSAGE, reason)

    def _keep_evidence(self, effect: fx.EvidenceFound) -> None:
        evidence = effect.evidence
        _log.error(
            "consensus.equivocation",
            validator=evidence.validator.hex(),
            height=evidence.height,
            round=evidence.round,
            step=evidence.step,
        )
        self._metrics.equivocations_total.inc()
        self.evidence.append(evidence)

    # --- the one task that makes votes durable

    async def _make_durable(self) -> None:
        async for first in self._durable_out:
            waiting = [first]
            while len(waiting) < DRIVER_DURABLE_QUEUE:
                try:
                    waiting.append(self._durable_out.receive_nowait())
                except trio.WouldBlock:
                    break
            for answer in await trio.to_thread.run_sync(self._write, waiting):
                self.feed(answer)

    def _write(self, waiting: Sequence[Durable]) -> list[inp.VoteSigned | inp.SigningFailed]:
        """In a thread: carry out durable work in order; the answers of the votes among it."""
        answers: list[inp.VoteSigned | inp.SigningFailed] = []
        for work in waiting:
            match work:
                case fx.Persist(token, record):
                    answers.append(self._sign(token, record))
                case Block():
                    self._finalizer.store.write_bodies(work)
                case height:
                    self._signer.height_decided(height)
        return answers

    def _sign(self, token: int, record: VoteRecord) -> inp.VoteSigned | inp.SigningFailed:
        begin = monotonic()
        try:
            signature = self._signer.sign(record)
        except SigningRefused as error:
            self._metrics.sign_refused_total.labels(error.code).inc()
            return inp.SigningFailed(token, error.code)
        self._metrics.sign_seconds.observe(monotonic() - begin)
        _log.debug("vote.durable", height=record.height, round=record.round, step=record.step)
        return inp.VoteSigned(token, signature)
