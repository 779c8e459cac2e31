"""The row of one peer's batches: in order while all goes well, and left in any order when the node stops."""

from __future__ import annotations

import trio
import trio.testing

from drexnode.batches import Rows
from p2p.transport import PeerId

PEER = PeerId("full-0")


async def test_a_batch_waits_for_the_one_before_it() -> None:
    rows, order = Rows(), list[str]()

    async def judge(name: str, seconds: float) -> None:
        async with rows.stand(PEER) as turn:
            await trio.sleep(seconds)
            await turn()
            order.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(judge, "first", 0.05)
        await trio.testing.wait_all_tasks_blocked(0.001)
        nursery.start_soon(judge, "second", 0)
    assert order == ["first", "second"]


async def test_whoever_is_cancelled_first_leaves_the_row_in_order() -> None:
    """The later batch may go before the earlier one: both are cancelled in one turn of the loop."""
    rows = Rows()
    first, second = rows.stand(PEER), rows.stand(PEER)
    await first.__aenter__()
    await second.__aenter__()
    await second.__aexit__(None, None, None)
    await first.__aexit__(None, None, None)
    async with rows.stand(PEER) as turn:
        await turn()
