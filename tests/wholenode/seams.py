"""Where the simulation takes the machine's place: files, LevelDB, threads, clocks, signatures, logs.

Everything is put back when the context ends. No code of the node is replaced but its doors to the machine,
and (in most schedules) Ed25519 by a keyed hash that costs a twentieth.
"""

from __future__ import annotations

import fcntl
import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, Protocol
from unittest import mock

import structlog
import trio

import drexnode.consensus_driver
import drexnode.durable_work
import drexnode.slicing
import p2p.dialer
import p2p.hub
import primitives.keys
import storage.acknowledged
import storage.disk_space
import storage.files
import storage.hot_set
import storage.leveldb
import storage.vote_journal
import storage.watermark
from primitives.keys import Signature, SigningKey
from tests.wholenode.engine import open_engine
from tests.wholenode.files import PowerCut, SimOs
from tests.wholenode.world import World


class Threads(Protocol):
    """What a machine says of calls that leave the event loop."""

    is_on: bool

    def latencies_s(self) -> tuple[float, float]:
        """How long such a call waits for the disk before and after it did its work."""


THREADS: ContextVar[Threads] = ContextVar("THREADS")
"""The machine that the running task belongs to."""

ERRORS: list[tuple[str, dict[str, Any]]] = []
"""Events logged at level error or above since the schedule began: (event, fields)."""


async def run_here(work: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
    """`trio.to_thread.run_sync` without a thread: as long as a disk takes, and not to be cancelled
    meanwhile."""
    await trio.lowlevel.checkpoint_if_cancelled()
    machine = THREADS.get()
    before_s, after_s = machine.latencies_s()
    with trio.CancelScope(shield=True):
        await trio.sleep(before_s)
        if not machine.is_on:
            raise PowerCut
        result = work(*arguments)
        await trio.sleep(after_s)
    if not machine.is_on:
        raise PowerCut
    return result


def cheap_signature(public_key: bytes, message: bytes) -> bytes:
    """What stands for a signature: anybody could make it, and in the simulation nobody does."""
    digest = hashlib.blake2b(message, key=public_key, digest_size=32).digest()
    return digest + digest


def _cheap_verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    return cheap_signature(public_key, message) == signature


def _cheap_sign(key: SigningKey, message: bytes) -> Signature:
    return Signature(cheap_signature(key.public_key, message))


def _drop(*_: Any, **__: Any) -> None:
    """A log line below error."""


class _ErrorsOnly:
    """A logger that remembers errors and is nothing else."""

    debug = info = warning = warn = staticmethod(_drop)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def bind(self, **_: Any) -> _ErrorsOnly:
        return self

    def error(self, event: str, **fields: Any) -> None:
        ERRORS.append((event, fields))

    exception = critical = error


@contextmanager
def cheap_signatures() -> Iterator[None]:
    """Keys sign and verify by a keyed hash, in whatever part of a node asks."""
    real = primitives.keys.verify
    users = [
        module
        for name, module in sorted(sys.modules.items())
        if name.split(".")[0] in ("drexnode", "primitives") and vars(module).get("verify") is real
    ]
    with ExitStack() as patched:
        patched.enter_context(mock.patch.object(SigningKey, "sign", _cheap_sign))
        for module in users:
            patched.enter_context(mock.patch.object(module, "verify", _cheap_verify))
        yield


@contextmanager
def simulated_machine(world: World) -> Iterator[None]:
    """Within, storage works on simulated disks and nothing asks the real machine for anything."""
    sim_os = SimOs()
    sim_fcntl = SimpleNamespace(
        flock=lambda descriptor, _: sim_os.lock(descriptor), LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB
    )
    clock = world.current_time
    kept = structlog.get_config()

    def wall_clock_ms() -> int:
        return int(clock() * 1000)

    ERRORS.clear()
    structlog.configure(wrapper_class=_ErrorsOnly, cache_logger_on_first_use=False)  # type: ignore[arg-type]
    patches: list[Any] = [
        *(
            mock.patch.object(module, "os", sim_os)
            for module in (
                storage.files,
                storage.vote_journal,
                storage.watermark,
                storage.acknowledged,
                storage.disk_space,
            )
        ),
        mock.patch.object(storage.files, "fcntl", sim_fcntl),
        mock.patch.object(storage.leveldb, "_open_engine", open_engine),
        mock.patch.object(trio.to_thread, "run_sync", run_here),
        mock.patch.object(drexnode.consensus_driver, "monotonic", clock),
        mock.patch.object(drexnode.slicing, "BREATH_SECONDS", 0.0),  # every part is a turn of its own
        mock.patch.object(drexnode.durable_work, "monotonic", clock),
        mock.patch.object(p2p.hub, "wall_clock_ms", wall_clock_ms),
        mock.patch.multiple(storage.hot_set, HOT_SET_SHARDS=16, _MASK=15),
        mock.patch.object(p2p.dialer, "random", world.random),
    ]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in reversed(patches):
            patch.stop()
        structlog.configure(**kept)
