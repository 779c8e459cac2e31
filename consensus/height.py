"""One height of QBFT: rounds and their timers, the wait for work, the lock, from the parent to a decision.

Promises: a vote is requested only through the signing gate, in ascending order; the lock, once taken, is
carried in every later ROUND_CHANGE of the height however the round advances; at most one decision; until
then a block timer, the round timer or the re-send timer runs. Messages are handled by `proposals`, `ballots`
and `rounds`, the leader's turn by `leader`. Rules: docs/consensus.md.
"""

from __future__ import annotations

import msgspec

from consensus.ballots import Ballots
from consensus.config import QbftConfig
from consensus.effects import Broadcast, Decide, EvidenceFound, PushPool, SendTo
from consensus.evidence import Evidence, Payload
from consensus.inputs import PeerId, Timer, TimerKind
from consensus.journal import VoteRecord
from consensus.leader import Leader
from consensus.messages import (
    NO_SIGNATURE,
    Commit,
    Prepare,
    PreparedCertificate,
    Proposal,
    RoundChange,
    Vote,
    decode_message,
    encode_message,
    vote_payload_hash,
    with_signature,
)
from consensus.outbox import Outbox, Timers
from consensus.proposals import SELF, Candidate, Proposals
from consensus.round_changes import RoundChangeBook
from consensus.rounds import Rounds
from consensus.signing import SigningGate, step_of
from consensus.verifier import VoteVerifier
from primitives.block import BlockHeader
from primitives.certificate import (
    STEP_COMMIT,
    STEP_PREPARE,
    STEP_PROPOSAL,
    STEP_ROUND_CHANGE,
    CommitCertificate,
)
from primitives.limits import MAX_ROUND

HEIGHT_TIMERS = (
    TimerKind.ROUND,
    TimerKind.BLOCK_INTERVAL,
    TimerKind.EMPTY_BLOCK,
    TimerKind.RESEND,
    TimerKind.REVALIDATE,
)
_HEIGHT_TIMER_SET = frozenset(HEIGHT_TIMERS)
_ROUND_TIMERS = (TimerKind.ROUND, TimerKind.RESEND, TimerKind.REVALIDATE)


class HeightSetting(msgspec.Struct, frozen=True, gc=False):
    """What is fixed for the whole height. `order` are validator indices in proposer order."""

    height: int
    parent: BlockHeader
    parent_id: bytes
    order: tuple[int, ...]
    own_index: int | None


