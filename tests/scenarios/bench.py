"""Plays one dialogue with one real engine: a host of few lines, the real journal and watermark formats.

Always on: no position (height, round, step) is ever signed with two payloads, across restarts; a decision
is made once a height.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable

from msgspec import structs

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
    Reject,
    RequestSync,
    SetTimer,
    StoreBlock,
    ValidateProposal,
)
from consensus.evidence import verify_conflict_proof, verify_evidence
from consensus.height import HeightMachine
from consensus.inputs import (
    BlockBuilt,
    BlockFetched,
    BlockSynced,
    Input,
    MessageReceived,
    Outcome,
    PeerConnected,
    PeerId,
    Recovered,
    SigningFailed,
    StartHeight,
    Timer,
    TimerExpired,
    TimerKind,
    TipReported,
    Verdict,
    VoteSigned,
    WorkAvailable,
)
from consensus.messages import Decided, encode_message
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from storage.signing_state import Quarantine
from tests.scenarios.cast import CHAIN, Cast, MessageWords
from tests.scenarios.language import Scenario, Step
from tests.scenarios.render import STEPS, Renderer
from tests.simulator import signer
from tests.simulator.disk import Disk

KINDS = ("PROPOSAL", "PREPARE", "COMMIT", "ROUND_CHANGE")
OUTCOMES = {
    "ok": Outcome.OK,
    "invalid": Outcome.INVALID,
    "later": Outcome.LATER,
    "wrong-list": Outcome.WRONG_LIST,
    "unavailable": Outcome.UNAVAILABLE,
}


class Bench:
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

    # --- the dialogue

    def play(self, step: Step) -> list[str]:
        """What a `>` line causes."""
        words = step.text.split()
        if words[0] in KINDS:
            said = MessageWords(self.cast, words, self.height)
            return self.feed(MessageReceived(PeerId(said.peer), encode_message(said.message())))
        handler: Callable[[list[str]], list[str]] | None = getattr(self, f"_play_{words[0]}", None)
        if handler is None:
            raise ValueError(f"{self.scenario.path.name}:{step.line}: not understood: {step.text}")
        return handler(words[1:])

    def _play_verdict(self, words: list[str]) -> list[str]:
        assert self.validating is not None
        delay = int(words[1]) if len(words) > 1 else 0
        return self.feed(Verdict(self.validating.ref, OUTCOMES[words[0]], "told by the scenario", delay))

    def _play_signed(self, words: list[str]) -> list[str]:
        return self.feed(self._sign_next())

    def _play_signing(self, words: list[str]) -> list[str]:
        if words[0] == "fails":
            return self.feed(SigningFailed(self.unsigned.pop(0).token, "signer unreachable"))
        self.signs_at_once = words == ["at", "once"]
        return []

    def _play_built(self, words: list[str]) -> list[str]:
        """`built x [for rN]`: the host answers the build under way, or one asked for in round N."""
        assert self.building is not None
        round = int(words[2].removeprefix("r")) if "for" in words else self.building.round
        header = self.cast.block(words[0], self.height, self.me)
        return self.feed(BlockBuilt(self.building.height, round, header, self.cast.wtxids(header)))

    def _play_fetched(self, words: list[str]) -> list[str]:
        assert self.fetching is not None
        wtxids = None if words == ["nothing"] else self.cast.wtxids(self.cast.block(words[0], self.height))
        return self.feed(BlockFetched(self.fetching.ref, wtxids))

    def _certified(self, words: list[str]) -> tuple[BlockHeader, CommitCertificate, str]:
        """`x r0 by A B C [height N] from P`."""
        height = int(words[words.index("height") + 1]) if "height" in words else self.height
        header = self.cast.block(words[0], height)
        ends = [place for place, word in enumerate(words) if word in ("height", "from")]
        authors = words[words.index("by") + 1 : min(ends)]
        certificate = self.cast.certificate(header, int(words[1].removeprefix("r")), authors)
        return header, certificate, words[words.index("from") + 1]

    def _play_synced(self, words: list[str]) -> list[str]:
        header, certificate, peer = self._certified(words)
        return self.feed(BlockSynced(PeerId(peer), header, self.cast.wtxids(header), certificate))

    def _play_DECIDED(self, words: list[str]) -> list[str]:
        header, certificate, peer = self._certified(words)
        message = Decided(header.height, header, certificate)
        return self.feed(MessageReceived(PeerId(peer), encode_message(message)))

    def _play_timer(self, words: list[str]) -> list[str]:
        """`timer ROUND`: the running timer of that kind expires."""
        return self.feed(TimerExpired(self.timers.pop(TimerKind[words[0]])))

    def _play_stale(self, words: list[str]) -> list[str]:
        """`stale ROUND r0`: an expiry that was cancelled or replaced long ago."""
        timer = Timer(TimerKind[words[0]], self.height, int(words[1].removeprefix("r")))
        assert self.timers.get(timer.kind) != timer
        return self.feed(TimerExpired(timer))

    def _play_work(self, words: list[str]) -> list[str]:
        return self.feed(WorkAvailable())

    def _play_connected(self, words: list[str]) -> list[str]:
        return self.feed(PeerConnected(PeerId(words[0])))

    def _play_tip(self, words: list[str]) -> list[str]:
        return self.feed(TipReported(self.cast.keys[words[0]].public_key, int(words[1])))

    def _play_next(self, words: list[str]) -> list[str]:
        """`next height [with work] [order ABCD] [set ABCE]`: the block is stored, the next height starts."""
        assert self.decided is not None
        decided, self.decided = self.decided, None
        self.disk.store_decided(decided.header, decided.wtxids, decided.certificate)
        if "set" in words:
            self.cast.use_set(self.cast.validators.epoch + 1, words[words.index("set") + 1])
        if "order" in words:
            self.order = list(words[words.index("order") + 1])
        return self._start(self.height + 1, has_work="work" in words)

    def _play_opening(self, words: list[str]) -> list[str]:
        """What starting height 1 caused, before anything else happened."""
        return self.opening

    def _play_garbage(self, words: list[str]) -> list[str]:
        """`garbage 500`: random bytes and valid messages with changed bytes; at most a peer is rejected."""
        source = random.Random(40)
        valid = [
            encode_message(MessageWords(self.cast, text.split(), self.height).message())
            for text in (
                "PROPOSAL A r0 x",
                "PREPARE B r0 x",
                "COMMIT C r0 x",
                "ROUND_CHANGE B r1 prepared 0 x by A B C",
                "PROPOSAL B r1 x with A:0:x B C prepares 0 A B C",
            )
        ]
        for _ in range(int(words[0])):
            data = (
                bytearray(source.choice(valid)) if source.random() < 0.7 else bytearray(source.randbytes(40))
            )
            for _ in range(source.randrange(1, 4)):
                data[source.randrange(len(data))] = source.randrange(256)
            if source.random() < 0.2:
                del data[source.randrange(len(data)) :]
            if bytes(data) in valid:
                continue
            for effect in self.core.step(MessageReceived(PeerId("garbage"), bytes(data))):
                assert isinstance(effect, Reject | RequestSync | SetTimer), effect
        return []

    def _play_flood(self, words: list[str]) -> list[str]:
        """`flood B 20000 to 1000000`: B sends votes of all kinds for rounds up to that number."""
        author, count, last = words[0], int(words[1]), int(words[3])
        for i in range(count):
            round = 1 + i * last // count
            for text in (
                f"PREPARE {author} r{round} x",
                f"COMMIT {author} r{round} x",
                f"ROUND_CHANGE {author} r{round}",
            ):
                said = MessageWords(self.cast, text.split(), self.height)
                self.core.step(MessageReceived(PeerId(author), encode_message(said.message())))
        return []

    def _play_future(self, words: list[str]) -> list[str]:
        """`future B 2000`: peer B delivers messages of the next height, a new round each."""
        for i in range(int(words[1])):
            said = MessageWords(
                self.cast, f"PREPARE {words[0]} r{i} x height {self.height + 1}".split(), self.height
            )
            self.core.step(MessageReceived(PeerId(words[0]), encode_message(said.message())))
        return []

    # --- crashes

    def _play_cut(self, words: list[str]) -> list[str]:
        """`cut the power before the watermark`: at that point of the next vote."""
        self.cut_at = " ".join(words).removeprefix("the power ")
        return []

    def _play_crash(self, words: list[str]) -> list[str]:
        self.disk.crash()
        self.is_running = False
        return []

    def _play_lose(self, words: list[str]) -> list[str]:
        """`lose the journal` (or `slot 0`, `slot 1`, `block bodies`): it is gone when the node restarts."""
        what = words[-1]
        if what == "journal":
            self.disk.restart_journal(())
        elif what == "bodies":
            self.disk.blocks.clear()
        else:
            self.disk.slots[int(what)] = b""
        return []

    def _play_restart(self, words: list[str]) -> list[str]:
        """`restart [set BE order EB]`: perhaps under a recovery override of the height's set."""
        if "set" in words:
            self.cast.use_set(self.cast.validators.epoch + 1, words[words.index("set") + 1])
            self.order = list(words[words.index("order") + 1])
        recovery = self.disk.recover()
        if isinstance(recovery, Quarantine):
            self._boot(quarantined=True)
            return ["quarantine", *self._start(len(self.disk.chain))]
        self.disk.level(recovery)
        self._boot(quarantined=False)
        found = signer.what_was_found(self.disk, recovery)
        return self._start(len(self.disk.chain), recovered=found)

    def _play_forget(self, words: list[str]) -> list[str]:
        """The watermark holds only the lock's name, and the journal is lost."""
        recovery = self.disk.recover()
        assert not isinstance(recovery, Quarantine)
        last = recovery.last
        assert last is not None
        assert last.lock is not None
        named = structs.replace(last, lock=structs.replace(last.lock, header=None, prepares=()))
        self.disk.restart_journal(())
        for _ in range(2):
            self.disk.write_watermark(named)
            self.disk.sync_watermark()
        return []

    def _play_damage(self, words: list[str]) -> list[str]:
        """`damage the journal everywhere` (or `slot 0`): cut it at every byte, and flip every byte, each time
        on a fresh copy of the disk; restart and tempt the node with the lines of `Then:`."""
        disk, signed, decisions = self.disk, self.signed, self.decisions
        slot = int(words[1]) if words[0] == "slot" else None
        original = disk.journal if slot is None else disk.slots[slot]
        for place in range(len(original)):
            flipped = original[:place] + bytes([original[place] ^ 0x55]) + original[place + 1 :]
            for damaged in (original[:place], flipped):
                self.disk = copy.deepcopy(disk)
                if slot is None:
                    self.disk.journal = damaged
                else:
                    self.disk.slots[slot] = damaged
                self.signed, self.decisions = dict(signed), {}
                self._play_restart([])
                self._tempt()
        self.disk, self.signed, self.decisions = disk, signed, decisions
        return []

    def _tempt(self) -> None:
        for text in self.scenario.settings["then"].split(";"):
            words = text.split()
            if words[0] != "timer" or TimerKind[words[1]] in self.timers:
                self.play(Step(0, ">", text.strip()))

    # --- checks

    def check(self, step: Step) -> None:
        """What a `=` line demands."""
        words = step.text.split()
        getattr(self, f"_check_{words[0]}")(words[1:])

    def _check_checks(self, words: list[str]) -> None:
        """`checks 3`: so many signatures were verified since the last time this was asked."""
        assert self.checks == int(words[0]), f"{self.checks} signatures were checked"
        self.checks = 0

    def _check_round(self, words: list[str]) -> None:
        assert self._machine().round == int(words[0]), self._machine().round

    def _check_lock(self, words: list[str]) -> None:
        lock = self._machine().lock
        found = "none" if lock is None else f"{lock.round} {self.cast.block_name(lock.block_id)}"
        assert found == " ".join(words), found

    def _check_waiting(self, words: list[str]) -> None:
        assert self._machine().is_waiting

    def _check_undecided(self, words: list[str]) -> None:
        assert self._machine().decided is None

    def _check_halted(self, words: list[str]) -> None:
        assert self.core.is_halted

    def _check_timer(self, words: list[str]) -> None:
        """`timer ROUND runs` or `timer ROUND rests`."""
        assert (TimerKind[words[0]] in self.timers) == (words[1] == "runs"), self.timers

    def _check_signed(self, words: list[str]) -> None:
        """`signed COMMIT r0 x`: that vote was signed, durable before."""
        position = (self.height, int(words[1].removeprefix("r")), STEPS.index(words[0]))
        assert position in self.signed, self.signed.keys()

    def _check_bounded(self, words: list[str]) -> None:
        """Whatever was sent, the engine keeps little of it."""
        machine, size = self._machine(), self.cast.validators.size
        commits = sum(len(rounds) for rounds in machine.ballots.commits._by_signer)
        later = sum(early is not None for early in machine.ballots.prepares._later)
        assert commits <= 17 * size
        assert later <= size
        assert len(machine.proposals.candidates) <= 17
        assert len(machine.verifier._known) <= 8192
        assert len(self.core._future) <= 256 * 4

    def _check_known(self, words: list[str]) -> None:
        """`known x`: the header's block can be named again (used to tie names over restarts)."""
        assert block_id(self.cast.block(words[0], self.height))

    def _machine(self) -> HeightMachine:
        assert self.core._machine is not None
        return self.core._machine
