"""Evidence between nodes: verified by each, passed on to all, never believed, never without bound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from msgspec import structs

from consensus.evidence import Evidence
from drexnode.evidence_exchange import EvidenceExchange
from drexnode.evidence_store import EvidenceStore
from drexnode.finalizer import Finalizer
from drexnode.metrics import Metrics
from drexnode.wire import EvidenceOffer, encode_message
from p2p.linked import LinkedTransport
from p2p.memory import MemoryNetwork
from p2p.transport import PeerId, RequestRefused
from primitives.certificate import STEP_PREPARE, vote_domain, vote_sighash
from primitives.codec import encode
from tests.drexnode.chain import genesis_document, key, open_finalizer, validator_keys
from tests.drexnode.follower import connect, until

pytestmark = pytest.mark.trio
DOCUMENT = genesis_document()
VALIDATOR = next(iter(validator_keys().values()))


class Node:
    """One node's store and exchange."""

    def __init__(self, name: str, host: LinkedTransport, finalizer: Finalizer, folder: Path) -> None:
        self.host = host
        self.finalizer = finalizer
        self.store = EvidenceStore(folder / name / "evidence")
        self.metrics = Metrics()
        self.exchange = EvidenceExchange(
            host, self.finalizer, self.store, self.metrics, lambda: [peer.peer_id for peer in host.peers()]
        )
        self.exchange.register()


@asynccontextmanager
async def open_nodes(folder: Path, *names: str) -> AsyncIterator[list[Node]]:
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:
        nodes = []
        for name in names:
            host = await stack.enter_async_context(network.open_host(key(name).seed))
            finalizer = stack.enter_context(open_finalizer(folder / name, DOCUMENT))
            nodes.append(Node(name, host, finalizer, folder))
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(node.exchange.run)
            yield nodes
            nursery.cancel_scope.cancel()


def equivocation(node: Node, height: int = 1) -> Evidence:
    """A validator's two PREPAREs for one step, truly signed."""
    validator, validators = VALIDATOR, node.finalizer.head.validators
    domain = vote_domain(node.finalizer.chain_id, validators.hash)
    blocks = (bytes([1]) * 32, bytes([2]) * 32)
    first, second = (validator.sign(vote_sighash(domain, STEP_PREPARE, height, 0, block)) for block in blocks)
    return Evidence(
        validator.public_key, validators.hash, STEP_PREPARE, height, 0, blocks[0], first, blocks[1], second
    )


async def test_evidence_reaches_nodes_that_know_each_other_only_through_others(tmp_path: Path) -> None:
    async with open_nodes(tmp_path, "a", "b", "c") as (first, middle, last):
        await join(middle.host, first.host, last.host)
        found = equivocation(first)
        assert first.store.admit(found)
        await until(lambda: last.store.kept == (found,))
        assert middle.store.kept == (found,)
        assert b"drex_equivocations_total 1.0" in last.metrics.render()
        await until(lambda: EvidenceStore(tmp_path / "c" / "evidence").kept == (found,))


async def test_a_node_that_was_away_learns_what_is_kept_when_it_connects(tmp_path: Path) -> None:
    async with open_nodes(tmp_path, "a", "b") as (first, second):
        for height in range(1, 11):
            assert first.store.admit(equivocation(first, height))
        await connect(first.host, second.host)
        await first.exchange.offer(second.host.peer_id)
        assert second.store.kept == first.store.kept
        assert len(second.store.kept) == 10


async def test_a_false_proof_is_charged_and_not_kept(tmp_path: Path) -> None:
    async with open_nodes(tmp_path, "a", "b") as (villain, node):
        await connect(villain.host, node.host)
        true = equivocation(node)
        false = structs.replace(true, second_signature=true.first_signature)
        with pytest.raises(RequestRefused):
            await node.exchange.take(villain.host.peer_id, offer(false))
        assert node.store.kept == ()


@pytest.mark.parametrize("payload", [b"", b"\x91\x91\x01", encode([[b"no evidence"]])])
async def test_bytes_that_are_no_evidence_are_refused(tmp_path: Path, payload: bytes) -> None:
    async with open_nodes(tmp_path, "a") as (node,):
        with pytest.raises(RequestRefused):
            await node.exchange.take(PeerId("peer"), payload)
        assert node.store.kept == ()


async def test_what_can_not_be_judged_here_is_let_go(tmp_path: Path) -> None:
    """A set this chain never had, a key that was in no set, a height far ahead."""
    async with open_nodes(tmp_path, "a") as (node,):
        true = equivocation(node)
        for strange in (
            structs.replace(true, validators_hash=bytes(32)),
            structs.replace(true, validator=key("nobody").public_key),
            equivocation(node, 1000),
        ):
            assert await node.exchange.take(PeerId("peer"), offer(strange)) == b""
        assert node.store.kept == ()


async def join(middle: LinkedTransport, *others: LinkedTransport) -> None:
    """Connect each of `others` with the middle alone."""
    middle.set_permitted({other.peer_id: other.listen_addresses for other in others})
    for other in others:
        other.set_permitted({middle.peer_id: middle.listen_addresses})
        other.add_persistent(middle.peer_id)
    await until(lambda: len(middle.peers()) == len(others) and all(other.peers() for other in others))


def offer(*evidence: Evidence) -> bytes:
    return encode_message(EvidenceOffer(tuple(encode(item) for item in evidence)))
