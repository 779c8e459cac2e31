"""A typed client of the RPC, synchronous and asynchronous, for the command line, tests and programs.

A call is a value: `supply(asset)` is a `Call[Supply]`, which `Client.run` or `AsyncClient.run` carries
out. Refusals are raised as `RpcRefused` with the node's stable code and evidence; a node that can't be
reached raises `NodeUnreachable`. Amounts are integers of the smallest unit, bytes are hex text as on the
wire.
"""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import msgspec

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
from primitives.errors import DrexError

T = TypeVar("T")
DEFAULT_TIMEOUT_S = 15.0
WAIT_MARGIN_S = 5.0


class RpcRefused(DrexError):
    """The node refused a call; `code` and `data` are the node's."""


class NodeUnreachable(DrexError):
    """No node answers at the URL."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A method with its parameters and the type of its result. `wait_s` is how long the node may take."""

    method: str
    params: tuple[Any, ...]
    result: Any
    wait_s: float = 0.0

    def read(self, value: Any) -> T:
        """The typed result. Raises `RpcRefused` RPC_UNEXPECTED when the node answers something else."""
        try:
            converted: T = msgspec.convert(value, self.result, strict=False)
        except msgspec.ValidationError as error:
            raise RpcRefused("RPC_UNEXPECTED", f"{self.method} answered another shape: {error}") from None
        return converted


def proof(**of: str) -> Call[ProofAnswer]:
    """A proof for `output="TXID:INDEX"` (perhaps with `address`), `address` or `supply`."""
    return Call("drex_getProof", (of,), ProofAnswer)


def chain_id() -> Call[str]:
    """32 bytes in hex."""
    return Call("drex_chainId", (), str)


def block_number() -> Call[int]:
    """Height of the tip."""
    return Call("drex_blockNumber", (), int)


def block(height: int | str, *, full: bool = False) -> Call[dict[str, Any] | None]:
    """A final block by height or "latest"."""
    return Call("drex_getBlockByNumber", (height, full), dict[str, Any] | None)


def block_by_id(block_id: str, *, full: bool = False) -> Call[dict[str, Any] | None]:
    """A final block by id."""
    return Call("drex_getBlockById", (block_id, full), dict[str, Any] | None)


def headers(first: int, last: int) -> Call[list[dict[str, Any]]]:
    """Headers of a range of heights."""
    return Call("drex_getHeaders", (first, last), list[dict[str, Any]])


def certificate(height: int | str) -> Call[dict[str, Any] | None]:
    """The commit certificate of a height."""
    return Call("drex_getCommitCertificate", (height,), dict[str, Any] | None)


def genesis() -> Call[dict[str, Any]]:
    """The genesis document."""
    return Call("drex_getGenesis", (), dict[str, Any])


def validators(height: int | str = "latest") -> Call[list[str]]:
    """Keys of the validators that decide a height."""
    return Call("qbft_getValidatorsByBlockNumber", (height,), list[str])


def send(raw: bytes) -> Call[str]:
    """Submit one transaction; its txid."""
    return Call("drex_sendTransaction", (raw.hex(),), str)


def send_many(raws: Sequence[bytes]) -> Call[list[Sent]]:
    """Submit many transactions; one answer each."""
    return Call("drex_sendTransactions", ([raw.hex() for raw in raws],), list[Sent])


def transaction(txid: str) -> Call[dict[str, Any] | None]:
    """A pending or final transaction."""
    return Call("drex_getTransaction", (txid,), dict[str, Any] | None)


def transaction_status(txid: str) -> Call[Status]:
    """Where a transaction stands."""
    return Call("drex_getTransactionStatus", (txid,), Status)


def wait_transaction(txid: str, timeout_ms: int) -> Call[Status]:
    """Answers once the transaction is FINAL or REJECTED, or the time is over."""
    return Call("drex_waitTransaction", (txid, timeout_ms), Status, timeout_ms / 1000)


def transaction_by_reference(asset: str, reference: bytes) -> Call[dict[str, Any] | None]:
    """The emission of an asset that carries a reference."""
    return Call("drex_getTransactionByReference", (asset, reference.hex()), dict[str, Any] | None)


