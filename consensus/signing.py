"""The gate every vote passes: positions only grow, and nothing leaves before it is durable and signed.

Within a height a validator signs (round, step) in ascending order, ROUND_CHANGE < PROPOSAL < PREPARE <
COMMIT; the last position again only for the same payload. The journal and the watermark enforce the same
once more, on disk (docs/consensus.md, "Durability").
"""

from __future__ import annotations

from consensus.effects import Persist
from consensus.journal import RECORD_VERSION, Position, VoteRecord
from consensus.messages import (
    Commit,
    Prepare,
    PreparedCertificate,
    Proposal,
    RoundChange,
    Vote,
    encode_message,
    signed_block_id,
)
from consensus.outbox import Outbox
from primitives.certificate import STEP_COMMIT, STEP_PREPARE, STEP_PROPOSAL, STEP_ROUND_CHANGE

_STEP_OF: dict[type, int] = {
    RoundChange: STEP_ROUND_CHANGE,
    Proposal: STEP_PROPOSAL,
    Prepare: STEP_PREPARE,
    Commit: STEP_COMMIT,
}


def step_of(message: Vote) -> int:
    """The signing step of a vote."""
    return _STEP_OF[type(message)]


class SigningGate:
    """Hands votes to the host for persisting and signing, and remembers which answers are awaited."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._floor: Position = (0, 0, 0)
        self._floor_hash = b""
        self._next_token = 1
        self._pending: dict[int, Vote] = {}
        self._may_repeat = False
        self.enabled = True

    def restore(self, record: VoteRecord) -> None:
        """Take the last position found on disk as the floor; the same vote may be signed once more."""
        self._floor, self._floor_hash = record.position, record.payload_hash
        self._may_repeat = True

    def allows(self, height: int, round: int, step: int) -> bool:
        """True when a new payload may be signed at this position."""
        return self.enabled and (height, round, step) > self._floor

    def request(
        self, message: Vote, validators_hash: bytes, sighash: bytes, lock: PreparedCertificate | None
    ) -> bool:
        """Ask for `message` to be made durable and signed. False when its position forbids it."""
        step = step_of(message)
        position = (message.height, message.round, step)
        repeats = self._may_repeat and (position, sighash) == (self._floor, self._floor_hash)
        if not self.enabled or not (position > self._floor or repeats):
            return False
        self._floor, self._floor_hash, self._may_repeat = position, sighash, False
        record = VoteRecord(
            version=RECORD_VERSION,
            validators_hash=validators_hash,
            height=message.height,
            round=message.round,
            step=step,
            payload_hash=sighash,
            block_id=None if isinstance(message, RoundChange) else signed_block_id(message),
            lock=lock,
            attachment=encode_message(message) if isinstance(message, Proposal) else b"",
        )
        self._pending[self._next_token] = message
        self._outbox.emit_durable(Persist(self._next_token, record))
        self._next_token += 1
        return True

    def take(self, token: int) -> Vote | None:
        """The vote an answer belongs to; None when it no longer matters."""
        return self._pending.pop(token, None)

    def fail(self, token: int) -> None:
        """The signer refused: the vote is not cast, but the same one may be asked for again."""
        vote = self._pending.pop(token, None)
        if vote is not None and (vote.height, vote.round, step_of(vote)) == self._floor:
            self._may_repeat = True

    def forget_pending(self) -> None:
        """A new height begins: late answers for the old one change nothing."""
        self._pending.clear()
