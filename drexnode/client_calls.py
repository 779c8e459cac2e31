"""Calls on the chain, on money and on transactions, as values (`drexnode.client`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from drexnode.client_call import Call
from drexnode.client_values import (
    Asset,
    Atomicity,
    Balance,
    HistoryPage,
    ProofAnswer,
    RegisteredWallet,
    Sent,
    Simulation,
    StandingFreeze,
    Status,
    Supply,
    UnspentPage,
)

if TYPE_CHECKING:
    from drexnode.rpc import answers


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


def headers(first: int, last: int) -> Call[list[answers.Header]]:
    """Headers of a range of heights."""
    return Call("drex_getHeaders", (first, last), list[dict[str, Any]])


def certificate(height: int | str) -> Call[answers.Certificate | None]:
    """The commit certificate of a height."""
    return Call("drex_getCommitCertificate", (height,), dict[str, Any] | None)


def genesis() -> Call[answers.Genesis]:
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


def transaction(txid: str) -> Call[answers.Transaction | None]:
    """A pending or final transaction."""
    return Call("drex_getTransaction", (txid,), dict[str, Any] | None)


def transaction_status(txid: str) -> Call[Status]:
    """Where a transaction stands."""
    return Call("drex_getTransactionStatus", (txid,), Status)


def wait_transaction(txid: str, timeout_ms: int) -> Call[Status]:
    """Answers once the transaction is FINAL or REJECTED, or the time is over."""
    return Call("drex_waitTransaction", (txid, timeout_ms), Status, timeout_ms / 1000)


def transaction_by_reference(asset: str, reference: bytes) -> Call[answers.Transaction | None]:
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


def participants() -> Call[list[answers.Participant]]:
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


def proof(**of: str) -> Call[ProofAnswer]:
    """A proof for `output="TXID:INDEX"` (perhaps with `address`), `address` or `supply`."""
    return Call("drex_getProof", (of,), ProofAnswer)
