"""The engine: `QbftCore.step(input) -> list[Effect]`.

Guarantees: pure (no clock, no I/O, no randomness; the same inputs give the same effects); effects run in
order, durable ones first; no bytes of a message raise; memory is bounded whatever peers send. One height is
worked on at a time (`consensus.height`); here stand the passage between heights, what is early or late,
quarantine and the end by conflicting certificates. Rules: docs/consensus.md.
"""

from __future__ import annotations

from typing import assert_never

from consensus.buffers import FutureBuffer, LaggardAnswers
from consensus.config import LAGGARD_PERIOD_MS, QbftConfig
from consensus.effects import Effect, EvidenceFound, Halt, QuarantineLifted, RequestSync, SendTo
from consensus.height import HEIGHT_TIMERS, HeightMachine, HeightSetting
from consensus.history import History, is_certified
from consensus.inputs import (
    BlockBuilt,
    BlockFetched,
    BlockSynced,
    HeightInput,
    Input,
    MessageReceived,
    PeerConnected,
    PeerId,
    Recovered,
    SigningFailed,
    StartHeight,
    TimerExpired,
    TimerKind,
    TipReported,
    Verdict,
    VoteSigned,
    WorkAvailable,
)
from consensus.journal import last_record, lock_of
from consensus.messages import Commit, Decided, RoundChange, Vote, decode_message
from consensus.observation import Observation, observe
from consensus.outbox import Outbox, Timers
from consensus.quarantine import Quarantine
from consensus.signing import SigningGate
from consensus.verifier import VoteVerifier
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate, vote_domain
from primitives.errors import DecodeError, InvariantViolation

_NOBODY_AHEAD = (0, PeerId(""))
_ENDED_BY_A_HEIGHT = tuple(kind for kind in TimerKind if kind is not TimerKind.LAGGARD)


