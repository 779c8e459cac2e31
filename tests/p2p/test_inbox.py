"""A peer over its share waits, the others do not notice, and all is bounded."""

import pytest
import trio
import trio.testing

from p2p.identity import PeerId
from p2p.inbox import BoundedEvents, BoundedInbox
from p2p.transport import Channel, Message, PeerEvent, PeerEventKind
from primitives.limits import INBOX_BATCH_BYTES, INBOX_BATCH_MESSAGES, INBOX_PEER_MESSAGES, PEER_EVENTS_MAX

pytestmark = pytest.mark.trio
FLOODER, HONEST = PeerId("flooder"), PeerId("honest")


def message(peer: PeerId, size: int = 1) -> Message:
    return Message(peer, Channel.CONSENSUS, bytes(size))


async def test_messages_come_out_in_order_and_in_batches() -> None:
    inbox = BoundedInbox()
    sent = [Message(HONEST, Channel.CONSENSUS, bytes([number % 256])) for number in range(600)]
    assert all(inbox.put_nowait(one) for one in sent)
    assert await inbox.receive() == sent[:INBOX_BATCH_MESSAGES]
    assert await inbox.receive() == sent[INBOX_BATCH_MESSAGES:]
    assert inbox.receive_nowait() == []


async def test_flooder_fills_only_its_own_share() -> None:
    inbox = BoundedInbox()
    assert (
        sum(inbox.put_nowait(message(FLOODER)) for _ in range(2 * INBOX_PEER_MESSAGES)) == INBOX_PEER_MESSAGES
    )
    assert inbox.put_nowait(message(HONEST))


async def test_who_sends_little_is_heard_before_what_another_one_has_queued() -> None:
    """A peer that repeated final transactions had others' wait seconds behind its 8 MiB on a busy machine:
    the validator had nothing to propose at its turn, and the round was lost."""
    inbox = BoundedInbox()
    for _ in range(1000):
        assert inbox.put_nowait(message(FLOODER))
    first, second = (Message(HONEST, Channel.CONSENSUS, bytes([number])) for number in (1, 2))
    assert inbox.put_nowait(first)
    assert inbox.put_nowait(second)
    taken = await inbox.receive()
    assert [one.peer for one in taken[:4]] == [FLOODER, HONEST, FLOODER, HONEST]
    assert [one for one in taken if one.peer == HONEST] == [first, second]


async def test_the_reader_takes_little_at_a_time() -> None:
    inbox = BoundedInbox()
    for _ in range(100):
        assert inbox.put_nowait(message(FLOODER, 60_000))
    assert len(await inbox.receive()) == INBOX_BATCH_BYTES // 60_000
    assert inbox.put_nowait(message(HONEST))
    assert message(HONEST) in (await inbox.receive())[:2]
    large = BoundedInbox()
    assert large.put_nowait(message(HONEST, INBOX_BATCH_BYTES + 1))
    assert len(await large.receive()) == 1


async def test_share_is_bounded_in_bytes() -> None:
    inbox = BoundedInbox(peer_bytes=100, total_bytes=250)
    assert inbox.put_nowait(message(FLOODER, 60))
    assert not inbox.put_nowait(message(FLOODER, 60))
    assert inbox.put_nowait(message(HONEST, 60))


async def test_one_message_fits_an_empty_share_whatever_the_others_hold() -> None:
    inbox = BoundedInbox(peer_bytes=100, total_bytes=100)
    assert inbox.put_nowait(message(FLOODER, 100))
    assert inbox.put_nowait(message(HONEST, 100))
    assert not inbox.put_nowait(message(HONEST, 1))
    inbox.receive_nowait()
    assert inbox.queued_bytes == 0
    assert inbox.put_nowait(message(HONEST, 1))


async def test_waiting_writer_goes_on_when_its_share_is_read() -> None:
    inbox = BoundedInbox(peer_bytes=10)
    await inbox.put(message(FLOODER, 10))
    done = trio.Event()

    async def put_more() -> None:
        await inbox.put(message(FLOODER, 10))
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put_more)
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        assert len(await inbox.receive()) == 1
        with trio.fail_after(1):
            await done.wait()
    assert len(await inbox.receive()) == 1


async def test_reader_waits_for_the_first_message() -> None:
    inbox = BoundedInbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.put, message(HONEST))
        with trio.fail_after(1):
            assert await inbox.receive() == [message(HONEST)]


async def test_unread_events_are_bounded_and_the_newest_stay() -> None:
    events = BoundedEvents()
    for number in range(PEER_EVENTS_MAX + 10):
        events.put(PeerEvent(PeerEventKind.CONNECTED, PeerId(str(number))))
    taken = await events.receive()
    assert len(taken) == PEER_EVENTS_MAX
    assert taken[-1].peer == str(PEER_EVENTS_MAX + 9)
