"""The engine's timers: one of each kind, none dropped, none early."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from consensus.inputs import Timer, TimerKind
from drexnode.timers import Timers

pytestmark = pytest.mark.trio
Heard = list[tuple[float, Timer]]


@asynccontextmanager
async def open_timers() -> AsyncIterator[tuple[Timers, Heard]]:
    heard, begin = Heard(), trio.current_time()
    timers = Timers(lambda timer: heard.append((round(trio.current_time() - begin, 6), timer)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        yield timers, heard
        nursery.cancel_scope.cancel()


def named(kind: TimerKind, round: int = 0) -> Timer:
    return Timer(kind, 1, round)


async def test_timers_expire_in_order_of_their_deadlines(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as (timers, heard):
        timers.set(named(TimerKind.ROUND), 300)
        timers.set(named(TimerKind.RESEND), 100)
        timers.set(named(TimerKind.SYNC), 200)
        await trio.sleep(1)
        assert heard == [
            (0.1, named(TimerKind.RESEND)),
            (0.2, named(TimerKind.SYNC)),
            (0.3, named(TimerKind.ROUND)),
        ]


async def test_a_timer_set_again_expires_once_and_at_the_new_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_timers() as (timers, heard):
        timers.set(named(TimerKind.ROUND), 100)
        await trio.sleep(0.05)
        timers.set(named(TimerKind.ROUND, 1), 100)
        await trio.sleep(1)
        assert heard == [(0.15, named(TimerKind.ROUND, 1))]


async def test_a_cancelled_timer_is_silent(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as (timers, heard):
        timers.set(named(TimerKind.ROUND), 100)
        timers.cancel(TimerKind.ROUND)
        timers.cancel(TimerKind.RESEND)
        await trio.sleep(1)
        assert heard == []


async def test_an_expired_timer_may_set_and_cancel_others(autojump_clock: trio.testing.MockClock) -> None:
    heard: list[Timer] = []

    def expired(timer: Timer) -> None:
        heard.append(timer)
        if timer.kind is TimerKind.ROUND and timer.round < 3:
            timers.set(named(TimerKind.ROUND, timer.round + 1), 50)
            timers.cancel(TimerKind.RESEND)

    timers = Timers(expired)
    timers.set(named(TimerKind.ROUND), 50)
    timers.set(named(TimerKind.RESEND), 50)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert heard == [named(TimerKind.ROUND, number) for number in range(4)]


async def test_a_deadline_of_the_far_future_disturbs_no_other(autojump_clock: trio.testing.MockClock) -> None:
    async with open_timers() as (timers, heard):
        timers.set(named(TimerKind.REVALIDATE), 2**53)
        timers.set(named(TimerKind.ROUND), 100)
        await trio.sleep(1)
        assert heard == [(0.1, named(TimerKind.ROUND))]
