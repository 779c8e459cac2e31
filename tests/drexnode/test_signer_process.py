"""A key behind a socket: the same rules as in the node's own process, whatever the other side does."""

from __future__ import annotations

import contextlib
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec import structs
from structlog.testing import capture_logs

from consensus.journal import VoteRecord
from drexnode import signer_server
from drexnode.signer import LocalSigner
from drexnode.signer_export import ExportRefused, open_export, seal_export
from drexnode.signer_remote import RemoteSigner, SignerConnection
from drexnode.signer_server import SignerServer, open_socket
from drexnode.signer_wire import MAX_FRAME_BYTES, SIGN, STATUS, SignerStatus
from ledger.build import build_body
from ledger.payloads import Kind, ValidatorVote, VoteOperation
from ledger.transaction import Witness, make_transaction
from primitives.certificate import STEP_COMMIT, STEP_PREPARE, STEP_ROUND_CHANGE
from primitives.codec import decode
from primitives.errors import DrexError, StorageFailure
from primitives.keys import SigningKey, verify
from storage.signing_move import SigningMemory
from storage.signing_state import SigningRefused, open_signing_state
from storage.watermark import create_watermark
from tests.storage.votes import CHAIN, lock, run_of_votes, vote

SIGNER_KEY = SigningKey(bytes(range(100, 132)))


