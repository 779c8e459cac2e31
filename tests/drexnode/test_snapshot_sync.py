"""An empty node begins with a peer's snapshot, and no peer can make it believe another state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from msgspec import structs

import drexnode.snapshot_fetch
from drexnode.config import NodeConfig, SyncSection
from drexnode.snapshot_chunks import SnapshotProgress
from drexnode.snapshot_fetch import SnapshotFetcher, SnapshotUnavailable
from drexnode.snapshot_keeper import SnapshotKeeper, find_snapshots, offer_of
from drexnode.snapshot_sync import (
    FETCHED_FOLDER,
    GENESIS_FOLDER,
    RESTORED_FOLDER,
    SnapshotReady,
    SnapshotSync,
    adopt_restored,
)
from drexnode.snapshot_wire import (
    METHOD_SNAPSHOT_CHUNK,
    METHOD_SNAPSHOT_MANIFEST,
    METHOD_SNAPSHOTS,
    SnapshotPart,
    SnapshotPartRequest,
    SnapshotsResponse,
    decode_snapshot_message,
)
from ledger.genesis import genesis_validators
from ledger.trust_path import TrustPath
from p2p.linked import LinkedTransport
from p2p.memory import MemoryNetwork
from p2p.transport import Handler, PeerId
from primitives.codec import encode
from primitives.limits import KIB
from primitives.validators import ValidatorSet
from storage import snapshot_writer
from storage.snapshot_format import (
    ChunkName,
    Manifest,
    chunk_path,
    digest_of_chunk,
    encode_manifest,
    read_manifest,
)
from tests.drexnode.chain import Chain, certify, genesis_document, key, open_finalizer
from tests.drexnode.follower import until

DOCUMENT = genesis_document(outputs=300)
HEIGHT = 70

Lie = Callable[[bytes], Awaitable[bytes]]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose node kept a snapshot of several chunks, at height 70."""
    place = tmp_path_factory.mktemp("held")
    patch = pytest.MonkeyPatch()
    patch.setattr(snapshot_writer, "SNAPSHOT_CHUNK_BYTES", 4 * KIB)

    async def make() -> None:
        with open_finalizer(place / "data", DOCUMENT) as finalizer:
            keeper = keeper_of(place, finalizer, f"1@{HEIGHT}")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keeper.run)
                await Chain(finalizer, DOCUMENT).grow(HEIGHT + 5)
                await until(lambda: bool(keeper.offers))
                nursery.cancel_scope.cancel()

    trio.run(make)
    patch.undo()
    assert len(manifest_of(place).chunks) > 8
    return place


def keeper_of(place: Path, finalizer: object, snapshots: str) -> SnapshotKeeper:
    config = NodeConfig(place, sync=SyncSection(snapshots=snapshots))
    config = replace(config, storage=replace(config.storage, free_floor_bytes=0))
    return SnapshotKeeper(config, finalizer, lambda: False)  # type: ignore[arg-type]


def manifest_of(place: Path) -> Manifest:
    return read_manifest(place / "data" / "snapshots" / str(HEIGHT))


class Server:
    """A peer that serves what is held, save where a lie stands in for a method."""

    def __init__(self, host: LinkedTransport, held: Path, lies: dict[str, Handler] | None = None) -> None:
        self.host, self.asked = host, list[bytes]()
        with_store = type("Finalizer", (), {"on_final": lambda self, listener: None})()
        self.keeper = keeper_of(held, with_store, "off")
        self.keeper._held = find_snapshots(held / "data" / "snapshots")
        honest = {
            METHOD_SNAPSHOTS: self.keeper.snapshots,
            METHOD_SNAPSHOT_MANIFEST: self.keeper.manifest,
            METHOD_SNAPSHOT_CHUNK: self.chunk,
        }
        for method, handler in (honest | (lies or {})).items():
            host.register_handler(method, handler)

    async def chunk(self, peer: PeerId, payload: bytes) -> bytes:
        self.asked.append(decode_snapshot_message(payload, SnapshotPartRequest).digest)
        return await self.keeper.chunk(peer, payload)


