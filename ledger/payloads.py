"""What each kind carries in `payload`, and the acts of the registry (docs/encodings.md, "Payloads").

Kinds 1 to 4 carry the revealed conditions of output locks; the other kinds a record named here. Texts and
byte strings have their bounds in the types, so whatever decodes is small.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Union

from msgspec import Meta

from ledger.locks import Bytes32, Condition, Height
from primitives.codec import Record
from primitives.limits import (
    MAX_AMOUNT,
    MAX_ASSET_NAME_BYTES,
    MAX_NAME_CHARS,
    MAX_NODE_ADDRESS_CHARS,
    MAX_NODE_ADDRESSES,
    MAX_ORDER_ID_BYTES,
    MAX_PEER_ID_BYTES,
    MAX_WALLETS_PER_ACT,
)


class Kind(IntEnum):
    """The nine kinds of transaction."""

    EMISSION = 1
    TRANSFER = 2
    BURN = 3
    INTERBANK_TRANSFER = 4
    FREEZE = 5
    UNFREEZE = 6
    MOVE = 7
    REGISTRY = 8
    VALIDATOR_VOTE = 9


class Role(IntEnum):
    """What a participant is."""

    BANK = 1
    PAYMENT_INSTITUTION = 2
    INFRASTRUCTURE = 3
    REGULATOR = 4
    STN = 5
    BCB = 6


class Holders(IntEnum):
    """Who may hold an asset."""

    PARTICIPANTS = 0
    CLIENTS = 1
    ANY = 2


class NodeRole(IntEnum):
    """What a registered node does."""

    VALIDATOR = 0
    FULL = 1
    OBSERVER = 2


class Credential(IntEnum):
    """Whose condition: a participant's own, or one of BCB's three authorities."""

    OWN = 0
    EMISSION = 1
    ORDERS = 2
    REGISTRY = 3


class VoteOperation(IntEnum):
    """What a validator votes for; WITHDRAW takes its earlier vote back."""

    ADD = 0
    REMOVE = 1
    WITHDRAW = 2


Ispb = Annotated[str, Meta(pattern=r"^[0-9A-Z]{8}\Z", min_length=8, max_length=8)]
IspbOrNone = Annotated[str, Meta(pattern=r"^([0-9A-Z]{8})?\Z", max_length=8)]
AssetName = Annotated[str, Meta(min_length=1, max_length=MAX_ASSET_NAME_BYTES)]
Amount = Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]
OrderId = Annotated[bytes, Meta(min_length=1, max_length=MAX_ORDER_ID_BYTES)]
OptionalLock = Annotated[bytes, Meta(max_length=32)]  # 32 bytes or none; checked by the registry
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
PeerIdBytes = Annotated[bytes, Meta(min_length=1, max_length=MAX_PEER_ID_BYTES)]
NodeAddress = Annotated[str, Meta(min_length=1, max_length=MAX_NODE_ADDRESS_CHARS)]
NodeAddresses = Annotated[tuple[NodeAddress, ...], Meta(max_length=MAX_NODE_ADDRESSES)]
Decimals = Annotated[int, Meta(ge=0, le=18)]


class Freeze(Record, frozen=True):
    """Kind 5: `author` (the acting participant) freezes `amount` of (lock, asset) under an order id."""

    author: Ispb
    lock: Bytes32
    asset: AssetName
    amount: Amount
    order_id: OrderId


class Unfreeze(Record, frozen=True):
    """Kind 6: `actor` lifts the whole order (lock, asset, author, order id)."""

    actor: Ispb
    lock: Bytes32
    asset: AssetName
    author: Ispb
    order_id: OrderId


class Move(Record, frozen=True):
    """Kind 7: `actor` moves or burns the inputs by force under an order id; `conditions` of output locks."""

    actor: Ispb
    order_id: OrderId
    conditions: tuple[Condition, ...]


class ValidatorVote(Record, frozen=True):
    """Kind 9: `voter` votes on `subject` (public keys) until `expiry` (inclusive height).

    The voter is named so that two validators' equal votes are two transactions with two ids.
    """

    voter: Bytes32
    subject: Bytes32
    operation: VoteOperation
    expiry: Height


# --- acts of the registry: the second element of kind 8's payload, an array that begins with the act's number


class RegisterParticipant(Record, frozen=True, tag=1):
    """BCB registers a participant. `settlement_lock` is empty for an indirect one, which names a sponsor."""

    ispb: Ispb
    name: Name
    role: Role
    condition: Condition
    settlement_lock: OptionalLock
    sponsor: IspbOrNone


class UpdateParticipant(Record, frozen=True, tag=2):
    """BCB changes a participant's name or sponsor."""

    ispb: Ispb
    name: Name
    sponsor: IspbOrNone


class RotateCondition(Record, frozen=True, tag=3):
    """A holder replaces its own condition, at once, authorised by that condition itself."""

    ispb: Ispb
    credential: Credential
    condition: Condition


class RecoverCondition(Record, frozen=True, tag=4):
    """The recovery replaces a condition after `recovery_delay_blocks`."""

    ispb: Ispb
    credential: Credential
    condition: Condition


