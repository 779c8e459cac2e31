"""The host of the dialogues: one real engine, its timers, its signer, and a disk with the real formats.

Always on: no position (height, round, step) is ever signed with two payloads, across restarts; a decision
is made once a height; evidence and proofs that the engine shows stand by themselves.
"""

from __future__ import annotations

from consensus.config import QbftConfig
from consensus.core import QbftCore
from consensus.effects import (
    BuildBlock,
    CancelTimer,
    Decide,
    Effect,
    FetchBlock,
    Halt,
    Persist,
    QuarantineLifted,
    SetTimer,
    StoreBlock,
    ValidateProposal,
)
from consensus.evidence import verify_conflict_proof, verify_evidence
from consensus.height import HeightMachine
from consensus.inputs import (
    Input,
    Outcome,
    Recovered,
    SigningFailed,
    StartHeight,
    Timer,
    TimerKind,
    Verdict,
    VoteSigned,
)
from tests.scenarios.cast import CHAIN, Cast
from tests.scenarios.language import Scenario
from tests.scenarios.render import Renderer
from tests.simulator import signer
from tests.simulator.disk import Disk


class Host:
    """One engine, its disk and the cast around it."""

    def __init__(self, scenario: Scenario) -> None:
        settings = scenario.settings
        self.scenario = scenario
        self.cast = Cast(
            int(settings.get("validators", "4")),
            fake=settings.get("signatures") == "fake",
            absent=settings.get("absent", ""),
        )
        self.cast.declared = scenario.blocks
        self.render = Renderer(self.cast)
        self.me = settings.get("me", "D")
        key = self.cast.keys[self.me]
        self.key = key
        self.config = QbftConfig(
            chain_id=CHAIN,
            public_key=None if settings.get("role") == "follower" else key.public_key,
            verify=self._verify,
            base_timeout_ms=int(settings.get("base", "1000")),
            max_timeout_ms=int(settings.get("cap", "16000")),
            min_block_interval_ms=int(settings.get("interval", "0")),
            empty_block_period_ms=int(settings.get("empty", "10000")),
        )
        self.shows_timers = settings.get("show") == "timers"
        self.signs_at_once = settings.get("signing", "at once") == "at once"
        self.validates_at_once = settings.get("blocks") == "valid"
        self.checks = 0
        self.disk = Disk(CHAIN, key.public_key, self.cast.genesis)
        self.signed: dict[tuple[int, int, int], bytes] = {}
        self.decisions: dict[int, bytes] = {}
        self.cut_at = ""
        self.height = 1
        self.order = list(settings.get("order", "".join(self.cast.names)))
        self._boot(quarantined=settings.get("quarantined") == "yes")
        self.opening = self._start(1, has_work=settings.get("work") == "yes")

    def _verify(self, key: bytes, message: bytes, signature: bytes) -> bool:
        self.checks += 1
        return self.cast.verify(key, message, signature)

    def _boot(self, quarantined: bool) -> None:
        self.core = QbftCore(self.config, quarantined=quarantined)
        self.timers: dict[TimerKind, Timer] = {}
        self.unsigned: list[Persist] = []
        self.validating: ValidateProposal | None = None
        self.fetching: FetchBlock | None = None
        self.building: BuildBlock | None = None
        self.decided: Decide | None = None
        self.is_running = True

    def _start(self, height: int, has_work: bool = False, recovered: Recovered | None = None) -> list[str]:
        self.height = height
        parent, _, certificate = self.disk.chain[-1]
        self.cast.tips[height - 1] = parent
        order = tuple(self.cast.keys[name].public_key for name in self.order)
        start = StartHeight(height, parent, certificate, self.cast.validators, order, has_work, recovered)
        return self.feed(start)

    # --- the host

    def feed(self, event: Input) -> list[str]:
        """Give one input; carry out the effects and say what they were."""
        lines: list[str] = []
        answers: list[Input] = [event]
        try:
            while answers:  # all effects of a step are carried out before the next input
                for effect in self.core.step(answers.pop(0)):
                    self._note(effect, lines, answers)
        except signer.PowerCut:
            self.disk.crash()
            self.is_running = False
            lines.append("power cut")
        return lines

    def _note(self, effect: Effect, lines: list[str], answers: list[Input]) -> None:
        if self.shows_timers or not isinstance(effect, SetTimer | CancelTimer):
            lines.append(self.render.effect(effect))
        match effect:
            case StoreBlock():
                self.disk.store_block(effect.header, effect.wtxids)
            case Persist():
                self.unsigned.append(effect)
                if self.signs_at_once:
                    answers.append(self._sign_next())
            case ValidateProposal():
                self.validating = effect
                if self.validates_at_once:
                    answers.append(Verdict(effect.ref, Outcome.OK))
            case FetchBlock():
                self.fetching = effect
            case BuildBlock():
                self.building = effect
            case SetTimer():
                assert effect.delay_ms > 0
                self.timers[effect.timer.kind] = effect.timer
            case CancelTimer():
                self.timers.pop(effect.kind, None)
            case Decide():
                height = effect.header.height
                assert height not in self.decisions, "decided twice"
                self.decisions[height] = effect.certificate.block_id
                self.decided = effect
            case QuarantineLifted():
                self.disk.renew()
            case Halt():
                verify_conflict_proof(effect.proof, self.cast.verify)
            case _:
                evidence = getattr(effect, "evidence", None)
                if evidence is not None:
                    assert verify_evidence(evidence, CHAIN, self.cast.verify)

    def _sign_next(self) -> Input:
        effect = self.unsigned.pop(0)
        record = effect.record
        if not signer.make_durable(self.disk, record, self._cut_here):
            return SigningFailed(effect.token, "SIGN_REGRESSION")
        self._record_signature(record.position, record.payload_hash)
        return VoteSigned(effect.token, self.key.sign(record.payload_hash))

    def _record_signature(self, position: tuple[int, int, int], payload: bytes) -> None:
        assert self.signed.setdefault(position, payload) == payload, f"two signatures at {position}"

    def _cut_here(self, where: str) -> None:
        if self.cut_at == where:
            self.cut_at = ""
            raise signer.PowerCut

    def machine(self) -> HeightMachine:
        """The height under way, for what can't be seen from outside."""
        assert self.core._machine is not None
        return self.core._machine