@asynccontextmanager
async def peers(
    held: Path, *lies: dict[str, Handler] | None
) -> AsyncIterator[tuple[LinkedTransport, list[Server]]]:
    """An asker connected to one server for each of `lies`; None is an honest one."""
    network = MemoryNetwork()
    async with network.open_host(key("asker").seed) as asker, trio.open_nursery() as nursery:
        servers: list[Server] = []
        for number, lie in enumerate(lies):

            async def serve(number: int, lie: dict[str, Handler] | None, task_status: object) -> None:
                async with network.open_host(key(f"server-{number}").seed) as host:
                    servers.append(Server(host, held, lie))
                    task_status.started()  # type: ignore[attr-defined]
                    await trio.sleep_forever()

            async def begin(
                number: int = number,
                lie: dict[str, Handler] | None = lie,
                *,
                task_status: object = trio.TASK_STATUS_IGNORED,
            ) -> None:
                await serve(number, lie, task_status)

            await nursery.start(begin)
        known = {host.peer_id: host.listen_addresses for host in (asker, *(s.host for s in servers))}
        for host in (asker, *(server.host for server in servers)):
            host.set_permitted(known)
        for server in servers:
            asker.add_persistent(server.host.peer_id)
        await until(lambda: len(asker.peers()) == len(servers))
        yield asker, servers
        nursery.cancel_scope.cancel()


def fetcher(host: LinkedTransport, folder: Path, pinned: bytes | None = None) -> SnapshotFetcher:
    return SnapshotFetcher(host, DOCUMENT, folder, SnapshotProgress(), pinned=pinned)


def banned(host: LinkedTransport) -> set[PeerId]:
    return {ban.peer for ban in host.bans()}


async def begin(host: LinkedTransport, place: Path, mode: str = "snapshot") -> bool:
    """Run a beginning; True when a restored chain waits."""
    config = NodeConfig(place, sync=SyncSection(mode=mode))
    config = replace(config, storage=replace(config.storage, free_floor_bytes=0))
    released: list[bool] = []
    is_ready = False
    try:
        with trio.fail_after(60):
            await SnapshotSync(config, DOCUMENT, host, lambda: released.append(True)).run()
    except* SnapshotReady:
        is_ready = True
    assert is_ready != bool(released)
    return is_ready and adopt_restored(config)


async def test_an_empty_node_fetches_from_all_peers_and_has_the_certified_state(
    held: Path, tmp_path: Path
) -> None:
    async with peers(held, None, None) as (asker, servers):
        assert await begin(asker, tmp_path)
        assert all(server.asked for server in servers)
        assert sum(len(server.asked) for server in servers) == len(manifest_of(held).chunks)
        assert not banned(asker)
    with open_finalizer(tmp_path / "data", DOCUMENT) as finalizer:
        assert finalizer.head.height == HEIGHT
        assert finalizer.tree.root == manifest_of(held).header.state_root
        await Chain(finalizer, DOCUMENT).grow(1, 0)
    assert not (tmp_path / "data" / FETCHED_FOLDER).exists()


async def test_what_was_fetched_before_a_kill_is_not_fetched_again(held: Path, tmp_path: Path) -> None:
    async with peers(held, None) as (asker, [server]):
        with trio.CancelScope() as scope:
            folder, begun = tmp_path / "data" / FETCHED_FOLDER, fetcher
            working = begun(asker, folder)

            async def cut() -> None:
                await until(lambda: working.progress.done > 2)
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut)
                await working.fetch()
                nursery.cancel_scope.cancel()
        there = {path.name for path in (folder / "chunks").iterdir() if not path.name.endswith(".new")}
        assert there
        server.asked.clear()
        spoiled = folder / "chunks" / min(there)
        spoiled.write_bytes(b"rotten")
        await fetcher(asker, folder).fetch()
        again = {digest.hex() for digest in server.asked} & there
        assert again == {spoiled.name}


async def _truncated(peer: PeerId, payload: bytes) -> bytes:
    return encode(SnapshotPart(b"short"))


async def _silent(peer: PeerId, payload: bytes) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


async def _garbage(peer: PeerId, payload: bytes) -> bytes:
    return b"\xc1" * 100


def _other(held: Path) -> Handler:
    async def answer(peer: PeerId, payload: bytes) -> bytes:
        digest = decode_snapshot_message(payload, SnapshotPartRequest).digest
        data = bytearray(chunk_path(held / "data" / "snapshots" / str(HEIGHT), digest).read_bytes())
        data[-1] ^= 1
        return encode(SnapshotPart(bytes(data)))

    return answer


