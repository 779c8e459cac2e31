"""A typed client of the RPC, synchronous and asynchronous, for the command line, tests and programs.

A call is a value: `supply(asset)` is a `Call[Supply]`, which `Client.run` or `AsyncClient.run` carries
out. Refusals are raised as `RpcRefused` with the node's stable code and evidence; a node that can't be
reached raises `NodeUnreachable`. Amounts are integers of the smallest unit, bytes are hex text as on the
wire.
"""

from __future__ import annotations

import http.client
import itertools
import ssl
from typing import TypeVar
from urllib.parse import urlsplit

from drexnode.client_call import Call as Call
from drexnode.client_call import NodeUnreachable as NodeUnreachable
from drexnode.client_call import RpcRefused as RpcRefused
from drexnode.client_call import encode_calls, read_reply
from drexnode.client_calls import *  # noqa: F403 - the calls are this module's vocabulary
from drexnode.client_calls_admin import *  # noqa: F403
from drexnode.client_calls_node import *  # noqa: F403
from drexnode.client_tls import client_context
from drexnode.client_values import Asset as Asset
from drexnode.client_values import Atomicity as Atomicity
from drexnode.client_values import Balance as Balance
from drexnode.client_values import BalanceChange as BalanceChange
from drexnode.client_values import ClientOf as ClientOf
from drexnode.client_values import HistoryEntry as HistoryEntry
from drexnode.client_values import HistoryPage as HistoryPage
from drexnode.client_values import ProofAnswer as ProofAnswer
from drexnode.client_values import RegisteredWallet as RegisteredWallet
from drexnode.client_values import Sent as Sent
from drexnode.client_values import Simulation as Simulation
from drexnode.client_values import StandingFreeze as StandingFreeze
from drexnode.client_values import Status as Status
from drexnode.client_values import Supply as Supply
from drexnode.client_values import Unspent as Unspent
from drexnode.client_values import UnspentPage as UnspentPage

T = TypeVar("T")
DEFAULT_TIMEOUT_S = 15.0
WAIT_MARGIN_S = 5.0


class Client:
    """One connection to one node, kept open between calls. Not for several threads at a time."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """`token` is a credential of any kind; `tls` says whom an https URL trusts (default: the system's
        authorities, drexnode/client_tls.py)."""
        self.url = url
        self.token = token
        self.tls = tls
        parts = urlsplit(url if "//" in url else f"http://{url}")
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port
        self._secure = parts.scheme == "https"
        self._timeout_s = timeout_s
        self._headers = {"content-type": "application/json"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._ids = itertools.count(1)
        self._connection: http.client.HTTPConnection | None = None

    def run(self, call: Call[T]) -> T:
        """Carry out one call. Raises `RpcRefused`, `NodeUnreachable`."""
        body = self._post(encode_calls([call], self._ids), self._timeout_s + call.wait_s + WAIT_MARGIN_S)
        return read_reply(body, call)

    def get(self, path: str) -> tuple[int, bytes]:
        """GET a probe or the metrics: status and body. Raises `NodeUnreachable`."""
        return self._request("GET", path, None, self._timeout_s)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _post(self, body: bytes, timeout_s: float) -> bytes:
        return self._request("POST", "/", body, timeout_s)[1]

    def _request(self, verb: str, path: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        """One exchange. A kept connection that the node closed meanwhile is opened once more."""
        for fresh in (self._connection is None, True):
            connection = self._open(timeout_s)
            try:
                connection.request(verb, path, body, self._headers)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if fresh:
                    why = str(error) or type(error).__name__
                    message = f"no node answers at {self.url}: {why}"
                    raise _unreachable(message, self.url, is_tls=self._secure) from None
        raise AssertionError("the second attempt returns or raises")

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._connection is None:
            if self._secure:
                self.tls = self.tls or client_context()
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=timeout_s, context=self.tls
                )
            else:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        return self._connection


def _unreachable(message: str, url: str, *, is_tls: bool) -> NodeUnreachable:
    """A handshake that fails ends as many kinds of errors; what to look at is the same."""
    if not is_tls:
        return NodeUnreachable("NODE_UNREACHABLE", message, url=url)
    hint = (
        "name the node's authority with --ca FILE, and where it demands one your certificate with --cert FILE"
    )
    return NodeUnreachable("NODE_UNREACHABLE", message, url=url, next=hint)


class AsyncClient:
    """The same calls under trio or asyncio, many at a time over a pool of connections."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        import httpx  # only programs that use it pay for its import

        self.url = url
        self._timeout_s = timeout_s
        headers = {"content-type": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        self._http = httpx.AsyncClient(base_url=url, headers=headers, verify=tls or client_context())
        self._errors = httpx.HTTPError
        self._ids = itertools.count(1)

    async def run(self, call: Call[T]) -> T:
        """Carry out one call. Raises `RpcRefused`, `NodeUnreachable`."""
        body = encode_calls([call], self._ids)
        timeout_s = self._timeout_s + call.wait_s + WAIT_MARGIN_S
        try:
            response = await self._http.post("/", content=body, timeout=timeout_s)
        except self._errors as error:
            why = str(error) or type(error).__name__
            message = f"no node answers at {self.url}: {why}"
            raise NodeUnreachable("NODE_UNREACHABLE", message, url=self.url) from None
        return read_reply(response.content, call)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
