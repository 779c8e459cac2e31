"""Takes transactions from peers into admission (docs/node.md, "Transactions between nodes").

Guarantees: a peer is heard within its budget of transactions and no further; what no honest node sends (bytes
that do not decode, a broken signature) is charged to whoever sent it: the peer itself on a direct stream, the
author for gossip, since neighbours relay without verifying. `INTAKE_TASKS` batches are judged at one time, so
that decoding goes on while signatures are verified elsewhere. An observer takes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio

from drexnode.dissemination import ValidatorPeers
from drexnode.relay_groups import RelayGroups
from drexnode.wire import Role, TransactionBatch, decode_message
from p2p.budget import TokenBucket
from p2p.transport import Channel, Inbox, Message, Offence, PeerId, Topic, Transport, Verdict
from primitives.errors import DecodeError
from primitives.limits import INTAKE_TASKS, MAX_PEERS, PEER_TRANSACTIONS_BURST, PEER_TRANSACTIONS_PER_SECOND


class Admit(Protocol):
    """`Admission.admit`, as much of it as is needed here."""

    def __call__(
        self, raws: Sequence[bytes], *, source: PeerId, relay: bool
    ) -> Awaitable[Sequence[object]]: ...


class Intake:
    """Reads the inboxes of transactions. `subscribe` before the network starts, then `run`."""

    def __init__(
        self,
        transport: Transport,
        role: Role,
        admit: Admit,
        validator_peers: ValidatorPeers,
        groups: RelayGroups,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._transport = transport
        self._role = role
        self._admit = admit
        self._validator_peers = validator_peers
        self._groups = groups
        self._clock = clock
        self._budgets: dict[PeerId, TokenBucket] = {}

    def subscribe(self) -> None:
        """Join the gossip that this role listens to."""
        if self._role == "full":
            self._transport.subscribe(Topic.TRANSACTIONS, judge)

    async def run(self) -> None:
        """Take transactions in until cancelled."""
        sender, receiver = trio.open_memory_channel[tuple[PeerId, bool, TransactionBatch]](0)
        async with trio.open_nursery() as nursery:
            for _ in range(INTAKE_TASKS):
                nursery.start_soon(self._admit_batches, receiver.clone())
            nursery.start_soon(self._read, self._transport.inbox(Channel.TRANSACTIONS), sender.clone())
            if self._role == "full":
                nursery.start_soon(self._read, self._transport.inbox(Topic.TRANSACTIONS), sender.clone())

    async def _read(
        self, inbox: Inbox, sender: trio.MemorySendChannel[tuple[PeerId, bool, TransactionBatch]]
    ) -> None:
        while True:
            for message in await inbox.receive():
                source = message.author or message.peer
                batch = self._open(message, source)
                if batch is not None:
                    await sender.send((source, self._may_relay(message, batch), batch))

    def _open(self, message: Message, source: PeerId) -> TransactionBatch | None:
        """The batch in a message, or None when it is not to be heard, for which its sender may be charged."""
        if self._role == "observer":
            self._transport.report(source, Offence.STALE, "transactions sent to an observer")
            return None
        try:
            batch = decode_message(message.payload, TransactionBatch)
        except DecodeError as error:
            self._transport.report(source, Offence.INVALID_MESSAGE, f"transaction batch: {error.code}")
            return None
        if not self._budget(source).try_take(len(batch.transactions), self._clock()):
            self._transport.report(source, Offence.FLOODING, "transactions over the peer's budget")
            return None
        return batch

    def _budget(self, peer: PeerId) -> TokenBucket:
        budget = self._budgets.get(peer)
        if budget is None:
            while len(self._budgets) >= MAX_PEERS:  # the one that came first; a newcomer's is full
                del self._budgets[next(iter(self._budgets))]
            budget = TokenBucket(PEER_TRANSACTIONS_PER_SECOND, PEER_TRANSACTIONS_BURST, self._clock())
            self._budgets[peer] = budget
        return budget

    def _may_relay(self, message: Message, batch: TransactionBatch) -> bool:
        """A validator passes on what a validator sent only if it asks for that, in a network of groups."""
        told_by_validator = self._role == "validator" and message.peer in self._validator_peers()
        return batch.relay and (not told_by_validator or self._groups.in_use)

    async def _admit_batches(
        self, receiver: trio.MemoryReceiveChannel[tuple[PeerId, bool, TransactionBatch]]
    ) -> None:
        async for source, relay, batch in receiver:
            await self._admit(batch.transactions, source=source, relay=relay)


def judge(_: PeerId, payload: bytes) -> Verdict:
    """The topic's validator: relay only what is a batch. Signatures are verified after that."""
    try:
        decode_message(payload, TransactionBatch)
    except DecodeError:
        return Verdict.REJECT
    return Verdict.ACCEPT
