"""A storage-only node for crash tests: it votes and commits block after block and tells what it has promised.

Each run is a forked child, so that a death is real and a run costs no interpreter start. Whoever forks must
never have opened LevelDB itself (its background thread does not survive a fork): opening and checking happen
in children too.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from consensus.journal import VoteRecord
from consensus.messages import PreparedCertificate
from ledger.slices import finish
from primitives.certificate import STEP_COMMIT, STEP_PREPARE
from primitives.errors import DrexError
from primitives.hashing import tagged_hash
from storage import failpoints, leveldb, tree_rows
from storage.chain_store import open_chain_store
from storage.integrity import check_open
from storage.signing_state import RecoveredSigner, open_signing_state
from storage.verify import verify_store
from storage.watermark import create_watermark
from tests.storage.chains import BUCKETS, CHAIN_ID, Made, SyntheticChain

KEY = bytes(range(32))
EXIT_STORAGE = 75
EDITS_PER_TURN = 400  # of the tree's pages: so few that a short run saves each part several times
Promise = tuple[str, int]  # ("vote", 4·height + step) or ("final", height)


@dataclass(frozen=True)
class Home:
    """The folders of one storage-only node."""

    folder: Path

    @property
    def chain(self) -> Path:
        return self.folder / "data" / "chain"

    @property
    def journal(self) -> Path:
        return self.folder / "data" / "journal"

    @property
    def watermark(self) -> Path:
        return self.folder / "watermark"


def make_blocks(count: int, seed: int = 1) -> list[Made]:
    """Genesis with money, then small blocks of transfers."""
    chain = SyntheticChain(seed=seed, holders=20)
    return [chain.emission(200), *chain.blocks(count - 1, transfers=4)]


def create(home: Home) -> None:
    """`init`: the watermark and an empty database."""
    home.folder.mkdir(parents=True, exist_ok=True)
    create_watermark(home.watermark, CHAIN_ID, KEY)
    open_chain_store(home.chain, CHAIN_ID, hot_set_bytes=1 << 24, create=True).close()


def vote_of(made: Made, step: int) -> VoteRecord:
    """The vote this node casts for a block; a COMMIT carries its lock."""
    header, block_id = made.block.header, bytes(made.block.block_id)
    lock = PreparedCertificate(0, block_id, header, ((0, bytes(64)),)) if step == STEP_COMMIT else None
    payload = tagged_hash("drex/qbft", block_id + bytes((step,)))
    return VoteRecord(1, bytes(32), header.height, 0, step, payload, block_id, lock, b"")


def work(home: Home, blocks: Sequence[Made], promise: Callable[[Promise], None]) -> None:
    """Go on from where the disk says, vote and commit until the blocks are used up."""
    signing = open_signing_state(home.journal, home.watermark, CHAIN_ID, KEY)
    store = open_chain_store(home.chain, CHAIN_ID, hot_set_bytes=1 << 24)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    tree_rows.TREE_EDITS_PER_TURN = EDITS_PER_TURN  # type: ignore[attr-defined]
    last = signing.last
    for made in blocks[store.tip.height + 1 if store.tip else 0 :]:
        height = made.block.height
        prepared = finish(store.prepare(made.block, made.delta, made.patch))
        for step in (STEP_PREPARE, STEP_COMMIT):
            record = vote_of(made, step)
            if height == 0 or (last is not None and record.position < last.position):
                continue
            if step == STEP_COMMIT:
                store.write_bodies(made.block)
            signing.record(record)
            promise(("vote", 4 * height + step))
        store.write(prepared, made.certificate)
        store.apply(prepared)
        tree.commit(made.patch)
        promise(("final", height))
        finish(store.state.settle())
        store.pages.save_if_due(tree)
        signing.height_decided(height)


def check(home: Home, blocks: Sequence[Made], promised: Sequence[Promise], *, full: bool) -> None:
    """Raise `AssertionError` unless all that was promised is there, at a block's boundary."""
    finals = [height for kind, height in promised if kind == "final"]
    votes = [place for kind, place in promised if kind == "vote"]
    signing = open_signing_state(home.journal, home.watermark, CHAIN_ID, KEY)
    recovery = signing.recovery
    assert isinstance(recovery, RecoveredSigner), recovery
    if votes:
        assert signing.last is not None
        assert 4 * signing.last.height + signing.last.step >= max(votes)
        made = blocks[signing.last.height]
        assert signing.last.payload_hash == vote_of(made, signing.last.step).payload_hash
    signing.close()
    store = open_chain_store(home.chain, CHAIN_ID, hot_set_bytes=1 << 24)
    tree = check_open(store, CHAIN_ID, BUCKETS)
    height = store.tip.height if store.tip else -1
    assert height >= max(finals, default=-1), (height, finals[-1:])
    if store.tip is not None:
        assert store.tip.header == blocks[height].block.header
        assert tree.root == blocks[height].block.header.state_root
    if full:
        report = verify_store(store, CHAIN_ID, BUCKETS)
        # the note is not synced, so a power cut may tear it; it only ever warns of a tip below it
        findings = [finding for finding in report.findings if not finding.startswith("the note of")]
        assert not findings, findings
    store.close()


