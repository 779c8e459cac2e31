"""Snapshots: what is restored has the certified root, and nothing that was changed is taken."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from msgspec import structs

from drexnode.finalizer import Finalizer
from ledger.trust_path import TrustPath
from primitives.codec import encode
from primitives.errors import DrexError, StorageFailure
from primitives.keys import verify
from storage import snapshot_writer
from storage.chain_store import open_chain_store
from storage.integrity import check_open
from storage.queries import ChainQueries
from storage.snapshot_format import (
    ChunkName,
    Manifest,
    SnapshotRefused,
    chunk_path,
    decode_manifest,
    digest_of_chunk,
    encode_manifest,
    read_chunks,
    read_manifest,
)
from storage.snapshot_restore import restore_snapshot
from storage.snapshot_writer import write_snapshot
from storage.verify import verify_store
from tests.drexnode.chain import Chain, genesis_document, open_finalizer

DOCUMENT = genesis_document(validators=5, outputs=300)
ROOT = Path(__file__).parents[2]


@dataclasses.dataclass
class Made:
    """A chain of 70 blocks whose fifth validator was voted out at the first, and its snapshot."""

    data: Path
    folder: Path
    manifest: Manifest
    state: dict[bytes, bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = tmp_path_factory.mktemp("snapshots")

    async def run() -> Made:
        with open_finalizer(place / "source", DOCUMENT) as finalizer:
            chain = Chain(finalizer, DOCUMENT)
            votes = [chain.vote(f"validator-{number}", "validator-4", add=False) for number in range(4)]
            await finalizer.finalize(*chain.build(votes))
            await chain.grow(69, 3)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(snapshot_writer, "SNAPSHOT_CHUNK_BYTES", 4096)
                manifest = write_snapshot(finalizer.store.state.view, finalizer.chain_id, place / "snapshot")
            state = dict(finalizer.queries.scan_state())
            return Made(place / "source", place / "snapshot", manifest, state)

    return trio.run(run)


@pytest.fixture
def copy(made: Made, tmp_path: Path) -> Path:
    """A copy of the snapshot, to be tampered with."""
    return Path(shutil.copytree(made.folder, tmp_path / "copy"))


def restore(folder: Path, target: Path, document: object = DOCUMENT) -> None:
    manifest = read_manifest(folder)
    restore_snapshot(manifest, read_chunks(folder, manifest), document, target, verify=verify)  # type: ignore[arg-type]


def code_of(folder: Path, target: Path, document: object = DOCUMENT) -> str:
    """The code with which a snapshot is refused; nothing may be left then."""
    with pytest.raises((SnapshotRefused, StorageFailure)) as caught:
        restore(folder, target, document)
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(target.name)] == []
    return str(caught.value.code)


def test_a_restored_store_has_the_same_state_and_is_found_whole(made: Made, tmp_path: Path) -> None:
    assert len(made.manifest.chunks) > 10
    assert len(made.manifest.path.hand_overs) == 1
    restore(made.folder, tmp_path / "chain")
    chain_id = made.manifest.chain_id
    store = open_chain_store(tmp_path / "chain", chain_id, hot_set_bytes=1 << 24)
    tree = check_open(store, chain_id, DOCUMENT.parameters.bucket_count)
    queries = ChainQueries(store, chain_id)
    assert tree.root == made.manifest.header.state_root
    assert dict(queries.scan_state()) == made.state
    assert (queries.base, queries.pruned_below) == (6, 71)
    assert queries.header(5) is None
    validators = queries.validators_at(70)
    assert validators is not None
    assert validators.size == 4
    report = verify_store(
        store,
        chain_id,
        DOCUMENT.parameters.bucket_count,
        validators_at=queries.validators_at,
        verify=verify,
    )
    assert report.findings == []
    store.close()


async def test_a_restored_node_goes_on_and_makes_a_snapshot_of_its_own(made: Made, tmp_path: Path) -> None:
    with open_finalizer(made.data, DOCUMENT) as source:
        restore(made.folder, tmp_path / "data" / "chain")
        chain = Chain(source, DOCUMENT)
        with open_finalizer(tmp_path / "data", DOCUMENT) as finalizer:
            built = chain.build([])
            await finalizer.finalize(*built)
            assert finalizer.head.height == 71
            again = write_snapshot(finalizer.store.state.view, finalizer.chain_id, tmp_path / "again")
            assert again.path == made.manifest.path
        restore(tmp_path / "again", tmp_path / "third")


def test_every_chunk_is_refused_with_one_bit_changed_cut_short_or_missing(made: Made, copy: Path) -> None:
    for number, name in enumerate(made.manifest.chunks):
        path = chunk_path(copy, name.digest)
        data = path.read_bytes()
        flipped = bytearray(data)
        flipped[(7919 * number) % len(data)] ^= 1 << number % 8
        for damaged in (bytes(flipped), data[:-1], data + b"\x00", None):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            assert code_of(copy, copy.parent / "chain") == "SNAPSHOT_CHUNK"
            path.write_bytes(data)


def exchange(folder: Path, manifest: Manifest, entries: list[tuple[bytes, bytes]], place: int) -> None:
    """Put other entries in the place of a chunk, and name them in the manifest."""
    data = encode(entries)
    name = ChunkName(digest_of_chunk(data), len(entries), len(data))
    chunk_path(folder, name.digest).write_bytes(data)
    chunks = (*manifest.chunks[:place], name, *manifest.chunks[place + 1 :])
    total = sum(chunk.entries for chunk in chunks)
    changed = structs.replace(manifest, chunks=chunks, entries=total)
    (folder / "manifest").write_bytes(encode_manifest(changed))


def test_a_forger_who_names_false_chunks_is_found_by_the_root(made: Made, copy: Path) -> None:
    entries = list(read_chunks(made.folder, made.manifest))[2]
    (key, value), rest = entries[0], entries[1:]
    richer = (key, value[:-1] + bytes((value[-1] ^ 1,)))
    for forged in ([richer, *rest], rest, [*entries, (entries[-1][0] + b"\x00", b"more")]):
        exchange(copy, made.manifest, forged, 2)
        assert code_of(copy, copy.parent / "chain") in ("SNAPSHOT_ROOT", "SNAPSHOT_CHUNK")
    exchange(copy, made.manifest, [(key, value), (key, value), *rest], 2)
    assert code_of(copy, copy.parent / "chain") == "SNAPSHOT_CHUNK"


def test_a_snapshot_of_another_chain_or_of_validators_somebody_made_up_is_refused(
    made: Made, copy: Path
) -> None:
    other = genesis_document(validators=5, outputs=299)
    assert code_of(copy, copy.parent / "chain", other) == "SNAPSHOT_FOREIGN"
    manifest = made.manifest
    assert manifest.certificate is not None
    seals = ((0, bytes(64)), *manifest.certificate.seals[1:])
    forgeries = (
        structs.replace(manifest, certificate=structs.replace(manifest.certificate, seals=seals)),
        structs.replace(
            manifest, certificate=structs.replace(manifest.certificate, seals=manifest.certificate.seals[1:])
        ),
        structs.replace(manifest, path=TrustPath()),
        structs.replace(manifest, header=structs.replace(manifest.header, state_root=bytes(32))),
    )
    for forged in forgeries:
        (copy / "manifest").write_bytes(encode_manifest(forged))
        assert code_of(copy, copy.parent / "chain") == "SNAPSHOT_NOT_FINAL"


def test_a_manifest_is_read_whole_or_not_at_all(made: Made) -> None:
    data = encode_manifest(made.manifest)
    assert decode_manifest(data) == made.manifest
    for cut in range(0, len(data), 97):
        with pytest.raises(SnapshotRefused):
            decode_manifest(data[:cut])
    for changed in (
        structs.replace(made.manifest, version=2),
        structs.replace(made.manifest, tail=made.manifest.tail[1:]),
        structs.replace(made.manifest, tail=made.manifest.tail[::-1]),
        structs.replace(made.manifest, entries=1),
        structs.replace(made.manifest, certificate=None),
    ):
        with pytest.raises(SnapshotRefused) as caught:
            decode_manifest(encode_manifest(changed))
        assert caught.value.code == "SNAPSHOT_MALFORMED"


def test_what_exists_is_never_overwritten(made: Made, tmp_path: Path) -> None:
    (tmp_path / "chain").mkdir()
    with pytest.raises(StorageFailure) as caught:
        restore(made.folder, tmp_path / "chain")
    assert caught.value.code == "STORAGE_EXISTS"
    with open_finalizer(tmp_path / "other", DOCUMENT) as finalizer, pytest.raises(SnapshotRefused) as refused:
        write_snapshot(finalizer.store.state.view, finalizer.chain_id, made.folder)
    assert refused.value.code == "SNAPSHOT_EXISTS"


def test_a_disk_at_its_floor_ends_both_and_leaves_nothing(made: Made, tmp_path: Path) -> None:
    manifest = read_manifest(made.folder)
    attempts: tuple[Callable[[], None], ...] = (
        lambda: restore_snapshot(
            manifest,
            read_chunks(made.folder, manifest),
            DOCUMENT,
            tmp_path / "chain",
            verify=verify,
            floor_bytes=1 << 62,
        ),
        lambda: _write(made, tmp_path / "snapshot", 1 << 62),
    )
    for attempt in attempts:
        with pytest.raises(StorageFailure) as caught:
            attempt()
        assert caught.value.code == "STORAGE_DISK_FULL"
    assert list(tmp_path.iterdir()) == []


def _write(made: Made, folder: Path, floor_bytes: int) -> None:
    with open_finalizer(made.data, DOCUMENT) as finalizer:
        write_snapshot(finalizer.store.state.view, finalizer.chain_id, folder, floor_bytes=floor_bytes)


def test_a_node_that_stops_ends_its_snapshot(made: Made, tmp_path: Path) -> None:
    with open_finalizer(made.data, DOCUMENT) as finalizer, pytest.raises(DrexError) as caught:
        write_snapshot(
            finalizer.store.state.view, finalizer.chain_id, tmp_path / "snapshot", stop=lambda: True
        )
    assert caught.value.code == "SNAPSHOT_STOPPED"
    assert list(tmp_path.iterdir()) == []


TOOL = """
import sys
from pathlib import Path
from primitives.keys import verify
from storage.snapshot_format import read_chunks, read_manifest
from storage.snapshot_restore import restore_snapshot
from storage.snapshot_writer import write_snapshot
from tests.drexnode.chain import open_finalizer
from tests.storage.test_snapshots import DOCUMENT
what, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if what == "create":
    with open_finalizer(source, DOCUMENT) as finalizer:
        write_snapshot(finalizer.store.state.view, finalizer.chain_id, target)
