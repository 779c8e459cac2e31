"""One engine at height 1 of a chain of four, D itself, with a host that signs at once and says yes."""

from __future__ import annotations

from collections.abc import Iterator

from consensus.config import QbftConfig
from consensus.core import QbftCore
from consensus.effects import BuildBlock, Decide, Effect, Persist, SetTimer, ValidateProposal
from consensus.inputs import (
    BlockBuilt,
    Input,
    MessageReceived,
    Outcome,
    PeerId,
    StartHeight,
    Timer,
    TimerExpired,
    TimerKind,
    Verdict,
    VoteSigned,
)
from consensus.messages import encode_message
from primitives.block import BlockHeader
from tests.scenarios.cast import CHAIN, Cast, MessageWords, verify_fake


class Engine:
    """`say("PREPARE B r0 x")` delivers a message; `feed` any input. Effects are kept in `effects`."""

    def __init__(self, me: str = "D", size: int = 4, follower: bool = False, **config: int) -> None:
        self.cast = Cast(size, fake=True)
        self.key = self.cast.keys[me]
        self.me = me
        own = None if follower else self.key.public_key
        self.config = QbftConfig(chain_id=CHAIN, public_key=own, verify=verify_fake, **config)
        self.core = QbftCore(self.config)
        self.timers: dict[TimerKind, Timer] = {}
        self.effects: list[Effect] = []
        self.answers = True  # False: the host stays silent

    def start(self, height: int = 1, parent: BlockHeader | None = None) -> list[Effect]:
        """Begin a height."""
        order = tuple(self.cast.keys[name].public_key for name in self.cast.names)
        event = StartHeight(height, parent or self.cast.genesis, None, self.cast.validators, order)
        return self.feed(event)

    def feed(self, event: Input) -> list[Effect]:
        """Give an input and the host's answers to what it causes; all effects, in order."""
        happened: list[Effect] = []
        waiting = [event]
        while waiting:
            for effect in self.core.step(waiting.pop(0)):
                happened.append(effect)
                if isinstance(effect, SetTimer):
                    self.timers[effect.timer.kind] = effect.timer
                waiting += self._answer(effect) if self.answers else ()
        self.effects += happened
        return happened

    def _answer(self, effect: Effect) -> Iterator[Input]:
        if isinstance(effect, Persist):
            yield VoteSigned(effect.token, self.key.sign(effect.record.payload_hash))
        elif isinstance(effect, ValidateProposal):
            yield Verdict(effect.ref, Outcome.OK)
        elif isinstance(effect, BuildBlock):
            yield BlockBuilt(effect.height, effect.round, self.cast.block("own", effect.height, self.me), ())

    def message(self, text: str, height: int = 1) -> bytes:
        """The bytes of a message in the words of the dialogues."""
        return encode_message(MessageWords(self.cast, text.split(), height).message())

    def say(self, text: str, peer: str = "") -> list[Effect]:
        """Deliver that message, by its author unless another peer is named."""
        return self.hear(self.message(text), peer or text.split()[1])

    def hear(self, data: bytes, peer: str = "B") -> list[Effect]:
        """Deliver any bytes."""
        return self.feed(MessageReceived(PeerId(peer), data))

    def expire(self, kind: TimerKind) -> list[Effect]:
        """The running timer of this kind runs out."""
        return self.feed(TimerExpired(self.timers.pop(kind)))

    def decide(self, block: str = "x") -> Decide:
        """A, B and C decide a block of round 0."""
        self.say(f"PROPOSAL A r0 {block}")
        for author in "ABC":
            self.say(f"COMMIT {author} r0 {block}")
        return next(effect for effect in self.effects if isinstance(effect, Decide))


def of_type(effects: list[Effect], kind: type[Effect]) -> list[Effect]:
    """The effects of one type."""
    return [effect for effect in effects if isinstance(effect, kind)]
