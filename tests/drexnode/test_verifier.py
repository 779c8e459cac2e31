"""The verifier gives the answers of `primitives.keys.verify`, whoever computes them and whatever dies."""

import io
import os
import signal
import sys
from collections import Counter

import pytest
import trio

from drexnode import verify_worker
from drexnode.verifier import Check, Verifier, WorkerVerifier, open_verifier
from primitives.keys import SigningKey, verify
from primitives.limits import VERIFY_BATCH, VERIFY_PART, VERIFY_QUEUE_CHECKS
from tests.primitives import zip215

MESSAGE = bytes(range(32))


def checks_of(count: int, *, false_every: int = 7) -> list[Check]:
    """Checks of which every `false_every`-th carries a signature of another message."""
    keys = [SigningKey(bytes([number]) * 32) for number in range(8)]
    made: list[Check] = []
    for number in range(count):
        key, message = keys[number % 8], number.to_bytes(32, "big")
        signed = MESSAGE if number % false_every == 0 else message
        made.append((key.public_key, message, key.sign(signed)))
    return made


def small_order_check() -> Check:
    """Accepted by ZIP-215, refused by libsodium: key, R and S of the identity point."""
    identity = (1).to_bytes(32, "little")
    return identity, MESSAGE, identity + bytes(32)


def expected(checks: list[Check]) -> list[bool]:
    return [verify(*check) for check in checks]


async def test_inline_answers_are_those_of_the_rule() -> None:
    checks = [*checks_of(50), small_order_check()]
    verifier = Verifier()
    assert await verifier.verify(checks) == expected(checks)
    assert expected(checks)[-1]
    assert verifier.verified == 51


async def test_nothing_to_verify_is_answered_with_nothing() -> None:
    async with open_verifier(0) as inline, open_verifier(1) as working:
        assert await inline.verify([]) == []
        assert await working.verify([]) == []


async def test_inline_work_lets_others_run_between_breaths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drexnode.slicing.BREATH_SECONDS", 0.0)  # each part is one, whatever the machine does
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await Verifier().verify(checks_of(20 * VERIFY_PART))
        nursery.cancel_scope.cancel()
    assert turns >= 15


async def test_inline_work_follows_on_until_a_breath_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn of the loop costs as much as a third of a signature."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    clock = iter(range(10**6))
    monkeypatch.setattr("drexnode.slicing.monotonic", lambda: next(clock))
    monkeypatch.setattr("drexnode.slicing.BREATH_SECONDS", 4)  # four looks at this clock
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await Verifier().verify(checks_of(20 * VERIFY_PART))
        nursery.cancel_scope.cancel()
    assert 3 <= turns <= 6  # five breaths of four parts


async def test_a_small_request_does_not_wait_for_a_large_one() -> None:
    verifier, finished = Verifier(), []

    async def verify_some(name: str, count: int) -> None:
        await verifier.verify(checks_of(count))
        finished.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(verify_some, "large", 400)
        nursery.start_soon(verify_some, "small", 4)
    assert finished == ["small", "large"]


async def test_workers_answer_as_inline_does_and_are_counted() -> None:
    checks = [*checks_of(VERIFY_QUEUE_CHECKS + 3 * VERIFY_BATCH + 5), small_order_check()]
    counted: Counter[str] = Counter()

    def count(where: str, signatures: int) -> None:
        counted[where] += signatures

    async with open_verifier(2, count) as verifier:
        assert await verifier.verify(checks) == expected(checks)
    assert counted["worker"] > VERIFY_BATCH
    assert counted.total() == len(checks) == verifier.verified


async def test_many_callers_get_each_their_own_answers() -> None:
    async with open_verifier(1) as verifier:

        async def ask(count: int, false_every: int) -> None:
            checks = checks_of(count, false_every=false_every)
            assert await verifier.verify(checks) == expected(checks)

        async with trio.open_nursery() as nursery:
            for number in range(1, 40):
                nursery.start_soon(ask, number, number)


async def test_checks_of_odd_widths_are_false_not_fatal() -> None:
    good = checks_of(1, false_every=2)[0]
    odd = [(b"", MESSAGE, bytes(64)), (good[0], MESSAGE, b"short"), (good[0], MESSAGE * 2, good[2])]
    async with open_verifier(1) as verifier:
        assert await verifier.verify(odd) == [False, False, False]


async def test_a_killed_worker_loses_no_answer_and_comes_back() -> None:
    checks = checks_of(3 * VERIFY_BATCH)
    async with open_verifier(1) as verifier:
        assert isinstance(verifier, WorkerVerifier)
        assert await verifier.verify(checks) == expected(checks)
        process = verifier.processes[0]
        os.kill(process.pid, signal.SIGKILL)
        assert await verifier.verify(checks) == expected(checks)
        assert verifier.restarts == 1
        with trio.fail_after(20):
            while verifier.processes.get(0) in (None, process):  # noqa: ASYNC110
                await trio.sleep(0.02)
        before = verifier.verified_by_workers
        assert await verifier.verify(checks) == expected(checks)
        assert verifier.verified_by_workers > before


@pytest.mark.parametrize(
    "program",
    ["import sys; sys.exit(3)", "import sys; sys.stdin.buffer.read(9000); sys.stdout.buffer.write(b'x')"],
    ids=["ends at once", "ends in the middle of an answer"],
)
async def test_a_worker_that_never_works_is_replaced_by_inline_work(program: str) -> None:
    checks = checks_of(2 * VERIFY_BATCH)
    async with open_verifier(1, command=(sys.executable, "-c", program)) as verifier:
        assert await verifier.verify(checks) == expected(checks)
        assert isinstance(verifier, WorkerVerifier)
        assert verifier.verified_by_workers == 0


async def test_a_worker_that_cannot_be_started_is_replaced_by_inline_work() -> None:
    checks = checks_of(20)
    async with open_verifier(1, command=("/nonexistent/program",)) as verifier:
        assert await verifier.verify(checks) == expected(checks)


async def test_a_cancelled_caller_harms_nobody_else() -> None:
    async with open_verifier(1) as verifier:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(verifier.verify, checks_of(500))
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        checks = checks_of(30)
        assert await verifier.verify(checks) == expected(checks)


def test_the_worker_answers_frames_and_ends_with_its_input() -> None:
    checks = [*checks_of(20), small_order_check()]
    requests = io.BytesIO(verify_worker.encode_request(checks) + verify_worker.encode_request(checks[:1]))
    responses = io.BytesIO()
    assert verify_worker.serve(requests, responses) == 0
    assert list(responses.getvalue()) == [int(zip215.verify(*check)) for check in [*checks, checks[0]]]


@pytest.mark.parametrize("torn", [b"\x00", b"\x00\x00\x00\x02" + bytes(128), b"\xff\xff\xff\xff"])
def test_the_worker_ends_at_a_false_frame(torn: bytes) -> None:
    assert verify_worker.serve(io.BytesIO(torn), io.BytesIO()) == 1
