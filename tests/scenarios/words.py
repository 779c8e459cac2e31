"""What the `>` lines of a dialogue do to the engine, but for crashes (`tests.scenarios.crashes`)."""

from __future__ import annotations

import random
from collections.abc import Callable

from consensus.effects import Reject, RequestSync, SetTimer
from consensus.inputs import (
    BlockBuilt,
    BlockFetched,
    BlockSynced,
    MessageReceived,
    Outcome,
    PeerConnected,
    PeerId,
    SigningFailed,
    StartHeight,
    Timer,
    TimerExpired,
    TimerKind,
    TipReported,
    Verdict,
    WorkAvailable,
)
from consensus.messages import Decided, encode_message
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.errors import InvariantViolation
from tests.scenarios.cast import MessageWords
from tests.scenarios.host import Host
from tests.scenarios.language import Step

KINDS = ("PROPOSAL", "PREPARE", "COMMIT", "ROUND_CHANGE")
OUTCOMES = {
    "ok": Outcome.OK,
    "invalid": Outcome.INVALID,
    "later": Outcome.LATER,
    "wrong-list": Outcome.WRONG_LIST,
    "unavailable": Outcome.UNAVAILABLE,
}


class Words(Host):
    """The host's inputs by name."""

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

    def _play_leap(self, words: list[str]) -> list[str]:
        """`leap to height 4`: the host has made final what it got by sync, and starts there."""
        target = int(words[-1])
        while (height := len(self.disk.chain)) < target:
            header = self.cast.tips[height] = self.cast.block(f"s{height}", height)
            self.disk.store_decided(header, (), self.cast.certificate(header, 0, ["A", "B", "C"]))
        return self._start(target)

    def _play_start(self, words: list[str]) -> list[str]:
        """`start height 3 [order ABC]`: a host that breaks its contract; the engine changes nothing."""
        order = words[words.index("order") + 1] if "order" in words else self.order
        keys = tuple(self.cast.keys[name].public_key for name in order)
        parent, _, certificate = self.disk.chain[-1]
        if self.decided is not None:
            parent, certificate = self.decided.header, self.decided.certificate
        try:
            self.core.step(StartHeight(int(words[1]), parent, certificate, self.cast.validators, keys))
        except InvariantViolation as broken:
            return [f"refused {broken.code}"]
        raise AssertionError("the engine started")

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

    def _play_crowd(self, words: list[str]) -> list[str]:
        """`crowd of 600 peers`: each delivers one message of the next height."""
        said = MessageWords(self.cast, f"PREPARE A r0 x height {self.height + 1}".split(), self.height)
        for i in range(int(words[1])):
            self.core.step(MessageReceived(PeerId(f"peer {i}"), encode_message(said.message())))
        return []
