"""`drexnode signer run`: one key, its journal and its watermark, behind a Unix socket.

Promises: the rules of `storage/signing_state.py` hold for every caller, so no node, however confused, gets
two signatures for one step; one node at a time is served, others are told SIGNER_BUSY; a caller of another
user is turned away (the kernel says who it is; where it can't, the socket's mode 0600 must do); frames,
connections and idle time are bounded. A node that begins gets what journal and watermark say at that moment:
both are closed and recovered anew for it. A failed disk ends the process, and no vote leaves that is not
durable.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import trio

from consensus.journal import decode_record
from drexnode.signer import LocalSigner
from drexnode.signer_wire import (
    DECIDED,
    HEAD_BYTES,
    HELLO,
    LEAVE,
    SIGN,
    STATUS,
    VOTE,
    Answer,
    Hello,
    Request,
    SignerStatus,
    decode_request,
    frame,
    frame_size,
)
from drexnode.telemetry import get_logger
from primitives.codec import encode
from primitives.errors import DecodeError, DrexError, StorageFailure
from primitives.limits import SIGNER_CONNECTIONS, SIGNER_IDLE_SECONDS
from storage.signing_state import Quarantine

MAX_SOCKET_PATH_BYTES = 100  # the system's bound is 104 … 108
_log = get_logger("signer")


class SignerServer:
    """Serves one key. `open_state` recovers journal and watermark (blocking); it is called for each node."""

    def __init__(self, chain_id: bytes, open_state: Callable[[], LocalSigner]) -> None:
        """Open the state once, so that a bad one is told at the start. Raises as `open_state`."""
        self._chain_id = chain_id
        self._open_state = open_state
        self._signer = open_state()
        self._public_key = self._signer.public_key
        self._turn = trio.Lock()
        self._node: SocketSession | None = None
        self._sessions = 0
        self._signed = 0
        self._refused = 0

    async def serve(self, listener: socket.socket) -> None:
        """Serve until cancelled. Raises `StorageFailure` when a vote could not be made durable."""
        accepting = trio.socket.from_stdlib_socket(listener)
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    connection, _ = await accepting.accept()
                    if self._sessions >= SIGNER_CONNECTIONS:
                        connection.close()
                        continue
                    self._sessions += 1
                    nursery.start_soon(self._session, connection)
        finally:
            self._signer.close()

    async def _session(self, connection: trio.socket.SocketType) -> None:
        session = SocketSession(connection)
        try:
            if not session.is_permitted:
                _log.warning("signer.caller_refused", pid=session.pid, uid=session.uid)
                message = f"this signer serves user {os.getuid()} alone, not {session.uid}"
                await session.send(Answer("SIGNER_NOT_PERMITTED", message, b""))
                return
            while True:
                await self._one_request(session)
        except (OSError, DecodeError, trio.ClosedResourceError) as error:
            _log.debug("signer.connection_over", pid=session.pid, error=str(error))
        finally:
            self._sessions -= 1
            if self._node is session:
                self._node = None
                _log.info("signer.node_gone", pid=session.pid)
            connection.close()

    async def _one_request(self, session: SocketSession) -> None:
        try:
            with trio.fail_after(math.inf if self._node is session else SIGNER_IDLE_SECONDS):
                request = await session.read()
        except trio.TooSlowError:
            raise DecodeError("nothing was asked for too long") from None
        async with self._turn:
            try:
                body = await trio.to_thread.run_sync(self._answer, session, request)
                answer = Answer("", "", body)
            except StorageFailure as failure:
                with contextlib.suppress(OSError):
                    await session.send(Answer(failure.code, failure.message, b""))
                raise
            except DrexError as error:
                self._refused += request.verb == SIGN
                answer = Answer(error.code, error.message, b"")
        await session.send(answer)

    def _answer(self, session: SocketSession, request: Request) -> bytes:
        """In a thread, one at a time. Raises `DrexError` (refused) and `StorageFailure` (end the process)."""
        match request.verb:
            case verb if verb == HELLO:
                return self._begin(session, request.body)
            case verb if verb == STATUS:
                return encode(self._status())
        if self._node is not session:
            raise DrexError("SIGNER_NO_HELLO", "say HELLO first")
        match request.verb:
            case verb if verb == SIGN:
                signature = self._signer.sign(decode_record(request.body))
                self._signed += 1
                return bytes(signature)
            case verb if verb == VOTE:
                return bytes(self._signer.sign_ledger_vote(request.body))
            case verb if verb == DECIDED:
                self._signer.height_decided(request.height)
            case verb if verb == LEAVE:
                if self._signer.in_quarantine:
                    self._signer.leave_quarantine()
        return b""

    def _begin(self, session: SocketSession, chain_id: bytes) -> bytes:
        if self._node is not None and self._node is not session:
            message = f"this signer serves the node of pid {self._node.pid}; stop that one first"
            raise DrexError("SIGNER_BUSY", message)
        if chain_id != self._chain_id:
            message = f"this signer's key signs for chain {self._chain_id.hex()}, not {chain_id.hex()[:64]}"
            raise DrexError("SIGNER_FOREIGN", message)
        self._signer.close()
        self._signer = self._open_state()
        self._node = session
        _log.info("signer.node_came", pid=session.pid)
        return encode(self._hello())

    def _hello(self) -> Hello:
        recovery = self._signer.recovery
        last = self._signer.last
        if isinstance(recovery, Quarantine):
            key = self._public_key
            return Hello(self._chain_id, key, self._signer.in_quarantine, (), None, last, recovery.reason)
        return Hello(
            self._chain_id,
            self._public_key,
            False,
            recovery.records,
            recovery.watermark,
            last,
            recovery.note or "",
        )

    def _status(self) -> SignerStatus:
        last = self._signer.last
        return SignerStatus(
            self._chain_id,
            self._public_key,
            self._signer.in_quarantine,
            None if last is None else last.position,
            None if self._node is None else self._node.pid,
            self._signed,
            self._refused,
        )


class SocketSession:
    """One caller: who it is, and frames."""

    def __init__(self, connection: trio.socket.SocketType) -> None:
        self._connection = connection
        self.pid, self.uid = _peer_of(connection)

    @property
    def is_permitted(self) -> bool:
        """True for a process of this signer's own user."""
        return self.uid is None or self.uid == os.getuid()

    async def read(self) -> Request:
        """Raises `DecodeError`, `OSError`."""
        size = frame_size(await self._read(HEAD_BYTES))
        return decode_request(await self._read(size))

    async def send(self, answer: Answer) -> None:
        """Raises `OSError`."""
        data = memoryview(frame(encode(answer)))
        while data:
            data = data[await self._connection.send(data) :]

    async def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = await self._connection.recv(min(size - len(data), 1 << 16))
            if not part:
                raise ConnectionResetError("the caller is gone")
            data += part
        return bytes(data)


def _peer_of(connection: trio.socket.SocketType) -> tuple[int | None, int | None]:
    """(pid, uid) of the other side as the kernel knows it; (None, None) where it does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None, None
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, size))
    return pid, uid


def open_socket(path: Path) -> socket.socket:
    """Listen at `path`, mode 0600; what a dead signer left there is removed, a living one is not.

    Raises `DrexError` SIGNER_SOCKET."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        message = f"{path} is longer than the {MAX_SOCKET_PATH_BYTES} bytes a Unix socket's path may have"
        raise DrexError("SIGNER_SOCKET", message, path=str(path))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            _remove_if_dead(path)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(SIGNER_CONNECTIONS)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise DrexError("SIGNER_SOCKET", f"{path}: {error.strerror or error}", path=str(path)) from None
    return listener


def _remove_if_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(0, "another signer listens there; stop it first")