class CancelRecovery(Record, frozen=True, tag=5):
    """The condition in force cancels a pending recovery; only the first attempt."""

    ispb: Ispb
    credential: Credential


class RegisterLock(Record, frozen=True, tag=6):
    """A participant (or BCB) adds a lock of its own that may hold wholesale money."""

    ispb: Ispb
    lock: Bytes32


class RemoveLock(Record, frozen=True, tag=7):
    """A participant (or BCB) removes a lock that is neither settlement nor reserve nor disabled."""

    ispb: Ispb
    lock: Bytes32


class SetSettlementLock(Record, frozen=True, tag=8):
    """A participant (or BCB) names its settlement lock; the former one stays registered."""

    ispb: Ispb
    lock: Bytes32


class RegisterAsset(Record, frozen=True, tag=9):
    """BCB registers an asset with its whole policy. `reserve_lock` is empty but for e-money."""

    asset: AssetName
    issuer: Ispb
    decimals: Decimals
    cap: Amount | None
    min_value: Amount
    holders: Holders
    order_authority: Ispb
    burn_needs_issuer: bool
    standing_consent: bool
    reserve_lock: OptionalLock


class UpdateAsset(Record, frozen=True, tag=10):
    """BCB changes cap and min_value of an asset that is not BRL."""

    asset: AssetName
    cap: Amount | None
    min_value: Amount


class SetConsent(Record, frozen=True, tag=11):
    """The issuer (or BCB) gives or withdraws standing consent to receive interbank transfers."""

    asset: AssetName
    consent: bool


class SetReserveLock(Record, frozen=True, tag=12):
    """The issuer (or BCB) points an e-money asset to another reserve lock; the former stays registered."""

    asset: AssetName
    lock: Bytes32


class Pause(Record, frozen=True, tag=13):
    """The order authority (or BCB) pauses an asset: an order."""

    asset: AssetName
    order_id: OrderId


class Resume(Record, frozen=True, tag=14):
    """Lift the pause of `author`: by that author, or BCB."""

    asset: AssetName
    author: Ispb
    order_id: OrderId


class EnableWallets(Record, frozen=True, tag=15):
    """An institution (or BCB) enables locks to hold its clients' assets; ascending and distinct."""

    issuer: Ispb
    locks: Annotated[tuple[Bytes32, ...], Meta(min_length=1, max_length=MAX_WALLETS_PER_ACT)]


class DisableWallet(Record, frozen=True, tag=16):
    """The owner (or BCB) disables a client's wallet or a participant's own lock: an order."""

    issuer: Ispb
    lock: Bytes32
    order_id: OrderId


class RestoreWallet(Record, frozen=True, tag=17):
    """Lift what `author` disabled: by that author, or BCB."""

    issuer: Ispb
    lock: Bytes32
    author: Ispb
    order_id: OrderId


class RegisterNode(Record, frozen=True, tag=18):
    """BCB permits a peer, or changes its entry; `validator_key` (32 bytes) for role validator, else empty."""

    peer_id: PeerIdBytes
    role: NodeRole
    ispb: Ispb
    addresses: NodeAddresses
    validator_key: OptionalLock


class RemoveNode(Record, frozen=True, tag=19):
    """BCB forbids a peer; refused while its validator is in the set."""

    peer_id: PeerIdBytes


class RegisterCandidate(Record, frozen=True, tag=20):
    """BCB lets validators vote a key in, run by participant `ispb`."""

    public_key: Bytes32
    ispb: Ispb


class RemoveCandidate(Record, frozen=True, tag=21):
    """BCB takes a candidate back; refused while it is a validator."""

    public_key: Bytes32


class SetProtocol(Record, frozen=True, tag=22):
    """BCB sets the protocol version that holds from `height` on."""

    version: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    height: Height


Act = Union[  # noqa: UP007 - msgspec resolves this alias by name
    RegisterParticipant,
    UpdateParticipant,
    RotateCondition,
    RecoverCondition,
    CancelRecovery,
    RegisterLock,
    RemoveLock,
    SetSettlementLock,
    RegisterAsset,
    UpdateAsset,
    SetConsent,
    SetReserveLock,
    Pause,
    Resume,
    EnableWallets,
    DisableWallet,
    RestoreWallet,
    RegisterNode,
    RemoveNode,
    RegisterCandidate,
    RemoveCandidate,
    SetProtocol,
]


class RegistryAct(Record, frozen=True):
    """Kind 8: `actor` (the acting participant) carries out one act."""

    actor: Ispb
    act: Act


Conditions = tuple[Condition, ...]
Payload = Conditions | Freeze | Unfreeze | Move | RegistryAct | ValidatorVote

PAYLOAD_TYPES: dict[Kind, type] = {
    Kind.EMISSION: tuple[Condition, ...],
    Kind.TRANSFER: tuple[Condition, ...],
    Kind.BURN: tuple[Condition, ...],
    Kind.INTERBANK_TRANSFER: tuple[Condition, ...],
    Kind.FREEZE: Freeze,
    Kind.UNFREEZE: Unfreeze,
    Kind.MOVE: Move,
    Kind.REGISTRY: RegistryAct,
    Kind.VALIDATOR_VOTE: ValidatorVote,
}
