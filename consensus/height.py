"""One height of QBFT: proposals, votes, rounds and the lock, from the parent to a decision.

Promises: a vote is requested only through the signing gate, in ascending order; the lock, once taken, is
carried in every later ROUND_CHANGE of the height however the round advances; at most one decision; until
then a block timer, the round timer or the re-send timer runs. Never votes late in a round it has left;
late COMMITs are counted. Rules: docs/consensus.md.
"""

from __future__ import annotations

import msgspec

from consensus.config import QbftConfig
from consensus.effects import (
    BodySource,
    Broadcast,
    Decide,
    EvidenceFound,
    PushPool,
    RequestSync,
    SendTo,
    StoreBlock,
    ValidateProposal,
)
from consensus.evidence import Evidence, Payload
from consensus.inputs import Outcome, PeerId, Timer, TimerKind, Verdict
from consensus.journal import VoteRecord
from consensus.justification import (
    certificate_of,
    is_backed,
    is_fresh,
    proof_of,
    proposal_fault,
    round_change_fault,
)
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
    prepare_sighash,
    proposal_sighash,
    round_change_sighash,
    with_signature,
)
from consensus.outbox import Outbox, Timers
from consensus.round_changes import RoundChangeBook
from consensus.signing import SigningGate, step_of
from consensus.verifier import VoteVerifier
from consensus.votes import CommitBook, PrepareBook, Standing
from primitives.block import BlockHeader, block_id
from primitives.certificate import (
    CERTIFICATE_VERSION,
    STEP_COMMIT,
    STEP_PREPARE,
    STEP_PROPOSAL,
    STEP_ROUND_CHANGE,
    CommitCertificate,
    commit_sighash,
)
from primitives.limits import CONSENSUS_COMMIT_ROUNDS, MAX_ROUND

# The name under which the engine delivers its own messages to itself.
SELF = PeerId("")


class HeightSetting(msgspec.Struct, frozen=True, gc=False):
    """What is fixed for the whole height. `order` are validator indices in proposer order."""

    height: int
    parent: BlockHeader
    parent_id: bytes
    order: tuple[int, ...]
    own_index: int | None


