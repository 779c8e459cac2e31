"""The attacks, one function each, named by what the villain does. Run one in a process of its own:

    python -m tests.attacks.villains flood_requests --seconds 10 < target.json

Each works until cancelled and counts its blows. Strangers have fresh identities; everybody else is a
permitted full node, and the last one a validator whose keys were taken.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count

import trio
from msgspec import structs

from consensus.messages import Proposal, encode_message, proposal_sighash
from drexnode.wire import (
    METHOD_BLOCKS,
    METHOD_STATUS,
    WIRE_VERSION,
    BlockPart,
    BlocksRequest,
    BlocksResponse,
    HeadAnnouncement,
    Status,
    TransactionBatch,
    decode_message,
)
from drexnode.wire import encode_message as encode_wire
from p2p.framing import encode_varint, frame
from p2p.host import open_host
from p2p.libp2p_gossip import GOSSIP_PROTOCOL
from p2p.link import PROTOCOLS, REQUEST_PROTOCOL
from p2p.transport import Channel, PeerId
from p2p.yamux import YamuxSession
from primitives.block import BlockHeader, block_id
from primitives.certificate import CERTIFICATE_VERSION, CommitCertificate, vote_domain
from primitives.keys import SigningKey
from primitives.merkle import merkle_root
from tests.attacks.target import GONE, Target
from tests.p2p.villains import noise_to, open_stream, session_to, socket_to, yamux_header

BEGUN = "begun"
CROWD = 16
UNKNOWN_IDS = 8_000
LOOK_S = 0.02
FIRST_BLOW_S = 30.0


async def flood_connections(target: Target) -> None:
    """Strangers dial, shake hands and are refused, as fast as they can."""

    async def dial() -> None:
        while True:
            target.blows += 1
            with suppress(*GONE):
                async with noise_to(target, secrets.token_bytes(32)) as pipe:
                    await pipe.receive()
            target.cuts += 1

    async with trio.open_nursery() as nursery:
        for _ in range(CROWD):
            nursery.start_soon(dial)


async def half_open(target: Target) -> None:
    """Strangers open sockets and say nothing, 100 a second."""

    async def hold() -> None:
        with suppress(OSError):
            async with socket_to(target) as stream:
                await stream.receive_some()
                target.cuts += 1

    async with trio.open_nursery() as nursery:
        while True:
            nursery.start_soon(hold)
            target.blows += 1
            await trio.sleep(0.01)


async def garbage(target: Target) -> None:
    """Strangers write random bytes, before the handshake and after it."""
    while True:
        target.blows += 1
        with suppress(*GONE):
            async with socket_to(target) as stream:
                await stream.send_all(os.urandom(4096))
                await stream.receive_some()
        with suppress(*GONE):
            async with noise_to(target, target.own_seed) as pipe:
                await pipe.send(os.urandom(4096))
                await pipe.receive()
        target.cuts += 1
        await trio.sleep(0.005)


async def slow_reader(target: Target) -> None:
    """Asks for the largest answers without end and reads none."""
    wanted = encode_wire(BlocksRequest(1, 0, 256, 512 * 1024))

    async def attack(session: YamuxSession) -> None:
        stream = await open_stream(session, REQUEST_PROTOCOL)
        for number in count():
            await stream.write(frame(_request(number, METHOD_BLOCKS, wanted)))
            target.blows += 1
            await trio.sleep(0.005)

    await target.again_and_again(attack)


async def flood_requests(target: Target) -> None:
    """Asks for the status 2,000 times a second and reads the answers."""

    async def attack(session: YamuxSession) -> None:
        stream = await open_stream(session, REQUEST_PROTOCOL)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_all, stream)
            for number in count():
                await stream.write(frame(_request(number, METHOD_STATUS, _status(target, 1))))
                target.blows += 1
                await trio.sleep(0.0005)

    await target.again_and_again(attack)


async def violate_windows(target: Target) -> None:
    """Writes far past the window of a stream."""
    chunk = yamux_header(0, 0, 1, 60_000) + bytes(60_000)
    while True:
        target.blows += 1
        with suppress(*GONE):
            async with noise_to(target, target.own_seed) as pipe:
                await pipe.send(yamux_header(1, 1, 1, 0))
                for _ in range(200):
                    await pipe.send(chunk)
        target.cuts += 1
        await trio.sleep(0.02)


async def flood_streams(target: Target) -> None:
    """Opens streams without end."""
    while True:
        with suppress(*GONE):
            async with noise_to(target, target.own_seed) as pipe:
                for number in range(1, 2**31, 2):
                    await pipe.send(yamux_header(1, 1, number, 0))
                    target.blows += 1
        target.cuts += 1
        await trio.sleep(0.02)


async def oversize_frames(target: Target) -> None:
    """Announces frames of gigabytes and writes as much as it may."""

    async def attack(session: YamuxSession) -> None:
        stream = await open_stream(session, PROTOCOLS[Channel.CONSENSUS])
        target.blows += 1
        await stream.write(encode_varint(2**34))
        while True:
            await stream.write(bytes(60_000))

    await target.again_and_again(attack)


async def garbage_messages(target: Target) -> None:
    """Well-framed garbage on every channel and by gossip."""

    async def attack(session: YamuxSession) -> None:
        for protocol in (*PROTOCOLS.values(), GOSSIP_PROTOCOL):
            stream = await open_stream(session, protocol)
            for _ in range(50):
                await stream.write(frame(os.urandom(2_000)))
                target.blows += 1
        await trio.sleep_forever()

    await target.again_and_again(attack)


async def replay(target: Target) -> None:
    """Sends final transactions and an old head again, as fast as it can."""
    batch = encode_wire(TransactionBatch(False, tuple(target.final_transactions(200))))
    tip = target.tip()
    head = encode_wire(HeadAnnouncement(tip, _certificate(tip, 3)))

    async def attack(session: YamuxSession) -> None:
        transactions = await open_stream(session, PROTOCOLS[Channel.TRANSACTIONS])
        blocks = await open_stream(session, PROTOCOLS[Channel.BLOCKS])
        while True:
            await transactions.write(frame(batch))
            await blocks.write(frame(head))
            target.blows += 1
            await trio.lowlevel.checkpoint()

    await target.again_and_again(attack)


async def invalid_transactions(target: Target) -> None:
    """Final transactions with a changed witness: each decodes and none is right, as fast as it can."""
    whole = target.final_transactions(200)

    async def attack(session: YamuxSession) -> None:
        stream = await open_stream(session, PROTOCOLS[Channel.TRANSACTIONS])
        while True:
            bent = tuple(raw[:-32] + os.urandom(32) for raw in whole)
            await stream.write(frame(encode_wire(TransactionBatch(False, bent))))
            target.blows += len(bent)
            await trio.lowlevel.checkpoint()

    await target.again_and_again(attack)


async def fake_heads(target: Target) -> None:
    """Announces heads that nobody decided, as fast as it can."""
    tip = target.tip()

    async def attack(session: YamuxSession) -> None:
        stream = await open_stream(session, PROTOCOLS[Channel.BLOCKS])
        for number in count(1):
            header = structs.replace(tip, height=tip.height + number, parent_id=os.urandom(32))
            await stream.write(frame(encode_wire(HeadAnnouncement(header, _certificate(header, 3)))))
            target.blows += 1
            await trio.lowlevel.checkpoint()

    await target.again_and_again(attack)


async def lying_ranges(target: Target) -> None:
    """Claims to be a thousand blocks ahead and serves blocks that nobody decided."""
    tip = target.tip()

    async def status(peer: PeerId, payload: bytes) -> bytes:
        return _status(target, tip.height + 1000)

    async def blocks(peer: PeerId, payload: bytes) -> bytes:
        asked = decode_message(payload, BlocksRequest)
        target.blows += 1
        served = []
        for height in range(asked.first_height, asked.first_height + asked.count):
            header = structs.replace(tip, height=height, tx_count=0, timestamp_ms=tip.timestamp_ms + height)
            served.append(BlockPart(header, _certificate(header, 3), 0, ()))
        return encode_wire(BlocksResponse(tuple(served)))

    network = f"{target.document.name}-{target.chain_id.hex()[:16]}"
    async with open_host(seed=target.own_seed, network=network, listen=()) as host:
        host.register_handler(METHOD_STATUS, status)
        host.register_handler(METHOD_BLOCKS, blocks)
        host.set_permitted({target.peer_id: target.listen_addresses})
        host.add_persistent(target.peer_id)
        while True:
            for event in await host.events.receive():
                target.cuts += event.reason is not None


async def unknown_ids(target: Target) -> None:
    """A validator proposes a block that lists thousands of transactions which nobody has, in each round of
    each height, whoever's turn it is."""
    key, peer_seed = (
        SigningKey(bytes.fromhex(target.validator_seed)),
        bytes.fromhex(target.validator_peer_seed),
    )
    async with session_to(target, peer_seed) as session:
        stream = await open_stream(session, PROTOCOLS[Channel.CONSENSUS])
        done: set[tuple[int, int]] = set()
        while True:
            height, round = await trio.to_thread.run_sync(target.deciding)
            tip = await trio.to_thread.run_sync(target.tip)
            if (height, round) not in done and tip.height + 1 == height:
                done.add((height, round))
                await stream.write(frame(encode_message(_proposal(target, tip, key, round))))
                target.blows += 1
            await trio.sleep(LOOK_S)