def unspent(
    address: str, asset: str | None = None, cursor: str | None = None, limit: int = 100
) -> Call[UnspentPage]:
    """A page of an address's unspent outputs."""
    return Call("drex_getUTXOsForAddress", (address, asset, cursor, limit), UnspentPage)


def balance(address: str) -> Call[dict[str, Balance]]:
    """Balances of an address by asset."""
    return Call("drex_getBalance", (address,), dict[str, Balance])


def history(address: str, cursor: str | None = None, limit: int = 100) -> Call[HistoryPage]:
    """A page of an address's final transactions, newest first."""
    return Call("drex_getHistory", (address, cursor, limit), HistoryPage)


def supply(asset: str) -> Call[Supply]:
    """Emitted, burned and circulating."""
    return Call("drex_getSupply", (asset,), Supply)


def assets() -> Call[list[Asset]]:
    """All registered assets."""
    return Call("drex_getAssets", (), list[Asset])


def participants() -> Call[list[dict[str, Any]]]:
    """All registered participants."""
    return Call("drex_getParticipants", (), list[dict[str, Any]])


def simulate(raw: bytes) -> Call[Simulation]:
    """What a transaction would do in the next block, or the code by which it would be refused."""
    return Call("drex_simulateTransaction", (raw.hex(),), Simulation)


def validate_atomicity(raws: Sequence[bytes]) -> Call[Atomicity]:
    """Whether transactions would all apply one after another."""
    return Call("drex_validateAtomicity", ([raw.hex() for raw in raws],), Atomicity)


def wallet(address: str) -> Call[RegisteredWallet]:
    """What the registry says of an address."""
    return Call("drex_getWallet", (address,), RegisteredWallet)


def frozen(address: str) -> Call[list[StandingFreeze]]:
    """The freezes that stand on an address."""
    return Call("drex_getFrozen", (address,), list[StandingFreeze])


def pending_votes() -> Call[list[dict[str, Any]]]:
    """Validator votes that stand: subject, voter, add, expires."""
    return Call("qbft_getPendingVotes", (), list[dict[str, Any]])


def evidence() -> Call[list[dict[str, Any]]]:
    """Proofs that a validator signed one step twice: validator, height, round, step, proof."""
    return Call("qbft_getEvidence", (), list[dict[str, Any]])


def explain_stall() -> Call[dict[str, Any]]:
    """Whether a block is wanted and can't come: stalled, code, reason, missing, causes, next, …"""
    return Call("qbft_explainStall", (), dict[str, Any])


def propose_validator_vote(key: str, add: bool) -> Call[dict[str, Any]]:
    """Let the asked validator vote a key in or out; txid, voter, subject, expires. Needs the credential."""
    return Call("qbft_proposeValidatorVote", (key, add), dict[str, Any])


def discard_validator_vote(key: str) -> Call[dict[str, Any]]:
    """Let the asked validator take its vote on a key back. Needs the credential."""
    return Call("qbft_discardValidatorVote", (key,), dict[str, Any])


def network_info() -> Call[dict[str, Any]]:
    """Node, tip, consensus, sync, pool and readiness."""
    return Call("drex_getNetworkInfo", (), dict[str, Any])


def metrics() -> Call[dict[str, list[dict[str, Any]]]]:
    """Every metric: name to samples of labels and value (text)."""
    return Call("drex_getMetrics", (), dict[str, list[dict[str, Any]]])


def protocol() -> Call[dict[str, Any]]:
    """The protocol version in force, the next one, and which nodes know it."""
    return Call("drex_getProtocol", (), dict[str, Any])


def log_level(level: str) -> Call[str]:
    """Change the level of the node's log; needs the admin credential."""
    return Call("admin_logLevel", (level,), str)


def peer_count() -> Call[int]:
    """Number of connected peers."""
    return Call("net_peerCount", (), int)


def listening() -> Call[bool]:
    """True once the node listens for peers."""
    return Call("net_listening", (), bool)


