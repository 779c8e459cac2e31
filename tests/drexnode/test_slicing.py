"""Work in slices that several drivers share is done once, and nobody's leaving loses any of it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from drexnode.slicing import Resumable, RightOfWay
from ledger.slices import Slices
from primitives.errors import InvariantViolation
from primitives.limits import GIVE_WAY_SECONDS

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


async def test_what_can_wait_goes_on_when_the_last_urgent_work_is_done() -> None:
    way, went_on = RightOfWay(), trio.Event()

    async def patient() -> None:
        await way.give_way()
        went_on.set()

    async with trio.open_nursery() as nursery:
        with way.urgent():
            with way.urgent():
                nursery.start_soon(patient)
                await trio.testing.wait_all_tasks_blocked()
            assert not went_on.is_set()
        await trio.testing.wait_all_tasks_blocked()
        assert went_on.is_set()


async def test_what_can_wait_is_not_held_up_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    way, begin = RightOfWay(), trio.current_time()
    with way.urgent():
        await way.give_way()
    assert trio.current_time() - begin == pytest.approx(GIVE_WAY_SECONDS)


async def test_work_that_fails_leaves_the_way_clear(autojump_clock: trio.testing.MockClock) -> None:
    way, begin = RightOfWay(), trio.current_time()
    with pytest.raises(InvariantViolation), way.urgent():
        raise InvariantViolation("BROKEN", "in urgent work")
    await way.give_way()
    assert trio.current_time() == begin
