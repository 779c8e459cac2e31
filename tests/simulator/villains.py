"""Validators that misbehave, each named by what it does. They sign with their own keys only.

A villain runs the real engine and bends what leaves it; what it signs need not be durable or consistent.
"""

from __future__ import annotations

from typing import Any

from msgspec import structs

from consensus.messages import (
    Commit,
    Decided,
    Message,
    Prepare,
    Proposal,
    RoundChange,
    SignedRoundChange,
    Vote,
    decode_message,
    encode_message,
    vote_payload_hash,
    with_signature,
)
from primitives.block import block_id
from primitives.certificate import CommitCertificate, vote_domain
from primitives.errors import DecodeError
from tests.simulator import chain
from tests.simulator.node import Node


class Villain(Node):
    """Signs anything: keeps a helper for making signed messages of its own."""

    def forge(self, message: Vote) -> bytes:
        """`message` with this villain's true signature."""
        domain = vote_domain(chain.CHAIN_ID, self.states[-1].validators.hash)
        payload = vote_payload_hash(domain, message)
        position = (message.height, message.round, 0)
        self.world.oracle.on_sign(self.number, self.key, position, payload, True)
        return encode_message(with_signature(message, chain.sign(self.key, payload)))

    def send_each(self, make: Any) -> None:
        """Send `make(target)` to every other node; None sends nothing."""
        for target in range(len(self.world.nodes)):
            data = make(target) if target != self.number else None
            if data is not None:
                self.world.send(self.number, target, data)


class Twin(Villain):
    """A second machine with the same key and its own memory: honest in everything but being there."""


class SilentProposer(Villain):
    """Votes, but never proposes."""

    def broadcast(self, data: bytes) -> None:
        if not isinstance(decode_message(data), Proposal):
            super().broadcast(data)


class Withholder(Villain):
    """Speaks to some only, a different some each time."""

    def broadcast(self, data: bytes) -> None:
        self.send_each(lambda target: data if self.world.random.random() < 0.5 else None)


class EquivocatingProposer(Villain):
    """Proposes one block to some and another to the others, and votes for both."""

    def broadcast(self, data: bytes) -> None:
        message = decode_message(data)
        if not isinstance(message, Proposal) or message.prepares:
            super().broadcast(data)
            return
        header = structs.replace(message.header, timestamp_ms=message.header.timestamp_ms + 1)
        other = self.forge(structs.replace(message, header=header))
        side = {t for t in range(len(self.world.nodes)) if self.world.random.random() < 0.5}
        self.send_each(lambda target: other if target in side else data)
        for kind in (Prepare, Commit):
            for block in (block_id(message.header), block_id(header)):
                vote = self.forge(kind(message.height, message.round, message.signer, bytes(64), block))
                super().broadcast(vote)


class DoubleVoter(Villain):
    """Prepares and commits whatever it hears of, in every round, to everybody: once for each who tells it,
    or two of them would answer each other without end."""

    def receive(self, source: int, data: bytes) -> None:
        message = read(data)
        heard: set[tuple[int, bytes]] = self.__dict__.setdefault("heard", set())
        if isinstance(message, Prepare) and self.core is not None and (source, data) not in heard:
            heard.add((source, data))
            own = self.states[-1].validators.index_of(self.key)
            if own is not None and message.height == len(self.disk.chain):
                for kind in (Prepare, Commit):
                    vote = kind(message.height, message.round, own, bytes(64), message.block_id)
                    super().broadcast(self.forge(vote))
        super().receive(source, data)


class LyingRoundChanger(Villain):
    """Claims to have prepared what it did not, or forgets what it did."""

    def broadcast(self, data: bytes) -> None:
        message = decode_message(data)
        if isinstance(message, RoundChange):
            lie = structs.replace(message, prepared=None, header=None, prepares=())
            if message.prepared is None and message.round > 1:
                lie = structs.replace(lie, prepared=(message.round - 1, self.world.random.randbytes(32)))
            lied = self.forge(lie)
            self.send_each(lambda target: lied if self.world.random.random() < 0.7 else data)
            return
        super().broadcast(data)


class Hurrier(Villain):
    """Asks for far rounds all the time."""

    def broadcast(self, data: bytes) -> None:
        super().broadcast(data)
        message = decode_message(data)
        if isinstance(message, Prepare | RoundChange):
            round = message.round + self.world.random.choice((1, 2, 7, 1_000_000))
            hurry = RoundChange(message.height, round, message.signer, bytes(64), None, None, ())
            super().broadcast(self.forge(hurry))


class Replayer(Villain):
    """Sends old messages of everybody again, at random."""

    def receive(self, source: int, data: bytes) -> None:
        heard: list[bytes] = self.__dict__.setdefault("heard", [])
        if len(heard) < 300:
            heard.append(data)
        if self.world.random.random() < 0.1 and self.core is not None:
            super().broadcast(self.world.random.choice(heard))
        super().receive(source, data)