def nodes() -> Call[list[dict[str, Any]]]:
    """Every peer that the ledger permits."""
    return Call("drex_getNodes", (), list[dict[str, Any]])


def bans() -> Call[list[dict[str, Any]]]:
    """Peers that the node keeps out; needs the admin credential, as do the four below."""
    return Call("admin_bans", (), list[dict[str, Any]])


def unban(peer_id: str) -> Call[bool]:
    """Lift a ban; False when there was none."""
    return Call("admin_unban", (peer_id,), bool)


def add_peer(address: str) -> Call[bool]:
    """Keep a connection to a permitted peer until the node stops."""
    return Call("admin_addPeer", (address,), bool)


def remove_peer(peer_id: str, ban_ms: int = 0) -> Call[bool]:
    """Disconnect a peer, dial it no more, and keep it out for `ban_ms`."""
    return Call("admin_removePeer", (peer_id, ban_ms), bool)


def walk_to_peer(address: str, wait_s: float = 60.0) -> Call[list[dict[str, Any]]]:
    """Walk the way to a peer: name, state, detail and elapsed_ms of each step."""
    return Call("admin_testPeer", (address,), list[dict[str, Any]], wait_s)


def peers() -> Call[list[dict[str, Any]]]:
    """Connected peers; needs the admin credential."""
    return Call("admin_peers", (), list[dict[str, Any]])


def _encode(calls: Sequence[Call[Any]], ids: itertools.count[int]) -> bytes:
    requests = [
        {"jsonrpc": "2.0", "id": next(ids), "method": call.method, "params": call.params} for call in calls
    ]
    return msgspec.json.encode(requests[0] if len(requests) == 1 else requests)


def _refusal(error: Any) -> RpcRefused:
    if not isinstance(error, dict):
        return RpcRefused("RPC_UNEXPECTED", "the node answered an error that is no object")
    data = error.get("data") if isinstance(error.get("data"), dict) else {}
    assert isinstance(data, dict)
    rest = {key: value for key, value in data.items() if key not in ("code", "message")}
    return RpcRefused(str(data.get("code", "RPC_ERROR")), str(error.get("message", "")), **rest)


def _read_reply(body: bytes, call: Call[T]) -> T:
    try:
        reply = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise RpcRefused("RPC_UNEXPECTED", "the answer is not JSON; is this a drexnode RPC port?") from None
    if not isinstance(reply, dict) or not ("result" in reply or "error" in reply):
        raise RpcRefused("RPC_UNEXPECTED", "the answer is not JSON-RPC; is this a drexnode RPC port?")
    if "error" in reply:
        raise _refusal(reply["error"])
    return call.read(reply["result"])


class Client:
    """One connection to one node, kept open between calls. Not for several threads at a time."""

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.url = url
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
        body = self._post(_encode([call], self._ids), self._timeout_s + call.wait_s + WAIT_MARGIN_S)
        return _read_reply(body, call)

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
                    raise NodeUnreachable("NODE_UNREACHABLE", message, url=self.url) from None
        raise AssertionError("the second attempt returns or raises")

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=timeout_s)
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)
        return self._connection


class AsyncClient:
    """The same calls under trio or asyncio, many at a time over a pool of connections."""

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        import httpx  # only programs that use it pay for its import

        self.url = url
        self._timeout_s = timeout_s
        headers = {"content-type": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        self._http = httpx.AsyncClient(base_url=url, headers=headers)
        self._errors = httpx.HTTPError
        self._ids = itertools.count(1)

    async def run(self, call: Call[T]) -> T:
        """Carry out one call. Raises `RpcRefused`, `NodeUnreachable`."""
        body = _encode([call], self._ids)
        timeout_s = self._timeout_s + call.wait_s + WAIT_MARGIN_S
        try:
            response = await self._http.post("/", content=body, timeout=timeout_s)
        except self._errors as error:
            why = str(error) or type(error).__name__
            message = f"no node answers at {self.url}: {why}"
            raise NodeUnreachable("NODE_UNREACHABLE", message, url=self.url) from None
        return _read_reply(response.content, call)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()
