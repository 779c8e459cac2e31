"""Effects of the engine as the words of a dialogue."""

from __future__ import annotations

from consensus.effects import (
    BodySource,
    Broadcast,
    BuildBlock,
    CancelTimer,
    Decide,
    Effect,
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
from consensus.messages import Commit, Decided, Prepare, Proposal, RoundChange, decode_message
from primitives.block import block_id
from tests.scenarios.cast import Cast

STEPS = ("ROUND_CHANGE", "PROPOSAL", "PREPARE", "COMMIT")


class Renderer:
    """Writes effects with the names of one cast."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast

    def effect(self, effect: Effect) -> str:
        """One effect, one line."""
        cast = self.cast
        match effect:
            case StoreBlock():
                return f"store {cast.block_name(block_id(effect.header))}"
            case Persist():
                return self._persist(effect)
            case Broadcast():
                return f"broadcast {self.message(effect.data)}"
            case SendTo():
                return f"send to {effect.peer} {self.message(effect.data)}"
            case SetTimer():
                return f"timer {effect.timer.kind.name} {effect.delay_ms}"
            case CancelTimer():
                return f"cancel {effect.kind.name}"
            case BuildBlock():
                return f"build r{effect.round}"
            case ValidateProposal():
                freshness = "fresh" if effect.fresh else "again"
                sources = " ".join(effect.sources) or "nobody"
                return f"validate {cast.block_name(block_id(effect.header))} {freshness} from {sources}"
            case BodySource():
                return f"source {effect.peer}"
            case FetchBlock():
                return f"fetch {cast.block_name(block_id(effect.header))} from {' '.join(effect.sources)}"
            case Decide():
                certificate = effect.certificate
                seals = " ".join(cast.names[index] for index, _ in certificate.seals)
                return f"decide {cast.block_name(certificate.block_id)} r{certificate.round} by {seals}"
            case RequestSync():
                return f"sync {effect.height} from {effect.peer}"
            case PushPool():
                to = "all" if effect.recipient is None else cast.name_of(effect.recipient)
                return f"push to {to}"
            case Reject():
                return f"reject {effect.peer or 'itself'} {effect.reason}"
            case EvidenceFound():
                evidence = effect.evidence
                return f"evidence {cast.name_of(evidence.validator)} {STEPS[evidence.step]} r{evidence.round}"
            case Halt():
                return f"halt accusing {' '.join(cast.name_of(key) for key in effect.proof.accused)}"
            case QuarantineLifted():
                return f"quarantine lifted {effect.height}"

    def _persist(self, effect: Persist) -> str:
        record = effect.record
        words = f"persist {STEPS[record.step]} r{record.round}"
        if record.block_id is not None:
            words += f" {self.cast.block_name(record.block_id)}"
        if record.lock is not None:
            words += f" lock {record.lock.round} {self.cast.block_name(record.lock.block_id)}"
        return words

    def message(self, data: bytes) -> str:
        """A message by its fields."""
        cast, message = self.cast, decode_message(data)
        if isinstance(message, Decided):
            return f"DECIDED {message.height} {cast.block_name(message.certificate.block_id)}"
        if isinstance(message, RoundChange):
            words = f"ROUND_CHANGE r{message.round}"
            if message.prepared is not None:
                authors = " ".join(cast.names[index] for index, _ in message.prepares)
                words += (
                    f" prepared {message.prepared[0]} {cast.block_name(message.prepared[1])} by {authors}"
                )
            return words
        if isinstance(message, Proposal):
            words = f"PROPOSAL r{message.round} {cast.block_name(block_id(message.header))}"
            if message.round_changes:
                words += " with " + " ".join(
                    self._change(c.signer, c.prepared) for c in message.round_changes
                )
            if message.prepares:
                words += " prepares " + " ".join(cast.names[index] for index, _ in message.prepares)
            return words
        assert isinstance(message, Prepare | Commit)
        kind = "PREPARE" if isinstance(message, Prepare) else "COMMIT"
        return f"{kind} r{message.round} {cast.block_name(message.block_id)}"

    def _change(self, signer: int, prepared: tuple[int, bytes] | None) -> str:
        name = self.cast.names[signer]
        return name if prepared is None else f"{name}:{prepared[0]}:{self.cast.block_name(prepared[1])}"