async def test_a_changed_chunk_bans_its_peer_and_comes_from_another(held: Path, tmp_path: Path) -> None:
    async with peers(held, {METHOD_SNAPSHOT_CHUNK: _other(held)}, None) as (asker, [liar, _]):
        assert await begin(asker, tmp_path)
        assert banned(asker) == {liar.host.peer_id}


@pytest.mark.parametrize("lie", [_truncated, _garbage], ids=["truncated", "garbage"])
async def test_a_malformed_chunk_costs_points_and_comes_from_another(
    held: Path, tmp_path: Path, lie: Handler
) -> None:
    async with peers(held, {METHOD_SNAPSHOT_CHUNK: lie}, None) as (asker, [liar, _]):
        assert await begin(asker, tmp_path)
        scores = {info.peer_id: info.score for info in asker.peers()}
        assert liar.host.peer_id in banned(asker) or scores[liar.host.peer_id] >= 20


async def test_nobody_waits_for_a_silent_peer(held: Path, tmp_path: Path) -> None:
    async with peers(held, {METHOD_SNAPSHOT_CHUNK: _silent}, None) as (asker, _):
        begun = trio.current_time()
        assert await begin(asker, tmp_path)
        assert trio.current_time() - begun < 30


async def test_a_peer_that_disconnects_is_replaced(held: Path, tmp_path: Path) -> None:
    async with peers(held, None, None) as (asker, [first, _]):

        async def vanish() -> None:
            await until(lambda: len(first.asked) > 1)
            asker.set_permitted(dict.fromkeys([_.host.peer_id], ()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(vanish)
            assert await begin(asker, tmp_path)


def _forged(held: Path, change: Callable[[Manifest], Manifest]) -> tuple[Manifest, dict[str, Handler]]:
    """The handlers of a peer that offers a manifest it changed."""
    manifest = change(manifest_of(held))
    data, offer = encode_manifest(manifest), offer_of(manifest)

    async def offers(peer: PeerId, payload: bytes) -> bytes:
        return encode(SnapshotsResponse((offer,)))

    async def part(peer: PeerId, payload: bytes) -> bytes:
        first = decode_snapshot_message(payload, SnapshotPartRequest).first_byte
        return encode(SnapshotPart(data[first:]))

    return manifest, {METHOD_SNAPSHOTS: offers, METHOD_SNAPSHOT_MANIFEST: part}


def _strangers(manifest: Manifest) -> Manifest:
    """Signed by validators that the forger made up: their set is in the header, and certifies it."""
    keys = tuple(sorted(key(f"validator-{number}").public_key for number in (4, 5, 6)))
    mine = ValidatorSet(0, keys)
    header = structs.replace(manifest.header, validators_hash=mine.hash)
    certificate = certify(header, manifest.chain_id, mine)
    return structs.replace(manifest, header=header, certificate=certificate, path=TrustPath())


def _higher(manifest: Manifest) -> Manifest:
    """A height that no validator certified."""
    header = structs.replace(manifest.header, height=10**9)
    assert manifest.certificate is not None
    certificate = structs.replace(manifest.certificate, height=10**9)
    return structs.replace(manifest, header=header, certificate=certificate)


def _of_another_root(manifest: Manifest) -> Manifest:
    return structs.replace(manifest, header=structs.replace(manifest.header, state_root=bytes(32)))


def _huge(manifest: Manifest) -> Manifest:
    chunks = tuple(ChunkName(n.to_bytes(32, "big"), 1, 2 << 20) for n in range(50_000))
    return structs.replace(manifest, chunks=chunks, entries=len(chunks))


@pytest.mark.parametrize("change", [_strangers, _higher, _of_another_root])
async def test_a_manifest_that_does_not_lead_from_the_genesis_bans_who_offers_it(
    held: Path, tmp_path: Path, change: Callable[[Manifest], Manifest]
) -> None:
    _, handlers = _forged(held, change)
    async with peers(held, handlers) as (asker, [liar]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drexnode.snapshot_fetch, "SNAPSHOT_NO_OFFER_MS", 500)
            with pytest.raises(SnapshotUnavailable):
                await fetcher(asker, tmp_path).fetch()
        assert banned(asker) == {liar.host.peer_id}
        assert not liar.asked


async def test_chunks_that_make_another_state_ban_who_made_them_up(held: Path, tmp_path: Path) -> None:
    folder = held / "data" / "snapshots" / str(HEIGHT)
    first = manifest_of(held).chunks[0]
    data = bytearray(chunk_path(folder, first.digest).read_bytes())
    data[-1] ^= 1
    fake = ChunkName(digest_of_chunk(bytes(data)), first.entries, len(data))

    def change(manifest: Manifest) -> Manifest:
        return structs.replace(manifest, chunks=(fake, *manifest.chunks[1:]))

    _, handlers = _forged(held, change)

    async def chunk(peer: PeerId, payload: bytes) -> bytes:
        wanted = decode_snapshot_message(payload, SnapshotPartRequest).digest
        if wanted == fake.digest:
            return encode(SnapshotPart(bytes(data)))
        return encode(SnapshotPart(chunk_path(folder, wanted).read_bytes()))

    handlers[METHOD_SNAPSHOT_CHUNK] = chunk
    async with peers(held, handlers, None) as (asker, [liar, _]):
        assert await begin(asker, tmp_path)
        # whichever of the two was taken first, the state is the certified one
        assert banned(asker) <= {liar.host.peer_id}
    with open_finalizer(tmp_path / "data", DOCUMENT) as finalizer:
        assert finalizer.tree.root == manifest_of(held).header.state_root


async def test_huge_counts_cost_nothing(held: Path, tmp_path: Path) -> None:
    _, handlers = _forged(held, _huge)
    async with peers(held, handlers, None) as (asker, _):
        assert await begin(asker, tmp_path)


async def test_a_pinned_set_must_be_on_the_way(held: Path, tmp_path: Path) -> None:
    async with peers(held, None) as (asker, _):
        pinned = genesis_validators(DOCUMENT).hash
        assert (await fetcher(asker, tmp_path / "a", pinned).fetch()).height == HEIGHT
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drexnode.snapshot_fetch, "SNAPSHOT_NO_OFFER_MS", 500)
            with pytest.raises(SnapshotUnavailable):
                await fetcher(asker, tmp_path / "b", bytes(32)).fetch()


async def test_without_an_offer_the_configuration_decides(
    held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(peer: PeerId, payload: bytes) -> bytes:
        return encode(SnapshotsResponse(()))

    monkeypatch.setattr(drexnode.snapshot_fetch, "SNAPSHOT_NO_OFFER_MS", 300)
    async with peers(held, {METHOD_SNAPSHOTS: none}) as (asker, _):
        with pytest.raises(ExceptionGroup) as caught:
            await begin(asker, tmp_path, "snapshot")
        assert caught.group_contains(SnapshotUnavailable)
        assert not await begin(asker, tmp_path, "snapshot-or-blocks")


async def test_an_offer_that_vanishes_makes_it_look_for_another(
    held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drexnode.snapshot_fetch, "SNAPSHOT_NO_OFFER_MS", 1000)
    async with peers(held, None) as (asker, [server]):
        server.keeper._held.clear()
        offer = offer_of(manifest_of(held))

        working = fetcher(asker, tmp_path)
        working._peers.offers[server.host.peer_id] = (offer,)
        with pytest.raises(SnapshotUnavailable):
            await working.fetch()


def test_a_kill_between_the_two_renames_is_made_up_for(tmp_path: Path) -> None:
    config = NodeConfig(tmp_path)
    data = tmp_path / "data"
    (data / GENESIS_FOLDER).mkdir(parents=True)
    (data / RESTORED_FOLDER).mkdir()
    assert adopt_restored(config)
    assert (data / "chain").is_dir()
    assert not (data / GENESIS_FOLDER).exists()
    assert not adopt_restored(config)


async def test_the_oldest_snapshot_gives_way(tmp_path: Path) -> None:
    with open_finalizer(tmp_path / "data", DOCUMENT) as finalizer:
        keeper = keeper_of(tmp_path, finalizer, "2@2")
        chain = Chain(finalizer, DOCUMENT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            for height in (2, 4, 6):
                await chain.grow(2, 1)
                await until(lambda height=height: any(o.height == height for o in keeper.offers))  # type: ignore[misc]
            await until(lambda: len(list((tmp_path / "data" / "snapshots").iterdir())) == 2)
            nursery.cancel_scope.cancel()
        assert [offer.height for offer in keeper.offers] == [6, 4]
        assert [held.offer for held in find_snapshots(tmp_path / "data" / "snapshots")] == list(keeper.offers)