class Vandal(Villain):
    """Changes bytes of what it sends on, and sends noise."""

    def receive(self, source: int, data: bytes) -> None:
        if self.world.random.random() < 0.2 and self.core is not None:
            spoiled = bytearray(data)
            spoiled[self.world.random.randrange(len(spoiled))] ^= 1 << self.world.random.randrange(8)
            super().broadcast(bytes(spoiled))
        super().receive(source, data)


class Usurper(Villain):
    """In its turn above round 0 it proposes a fresh block, whatever others prepared, with a false reason."""

    def reason(self, change: RoundChange) -> tuple[SignedRoundChange, ...]:
        """The ROUND_CHANGEs it attaches: none."""
        return ()

    def broadcast(self, data: bytes) -> None:
        message = decode_message(data)
        if isinstance(message, Prepare | Commit) and message.round > 0:
            return  # no help for what others propose
        super().broadcast(data)
        machine = self.core._machine if self.core is not None else None
        if not isinstance(message, RoundChange) or machine is None:
            return
        if message.height != machine.height or machine.proposer_of(message.round) != message.signer:
            return
        parent = self.disk.chain[-1][0]
        now = self.world.now + message.round
        header = chain.make_header(self.states[-1], parent, block_id(parent), now, self.key, ())
        proposal = Proposal(
            message.height, message.round, message.signer, bytes(64), header, (), self.reason(message), ()
        )
        super().broadcast(self.forge(proposal))
        for kind in (Prepare, Commit):
            vote = kind(message.height, message.round, message.signer, bytes(64), block_id(header))
            super().broadcast(self.forge(vote))


class Duplicator(Usurper):
    """Its reason is its own empty ROUND_CHANGE, as often as a quorum needs."""

    def reason(self, change: RoundChange) -> tuple[SignedRoundChange, ...]:
        empty = structs.replace(change, prepared=None, header=None, prepares=())
        signed = decode_message(self.forge(empty))
        assert isinstance(signed, RoundChange)
        return (SignedRoundChange(signed.signer, signed.signature, None),) * self.states[-1].validators.quorum


class Rejustifier(Usurper):
    """Its reason is what others once signed: ROUND_CHANGEs of lower rounds or heights, claims left out."""

    def receive(self, source: int, data: bytes) -> None:
        message = read(data)
        if isinstance(message, RoundChange) and message.prepared is None:
            old: dict[int, SignedRoundChange] = self.__dict__.setdefault("old", {})
            old[message.signer] = SignedRoundChange(message.signer, message.signature, None)
        super().receive(source, data)

    def reason(self, change: RoundChange) -> tuple[SignedRoundChange, ...]:
        old: dict[int, SignedRoundChange] = self.__dict__.setdefault("old", {})
        own = decode_message(self.forge(structs.replace(change, prepared=None, header=None, prepares=())))
        assert isinstance(own, RoundChange)
        old[own.signer] = SignedRoundChange(own.signer, own.signature, None)
        return tuple(old[signer] for signer in sorted(old))


class FalseSyncer(Villain):
    """Answers every ROUND_CHANGE with a block that nobody decided and seals that nobody made."""

    def receive(self, source: int, data: bytes) -> None:
        message = read(data)
        if isinstance(message, RoundChange) and self.core is not None:
            parent = self.disk.chain[-1][0]
            header = chain.make_header(
                self.states[-1], parent, block_id(parent), self.world.now, self.key, ()
            )
            seals = tuple((i, bytes(64)) for i in range(self.states[-1].validators.quorum))
            certificate = CommitCertificate(1, header.height, 0, block_id(header), seals)
            decided = Decided(header.height, header, certificate)
            self.world.send(self.number, source, encode_message(decided))
        super().receive(source, data)


class Amnesiac(Villain):
    """Forgets its votes at every restart, and restarts a lot."""

    def boot(self) -> None:
        self.faults.forgets_votes = True
        self.faults.restart_after_ms = 5
        super().boot()
        self._later(50 + self.world.random.randrange(400), self.crash)


ATTACKERS: list[type[Node]] = [Usurper, Duplicator, Rejustifier, LyingRoundChanger, EquivocatingProposer]
VILLAINS: list[type[Node]] = [
    SilentProposer,
    Withholder,
    EquivocatingProposer,
    DoubleVoter,
    LyingRoundChanger,
    Hurrier,
    Replayer,
    Vandal,
    Usurper,
    Duplicator,
    Rejustifier,
    FalseSyncer,
    Amnesiac,
]


def read(data: bytes) -> Message | None:
    try:
        return decode_message(data)
    except DecodeError:
        return None
