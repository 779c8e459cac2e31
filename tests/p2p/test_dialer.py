"""The dialer on its own: whom it dials, and that removing a peer ends it quietly."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from p2p.dialer import Dialer
from p2p.transport import PeerId

pytestmark = pytest.mark.trio


async def test_a_peer_nudged_and_removed_in_one_breath_is_let_go(autojump_clock: MockClock) -> None:
    dialled: list[PeerId] = []

    async def dial(peer: PeerId, addresses: Sequence[str]) -> bool:
        await trio.lowlevel.checkpoint()
        dialled.append(peer)
        return False

    dialer = Dialer(PeerId("a"), dial, lambda peer: False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        dialer.add(PeerId("b"), ("/ip4/127.0.0.1/tcp/1",))
        await wait_all_tasks_blocked()
        assert dialled == ["b"]
        dialer.nudge(PeerId("b"))
        dialer.remove(PeerId("b"))
        await trio.sleep(60)
        assert dialled == ["b"]
        nursery.cancel_scope.cancel()