# --- what villains make


def _request(number: int, method: str, payload: bytes) -> bytes:
    head = b"\x00" + (number % 2**32).to_bytes(4, "big") + bytes([len(method)])
    return head + method.encode() + payload


def _status(target: Target, height: int) -> bytes:
    return encode_wire(Status(WIRE_VERSION, target.chain_id, height, bytes(32), 1, "full", "villain"))


def _certificate(header: BlockHeader, seals: int) -> CommitCertificate:
    forged = tuple((index, os.urandom(64)) for index in range(seals))
    return CommitCertificate(CERTIFICATE_VERSION, header.height, 0, block_id(header), forged)


def _proposal(target: Target, parent: BlockHeader, key: SigningKey, round: int) -> Proposal:
    wtxids = tuple(os.urandom(32) for _ in range(UNKNOWN_IDS))
    header = structs.replace(
        parent,
        height=parent.height + 1,
        parent_id=block_id(parent),
        timestamp_ms=parent.timestamp_ms + 1,
        proposer=key.public_key,
        tx_count=len(wtxids),
        tx_root=merkle_root(wtxids),
        validators_hash=parent.next_validators_hash,
    )
    domain = vote_domain(target.chain_id, header.validators_hash)
    signature = key.sign(proposal_sighash(domain, header.height, round, block_id(header)))
    signer = target.keys().index(key.public_key)
    return Proposal(header.height, round, signer, signature, header, wtxids, (), ())