class QbftCore:
    """One validator's (or follower's) consensus. Start it with `StartHeight`; see `consensus.inputs`."""

    def __init__(self, config: QbftConfig, *, quarantined: bool = False) -> None:
        self.config = config
        self._outbox = Outbox()
        self._timers = Timers(self._outbox)
        self._gate = SigningGate(self._outbox)
        self._gate.enabled = not quarantined
        self._quarantine = Quarantine(quarantined)
        self._future = FutureBuffer()
        self._laggards = LaggardAnswers()
        self._history = History(config.chain_id)
        self._ahead = _NOBODY_AHEAD
        self._machine: HeightMachine | None = None
        self._is_decision_noted = False
        self.is_halted = False

    def step(self, event: Input) -> list[Effect]:
        """Advance by one input. Effects run in order; durable ones come first.

        Raises `InvariantViolation` when the host breaks the contract or a promise of the engine is broken.
        """
        if self.is_halted:
            return []
        if isinstance(event, StartHeight):
            self._on_start_height(event)
        elif self._machine is not None:
            self._dispatch(event, self._machine)
        self._check_invariants()
        return self._outbox.drain()

    def observe(self) -> Observation | None:
        """Where the height being decided stands; None before the first `StartHeight`. Changes nothing."""
        return None if self._machine is None else observe(self._machine)

    def _dispatch(self, event: HeightInput, machine: HeightMachine) -> None:
        match event:
            case MessageReceived():
                self._on_message(event.peer, event.data, machine)
            case VoteSigned():
                message = self._gate.take(event.token)
                if message is not None:
                    machine.on_signed(message, event.signature)
            case TimerExpired():
                self._on_timer(event, machine)
            case Verdict():
                machine.proposals.on_verdict(event)
            case BlockBuilt():
                machine.leader.on_built(event)
            case BlockFetched():
                machine.leader.on_fetched(event)
            case BlockSynced():
                self._on_certified(event.peer, event.header, event.certificate, event.wtxids, machine)
            case WorkAvailable():
                machine.on_work()
            case PeerConnected():
                machine.send_own_to(event.peer)
            case SigningFailed():
                self._gate.fail(event.token)  # a ROUND_CHANGE is asked for again by its timer
            case TipReported():
                self._on_tip(event, machine)
            case _:
                assert_never(event)
        if machine.decided is not None and not self._is_decision_noted:
            self._is_decision_noted = True
            self._history.add(*machine.decided, machine.verifier)

    # --- from height to height

    def _on_start_height(self, event: StartHeight) -> None:
        self._check_contract(event)
        verifier = self._verifier_for(event)
        if event.parent_certificate is not None:
            knows_set = event.parent.validators_hash == event.validators.hash
            self._history.add(event.parent, event.parent_certificate, verifier if knows_set else None)
        for kind in _ENDED_BY_A_HEIGHT:
            self._timers.stop(kind)
        self._gate.forget_pending()
        self._is_decision_noted = False
        if self._ahead[0] <= event.height:
            self._ahead = _NOBODY_AHEAD
        if self._quarantine.end_if_decided(event.height - 1):
            self._gate.enabled = True
            self._outbox.emit_durable(QuarantineLifted(event.height - 1))
        machine = self._machine = self._make_machine(event, verifier)
        self._start_machine(machine, event)
        for peer, message in self._future.take(event.height):
            self._deliver(peer, message, machine)

    def _check_contract(self, event: StartHeight) -> None:
        current = self._machine.height if self._machine is not None else 0
        if event.height <= current or event.parent.height != event.height - 1:
            raise InvariantViolation(
                "ENGINE_CONTRACT", f"height {event.height} after {current}, parent {event.parent.height}"
            )
        if sorted(event.proposers) != list(event.validators.keys):
            raise InvariantViolation("ENGINE_CONTRACT", "the proposer order is not the validator set's")

    def _verifier_for(self, event: StartHeight) -> VoteVerifier:
        if self._machine is not None and self._machine.verifier.validators == event.validators:
            return self._machine.verifier
        domain = vote_domain(self.config.chain_id, event.validators.hash)
        return VoteVerifier(self.config.verify, event.validators, domain)

    def _make_machine(self, event: StartHeight, verifier: VoteVerifier) -> HeightMachine:
        index_of, own_key = event.validators.index_of, self.config.public_key
        order = tuple(index for key in event.proposers if (index := index_of(key)) is not None)
        setting = HeightSetting(
            height=event.height,
            parent=event.parent,
            parent_id=block_id(event.parent),
            order=order,
            own_index=None if own_key is None else index_of(own_key),
        )
        return HeightMachine(setting, self.config, verifier, self._gate, self._outbox, self._timers)

    def _start_machine(self, machine: HeightMachine, event: StartHeight) -> None:
        recovered = event.recovered or Recovered()
        records = recovered.records + ((recovered.watermark,) if recovered.watermark is not None else ())
        last = last_record(records)
        if last is not None:
            self._gate.restore(last)
        if last is not None and last.height == event.height:
            machine.has_work = event.has_work
            if last.validators_hash == event.validators.hash:
                machine.resume(last, lock_of(records, event.height), recovered.lock_wtxids)
            else:
                machine.begin_above(last.round)
        else:
            machine.start(event.has_work, event.since_parent_ms)

    # --- messages

    def _on_message(self, peer: PeerId, data: bytes, machine: HeightMachine) -> None:
        try:
            message = decode_message(data)
        except DecodeError as error:
            self._outbox.reject(peer, error.code, error.message)
            return
        if isinstance(message, Decided):
            self._on_certified(peer, message.header, message.certificate, (), machine)
        elif message.height == machine.height:
            self._deliver(peer, message, machine)
        elif message.height < machine.height:
            self._on_old_message(peer, message, machine)
        else:
            self._on_early_message(peer, message, len(data), machine)

    def _deliver(self, peer: PeerId, message: Vote, machine: HeightMachine) -> None:
        if machine.decided is None:
            machine.on_vote(peer, message)
        else:
            self._on_old_message(peer, message, machine)

    def _on_early_message(self, peer: PeerId, message: Vote, size_bytes: int, machine: HeightMachine) -> None:
        if FutureBuffer.reaches(machine.height, message.height):
            self._future.add(peer, message, size_bytes)
        if machine.decided is None or message.height > machine.height + 1:
            self._note_ahead(peer, message.height, machine)

    def _on_old_message(self, peer: PeerId, message: Vote, machine: HeightMachine) -> None:
        """Late votes of a decided height are normal; who still changes rounds there missed the decision."""
        if isinstance(message, Commit):
            if self._history.is_forged(message):
                self._outbox.reject(peer, "BAD_SIGNATURE", "late Commit")
                return
            evidence = self._history.double_commit(message)
            if evidence is not None:
                self._outbox.emit(EvidenceFound(evidence))
        newest = machine.height if machine.decided is not None else machine.height - 1
        if not isinstance(message, RoundChange) and message.height >= newest:
            return
        answer = self._history.answer(message.height)
        if answer is None or not self._laggards.permit(peer, message.height):
            return
        if not self._timers.is_running(TimerKind.LAGGARD):
            self._timers.start(TimerKind.LAGGARD, machine.height, 0, LAGGARD_PERIOD_MS)
        self._outbox.emit(SendTo(peer, answer))

    # --- being behind

    def _note_ahead(self, peer: PeerId, height: int, machine: HeightMachine) -> None:
        """Somebody works at a higher height. One above may be a race; more means we missed blocks."""
        known = self._ahead[0]
        if height > known:
            self._ahead = (height, peer)
        if known <= machine.height + 1 < height:
            self._outbox.emit(RequestSync(height, peer))
        if not self._timers.is_running(TimerKind.SYNC):
            self._timers.start(TimerKind.SYNC, machine.height, 0, self.config.resend_interval_ms)

    def _on_timer(self, event: TimerExpired, machine: HeightMachine) -> None:
        if not self._timers.take(event.timer):
            return
        kind = event.timer.kind
        if kind in HEIGHT_TIMERS:
            machine.on_timer(event.timer)
        elif kind is TimerKind.LAGGARD:
            self._laggards.reset()
        else:  # SYNC runs only after somebody was seen ahead
            height, peer = self._ahead
            self._ahead = _NOBODY_AHEAD
            self._outbox.emit(RequestSync(height, peer))

    # --- certificates

    def _on_certified(
        self,
        peer: PeerId,
        header: BlockHeader,
        certificate: CommitCertificate,
        wtxids: tuple[bytes, ...],
        machine: HeightMachine,
    ) -> None:
        """A block with its certificate: the decision of this height, a later one, or a contradiction."""
        if header.height > machine.height:
            self._note_ahead(peer, header.height + 1, machine)
            return
        if header.height < machine.height or machine.decided is not None:
            proof = self._history.conflict(header, certificate)
            if proof is not None:
                self.is_halted = True
                self._outbox.emit(Halt(proof))
            return
        if not is_certified(header, certificate, self.config.chain_id, machine.verifier):
            self._outbox.reject(peer, "BAD_CERTIFICATE", f"height {header.height}")
        elif header.parent_id != machine.setting.parent_id:
            self._outbox.reject(peer, "FOREIGN_BLOCK", "a certified block on another parent")
        else:
            machine.decide(header, certificate, wtxids)

    # --- quarantine

    def _on_tip(self, event: TipReported, machine: HeightMachine) -> None:
        validators = machine.verifier.validators
        self._quarantine.report(event.validator, event.height, validators, self.config.public_key)

    def _check_invariants(self) -> None:
        machine = self._machine
        if machine is None or machine.decided is not None or self.is_halted:
            return
        if not machine.is_alive():
            raise InvariantViolation("ENGINE_STALLED", f"no timer runs at height {machine.height}")