def compact(home: Home) -> None:
    """Rewrite the database whole, and wait until that is done."""
    database = leveldb.open_database(home.chain)
    database.compact()
    database.close()


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative: the signal), its promises and what it printed."""

    code: int
    promised: tuple[Promise, ...]
    words: str


def run_worker(
    home: Home,
    blocks: Sequence[Made],
    *,
    failpoint: str = "",
    kill_after: float | None = None,
    write_buffer_bytes: int = 1 << 16,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> Ended:
    """Run `work` in a child; `kill -9` it after `kill_after` seconds, or let a fail point or the end come.
    `before` and `after` are called in the child, `after` also when `work` fails."""

    def body(promise: Callable[[Promise], None]) -> None:
        leveldb.DB_WRITE_BUFFER_BYTES = write_buffer_bytes  # type: ignore[attr-defined]
        failpoints.arm(failpoint)
        before()
        try:
            work(home, blocks, promise)
        finally:
            after()

    return _fork(body, kill_after)


def run_check(home: Home, blocks: Sequence[Made], promised: Sequence[Promise], *, full: bool) -> Ended:
    """Run `check` in a child; code 0 means all is well, otherwise `words` tells."""
    return _fork(lambda _promise: check(home, blocks, promised, full=full), None)


def run_in_child(body: Callable[[], str]) -> Ended:
    """Run `body` in a child; `words` is what it returned."""
    return _fork(lambda _promise: body(), None)


def run_compact(home: Home) -> None:
    """Run `compact` in a child."""
    ended = _fork(lambda _promise: compact(home), None)
    assert ended.code == 0, ended.words


def run_create(home: Home) -> None:
    """Run `create` in a child."""
    ended = _fork(lambda _promise: create(home), None)
    assert ended.code == 0, ended.words


def _fork(body: Callable[[Callable[[Promise], None]], str | None], kill_after: float | None) -> Ended:
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("this process has threads (has it opened LevelDB?): a fork of it would hang")
    told, tell = os.pipe()
    heard, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        os.close(heard)
        _be_child(body, tell, say)
    os.close(tell)
    os.close(say)
    try:
        lines, words = _listen(child, told, heard, kill_after)
    finally:
        os.close(told)
        os.close(heard)
    _, status = os.waitpid(child, 0)
    promises = []
    for line in lines.splitlines():
        kind, number = line.split()
        promises.append((kind, int(number)))
    return Ended(os.waitstatus_to_exitcode(status), tuple(promises), words)


def _be_child(body: Callable[[Callable[[Promise], None]], str | None], tell: int, say: int) -> None:
    code = 0
    try:
        words = body(lambda promise: _write_line(tell, promise))
        os.write(say, (words or "").encode())
    except DrexError as error:
        os.write(say, str(error).encode())
        code = EXIT_STORAGE
    except BaseException:
        os.write(say, traceback.format_exc().encode())
        code = 1
    finally:
        sys.stdout.flush()
        os._exit(code)


def _write_line(descriptor: int, promise: Promise) -> None:
    os.write(descriptor, f"{promise[0]} {promise[1]}\n".encode())


def _listen(child: int, told: int, heard: int, kill_after: float | None) -> tuple[str, str]:
    """Everything the child writes until it ends; kill it when its time is up."""
    deadline = None if kill_after is None else time.monotonic() + kill_after
    collected = {told: b"", heard: b""}
    open_ends = {told, heard}
    while open_ends:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(sorted(open_ends), [], [], wait)
        if not ready:
            os.kill(child, signal.SIGKILL)
            deadline = None
            continue
        for descriptor in ready:
            data = os.read(descriptor, 1 << 16)
            collected[descriptor] += data
            if not data:
                open_ends.discard(descriptor)
    return collected[told].decode(), collected[heard].decode()
