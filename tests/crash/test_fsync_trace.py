"""The reader of traces: it accepts the promised order and finds each way of breaking it."""

from __future__ import annotations

import pytest

from tests.crash.fsync_trace import Order

JOURNAL = "/d/data/votes/votes.journal"
SLOT = "/d/signer/watermark/slot-0"
LOG = "/d/data/chain/000003.log"
WRITE_JOURNAL = f'7 write(9<{JOURNAL}>, "x", 1) = 1'
SYNC_JOURNAL = f"7 fdatasync(9<{JOURNAL}>) = 0"
WRITE_SLOT = f'7 pwrite64(10<{SLOT}>, "x", 1, 0) = 1'
SYNC_SLOT = [f"7 fdatasync(10<{SLOT}> <unfinished ...>", "7 <... fdatasync resumed>) = 0"]
VOTE = '8 write(2</d/node.log>, "{\\"event\\": \\"vote.durable\\"", 9) = 9'
GOOD = [WRITE_JOURNAL, SYNC_JOURNAL, WRITE_SLOT, *SYNC_SLOT, VOTE]
BLOCK = '8 write(2</d/node.log>, "{\\"event\\": \\"block.final\\"", 9) = 9'
GOOD_BLOCK = [f'9 write(11<{LOG}>, "x", 1) = 1', f"9 fdatasync(11<{LOG}>) = 0", BLOCK]


def test_the_promised_order_is_accepted() -> None:
    order = Order()
    order.read([*GOOD, *GOOD_BLOCK, *GOOD, *GOOD_BLOCK])
    assert (order.votes, order.blocks, order.faults) == (2, 2, [])


@pytest.mark.parametrize("left_out", [SYNC_JOURNAL, WRITE_SLOT, SYNC_SLOT[1]])
def test_a_vote_without_one_of_its_writes_or_syncs_is_found(left_out: str) -> None:
    order = Order()
    order.read(line for line in GOOD if line != left_out)
    assert len(order.faults) == 1


def test_a_sync_before_its_write_and_one_that_failed_count_for_nothing() -> None:
    early = [SYNC_JOURNAL, WRITE_JOURNAL, WRITE_SLOT, *SYNC_SLOT, VOTE]
    failed = [WRITE_JOURNAL, f"7 fdatasync(9<{JOURNAL}>) = -1 EIO", WRITE_SLOT, *SYNC_SLOT, VOTE]
    for lines in (early, failed):
        order = Order()
        order.read(lines)
        assert len(order.faults) == 1


def test_a_block_that_is_final_before_its_log_is_synced_is_found() -> None:
    order = Order()
    order.read([*GOOD_BLOCK, BLOCK])
    assert len(order.faults) == 1
