"""ROUND_CHANGEs of one height: asking for a round, following f + 1 others, and carrying the lock.

The lock is in every ROUND_CHANGE however its round was reached. One whose proof is missing (only its name
survived a lost journal) bars ROUND_CHANGEs until the proof is seen again: it is neither dropped nor claimed
without proof. A ROUND_CHANGE that is sent again has the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consensus.effects import Broadcast, PushPool
from consensus.inputs import PeerId
from consensus.justification import certificate_of, is_backed, round_change_fault
from consensus.messages import NO_SIGNATURE, PreparedCertificate, RoundChange, round_change_sighash
from primitives.certificate import STEP_ROUND_CHANGE

if TYPE_CHECKING:
    from consensus.height import HeightMachine


class Rounds:
    """Our own ROUND_CHANGE of the current round, and what those of others make us do."""

    __slots__ = ("_machine",)

    def __init__(self, machine: HeightMachine) -> None:
        self._machine = machine

    def request(self) -> None:
        """Ask for the ROUND_CHANGE to the current round to be made durable and signed."""
        machine = self._machine
        own, lock = machine.setting.own_index, machine.lock
        if own is None or (lock is not None and not lock.is_complete):
            return
        if lock is None:
            message = RoundChange(machine.height, machine.round, own, NO_SIGNATURE, None, None, ())
        else:
            claim = (lock.round, lock.block_id)
            message = RoundChange(
                machine.height, machine.round, own, NO_SIGNATURE, claim, lock.header, lock.prepares
            )
        machine.request(message)

    def resend(self) -> None:
        """Send it again, byte for byte; ask for its signature again if that failed."""
        machine = self._machine
        sent = machine.own_messages.get(STEP_ROUND_CHANGE)
        if sent is not None and sent[0] == machine.round:
            self.broadcast(sent[1])
        else:
            self.request()

    def broadcast(self, data: bytes) -> None:
        """Send a signed ROUND_CHANGE, and what our pool holds: no silent proposer can hide it."""
        self._machine.outbox.emit(Broadcast(data))
        if self._machine.has_work:
            self._machine.outbox.emit(PushPool(None))

    def on_message(self, peer: PeerId, message: RoundChange) -> None:
        """A ROUND_CHANGE of this height, signature not yet checked."""
        machine, book = self._machine, self._machine.round_changes
        known = book.known(message.signer)
        if message.round < machine.round or (known is not None and message.round < known.round):
            return
        rival = known if known is not None and known.round == message.round else None
        if rival is not None and rival.prepared == message.prepared:
            if book.is_backed(message.signer) or message.prepares == rival.prepares:
                return
            rival = None  # the same claim with another proof: perhaps it holds this time
        if fault := round_change_fault(message):
            machine.outbox.reject(peer, "BAD_ROUND_CHANGE", fault)
            return
        sighash = round_change_sighash(
            machine.verifier.domain, machine.height, message.round, message.prepared
        )
        if not machine.is_signed(peer, message, sighash):
            return
        if rival is not None:
            first, second = (rival.prepared, rival.signature), (message.prepared, message.signature)
            machine.found_two(message, first, second)
            return
        self._add(peer, message)

    def _add(self, peer: PeerId, message: RoundChange) -> None:
        machine, book = self._machine, self._machine.round_changes
        backed = is_backed(message, machine.verifier)
        if backed:
            self.learn_lock(certificate_of(message))
        else:
            machine.outbox.reject(peer, "UNBACKED_CLAIM", f"round {message.round}")
        book.add(peer, message, backed)
        target = book.jump_target(machine.round, machine.verifier.validators.max_faulty)
        if target is not None:
            machine.change_to_round(target)
        else:
            machine.start_timer_at_quorum()
            machine.leader.try_to_lead()

    def learn_lock(self, proof: PreparedCertificate | None) -> None:
        """The proof of a lock that was known by name only: now it can be claimed again."""
        lock = self._machine.lock
        if lock is None or lock.is_complete or proof is None:
            return
        if (lock.round, lock.block_id) == (proof.round, proof.block_id):
            self._machine.lock = proof
