"""The shapes of what the RPC answers about the chain, transactions, consensus and the node.

One source: OpenRPC and OpenAPI are made of these types and of those in `drexnode/client_values.py`, and tests
hold every answer against them. On the wire bytes are lower-case hex, amounts are integers as text, heights
and times (milliseconds since 1970) are integers, absent things are null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$")]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
AmountText = Annotated[str, Meta(pattern="^-?[0-9]+$", description="integer of the asset's smallest unit")]
Count = Annotated[int, Meta(ge=0)]


class Header(TypedDict):
    """A block header and its id."""

    block_id: Hash
    version: Count
    height: Count
    parent_id: Hash
    timestamp_ms: Count
    proposer: Hex
    tx_count: Count
    tx_root: Hash
    state_root: Hash
    validators_hash: Hash
    next_validators_hash: Hash


class Seal(TypedDict):
    """A validator's COMMIT; `validator` is its index in the set."""

    validator: Count
    signature: Hex


class _Certificate(TypedDict):
    version: Count
    height: Count
    round: Count
    block_id: Hash
    seals: list[Seal]


class Certificate(_Certificate, total=False):
    """The seals that made a height final; `signers` are the keys, in the order of `seals`."""

    signers: list[Hash]
    validators: Count
    quorum: Count


class OutputPlace(TypedDict):
    """An output that a transaction spends."""

    txid: Hash
    index: Count


class TransactionOutput(TypedDict):
    """An output that a transaction makes."""

    index: Count
    asset: str
    amount: AmountText
    address: str
    lock: Hash
    note: Hex


class Signer(TypedDict):
    """A key that signed, and its own address."""

    public_key: Hash
    address: str


class Transaction(TypedDict):
    """A transaction, decoded and as bytes (`raw`), with its place when it is final."""

    txid: Hash
    wtxid: Hash
    kind: str
    version: Count
    inputs: list[OutputPlace]
    outputs: list[TransactionOutput]
    valid_from: Count
    valid_until: Count
    reference: Hex
    payload: Hex
    signers: list[Signer]
    conditions: Count
    preimages: list[Hex]
    size_bytes: Count
    raw: Hex
    status: Literal["PENDING", "FINAL"]
    height: Count | None
    index: Count | None
    block_id: Hash | None


class Block(Header):
    """A final block; `transactions` are ids, or decoded when they were asked for in full."""

    round: Count | None
    certificate: Certificate | None
    transactions: list[Hash | Transaction]


class Genesis(TypedDict):
    """The genesis document: its exact bytes, whose hash is the chain id, and its view as JSON."""

    network: str
    chain_id: Hash
    document: Hex
    view: dict[str, Any]


class Participant(TypedDict):
    """A registered participant."""

    ispb: str
    name: str
    role: str
    sponsor: str | None
    settlement_address: str | None
    addresses: list[str]


class Waiting(TypedDict):
    """A transaction that waits for a block; `participant` is the ispb whose room in the pool it takes."""

    txid: Hash
    wtxid: Hash
    kind: str
    size_bytes: Count
    participant: str
    added_ms: Count
    parents: list[Hash]


class PoolPage(TypedDict):
    """Waiting transactions, the oldest first; `cursor` is null on the last page."""

    transactions: list[Waiting]
    cursor: str | None


class PoolFill(TypedDict):
    """How full the mempool is."""

    transactions: Count
    size_bytes: Count
    max_transactions: Count
    max_bytes: Count


class StandingVote(TypedDict):
    """A validator vote that stands until the height `expires`."""

    subject: Hash
    voter: Hash
    add: bool
    expires: Count


class VoteTaken(TypedDict):
    """A vote that was taken back."""

    txid: Hash
    voter: Hash
    subject: Hash


class VoteCast(VoteTaken):
    """A vote that was cast; `warning` says why it may be unwise."""

    add: bool
    expires: Count
    warning: str | None


class EvidenceProof(TypedDict):
    """A proof that a validator signed two payloads for one step."""

    validator: Hash
    height: Count
    round: Count
    step: Literal["ROUND_CHANGE", "PROPOSAL", "PREPARE", "COMMIT"]
    proof: Hex


class OverrideRecord(TypedDict):
    """A recovery override of the validator set."""

    height: Count
    block_id: Hash
    rests_on: Literal["lock", "decided block"]
    epoch: Count
    validators: list[Hash]
    record: Hex


class Timeouts(TypedDict):
    """How long round 0 waits, and the longest a round waits: seconds as text."""

    base: str
    cap: str


class SignerFigures(TypedDict):
    """One validator's part in a range of heights."""

    public_key: Hash
    proposed: Count
    signed: Count
    last_proposed: Count | None
    last_signed: Count | None


class StallCause(TypedDict):
    """One cause, with what to do; it may carry more fields, by its code."""

    code: str
    message: str
    next: str | None


class Stall(TypedDict):
    """What keeps blocks from coming; `code`, `reason` and `next` are those of the first cause."""

    stalled: bool
    code: str | None
    reason: str | None
    next: str | None
    causes: list[StallCause]
    missing: list[str]
    height: Count
    round: Count
    phase: str
    quorum: Count
    reachable: Count
