"""The signer of a node whose key is in another process: `drexnode signer run` behind a Unix socket.

Promises: the node never sees the seed; a signer that is gone, hung or restarted costs votes, never a wrong
one: what was asked and not answered may be asked again, and the signer signs it again only with the same
bytes. While it is gone the node says SIGNER_UNREACHABLE, follows the chain, and votes again when it is back.
A signer that comes back with another key, an older memory, votes of another node or in quarantine stops the
node: the engine's picture of what was signed would be false.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import NoReturn

from consensus.inputs import Recovered
from consensus.journal import Position, VoteRecord
from drexnode.signer_wire import (
    DECIDED,
    HEAD_BYTES,
    HELLO,
    LEAVE,
    SIGN,
    SIGNER_WIRE_VERSION,
    VOTE,
    Answer,
    Hello,
    Request,
    decode_answer,
    frame,
    frame_size,
)
from drexnode.telemetry import get_logger
from primitives.codec import decode, encode
from primitives.errors import DecodeError, DrexError, StorageFailure
from primitives.keys import SIGNATURE_BYTES, PublicKey, Signature
from primitives.limits import SIGNER_ANSWER_SECONDS, SIGNER_BACKOFF_SECONDS, SIGNER_PATIENCE_SECONDS
from storage.signing_state import SigningRefused

UNREACHABLE = "SIGNER_UNREACHABLE"
# What the signer refuses for this one vote; any other code means that it can't go on.
_REFUSALS = frozenset({"SIGN_REGRESSION", "SIGN_QUARANTINED", "SIGN_MISMATCH"})
_log = get_logger("signer")


class SignerConnection:
    """One connection: a request, its answer, in turn."""

    def __init__(self, path: Path, timeout_s: float = SIGNER_ANSWER_SECONDS) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(str(path))
        except BaseException:
            self._socket.close()
            raise

    def ask(self, verb: int, height: int = 0, body: bytes = b"") -> Answer:
        """One request. Raises `OSError` and `DecodeError`; the connection is then of no more use."""
        self._socket.sendall(frame(encode(Request(SIGNER_WIRE_VERSION, verb, height, body))))
        return decode_answer(self._read(frame_size(self._read(HEAD_BYTES))))

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(min(size - len(data), 1 << 20))
            if not part:
                raise ConnectionResetError("the signer closed the connection")
            data += part
        return bytes(data)


class RemoteSigner:
    """See `drexnode.signer.Signer`. Blocking methods: from one thread at a time."""

    def __init__(self, path: Path, chain_id: bytes, *, patience_s: float = SIGNER_PATIENCE_SECONDS) -> None:
        """Connect, waiting `patience_s` for a signer that is not there yet. Raises `StorageFailure`
        SIGNER_UNREACHABLE, SIGNER_BUSY, SIGNER_FOREIGN, or the signer's own code."""
        self._path = path
        self._chain_id = chain_id
        self._connection: SignerConnection | None = None
        self._turn = threading.Lock()
        self._not_before = 0.0
        self._fault: DrexError | None = None
        self._signed: Position | None = None
        self._asked: VoteRecord | None = None  # the last vote that was sent, answered or not
        self._owes_leave = False  # the end of a quarantine that the signer was not told yet
        self._hello: Hello | None = None
        deadline, is_told = time.monotonic() + patience_s, False
        while True:
            try:
                self._connect()
                break
            except SigningRefused as error:
                if time.monotonic() > deadline:
                    message = (
                        f"{error.message} ({patience_s:g} s waited); start it: drexnode signer run --home DIR"
                    )
                    raise StorageFailure(error.code, message, **error.data) from None
                if not is_told:
                    is_told = True
                    _log.warning("signer.awaited", path=str(path), seconds=patience_s, reason=error.message)
                self._not_before = 0.0
                time.sleep(0.1)
        self._in_quarantine = self._known.in_quarantine
        if self._known.last is not None:
            self._signed = self._known.last.position

    @property
    def public_key(self) -> PublicKey:
        """See `Signer`."""
        return PublicKey(self._known.public_key)

    @property
    def in_quarantine(self) -> bool:
        """See `Signer`."""
        return self._in_quarantine

    @property
    def fault(self) -> DrexError | None:
        """Why it does not sign at present, or None."""
        return self._fault

    def recovered(self, lock_wtxids: tuple[bytes, ...] | None) -> Recovered | None:
        """As `LocalSigner.recovered`, of the start of this node."""
        hello = self._known
        return None if hello.in_quarantine else Recovered(hello.records, hello.watermark, lock_wtxids)

    def sign(self, record: VoteRecord) -> Signature:
        """See `Signer`. `SigningRefused` with SIGNER_UNREACHABLE while there is no signer."""
        signature = self._ask(SIGN, body=record.encode(), vote=record)
        if len(signature) != SIGNATURE_BYTES:
            self._lose(DecodeError("the answer is no signature"))
        self._signed = record.position
        return Signature(signature)

    def height_decided(self, height: int) -> None:
        """See `Signer`. A signer that is gone need not know: its journal is bounded by itself."""
        with contextlib.suppress(SigningRefused):
            self._ask(DECIDED, height)

    def leave_quarantine(self) -> None:
        """See `Signer`. Told to a signer that is gone as soon as it is back."""
        self._owes_leave = True
        self._in_quarantine = False
        with contextlib.suppress(SigningRefused):
            self._ask(LEAVE)
            self._owes_leave = False

    def sign_ledger_vote(self, unsigned: bytes) -> Signature:
        """See `NodeSigner`. May be called beside the thread of the votes."""
        return Signature(self._ask(VOTE, body=unsigned))

    def close(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _known(self) -> Hello:
        if self._hello is None:
            raise StorageFailure(UNREACHABLE, f"the signer at {self._path} never answered")
        return self._hello

    def _ask(self, verb: int, height: int = 0, body: bytes = b"", vote: VoteRecord | None = None) -> bytes:
        with self._turn:
            connection = self._connection or self._connect()
            if vote is not None:
                self._asked = vote
            try:
                answer = connection.ask(verb, height, body)
            except (OSError, DecodeError) as error:
                self._lose(error)
        if answer.code in _REFUSALS:
            raise SigningRefused(answer.code, answer.message)
        if answer.code == "SIGNER_NO_VOTE":
            raise DrexError(answer.code, answer.message)
        if answer.code:
            self._lose(DrexError(answer.code, answer.message))
        return answer.body

    def _connect(self) -> SignerConnection:
        """Connect and compare with what is known. Raises `SigningRefused` while there is nobody, and
        `StorageFailure` for one that can't be trusted to be the same."""
        if time.monotonic() < self._not_before:
            raise SigningRefused(UNREACHABLE, f"no signer answers at {self._path}", path=str(self._path))
        try:
            connection = SignerConnection(self._path)
        except OSError as error:
            self._lose(error)
        self._connection = connection
        try:
            answer = connection.ask(HELLO, body=self._chain_id)
            if answer.code == "SIGNER_FOREIGN":
                raise StorageFailure(answer.code, answer.message, path=str(self._path))
            if answer.code:
                raise DrexError(answer.code, answer.message)
            self._accept(decode(answer.body, Hello, max_bytes=len(answer.body)), connection)
        except (OSError, DrexError) as error:
            if isinstance(error, StorageFailure):
                self.close()
                raise
            self._lose(error)
        if self._fault is not None:
            _log.warning("signer.back", path=str(self._path))
        self._fault = None
        return connection

    def _accept(self, hello: Hello, connection: SignerConnection) -> None:
        first, self._hello = self._hello, self._hello or hello
        if first is None:
            return
        if (hello.chain_id, hello.public_key) != (first.chain_id, first.public_key):
            raise self._changed("SIGNER_FOREIGN", "holds another key or chain now")
        self._compare(hello)
        if hello.in_quarantine and self._owes_leave:
            if (answer := connection.ask(LEAVE)).code:
                raise DrexError(answer.code, answer.message)
            self._owes_leave = False
        elif hello.in_quarantine and not self._in_quarantine:
            raise self._changed("SIGNER_QUARANTINED", "no longer knows how far its key has signed")

    def _compare(self, hello: Hello) -> None:
        """What was signed is what this node asked for, no less and no more. More means that another node had
        the signer meanwhile: it may have locked on a block that this one knows nothing of."""
        last = hello.last
        if hello.in_quarantine:
            return
        if self._signed is not None and (last is None or last.position < self._signed):
            raise self._changed("SIGNER_OLDER", "forgot votes that it has signed: its files were put back")
        is_floor = self._known.in_quarantine and self._signed is None  # where the quarantine has ended
        if last is None or last.position == self._signed or is_floor:
            return
        asked = self._asked
        if asked is None or (last.position, last.payload_hash) != (asked.position, asked.payload_hash):
            raise self._changed(
                "SIGNER_AHEAD", "signed votes that this node did not ask for: restart the node"
            )
        self._signed = last.position

    def _changed(self, code: str, what: str) -> StorageFailure:
        self.close()
        return StorageFailure(code, f"the signer at {self._path} {what}", path=str(self._path))

    def _lose(self, error: Exception) -> NoReturn:
        """The signer does not answer: say so once, and do not try again at once."""
        self.close()
        self._not_before = time.monotonic() + SIGNER_BACKOFF_SECONDS
        cause = getattr(error, "code", None) or getattr(error, "strerror", None) or str(error)
        message = f"no signer answers at {self._path} ({cause}); run: drexnode signer run --home DIR"
        if self._fault is None:
            _log.error("signer.gone", path=str(self._path), error=str(error))
        self._fault = DrexError(UNREACHABLE, message, path=str(self._path), cause=str(cause))
        raise SigningRefused(UNREACHABLE, message, path=str(self._path), cause=str(cause)) from None
