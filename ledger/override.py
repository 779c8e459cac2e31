"""A recovery override: the genesis's recovery condition names the validators that go on after one block.

For the loss of more than f validators for good (docs/consensus.md). Promises: an override that passes
`check_override` is of this chain, whole, and signed by keys that satisfy the recovery condition; `Overrides`
answers which set decides the height after a block and which block an override made final. What depends on the
chain (is the block ours, does its proof hold) is for whoever holds the chain. Bytes: docs/encodings.md,
"Recovery override". Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from msgspec import Meta

from ledger.genesis_records import GenesisDocument
from ledger.locks import Bytes32, Condition, Evidence, Height, describe_missing, keys_of, satisfied
from ledger.payloads import PeerIdBytes
from primitives.block import BlockHeader, BlockId, block_id, check_header_shape
from primitives.certificate import (
    PREPARED_VERSION,
    CommitCertificate,
    Verify,
    certificate_checks,
    check_certificate_shape,
    prepared_checks,
)
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, DrexError
from primitives.hashing import tagged_hasher
from primitives.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, PublicKey
from primitives.limits import MAX_CONDITION_LEAVES, MAX_HEIGHT, MAX_OVERRIDE_BYTES, MAX_VALIDATORS
from primitives.validators import ValidatorSet

OVERRIDE_VERSION = 1

_hash_order = tagged_hasher("drex/override")
_hash_proof = tagged_hasher("drex/override-proof")


class OverrideRefused(DrexError):
    """An override that must not be followed here. Codes OVERRIDE_*."""


class OverrideValidator(Record, frozen=True):
    """A member of the new set, and the peer through which it speaks until the registry names one."""

    public_key: Bytes32
    peer_id: PeerIdBytes


class OverrideOrder(Record, frozen=True):
    """What is signed: after this block, this set in this epoch. `proof` ties the certificate to it, which
    says whether the block was decided or locked on: so nobody who passes the override on can change that."""

    version: int
    chain_id: Bytes32
    height: Height
    block_id: Bytes32
    epoch: Annotated[int, Meta(ge=1, le=MAX_HEIGHT)]
    validators: Annotated[tuple[OverrideValidator, ...], Meta(min_length=1, max_length=MAX_VALIDATORS)]
    proof: Bytes32


class Override(Record, frozen=True):
    """An order with the block it names, the proof shown for it, and the signatures gathered so far."""

    order: OverrideOrder
    header: BlockHeader
    certificate: CommitCertificate | None
    signatures: Annotated[tuple[tuple[bytes, bytes], ...], Meta(max_length=MAX_CONDITION_LEAVES)]

    @property
    def height(self) -> int:
        """Height of the last block before the new set."""
        return self.order.height

    @property
    def block_id(self) -> BlockId:
        """Id of that block."""
        return BlockId(self.order.block_id)

    @property
    def validators(self) -> ValidatorSet:
        """The set that decides the next height."""
        keys = tuple(PublicKey(member.public_key) for member in self.order.validators)
        return ValidatorSet(self.order.epoch, keys)

    @property
    def rests_on_lock(self) -> bool:
        """True when the block was not decided before: it is final by this override."""
        return self.certificate is not None and self.certificate.version == PREPARED_VERSION

    @property
    def decided_height(self) -> int:
        """The highest height that was decided in the ordinary way. Whoever was there has something to say
        about the override, whoever is below has not."""
        return self.height - 1 if self.rests_on_lock else self.height


def proof_hash(certificate: CommitCertificate | None) -> bytes:
    """H("drex/override-proof", certificate): the 32 bytes by which an order names what was shown."""
    return _hash_proof(encode(certificate))


def override_sighash(order: OverrideOrder) -> bytes:
    """H("drex/override", order): the 32 bytes that each member of the recovery condition signs."""
    return _hash_order(encode(order))


def encode_override(override: Override) -> bytes:
    """The canonical bytes."""
    return encode(override)


def decode_override(data: bytes) -> Override:
    """Read an override, complete in itself but perhaps not signed by enough. Raises `DecodeError`."""
    override = decode(data, Override, max_bytes=MAX_OVERRIDE_BYTES)
    check_shape(override)
    return override


def check_shape(override: Override) -> None:
    """Refuse an override whose parts do not belong together, wherever it came from. Raises `DecodeError`."""
    check_header_shape(override.header)
    certificate = override.certificate
    if certificate is not None:
        check_certificate_shape(certificate)
    order, header = override.order, override.header
    keys = [member.public_key for member in order.validators]
    signers = [key for key, _ in override.signatures]
    rules = (
        (order.version == OVERRIDE_VERSION, f"version {order.version} is unknown"),
        (
            header.height == order.height and block_id(header) == order.block_id,
            "the header is of another block",
        ),
        (_proves(certificate, order), "its certificate is of another block"),
        (order.proof == proof_hash(certificate), "its certificate is not the one that was signed"),
        (_ascend(keys), "validators ascend and are distinct"),
        (_ascend(signers), "signatures ascend by key and are distinct"),
        (
            all(
                len(key) == PUBLIC_KEY_BYTES and len(seal) == SIGNATURE_BYTES
                for key, seal in override.signatures
            ),
            "a signature has another width",
        ),
    )
    for holds, message in rules:
        if not holds:
            raise DecodeError(message, code="OVERRIDE_MALFORMED")


def _proves(certificate: CommitCertificate | None, order: OverrideOrder) -> bool:
    if certificate is None:
        return order.height == 0
    return (certificate.height, certificate.block_id) == (order.height, order.block_id)


def _ascend(items: Sequence[bytes]) -> bool:
    return all(left < right for left, right in itertools.pairwise(items))


def check_override(override: Override, document: GenesisDocument, chain_id: bytes, verify: Verify) -> None:
    """Check that the recovery condition of this chain's genesis has signed. Raises `OverrideRefused`:
    OVERRIDE_MALFORMED, OVERRIDE_FOREIGN, OVERRIDE_TOO_FEW (validators), OVERRIDE_BAD_SIGNATURE,
    OVERRIDE_NOT_AUTHORISED."""
    try:
        check_shape(override)  # it may have come inside another record
    except DecodeError as error:
        raise OverrideRefused("OVERRIDE_MALFORMED", error.message) from None
    order = override.order
    if order.chain_id != chain_id:
        message = f"it is for chain {order.chain_id.hex()}, this is {chain_id.hex()}"
        raise OverrideRefused("OVERRIDE_FOREIGN", message)
    least = document.parameters.min_validators
    if len(order.validators) < least:
        message = f"{len(order.validators)} validators; the genesis asks for at least {least}"
        raise OverrideRefused("OVERRIDE_TOO_FEW", message)
    sighash = override_sighash(order)
    members = set(keys_of(document.recovery))
    for key, signature in override.signatures:
        if key not in members:
            message = f"{key.hex()} is no key of the recovery condition"
            raise OverrideRefused("OVERRIDE_BAD_SIGNATURE", message, signer=key.hex())
        if not verify(key, sighash, signature):
            message = f"the signature of {key.hex()} is false"
            raise OverrideRefused("OVERRIDE_BAD_SIGNATURE", message, signer=key.hex())
    missing = missing_signers(override, document.recovery)
    if missing is not None:
        raise OverrideRefused("OVERRIDE_NOT_AUTHORISED", f"the recovery condition is not met: {missing}")


def missing_signers(override: Override, condition: Condition) -> str | None:
    """What the recovery condition still lacks, in words; None when it is met. Verifies no signature."""
    signers = [key for key, _ in override.signatures]
    evidence = Evidence(signers, (), override.height, override.header.timestamp_ms)
    return None if satisfied(condition, evidence) else describe_missing(condition, evidence)


Check = tuple[bytes, bytes, bytes]


class Overrides:
    """The overrides that a node follows, at most one a height: of the highest epoch."""

    def __init__(self, known: Iterable[Override] = ()) -> None:
        self._by_height: dict[int, Override] = {}
        self._sets: dict[int, ValidatorSet] = {}
        for override in known:
            self.add(override)

    def __iter__(self) -> Iterator[Override]:
        """Ascending by height."""
        return iter([self._by_height[height] for height in sorted(self._by_height)])

    def __len__(self) -> int:
        return len(self._by_height)

    def add(self, override: Override) -> None:
        """Follow an override that was checked."""
        known = self._by_height.get(override.height)
        if known is None or known.order.epoch < override.order.epoch:
            self._by_height[override.height] = override
            self._sets[override.height] = override.validators

    def at(self, height: int) -> Override | None:
        """The override that names the block of `height`, or None."""
        return self._by_height.get(height)

    def validators_after(self, header: BlockHeader) -> ValidatorSet | None:
        """The set that decides the height after `header` by an override; None when none names this block."""
        override = self._by_height.get(header.height)
        if override is None or override.block_id != block_id(header):
            return None
        return self._sets[header.height]

    def is_final_by_lock(self, height: int, block: bytes) -> bool:
        """True when an override makes this block final although it was only locked on."""
        override = self._by_height.get(height)
        return override is not None and override.rests_on_lock and override.block_id == block

    def contradicts(self, height: int, block: bytes) -> bool:
        """True when an override names another block of this height."""
        override = self._by_height.get(height)
        return override is not None and override.block_id != block


def finality_checks(
    header: BlockHeader,
    certificate: CommitCertificate,
    chain_id: bytes,
    validators: ValidatorSet,
    overrides: Overrides,
) -> list[Check]:
    """What has to verify, (key, message, signature) each, for `header` to be final: a quorum of COMMITs of
    `validators`, or of PREPAREs where an override names the block. Raises `InvalidBlock`."""
    name = block_id(header)
    if overrides.is_final_by_lock(header.height, name) and certificate.version == PREPARED_VERSION:
        return prepared_checks(certificate, chain_id, validators, name, header.height)
    return certificate_checks(certificate, chain_id, validators, name, header.height)