class Candidate:
    """A block of this height whose header is known."""

    __slots__ = ("header", "is_valid", "wtxids")

    def __init__(self, header: BlockHeader, wtxids: tuple[bytes, ...], is_valid: bool) -> None:
        self.header = header
        self.wtxids = wtxids
        self.is_valid = is_valid  # the host holds all bodies and executed them


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
        size, quorum = verifier.validators.size, verifier.validators.quorum
        self.prepares = PrepareBook(size, quorum)
        self.commits = CommitBook(size, quorum)
        self.round_changes = RoundChangeBook(size)
        self.leader = Leader(self)
        self.round = 0
        self.is_waiting = True  # round 0, nothing to propose yet: no round timer runs
        self.has_work = False
        self.is_interval_over = False
        self.proposal: Proposal | None = None
        self.proposal_id = b""
        self.proposal_peer = SELF
        self.candidates: dict[bytes, Candidate] = {}
        self.validation_ref: int | None = None
        self.next_ref = 1
        self.lock: PreparedCertificate | None = None
        self.decided: tuple[BlockHeader, CommitCertificate] | None = None
        self.own: dict[int, tuple[int, bytes]] = {}  # step -> (round, message bytes) last signed

    # --- the start of the height

    def start(self, has_work: bool) -> None:
        """Begin in round 0, waiting for something to propose."""
        self.has_work = has_work
        self._start_timer(TimerKind.EMPTY_BLOCK, self.config.empty_block_period_ms)
        if self.config.min_block_interval_ms > 0:
            self._start_timer(TimerKind.BLOCK_INTERVAL, self.config.min_block_interval_ms)
        else:
            self._on_interval_over()

    def resume(
        self, last: VoteRecord, lock: PreparedCertificate | None, lock_wtxids: tuple[bytes, ...] | None
    ) -> None:
        """Continue after a restart at the last signed position, with the lock; sign the same bytes again."""
        self.lock = lock
        self.round = last.round
        self.prepares.enter_round(last.round)
        self.is_waiting = False
        if lock is not None and lock.header is not None:
            self.candidates[lock.block_id] = Candidate(lock.header, lock_wtxids or (), is_valid=False)
        if last.step == STEP_ROUND_CHANGE:
            self._start_timer(TimerKind.RESEND, self.config.resend_interval_ms)
            self._request_round_change()
            return
        self._start_round_timer()
        message = self._rebuild(last)
        if message is not None:
            self._request(message)

    def _rebuild(self, record: VoteRecord) -> Vote | None:
        """The unsigned message a record stands for; None when the watermark alone can't tell (a proposal)."""
        own = self.setting.own_index
        if own is None:
            return None
        if record.step == STEP_PROPOSAL:
            message = decode_message(record.attachment) if record.attachment else None
            return message if isinstance(message, Proposal) else None
        assert record.block_id is not None
        kind = Prepare if record.step == STEP_PREPARE else Commit
        return kind(self.height, record.round, own, NO_SIGNATURE, record.block_id)

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
        """A timer that was really running has expired."""
        match timer.kind:
            case TimerKind.ROUND:
                self._on_round_timeout()
            case TimerKind.RESEND:
                self._on_resend()
            case TimerKind.BLOCK_INTERVAL:
                self._on_interval_over()
            case TimerKind.EMPTY_BLOCK:
                self._leave_wait()
            case TimerKind.REVALIDATE:
                self._validate_proposal()
            case _:  # SYNC and LAGGARD belong to the core
                raise AssertionError(timer.kind)

    def _on_round_timeout(self) -> None:
        if self.round >= MAX_ROUND:
            self._start_round_timer()
        else:
            self._change_to_round(self.round + 1)

    def _on_resend(self) -> None:
        self._start_timer(TimerKind.RESEND, self.config.resend_interval_ms)
        sent = self.own.get(STEP_ROUND_CHANGE)
        if sent is not None and sent[0] == self.round:
            self._broadcast_round_change(sent[1])
        elif not self.gate.is_pending(self.height, self.round, STEP_ROUND_CHANGE):
            self._request_round_change()

    def _start_timer(self, kind: TimerKind, delay_ms: int) -> None:
        self.timers.start(kind, self.height, self.round, delay_ms)

    def _start_round_timer(self) -> None:
        if not self.timers.is_running(TimerKind.ROUND):
            self._start_timer(TimerKind.ROUND, self.config.round_timeout_ms(self.round))

    # --- rounds

    def _change_to_round(self, round: int) -> None:
        """Leave for a higher round by timeout or f + 1 jump, and say so until it gets going."""
        self._enter_round(round)
        self._start_timer(TimerKind.RESEND, self.config.resend_interval_ms)
        self._request_round_change()
        self._start_timer_at_quorum()
        self.leader.try_to_lead()

    def _enter_round(self, round: int) -> None:
        self._end_wait()
        for kind in (TimerKind.ROUND, TimerKind.RESEND, TimerKind.REVALIDATE):
            self.timers.stop(kind)
        self.round = round
        self.proposal = None
        self.proposal_id = b""
        self.validation_ref = None
        self.prepares.enter_round(round)
        self.leader.enter_round()

    def _start_timer_at_quorum(self) -> None:
        """The timer of a round above 0 runs only once a quorum is known to be there (or a proposal is)."""
        if self.round > 0 and self.round_changes.count_from(self.round) >= self.verifier.validators.quorum:
            self._start_round_timer()

    def _request_round_change(self) -> None:
        own = self.setting.own_index
        if own is None or (self.lock is not None and not self.lock.is_complete):
            return  # a lock known only by name is neither dropped nor claimed without its proof
        self._request(self._round_change(own))

    def _round_change(self, own: int) -> RoundChange:
        lock = self.lock
        if lock is None:
            return RoundChange(self.height, self.round, own, NO_SIGNATURE, None, None, ())
        claim = (lock.round, lock.block_id)
        return RoundChange(self.height, self.round, own, NO_SIGNATURE, claim, lock.header, lock.prepares)

    def _broadcast_round_change(self, data: bytes) -> None:
        self.outbox.emit(Broadcast(data))
        if self.has_work:
            self.outbox.emit(PushPool(None))  # no silent proposer can hide what this pool holds

    # --- messages

    def on_vote(self, peer: PeerId, message: Vote) -> None:
        """A message of this height, from a peer or from ourselves, signature not yet checked."""
        if message.signer >= self.verifier.validators.size:
            self.outbox.reject(peer, "NOT_A_VALIDATOR", f"index {message.signer}")
        elif isinstance(message, Prepare):
            self._on_prepare(peer, message)
        elif isinstance(message, Commit):
            self._on_commit(peer, message)
        elif isinstance(message, Proposal):
            self._on_proposal(peer, message)
        else:
            self._on_round_change(peer, message)

    def _checked(self, peer: PeerId, message: Vote, sighash: bytes) -> bool:
        if self.verifier.check(message.signer, sighash, message.signature):
            return True
        self.outbox.reject(peer, "BAD_SIGNATURE", type(message).__name__)
        return False

    def _found_two(self, message: Vote, first: tuple[Payload, bytes], second: tuple[Payload, bytes]) -> None:
        """Both signatures verified, the payloads differ: proof against the author."""
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

    # --- PROPOSAL

    def _on_proposal(self, peer: PeerId, message: Proposal) -> None:
        proposed_id = block_id(message.header)
        if proposed_id in self.commits.certified:
            self._add_candidate(proposed_id, message.header, message.wtxids, is_valid=False)
            self._decide_certified(proposed_id)
            return
        if message.round < self.round:
            return
        if self.proposer_of(message.round) != message.signer:
            self.outbox.reject(peer, "NOT_PROPOSER", f"round {message.round}")
            return
        repeated = self.proposal is not None and message.round == self.round
        if repeated and proposed_id == self.proposal_id:
            return
        sighash = proposal_sighash(self.verifier.domain, self.height, message.round, proposed_id)
        if not self._checked(peer, message, sighash):
            return
        if repeated:
            assert self.proposal is not None
            first = (self.proposal_id, self.proposal.signature)
            self._found_two(message, first, (proposed_id, message.signature))
            return
        if fault := self.header_fault(message.header, message.wtxids):
            self.outbox.reject(peer, "INVALID_BLOCK", fault)
        elif fault := proposal_fault(message, proposed_id, self.verifier):
            self.outbox.reject(peer, "BAD_JUSTIFICATION", fault)
        else:
            self._accept_proposal(peer, message, proposed_id)

    def header_fault(self, header: BlockHeader, wtxids: tuple[bytes, ...]) -> str:
        """Why a header can't follow the parent here, or ""; what needs bodies or a clock is the host's."""
        setting = self.setting
        if header.height != self.height or header.parent_id != setting.parent_id:
            return "the header does not follow the parent"
        if header.validators_hash != self.verifier.validators.hash:
            return "the header names another validator set"
        if header.timestamp_ms <= setting.parent.timestamp_ms:
            return "the timestamp is not above the parent's"
        if header.proposer not in self.verifier.validators:
            return "the header's proposer is no validator"
        if header.tx_count != len(wtxids):
            return "the number of transactions is not the header's"
        return ""

    def _accept_proposal(self, peer: PeerId, message: Proposal, proposed_id: bytes) -> None:
        if message.round > self.round:
            self._enter_round(message.round)
        self.proposal = message
        self.proposal_id = proposed_id
        self.proposal_peer = peer
        self._end_wait()
        self.timers.stop(TimerKind.RESEND)
        self._start_round_timer()
        self._learn_lock(proof_of(message, proposed_id))
        candidate = self._add_candidate(proposed_id, message.header, message.wtxids, is_valid=False)
        if candidate.is_valid:
            self._vote_for_proposal()
        else:
            self._validate_proposal()

    def _add_candidate(
        self, block: bytes, header: BlockHeader, wtxids: tuple[bytes, ...], is_valid: bool
    ) -> Candidate:
        candidate = self.candidates.get(block)
        if candidate is None:
            if len(self.candidates) >= CONSENSUS_COMMIT_ROUNDS:
                spared = {self.proposal_id, self.lock.block_id if self.lock else b""}
                del self.candidates[next(known for known in self.candidates if known not in spared)]
            candidate = self.candidates[block] = Candidate(header, wtxids, is_valid)
        elif not candidate.is_valid:
            candidate.wtxids, candidate.is_valid = wtxids, is_valid
        return candidate

    def add_own_block(self, header: BlockHeader, wtxids: tuple[bytes, ...]) -> None:
        """A block this node built and executed itself, or whose bodies it fetched for re-proposing."""
        self._add_candidate(block_id(header), header, wtxids, is_valid=True)

    def _validate_proposal(self) -> None:
        proposal = self.proposal
        assert proposal is not None
        self.validation_ref = self.take_ref()
        sources: tuple[PeerId, ...] = () if self.proposal_peer == SELF else (self.proposal_peer,)
        proof = proof_of(proposal, self.proposal_id)
        if proof is not None:
            holders = self.round_changes.sources((proof.round, proof.block_id))
            sources += tuple(peer for peer in holders if peer not in (*sources, SELF))
        self.outbox.emit(
            ValidateProposal(
                ref=self.validation_ref,
                height=self.height,
                round=self.round,
                header=proposal.header,
                wtxids=proposal.wtxids,
                sources=sources,
                fresh=is_fresh(proposal),
            )
        )

    def take_ref(self) -> int:
        """A number that ties the host's answer to what was asked."""
        self.next_ref += 1
        return self.next_ref

    def on_verdict(self, verdict: Verdict) -> None:
        """The host has checked the proposal of the current round (other answers come too late)."""
        if verdict.ref != self.validation_ref or self.proposal is None:
            return
        self.validation_ref = None
        match verdict.outcome:
            case Outcome.OK:
                self.candidates[self.proposal_id].is_valid = True
                self._vote_for_proposal()
            case Outcome.LATER:
                self._start_timer(TimerKind.REVALIDATE, verdict.retry_in_ms)
            case Outcome.WRONG_LIST:
                self.outbox.reject(self.proposal_peer, "WRONG_LIST", verdict.reason)
                self.candidates.pop(self.proposal_id, None)
                self.proposal, self.proposal_id = None, b""  # an honest copy may still come
            case Outcome.INVALID:
                self.outbox.reject(self.proposal_peer, "INVALID_BLOCK", verdict.reason)
            case Outcome.UNAVAILABLE:
                pass  # the round timer ends it

    def _vote_for_proposal(self) -> None:
        own = self.setting.own_index
        if own is not None:
            self._request(Prepare(self.height, self.round, own, NO_SIGNATURE, self.proposal_id))
        self._commit_at_prepare_quorum()

    # --- PREPARE

    def _on_prepare(self, peer: PeerId, message: Prepare) -> None:
        standing = self.prepares.judge(message)
        if standing is Standing.USELESS:
            return
        sighash = prepare_sighash(self.verifier.domain, self.height, message.round, message.block_id)
        if not self._checked(peer, message, sighash):
            return
        if standing is Standing.CONFLICT:
            known = self.prepares.known(message)
            assert known is not None
            self._found_two(message, known, (message.block_id, message.signature))
            return
        self.prepares.add(message)
        if message.round == self.round and message.block_id == self.proposal_id:
            if self.validation_ref is not None and peer != SELF:
                self.outbox.emit(BodySource(self.validation_ref, peer))
            self._commit_at_prepare_quorum()

    def _commit_at_prepare_quorum(self) -> None:
        """A quorum of PREPAREs in the current round for a block we hold: lock on it, then COMMIT."""
        candidate = self.candidates.get(self.proposal_id)
        if candidate is None or not candidate.is_valid or self.decided is not None:
            return
        if not self.gate.allows(self.height, self.round, STEP_COMMIT):
            return
        prepares = self.prepares.quorum_for(self.proposal_id)
        own = self.setting.own_index
        if not prepares or own is None:
            return
        self.outbox.emit_durable(StoreBlock(candidate.header, candidate.wtxids))
        self.lock = PreparedCertificate(self.round, self.proposal_id, candidate.header, prepares)
        self._request(Commit(self.height, self.round, own, NO_SIGNATURE, self.proposal_id))

    # --- COMMIT

    def _on_commit(self, peer: PeerId, message: Commit) -> None:
        standing = self.commits.judge(message, self.round)
        if standing is Standing.USELESS:
            return
        sighash = commit_sighash(self.verifier.domain, self.height, message.round, message.block_id)
        if not self._checked(peer, message, sighash):
            return
        if standing is Standing.CONFLICT:
            known = self.commits.known(message)
            assert known is not None
            self._found_two(message, known, (message.block_id, message.signature))
            return
        self.commits.add(message, self.round)
        if message.block_id in self.commits.certified:
            if self._header_of(message.block_id) is not None:
                self._decide_certified(message.block_id)
            elif peer != SELF:
                self.outbox.emit(RequestSync(self.height + 1, peer))

    def _header_of(self, block: bytes) -> BlockHeader | None:
        candidate = self.candidates.get(block)
        return candidate.header if candidate is not None else self.round_changes.header_of(block)

    def _decide_certified(self, block: bytes) -> None:
        round = self.commits.certified[block]
        header = self._header_of(block)
        assert header is not None
        seals = self.commits.seals(round, block)
        self.decide(header, CommitCertificate(CERTIFICATE_VERSION, self.height, round, block, seals))

    def decide(
        self, header: BlockHeader, certificate: CommitCertificate, wtxids: tuple[bytes, ...] = ()
    ) -> None:
        """The block is final, by COMMITs counted here or by a certificate that was verified."""
        candidate = self.candidates.get(certificate.block_id)
        if candidate is not None and (candidate.is_valid or not wtxids):
            wtxids = candidate.wtxids
        self.decided = (header, certificate)
        self.is_waiting = False
        self.validation_ref = None
        self.leader.enter_round()
        for kind in HEIGHT_TIMERS:
            self.timers.stop(kind)
        self.outbox.emit(Decide(header, wtxids, certificate))

    # --- ROUND_CHANGE

    def _on_round_change(self, peer: PeerId, message: RoundChange) -> None:
        known = self.round_changes.known(message.signer)
        if message.round < self.round or (known is not None and message.round < known.round):
            return
        same_round = known is not None and known.round == message.round
        if same_round and known is not None and known.prepared == message.prepared:
            if self.round_changes.is_backed(message.signer) or message.prepares == known.prepares:
                return
        if fault := round_change_fault(message):
            self.outbox.reject(peer, "BAD_ROUND_CHANGE", fault)
            return
        sighash = round_change_sighash(self.verifier.domain, self.height, message.round, message.prepared)
        if not self._checked(peer, message, sighash):
            return
        if same_round and known is not None and known.prepared != message.prepared:
            self._found_two(message, (known.prepared, known.signature), (message.prepared, message.signature))
            return
        backed = is_backed(message, self.verifier)
        if not backed:
            self.outbox.reject(peer, "UNBACKED_CLAIM", f"round {message.round}")
        self.round_changes.add(peer, message, backed)
        if backed:
            self._learn_lock(certificate_of(message))
        self._after_round_change()

    def _after_round_change(self) -> None:
        target = self.round_changes.jump_target(self.round, self.verifier.validators.max_faulty)
        if target is not None:
            self._change_to_round(target)
        else:
            self._start_timer_at_quorum()
            self.leader.try_to_lead()

    def _learn_lock(self, proof: PreparedCertificate | None) -> None:
        """The proof of a lock that was known by name only: now it can be claimed again."""
        lock = self.lock
        if lock is None or lock.is_complete or proof is None:
            return
        if (lock.round, lock.block_id) == (proof.round, proof.block_id):
            self.lock = proof

    # --- signing

    def request(self, message: Vote) -> bool:
        """Have a vote made durable and signed; False when the gate refuses it."""
        return self._request(message)

    def _request(self, message: Vote) -> bool:
        return self.gate.request(message, self.verifier.validators.hash, self.sighash_of(message), self.lock)

    def sighash_of(self, message: Vote) -> bytes:
        """The 32 bytes the author of `message` signs."""
        domain = self.verifier.domain
        if isinstance(message, RoundChange):
            return round_change_sighash(domain, message.height, message.round, message.prepared)
        if isinstance(message, Proposal):
            return proposal_sighash(domain, message.height, message.round, block_id(message.header))
        if isinstance(message, Prepare):
            return prepare_sighash(domain, message.height, message.round, message.block_id)
        return commit_sighash(domain, message.height, message.round, message.block_id)

    def on_signed(self, unsigned: Vote, signature: bytes) -> None:
        """An own vote is durable and signed: send it to the others and count it."""
        message = with_signature(unsigned, signature)
        data = encode_message(message)
        self.own[step_of(message)] = (message.round, data)
        self.verifier.trust(message.signer, self.sighash_of(message), signature)
        if isinstance(message, RoundChange):
            self._broadcast_round_change(data)
        else:
            self.outbox.emit(Broadcast(data))
        if self.decided is None:
            self.on_vote(SELF, message)

    def send_own_to(self, peer: PeerId) -> None:
        """A validator is connected again: it gets our messages of this round and our last COMMIT."""
        for step in sorted(self.own):
            round, data = self.own[step]
            if round == self.round or step == STEP_COMMIT:
                self.outbox.emit(SendTo(peer, data))

    def is_alive(self) -> bool:
        """True while some timer will carry the height on."""
        return any(self.timers.is_running(kind) for kind in HEIGHT_TIMERS)

    def proposer_of(self, round: int) -> int:
        """The index of the round's proposer."""
        order = self.setting.order
        return order[round % len(order)]


HEIGHT_TIMERS = (
    TimerKind.BLOCK_INTERVAL,
    TimerKind.EMPTY_BLOCK,
    TimerKind.ROUND,
    TimerKind.RESEND,
    TimerKind.REVALIDATE,
)
