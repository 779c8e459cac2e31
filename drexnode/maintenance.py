"""Long work that a running node does for its operator, one job at a time: snapshots, backups.

Promises: the work runs in a thread over a frozen view of the database, pauses after every few rows so that
the event loop stays prompt, and ends at once when the node stops; its failure is reported and stops nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from drexnode.backups import backup_key
from drexnode.config import NodeConfig
from drexnode.finalizer import Finalizer
from drexnode.retention import check_prune
from drexnode.rpc.maintenance_api import JobStatus
from drexnode.telemetry import get_logger
from primitives.errors import DrexError
from primitives.keys import verify
from primitives.limits import PRUNE_PAUSE_MS, SNAPSHOT_PAUSE_MS
from storage.backup_writer import write_backup
from storage.layout import META_PRUNED
from storage.leveldb import Snapshot
from storage.prune import prune
from storage.snapshot_writer import write_snapshot

_log = get_logger("maintenance")


@dataclass(slots=True)
class Job:
    """What a job may use, and what it tells."""

    kind: str
    folder: Path
    work: Callable[[Job, Snapshot], int]  # returns the height of what it made
    view: Snapshot
    what: str = ""
    done: int = 0
    total: int = 0
    height: int | None = None
    failure: DrexError | None = None
    is_over: bool = False
    is_stopped: bool = field(default=False)

    def progress(self, what: str, done: int, total: int) -> None:
        """For the work: how far it is."""
        self.what, self.done, self.total = what, done, total

    def stop(self) -> bool:
        """For the work: True when it shall end."""
        return self.is_stopped

    @staticmethod
    def pause() -> None:
        """For the work: let the event loop run."""
        time.sleep(SNAPSHOT_PAUSE_MS / 1000)


def _pause_of_pruning() -> None:
    time.sleep(PRUNE_PAUSE_MS / 1000)


class Maintenance:
    """The jobs of one node. Belongs to its trio thread; `run` works until cancelled."""

    def __init__(self, config: NodeConfig, finalizer: Finalizer) -> None:
        self._config = config
        self._finalizer = finalizer
        self._job: Job | None = None
        self._given = trio.Event()

    def snapshot(self, folder: str) -> JobStatus:
        """Begin to write the state of the tip to `folder` (absolute, new). Raises `DrexError` (JOB_RUNNING,
        JOB_FOLDER)."""
        return self._begin("snapshot", folder, self._write_snapshot)

    def backup(self, folder: str, *, new_base: bool) -> JobStatus:
        """Begin to make or extend the backup in `folder` (absolute). Raises as `snapshot` does."""

        def work(job: Job, view: Snapshot) -> int:
            return self._write_backup(job, view, new_base)

        return self._begin("backup", folder, work)

    def prune(self, kept_blocks: int) -> JobStatus:
        """Begin to let the bodies of all but the last blocks go. Raises `DrexError` (PRUNE_ARCHIVE,
        PRUNE_TOO_FEW, JOB_RUNNING)."""
        check_prune(self._config, kept_blocks)

        def work(job: Job, view: Snapshot) -> int:
            database = self._finalizer.store.database
            prune(database, kept_blocks, progress=job.progress, pause=_pause_of_pruning, stop=job.stop)
            return max(1, int.from_bytes(database.get(META_PRUNED) or b"", "big"))

        return self._begin("prune", None, work)

    def status(self) -> JobStatus:
        """How the last job stands."""
        job = self._job
        if job is None:
            return JobStatus("none", "idle")
        failure = job.failure
        state = "running" if not job.is_over else "done" if failure is None else "failed"
        return JobStatus(
            job.kind,
            state,
            str(job.folder),
            job.what,
            job.done,
            job.total,
            job.height,
            None if failure is None else failure.code,
            None if failure is None else failure.message,
        )

    async def run(self) -> None:
        """Do what is asked for, until cancelled; a job is then told to end, and waited for."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_at_the_end)
            while True:
                await self._given.wait()
                self._given = trio.Event()
                job = self._job
                if job is not None and not job.is_over:
                    await self._carry_out(job)

    # --- inside

    def _begin(self, kind: str, folder: str | None, work: Callable[[Job, Snapshot], int]) -> JobStatus:
        path = Path(folder or "/")
        if self._job is not None and not self._job.is_over:
            message = f"the node is busy with a {self._job.kind}; wait for its end"
            raise DrexError("JOB_RUNNING", message, kind=self._job.kind)
        if folder is not None and not (path.is_absolute() and path.parent.is_dir()):
            message = f"{folder} is not usable: an absolute path in an existing folder is expected"
            raise DrexError("JOB_FOLDER", message, path=folder)
        self._job = Job(kind, path, work, self._finalizer.store.database.snapshot())
        self._given.set()
        return self.status()

    async def _carry_out(self, job: Job) -> None:
        try:
            job.height = await trio.to_thread.run_sync(job.work, job, job.view)
            _log.info("job.done", kind=job.kind, folder=str(job.folder), height=job.height)
        except DrexError as error:
            job.failure = error
            _log.warning(
                "job.failed", kind=job.kind, folder=str(job.folder), code=error.code, why=error.message
            )
        finally:
            job.view.close()
            job.is_over = True

    async def _stop_at_the_end(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            if self._job is not None:
                self._job.is_stopped = True

    def _write_snapshot(self, job: Job, view: Snapshot) -> int:
        """In the thread."""
        return write_snapshot(
            view,
            self._finalizer.chain_id,
            job.folder,
            progress=job.progress,
            pause=job.pause,
            floor_bytes=self._config.storage.free_floor_bytes,
            stop=job.stop,
        ).height

    def _write_backup(self, job: Job, view: Snapshot, new_base: bool) -> int:
        """In the thread."""
        return write_backup(
            view,
            self._finalizer.chain_id,
            job.folder,
            backup_key(self._config),
            verify,
            new_base=new_base,
            progress=job.progress,
            pause=job.pause,
            floor_bytes=self._config.storage.free_floor_bytes,
            stop=job.stop,
        ).height