else:
    manifest = read_manifest(source)
    restore_snapshot(manifest, read_chunks(source, manifest), DOCUMENT, target, verify=verify)
"""


@pytest.mark.parametrize(
    ("what", "point"),
    [
        ("create", "snapshot.after_chunk"),
        ("create", "snapshot.before_rename"),
        ("restore", "restore.after_batch"),
        ("restore", "restore.before_rename"),
    ],
)
def test_what_a_kill_leaves_is_never_taken_for_whole_and_the_next_one_succeeds(
    made: Made, tmp_path: Path, what: str, point: str
) -> None:
    source, target = made.data if what == "create" else made.folder, tmp_path / "target"
    tool = [sys.executable, "-c", TOOL, what, str(source), str(target)]
    killed = subprocess.run(
        tool, cwd=ROOT, env={**os.environ, "DREX_FAILPOINT": point}, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not target.exists()
    assert list(tmp_path.iterdir()) != []
    subprocess.run(tool, cwd=ROOT, check=True, capture_output=True)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


async def test_a_snapshot_is_of_one_block_while_the_chain_grows(tmp_path: Path) -> None:
    document = genesis_document(outputs=64)
    with open_finalizer(tmp_path / "source", document) as finalizer:
        chain = Chain(finalizer, document)
        await chain.grow(2)
        view = finalizer.store.database.snapshot()
        await _grow_while(finalizer, chain, tmp_path / "snapshot", view)
        view.close()
        manifest = read_manifest(tmp_path / "snapshot")
        assert manifest.height == 2
        assert finalizer.head.height == 5
        restore_snapshot(
            manifest,
            read_chunks(tmp_path / "snapshot", manifest),
            document,
            tmp_path / "chain",
            verify=verify,
        )


async def _grow_while(finalizer: Finalizer, chain: Chain, folder: Path, view: object) -> None:
    grown: list[int] = []

    def pause() -> None:
        if len(grown) < 3:
            trio.from_thread.run(chain.grow, 1)
            grown.append(finalizer.head.height)

    await trio.to_thread.run_sync(
        lambda: write_snapshot(view, finalizer.chain_id, folder, pause=pause)  # type: ignore[arg-type]
    )
    while len(grown) < 3:
        await chain.grow(1)
        grown.append(finalizer.head.height)
