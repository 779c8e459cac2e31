"""Carries admitted transactions to those who build blocks (docs/node.md, "Transactions between nodes").

Guarantees: a transaction that comes alone leaves at once; under load transactions leave in frames of up to
`BATCH_TARGET_BYTES`, never one by one; nothing here waits for a peer, and what a full queue or a dead
connection loses is offered again while it is pending (`run`) and can be asked for by its wtxid. Whatever a
validator sent is never passed on to validators: it told them itself. But of many validators it tells one in
each group, and each of these, once it has verified them itself, the rest of its group (relay_groups.py).

A validator and a full node send to the validators they are connected to, on direct streams; a full node of a
network of groups to one, each time another. A full node also gossips what its own RPC took in, for other full
nodes. An observer sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import trio

from drexnode.relay_groups import RelayGroups
from drexnode.wire import Role, TransactionBatch, encode_message
from ledger.transaction import Transaction
from p2p.transport import Channel, PeerId, Topic, Transport
from primitives.limits import (
    BATCH_TARGET_BYTES,
    DIRECT_BATCH_PAUSE_MS,
    GOSSIP_BATCH_PAUSE_MS,
    MAX_BATCH_TRANSACTIONS,
    OUTBOX_BYTES,
    RESEND_INTERVAL_MS,
)

ValidatorPeers = Callable[[], Collection[PeerId]]
"""The peer ids of the current validators, this node's own left out."""


class Outbox:
    """Gathers raw transactions and hands them to `send` in frames: at once after a quiet spell of `pause_ms`,
    else when a frame is full or the pause is over. Past `OUTBOX_BYTES` new ones are dropped and counted."""

    def __init__(self, send: Callable[[list[bytes]], None], pause_ms: int) -> None:
        self._send = send
        self._pause_s = pause_ms / 1000
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._some = trio.Event()
        self._full = trio.Event()
        self.dropped = 0

    def put(self, raws: Iterable[bytes]) -> None:
        """Queue for sending; never waits."""
        waiting = self._waiting
        for raw in raws:
            if self._bytes + len(raw) > OUTBOX_BYTES:
                self.dropped += 1
                continue
            waiting.append(raw)
            self._bytes += len(raw)
        if waiting:
            self._some.set()
        if self._bytes >= BATCH_TARGET_BYTES or len(waiting) >= MAX_BATCH_TRANSACTIONS:
            self._full.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._some.wait()
            self._flush(whole=True)
            with trio.move_on_after(self._pause_s):
                await self._send_full_frames()

    async def _send_full_frames(self) -> None:
        while True:
            await self._full.wait()
            self._flush(whole=False)

    def _flush(self, *, whole: bool) -> None:
        """Send what waits; without `whole`, keep a last frame that is not full yet."""
        frames = list(pack_frames(self._waiting))
        rest = [] if whole or not frames else frames.pop()
        for frame in frames:
            self._send(frame)
        self._waiting = rest
        self._bytes = sum(map(len, rest))
        self._full = trio.Event()
        if not rest:
            self._some = trio.Event()


def pack_frames(raws: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut into frames of at most `BATCH_TARGET_BYTES`, in order; a larger transaction travels alone."""
    frame: list[bytes] = []
    size = 0
    for raw in raws:
        if frame and (size + len(raw) > BATCH_TARGET_BYTES or len(frame) == MAX_BATCH_TRANSACTIONS):
            yield frame
            frame, size = [], 0
        frame.append(raw)
        size += len(raw)
    if frame:
        yield frame


class Dissemination:
    """What a node tells others about its pool."""

    def __init__(
        self, transport: Transport, role: Role, validator_peers: ValidatorPeers, groups: RelayGroups
    ) -> None:
        self._transport = transport
        self._role = role
        self._validator_peers = validator_peers
        self._groups = groups
        self._direct = Outbox(self._send_to_validators, DIRECT_BATCH_PAUSE_MS)
        self._to_group = Outbox(self._send_to_group, DIRECT_BATCH_PAUSE_MS)
        self._gossip = Outbox(self._publish, GOSSIP_BATCH_PAUSE_MS)
        self._turn = 0

    def spread(self, transactions: Sequence[Transaction], *, source: PeerId | None) -> None:
        """Send newly admitted transactions on, of a peer or of the own RPC (`source` None). Never waits."""
        if self._role == "observer" or not transactions:
            return
        raws = [transaction.raw for transaction in transactions]
        if self._groups.in_use and source in self._validator_peers():
            self._to_group.put(raws)  # it told the other groups itself
            return
        self._direct.put(raws)
        if source is None and self._role == "full":
            self._gossip.put(raws)

    def push(self, transactions: Iterable[Transaction], peer: PeerId | None = None) -> None:
        """Send to one peer, or to every connected validator, now: a proposer may be missing them."""
        peers = [peer] if peer is not None else self._reached()
        if peer is None and self._groups.in_use:
            peers = self._heads(peers)
        for frame in pack_frames(transaction.raw for transaction in transactions):
            self._transport.broadcast(peers, Channel.TRANSACTIONS, _payload(frame, relay=False))

    async def run(self, unfinished: Callable[[], Sequence[Transaction]]) -> None:
        """Send until cancelled, and offer `unfinished()` again from time to time: what this node took in and
        has promised to carry, but has waited long for a block (a lost frame, a validator that restarted)."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._direct.run)
            nursery.start_soon(self._to_group.run)
            nursery.start_soon(self._gossip.run)
            while True:
                await trio.sleep(RESEND_INTERVAL_MS / 1000)
                self.spread(unfinished(), source=None)

    @property
    def dropped(self) -> int:
        """Transactions not sent because too many waited."""
        return self._direct.dropped + self._to_group.dropped + self._gossip.dropped

    def _reached(self) -> list[PeerId]:
        return sorted(peer for peer in self._validator_peers() if self._transport.is_connected(peer))

    def _send_to_validators(self, frame: list[bytes]) -> None:
        """To each connected validator; a full node that misses some asks one, in turn, to tell the others. Of
        many validators: to one of each group, and a node that speaks for none of them to one at all."""
        reached = self._reached()
        if self._groups.in_use:
            heads = self._heads(reached)
            asked = heads if self._groups.is_member else heads[self._turn % len(heads) :][:1] if heads else []
            self._transport.broadcast(asked, Channel.TRANSACTIONS, _payload(frame, relay=True))
            return
        if self._role == "full" and 0 < len(reached) < len(self._validator_peers()):
            self._turn += 1
            teller = reached.pop(self._turn % len(reached))
            self._transport.send(teller, Channel.TRANSACTIONS, _payload(frame, relay=True))
        if reached:
            self._transport.broadcast(reached, Channel.TRANSACTIONS, _payload(frame, relay=False))

    def _send_to_group(self, frame: list[bytes]) -> None:
        mates = [peer for peer in self._groups.mates() if self._transport.is_connected(peer)]
        self._transport.broadcast(mates, Channel.TRANSACTIONS, _payload(frame, relay=False))

    def _heads(self, reached: Sequence[PeerId]) -> list[PeerId]:
        """Whom to ask now: another one of each group each time, so that a silent one is passed by."""
        self._turn += 1
        return self._groups.heads(frozenset(reached), self._turn)

    def _publish(self, frame: list[bytes]) -> None:
        """To other full nodes, who are asked to tell the validators only if this node reaches none."""
        self._transport.publish(Topic.TRANSACTIONS, _payload(frame, relay=not self._reached()))


def _payload(frame: list[bytes], *, relay: bool) -> bytes:
    return encode_message(TransactionBatch(relay, tuple(frame)))
