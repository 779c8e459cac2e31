"""Work in slices that several drivers share is done once, and nobody's leaving loses any of it."""

from __future__ import annotations

import pytest
import trio

from drexnode.slicing import Resumable
from ledger.slices import Slices
from primitives.errors import InvariantViolation

pytestmark = pytest.mark.trio


class Work:
    """Takes twenty slices longer than a breath; fails at `fails_at`."""

    def __init__(self, fails_at: int = -1) -> None:
        self.done = 0
        self._fails_at = fails_at

    def slices(self) -> Slices[int]:
        for _ in range(20):
            if self.done == self._fails_at:
                raise InvariantViolation("BROKEN", "at this slice")
            until = trio.current_time() + 0.0005
            while trio.current_time() < until:
                pass
            self.done += 1
            yield
        return self.done


async def test_many_drivers_get_one_value() -> None:
    work, values = Work(), list[int]()
    shared = Resumable(work.slices())

    async def drive() -> None:
        values.append(await shared.finish())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(drive)
    assert (values, work.done) == ([20, 20, 20], 20)


async def test_a_driver_that_is_cancelled_loses_nothing() -> None:
    work = Work()
    shared = Resumable(work.slices())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shared.finish)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert 0 < work.done < 20
    assert await shared.finish() == 20


async def test_a_failure_is_raised_to_every_driver() -> None:
    shared = Resumable(Work(fails_at=2).slices())
    for _ in range(2):
        with pytest.raises(InvariantViolation, match="BROKEN"):
            await shared.finish()