async def _read_all(stream: object) -> None:
    while await stream.read():  # type: ignore[attr-defined]
        pass


ATTACKS: dict[str, Callable[[Target], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (
        flood_connections,
        half_open,
        garbage,
        slow_reader,
        flood_requests,
        violate_windows,
        flood_streams,
        oversize_frames,
        garbage_messages,
        replay,
        invalid_transactions,
        fake_heads,
        lying_ranges,
        unknown_ids,
    )
}


async def _carry_out(attack: Callable[[Target], Awaitable[None]], target: Target, seconds: float) -> None:
    """For so long; on a busy machine until the first blow, so that an attack never passes for one that was
    not carried out."""

    async def strike() -> None:
        with suppress(BaseExceptionGroup, *GONE):
            await attack(target)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(strike)
        await trio.sleep(seconds)
        with trio.move_on_after(FIRST_BLOW_S):
            while not target.blows:  # noqa: ASYNC110 - attacks only count
                await trio.sleep(LOOK_S)
        nursery.cancel_scope.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    """Say that it begins, carry one attack out, and print its counts as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("attack", choices=sorted(ATTACKS))
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args(arguments)
    target = Target.from_stdin()
    print(BEGUN, flush=True)
    trio.run(_carry_out, ATTACKS[given.attack], target, given.seconds)
    print(json.dumps({"blows": target.blows, "cuts": target.cuts}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