class Home:
    """Files of a signer, and its process's stand-in: a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "s.sock"
        create_watermark(folder / "watermark", CHAIN, SIGNER_KEY.public_key)

    def open(self) -> LocalSigner:
        state = open_signing_state(
            self.folder / "votes", self.folder / "watermark", CHAIN, SIGNER_KEY.public_key
        )
        return LocalSigner(SIGNER_KEY, state)

    @contextmanager
    def serving(self) -> Iterator[None]:
        server, listener = SignerServer(CHAIN, self.open), open_socket(self.path)
        scopes: list[tuple[trio.lowlevel.TrioToken, trio.CancelScope]] = []
        ready = threading.Event()

        async def main() -> None:
            with trio.CancelScope() as scope:
                scopes.append((trio.lowlevel.current_trio_token(), scope))
                ready.set()
                await server.serve(listener)

        thread = threading.Thread(target=trio.run, args=(main,))
        thread.start()
        ready.wait()
        try:
            yield
        finally:
            token, scope = scopes[0]
            token.run_sync_soon(scope.cancel)
            thread.join()
            listener.close()

    def remote(self) -> RemoteSigner:
        return RemoteSigner(self.path, CHAIN, patience_s=0.0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def fault_of(signer: RemoteSigner) -> str | None:
    fault = signer.fault
    return None if fault is None else fault.code


def status(home: Home) -> SignerStatus:
    connection = SignerConnection(home.path)
    answer = connection.ask(STATUS)
    connection.close()
    return decode(answer.body, SignerStatus, max_bytes=len(answer.body))


def test_a_vote_is_signed_and_the_order_is_kept_across_the_socket(home: Home) -> None:
    with home.serving():
        signer = home.remote()
        for record in run_of_votes():
            assert verify(SIGNER_KEY.public_key, record.payload_hash, signer.sign(record))
        with pytest.raises(SigningRefused) as refused:
            signer.sign(vote(1, 0, STEP_PREPARE))
        assert refused.value.code == "SIGN_REGRESSION"
        assert signer.fault is None
        signer.height_decided(run_of_votes()[-1].height)
        assert status(home).last == run_of_votes()[-1].position
        assert status(home).refused == 1
        signer.close()


@pytest.mark.parametrize("step", [STEP_ROUND_CHANGE, STEP_PREPARE, STEP_COMMIT])
def test_a_hash_that_is_not_of_the_vote_described_is_not_signed_and_not_remembered(
    home: Home, step: int
) -> None:
    with home.serving():
        signer = home.remote()
        signer.sign(vote(2, 0, STEP_COMMIT))
        other_block = vote(2, 0, STEP_COMMIT, variant=1).payload_hash
        for payload in (other_block, vote(1, 0, step).payload_hash, bytes(32)):
            with pytest.raises(SigningRefused) as refused:
                signer.sign(structs.replace(vote(3, 0, step), payload_hash=payload))
            assert refused.value.code == "SIGN_MISMATCH"
        assert status(home).last == (2, 0, STEP_COMMIT)
        signer.sign(vote(3, 0, step))
        signer.close()


def test_the_socket_is_for_its_owner_alone(home: Home) -> None:
    with home.serving():
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o600


def test_a_second_node_is_told_that_the_signer_is_busy_until_the_first_is_gone(home: Home) -> None:
    with home.serving():
        first = home.remote()
        with pytest.raises(StorageFailure) as busy:
            home.remote()
        assert busy.value.data["cause"] == "SIGNER_BUSY"
        first.close()
        RemoteSigner(home.path, CHAIN, patience_s=5.0).close()


def test_a_node_of_another_chain_is_refused(home: Home) -> None:
    with home.serving(), pytest.raises(StorageFailure) as refused:
        RemoteSigner(home.path, bytes(32), patience_s=0.0)
    assert refused.value.code == "SIGNER_FOREIGN"


def test_a_signer_that_dies_costs_votes_and_is_used_again_when_it_is_back(home: Home) -> None:
    with home.serving():
        signer = home.remote()
        signer.sign(vote(1, 0, STEP_PREPARE))
    with pytest.raises(SigningRefused) as gone:
        signer.sign(vote(2, 0, STEP_PREPARE))
    assert gone.value.code == "SIGNER_UNREACHABLE"
    assert fault_of(signer) == "SIGNER_UNREACHABLE"
    signer.height_decided(2)
    with home.serving():
        signer._not_before = 0.0
        signer.sign(vote(3, 0, STEP_PREPARE))
        assert fault_of(signer) is None
        signer.close()


def test_a_node_that_begins_again_learns_what_was_signed(home: Home) -> None:
    with home.serving():
        signer = home.remote()
        for record in run_of_votes():
            signer.sign(record)
        signer.close()
        again = RemoteSigner(home.path, CHAIN, patience_s=5.0)
        found = again.recovered(None)
        assert found is not None
        assert found.watermark is not None
        assert found.watermark.position == run_of_votes()[-1].position
        assert run_of_votes()[-1] in found.records
        again.close()


def test_a_signer_whose_files_were_put_back_stops_the_node(home: Home, tmp_path: Path) -> None:
    with home.serving():
        signer = home.remote()
        signer.sign(vote(5, 0, STEP_COMMIT))
    older = Home(tmp_path / "older")
    older.path = home.path
    with older.serving():
        signer._not_before = 0.0
        signer.close()
        with pytest.raises(StorageFailure) as stopped:
            signer.sign(vote(6, 0, STEP_PREPARE))
        assert stopped.value.code == "SIGNER_OLDER"


def test_a_signer_that_another_node_used_meanwhile_stops_the_node(home: Home) -> None:
    with home.serving():
        signer = home.remote()
        signer.sign(vote(2, 0, STEP_PREPARE))
        signer.close()
        other = RemoteSigner(home.path, CHAIN, patience_s=5.0)
        other.sign(vote(2, 0, STEP_COMMIT, lock(2)))
        other.close()
        with pytest.raises(StorageFailure) as stopped:
            again(signer, vote(2, 1, STEP_ROUND_CHANGE))  # it knows nothing of the lock
        assert stopped.value.code == "SIGNER_AHEAD"
        assert status(home).last == (2, 0, STEP_COMMIT)


def again(signer: RemoteSigner, record: VoteRecord) -> None:
    """Sign as soon as the signer has noticed that the node before is gone."""
    for _ in range(100):
        signer._not_before = 0.0
        try:
            signer.sign(record)
        except SigningRefused:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the signer stays busy")


def test_a_vote_whose_answer_was_lost_is_signed_when_it_is_asked_for_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SignerConnection.ask

    def deaf(connection: SignerConnection, *arguments: Any) -> Any:
        real(connection, *arguments)
        raise OSError("the answer was lost")

    with home.serving():
        signer = home.remote()
        monkeypatch.setattr(SignerConnection, "ask", deaf)
        with pytest.raises(SigningRefused):
            signer.sign(vote(2, 0, STEP_PREPARE))
        monkeypatch.undo()
        again(signer, vote(2, 0, STEP_PREPARE))
        again(signer, vote(2, 0, STEP_COMMIT))
        signer.close()


def test_the_end_of_one_quarantine_is_not_that_of_the_next(home: Home) -> None:
    def lose_memory() -> None:
        for name in ("slot-0", "slot-1"):
            (home.folder / "watermark" / name).write_bytes(b"lost")

    lose_memory()
    with home.serving():
        signer = home.remote()
        signer.leave_quarantine()
        signer.sign(vote(5, 0, STEP_COMMIT))
    lose_memory()
    with home.serving():
        signer.close()
        with pytest.raises(StorageFailure) as stopped:
            again(signer, vote(6, 0, STEP_PREPARE))
        assert stopped.value.code == "SIGNER_QUARANTINED"


def test_a_signer_that_forgot_how_far_it_signed_stops_the_node_and_then_serves_in_quarantine(
    home: Home,
) -> None:
    with home.serving():
        signer = home.remote()
        signer.sign(vote(5, 0, STEP_COMMIT))
    for name in ("slot-0", "slot-1"):
        (home.folder / "watermark" / name).write_bytes(b"lost")
    with home.serving():
        signer._not_before = 0.0
        signer.close()
        with pytest.raises(StorageFailure) as stopped:
            signer.sign(vote(6, 0, STEP_PREPARE))
        assert stopped.value.code == "SIGNER_QUARANTINED"
        restarted = RemoteSigner(home.path, CHAIN, patience_s=5.0)
        assert restarted.in_quarantine
        assert restarted.recovered(None) is None
        with pytest.raises(SigningRefused):
            restarted.sign(vote(6, 0, STEP_PREPARE))
        restarted.leave_quarantine()
        restarted.sign(vote(9, 0, STEP_PREPARE))
        restarted.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
        b"\0\0\0\x03abc",
        b"\0\0\0\0",
        b"GET / HTTP",
    ],
)
def test_bytes_that_are_no_request_end_the_connection_and_nothing_else(home: Home, data: bytes) -> None:
    with home.serving():
        with socket.socket(socket.AF_UNIX) as villain:
            villain.connect(str(home.path))
            villain.sendall(data)
            villain.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):  # it left bytes unread
                assert villain.recv(100) == b""
        assert not status(home).in_quarantine


def test_a_connection_that_asks_for_nothing_is_closed_and_the_signer_goes_on(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signer_server, "SIGNER_IDLE_SECONDS", 0.05)
    with home.serving():
        with socket.socket(socket.AF_UNIX) as idle:
            idle.connect(str(home.path))
            idle.settimeout(30.0)
            assert idle.recv(1) == b""
        signer = home.remote()
        signer.sign(vote(1, 0, STEP_PREPARE))
        signer.close()


def test_nothing_is_signed_for_who_did_not_say_hello(home: Home) -> None:
    with home.serving():
        connection = SignerConnection(home.path)
        assert connection.ask(SIGN, body=vote(1, 0, STEP_PREPARE).encode()).code == "SIGNER_NO_HELLO"
        connection.close()


def test_the_key_signs_its_own_validator_votes_and_no_other_transaction(home: Home) -> None:
    own = ValidatorVote(SIGNER_KEY.public_key, bytes(32), VoteOperation.ADD, 100)
    strange = ValidatorVote(bytes([9]) * 32, bytes(32), VoteOperation.ADD, 100)
    with home.serving():
        signer = home.remote()
        for payload, code in ((own, None), (strange, "SIGNER_NO_VOTE")):
            body = build_body(Kind.VALIDATOR_VOTE, valid_until=100, payload=payload)
            unsigned = make_transaction(body, Witness((), (), ()), CHAIN)
            if code is None:
                signature = signer.sign_ledger_vote(unsigned.raw)
                assert verify(SIGNER_KEY.public_key, unsigned.sighash, signature)
                continue
            with pytest.raises(DrexError) as refused:
                signer.sign_ledger_vote(unsigned.raw)
            assert refused.value.code == code
        with pytest.raises(DrexError, match="SIGNER_NO_VOTE"):
            signer.sign_ledger_vote(b"\x90")
        signer.close()


def test_a_socket_of_a_dead_signer_is_taken_over_and_a_living_one_is_not(home: Home) -> None:
    open_socket(home.path).close()
    with home.serving(), pytest.raises(DrexError) as refused:
        open_socket(home.path)
    assert refused.value.code == "SIGNER_SOCKET"


HEIR = SigningKey(bytes([7]) * 32)
MEMORY = SigningMemory(12, tuple(run_of_votes()), run_of_votes()[-1])


def sealed() -> bytes:
    return seal_export(CHAIN, SIGNER_KEY, MEMORY, HEIR.public_key)


def refusal(data: bytes, chain_id: bytes = CHAIN, heir: SigningKey = HEIR) -> str:
    with pytest.raises(ExportRefused) as refused:
        open_export(data, chain_id, heir)
    return refused.value.code


def test_an_export_is_opened_by_its_heir_and_holds_key_and_votes() -> None:
    moved = open_export(sealed(), CHAIN, HEIR)
    assert moved.key.seed == SIGNER_KEY.seed
    assert moved.memory == MEMORY
    assert SIGNER_KEY.seed not in sealed()


def test_an_export_for_another_machine_or_chain_is_refused() -> None:
    assert refusal(sealed(), heir=SIGNER_KEY) == "SIGNER_EXPORT_NOT_OURS"
    assert refusal(sealed(), chain_id=bytes(32)) == "SIGNER_EXPORT_FOREIGN"


def test_an_export_cut_or_flipped_anywhere_is_refused() -> None:
    data = sealed()
    for size in range(0, len(data), 17):
        assert refusal(data[:size]) == "SIGNER_EXPORT_DAMAGED"
    for place in range(0, len(data), 13):
        assert refusal(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_a_node_that_waits_for_its_signer_says_so_at_once_and_in_the_end_how_to_start_it(home: Home) -> None:
    with capture_logs() as said, pytest.raises(StorageFailure, match="drexnode signer run") as ended:
        RemoteSigner(home.path, CHAIN, patience_s=0.3)
    assert ended.value.code == "SIGNER_UNREACHABLE"
    assert [line["event"] for line in said].count("signer.awaited") == 1
