"""What a node does beside its work: how late the event loop runs, how much room the disk has.

Low room is told to the block builder (it stops proposing); below the floor the node halts while it still can
be opened again.
"""

from __future__ import annotations

import trio

from drexnode.metrics import Metrics
from drexnode.telemetry import get_logger
from primitives.limits import DISK_CHECK_INTERVAL_MS, LOOP_LAG_INTERVAL_MS
from storage.disk_space import DiskSpace, Room

_log = get_logger("housekeeping")


class Housekeeping:
    """`run` beside the node's other parts; `room_on_disk` for whoever would write more."""

    def __init__(self, space: DiskSpace, metrics: Metrics) -> None:
        self._space = space
        self._metrics = metrics
        self._roomy = trio.Event()
        self._roomy.set()

    async def room_on_disk(self) -> None:
        """Return once the disk has room for more than what is already decided."""
        await self._roomy.wait()

    @property
    def has_room(self) -> bool:
        """False while nothing is proposed for want of room."""
        return self._roomy.is_set()

    async def run(self) -> None:
        """Watch until cancelled. Raises `StorageFailure` (STORAGE_DISK_FULL) below the floor."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_loop)
            nursery.start_soon(self._watch_disk)

    async def _watch_loop(self) -> None:
        interval_s = LOOP_LAG_INTERVAL_MS / 1000
        while True:
            due = trio.current_time() + interval_s
            await trio.sleep_until(due)
            self._metrics.loop_lag_seconds.observe(trio.current_time() - due)

    async def _watch_disk(self) -> None:
        while True:
            room = self._space.room()
            self._metrics.disk_free_bytes.set(self._space.free_bytes)
            if room is Room.STOP:
                self._space.check()
            if (room is Room.ENOUGH) != self._roomy.is_set():
                _log.warning("disk.room_changed", room=room.name, free_bytes=self._space.free_bytes)
                if room is Room.ENOUGH:
                    self._roomy.set()
                else:
                    self._roomy = trio.Event()
            await trio.sleep(DISK_CHECK_INTERVAL_MS / 1000)