class HeightMachine:
    """The state of one height. `QbftCore` feeds it; it writes effects into the outbox."""

    def __init__(
        self,
        setting: HeightSetting,
        config: QbftConfig,
        verifier: VoteVerifier,
        gate: SigningGate,
        outbox: Outbox,
        timers: Timers,
    ) -> None:
        self.setting = setting
        self.height = setting.height
        self.config = config
        self.verifier = verifier
        self.gate = gate
        self.outbox = outbox
        self.timers = timers
        self.round = 0
        self.is_waiting = True  # round 0, nothing to propose yet: no round timer runs
        self.has_work = False
        self.is_interval_over = False
        self.lock: PreparedCertificate | None = None
        self.decided: tuple[BlockHeader, CommitCertificate] | None = None
        self.own_messages: dict[int, tuple[int, bytes]] = {}  # step -> round and bytes last signed
        self.round_changes = RoundChangeBook(verifier.validators.size)
        self.proposals = Proposals(self)
        self.ballots = Ballots(self)
        self.rounds = Rounds(self)
        self.leader = Leader(self)
        self._last_ref = 0

    # --- the start of the height

    def start(self, has_work: bool, since_parent_ms: int) -> None:
        """Begin in round 0, waiting for something to propose and for the rest of the interval."""
        self.has_work = has_work
        if self.config.empty_block_period_ms > 0:
            self.start_timer(TimerKind.EMPTY_BLOCK, self.config.empty_block_period_ms)
        interval_ms = self.config.min_block_interval_ms - since_parent_ms
        if interval_ms > 0:
            self.start_timer(TimerKind.BLOCK_INTERVAL, interval_ms)
        else:
            self._on_interval_over()

    def resume(
        self, last: VoteRecord, lock: PreparedCertificate | None, lock_wtxids: tuple[bytes, ...] | None
    ) -> None:
        """Continue after a restart at the last signed position, with the lock; sign the same bytes again."""
        self.lock = lock
        self.is_waiting = False
        self.round = last.round
        self.ballots.prepares.enter_round(last.round)
        if lock is not None and lock.header is not None:
            self.proposals.candidates[lock.block_id] = Candidate(
                lock.header, lock_wtxids or (), is_valid=False
            )
        if last.step == STEP_ROUND_CHANGE:
            self.start_timer(TimerKind.RESEND, self.config.resend_interval_ms)
            self.rounds.request()
            return
        self._start_round_timer()
        message = self._rebuild(last)
        if message is not None:
            self.request(message)

    def begin_above(self, round: int) -> None:
        """Begin past a round in which this key signed in another set, which a recovery override replaced:
        what was signed there can't be said again, and its lock means nothing to the new set."""
        self.change_to_round(round + 1)

    def _rebuild(self, record: VoteRecord) -> Vote | None:
        """The unsigned message a record stands for; None when the watermark alone can't tell (a proposal)."""
        own = self.setting.own_index
        if own is None:
            return None
        if record.step == STEP_PROPOSAL:
            message = decode_message(record.attachment) if record.attachment else None
            return message if isinstance(message, Proposal) else None
        kind = Prepare if record.step == STEP_PREPARE else Commit
        return kind(self.height, record.round, own, NO_SIGNATURE, record.block_id or b"")

    # --- blocks on demand: the wait in round 0

    def on_work(self) -> None:
        """The own pool has something to propose."""
        self.has_work = True
        self._leave_wait_for_work()

    def _on_interval_over(self) -> None:
        self.is_interval_over = True
        if self.config.empty_block_period_ms <= 0:
            self._leave_wait()
        else:
            self._leave_wait_for_work()

    def _leave_wait_for_work(self) -> None:
        if not (self.is_waiting and self.has_work and self.is_interval_over):
            return
        proposer = self.proposer_of(0)
        if proposer != self.setting.own_index:
            self.outbox.emit(PushPool(self.verifier.validators.keys[proposer]))
        self._leave_wait()

    def _leave_wait(self) -> None:
        self._end_wait()
        self._start_round_timer()
        self.leader.try_to_lead()

    def _end_wait(self) -> None:
        self.is_waiting = False
        self.timers.stop(TimerKind.BLOCK_INTERVAL)
        self.timers.stop(TimerKind.EMPTY_BLOCK)

    # --- timers

    def on_timer(self, timer: Timer) -> None:
        """A timer of this height that was really running has expired."""
        match timer.kind:
            case TimerKind.ROUND:
                self._on_round_timeout()
            case TimerKind.RESEND:
                self.start_timer(TimerKind.RESEND, self.config.resend_interval_ms)
                self.rounds.resend()
            case TimerKind.BLOCK_INTERVAL:
                self._on_interval_over()
            case TimerKind.EMPTY_BLOCK:
                self._leave_wait()
            case _:
                self.proposals.validate()

    def start_timer(self, kind: TimerKind, delay_ms: int) -> None:
        """Set a timer of this height and round."""
        self.timers.start(kind, self.height, self.round, delay_ms)

    def _start_round_timer(self) -> None:
        if not self.timers.is_running(TimerKind.ROUND):
            self.start_timer(TimerKind.ROUND, self.config.round_timeout_ms(self.round))

    def _on_round_timeout(self) -> None:
        if self.round >= MAX_ROUND:
            self._start_round_timer()
        else:
            self.change_to_round(self.round + 1)

    def is_alive(self) -> bool:
        """True while some timer will carry the height on."""
        return self.timers.any_running(_HEIGHT_TIMER_SET)

    # --- rounds

    def change_to_round(self, round: int) -> None:
        """Leave for a higher round by timeout or f + 1 jump, and say so until it gets going."""
        self.enter_round(round)
        self.start_timer(TimerKind.RESEND, self.config.resend_interval_ms)
        self.rounds.request()
        self.start_timer_at_quorum()
        self.leader.try_to_lead()

    def enter_round(self, round: int) -> None:
        """Be in a higher round; what belonged to the old one is over, the lock and COMMITs stay."""
        self._end_wait()
        for kind in _ROUND_TIMERS:
            self.timers.stop(kind)
        self.round = round
        self.proposals.enter_round()
        self.ballots.prepares.enter_round(round)
        self.leader.enter_round()

    def start_timer_at_quorum(self) -> None:
        """The timer of a round above 0 runs only once a quorum is known to be there (or a proposal is)."""
        if self.round > 0 and self.round_changes.count_from(self.round) >= self.verifier.validators.quorum:
            self._start_round_timer()

    def on_proposal_accepted(self) -> None:
        """The round has got going: no more waiting, no more re-sending, its timer runs."""
        self._end_wait()
        self.timers.stop(TimerKind.RESEND)
        self._start_round_timer()

    def proposer_of(self, round: int) -> int:
        """The index of the round's proposer."""
        order = self.setting.order
        return order[round % len(order)]

    def take_ref(self) -> int:
        """A number that ties the host's answer to what was asked."""
        self._last_ref += 1
        return self._last_ref

    # --- messages

    def on_vote(self, peer: PeerId, message: Vote) -> None:
        """A message of this height, from a peer or from ourselves, signature not yet checked."""
        if message.signer >= self.verifier.validators.size:
            self.outbox.reject(peer, "NOT_A_VALIDATOR", f"index {message.signer}")
        elif isinstance(message, Prepare):
            self.ballots.on_prepare(peer, message)
        elif isinstance(message, Commit):
            self.ballots.on_commit(peer, message)
        elif isinstance(message, Proposal):
            self.proposals.on_message(peer, message)
        else:
            self.rounds.on_message(peer, message)

    def is_signed(self, peer: PeerId, message: Vote, sighash: bytes) -> bool:
        """Check the author's signature; a false one is the delivering peer's fault."""
        if self.verifier.check(message.signer, sighash, message.signature):
            return True
        self.outbox.reject(peer, "BAD_SIGNATURE", type(message).__name__)
        return False

    def found_two(self, message: Vote, first: tuple[Payload, bytes], second: tuple[Payload, bytes]) -> None:
        """Both signatures verified and the payloads differ: proof against the author."""
        validators = self.verifier.validators
        evidence = Evidence(
            validator=validators.keys[message.signer],
            validators_hash=validators.hash,
            step=step_of(message),
            height=message.height,
            round=message.round,
            first=first[0],
            first_signature=first[1],
            second=second[0],
            second_signature=second[1],
        )
        self.outbox.emit(EvidenceFound(evidence))

    # --- signing and deciding

    def request(self, message: Vote) -> None:
        """Have a vote made durable and signed, unless its position forbids it."""
        sighash = vote_payload_hash(self.verifier.domain, message)
        self.gate.request(message, self.verifier.validators.hash, sighash, self.lock)

    def on_signed(self, unsigned: Vote, signature: bytes) -> None:
        """An own vote is durable and signed: send it to the others and count it."""
        message = with_signature(unsigned, signature)
        data = encode_message(message)
        self.own_messages[step_of(message)] = (message.round, data)
        self.verifier.trust(message.signer, vote_payload_hash(self.verifier.domain, message), signature)
        if isinstance(message, RoundChange):
            self.rounds.broadcast(data)
        else:
            self.outbox.emit(Broadcast(data))
        if self.decided is None:
            self.on_vote(SELF, message)

    def send_own_to(self, peer: PeerId) -> None:
        """A validator is connected again: it gets our messages of this round and our last COMMIT."""
        for step in sorted(self.own_messages):
            round, data = self.own_messages[step]
            if round == self.round or step == STEP_COMMIT:
                self.outbox.emit(SendTo(peer, data))

    def decide(
        self, header: BlockHeader, certificate: CommitCertificate, wtxids: tuple[bytes, ...] = ()
    ) -> None:
        """The block is final, by COMMITs counted here or by a certificate that was verified."""
        candidate = self.proposals.candidates.get(certificate.block_id)
        if candidate is not None and (candidate.is_valid or not wtxids):
            wtxids = candidate.wtxids
        self.decided = (header, certificate)
        self.is_waiting = False
        self.proposals.enter_round()
        self.leader.enter_round()
        for kind in HEIGHT_TIMERS:
            self.timers.stop(kind)
        self.outbox.emit(Decide(header, wtxids, certificate))
