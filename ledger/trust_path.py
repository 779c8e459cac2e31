"""From the genesis to the validators of any height in a few steps: who was handed the decision, and by whom.

A link is either the last block that one set decided before another took over (header, its certificate, the
set that it names as the next), or a recovery override. Promise: `TrustPath.check` returns the set that
decides a height only if every link was certified by the set before it, or signed by the genesis's recovery
condition; so header and certificate of that height can be believed without any other block. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ledger.genesis import chain_id_of, genesis_validators
from ledger.genesis_records import GenesisDocument
from ledger.override import (
    Override,
    OverrideRefused,
    Overrides,
    check_override,
    decode_override,
    encode_override,
    finality_checks,
)
from ledger.votes import decode_validators, validators_value
from primitives.block import BlockHeader, check_header_shape
from primitives.certificate import CommitCertificate, Verify, check_certificate_shape
from primitives.codec import Record
from primitives.errors import DecodeError, InvalidBlock
from primitives.limits import MAX_TRUST_LINKS
from primitives.validators import ValidatorSet


@dataclass(frozen=True, slots=True)
class Anchor:
    """What somebody trusts: a chain, and the set of hash `pinned`, or `first` itself when it is None.

    `document` is the genesis: without it no override can be checked."""

    chain_id: bytes
    first: ValidatorSet
    pinned: bytes | None = None
    document: GenesisDocument | None = None

    @classmethod
    def of_genesis(cls, document: GenesisDocument, pinned: bytes | None = None) -> Anchor:
        """The genesis document, and perhaps a later set."""
        return cls(chain_id_of(document), genesis_validators(document), pinned, document)

    def check_override(self, override: Override, verify: Verify) -> None:
        """Raises `OverrideRefused`: as `ledger.override.check_override`, or OVERRIDE_UNPROVEN."""
        if self.document is None:
            message = f"an override of block {override.height} is on the way: only the genesis can check it"
            raise OverrideRefused("OVERRIDE_UNPROVEN", message, height=override.height)
        check_override(override, self.document, self.chain_id, verify)


class HandOver(Record, frozen=True):
    """`validators` ([epoch, keys], encoded) decide from the block after `header` on."""

    header: BlockHeader
    certificate: CommitCertificate
    validators: bytes

    @property
    def height(self) -> int:
        """Height of the last block of the set before."""
        return self.header.height


class TrustPath(Record, frozen=True):
    """Hand-overs and overrides, each ascending by height."""

    hand_overs: Annotated[tuple[HandOver, ...], Meta(max_length=MAX_TRUST_LINKS)] = ()
    overrides: Annotated[tuple[Override, ...], Meta(max_length=MAX_TRUST_LINKS)] = ()

    def check(self, document: GenesisDocument, verify: Verify, height: int) -> ValidatorSet:
        """The set that decides `height`, from the genesis alone.

        Raises `InvalidBlock`, `OverrideRefused` or `DecodeError` for a link that does not hold."""
        return self._follow(Anchor.of_genesis(document), verify, height)[0]

    def check_block(
        self, document: GenesisDocument, verify: Verify, header: BlockHeader, certificate: CommitCertificate
    ) -> ValidatorSet:
        """The set that decided `header`, whose certificate holds. Raises as `check` does."""
        return self.check_block_from(Anchor.of_genesis(document), verify, header, certificate)

    def check_block_from(
        self, anchor: Anchor, verify: Verify, header: BlockHeader, certificate: CommitCertificate
    ) -> ValidatorSet:
        """The same from what somebody trusts, which may be a later set than the genesis's. Raises as `check`
        does, and `InvalidBlock` (TRUST_NOT_PINNED) when the way does not pass the pinned set."""
        validators, overrides = self._follow(anchor, verify, header.height)
        _check_final(header, certificate, anchor.chain_id, validators, overrides, verify)
        return validators

    def _follow(self, anchor: Anchor, verify: Verify, height: int) -> tuple[ValidatorSet, Overrides]:
        known, links = self._begin(anchor, height)
        overrides = Overrides()
        for link in links:
            if isinstance(link, Override):
                anchor.check_override(link, verify)
                overrides.add(link)
        reached = -1
        for link in links:
            if isinstance(link, Override) and link.height == height:
                continue  # it says that the block is final, and who decides the next one
            if not reached <= link.height < height:
                raise InvalidBlock("TRUST_DISORDER", "hand-overs do not ascend", height=link.height)
            reached = link.height
            known = (
                _after_override(link, known)
                if isinstance(link, Override)
                else _after_block(link, known, anchor.chain_id, overrides, verify)
            )
        return known, overrides

    def _begin(self, anchor: Anchor, height: int) -> tuple[ValidatorSet, Sequence[HandOver | Override]]:
        """The set that is believed without proof, and the links after it: those before are not looked at."""
        links = self._links()
        if anchor.pinned is None or anchor.first.hash == anchor.pinned:
            return anchor.first, links
        for place, link in enumerate(links, 1):
            found = link.validators if isinstance(link, Override) else decode_validators(link.validators)
            if link.height < height and found.hash == anchor.pinned:
                return found, links[place:]
        message = "the validators that were pinned are not on the way to this block"
        raise InvalidBlock("TRUST_NOT_PINNED", message, pinned=anchor.pinned.hex())

    def _links(self) -> Sequence[HandOver | Override]:
        """By height; at one height the block's own hand-over comes before the override of that block."""
        links: list[HandOver | Override] = [*self.hand_overs, *self.overrides]
        return sorted(links, key=lambda link: (link.height, isinstance(link, Override)))


def hand_over(header: BlockHeader, certificate: CommitCertificate, validators: ValidatorSet) -> HandOver:
    """The link to `validators`, which `header` names as the next set."""
    return HandOver(header, certificate, validators_value(validators))


def _after_override(override: Override, before: ValidatorSet) -> ValidatorSet:
    if override.order.epoch <= before.epoch:
        raise OverrideRefused("OVERRIDE_EPOCH", "an override names an epoch that is not above the last")
    return override.validators


def _after_block(
    link: HandOver, known: ValidatorSet, chain_id: bytes, overrides: Overrides, verify: Verify
) -> ValidatorSet:
    following = decode_validators(link.validators)
    if following.hash != link.header.next_validators_hash:
        message = "a hand-over names another set than its block"
        raise InvalidBlock("TRUST_SET_MISMATCH", message, height=link.height)
    _check_final(link.header, link.certificate, chain_id, known, overrides, verify)
    return following


def _check_final(
    header: BlockHeader,
    certificate: CommitCertificate,
    chain_id: bytes,
    validators: ValidatorSet,
    overrides: Overrides,
    verify: Verify,
) -> None:
    if header.validators_hash != validators.hash:
        message = "a block was decided by validators that the genesis does not lead to"
        raise InvalidBlock("TRUST_STRANGERS", message, height=header.height)
    for key, sighash, seal in finality_checks(header, certificate, chain_id, validators, overrides):
        if not verify(key, sighash, seal):
            message = f"a seal by {key.hex()} is false"
            raise InvalidBlock("CERTIFICATE_BAD_SEAL", message, height=header.height)


def check_shape(path: TrustPath) -> None:
    """Refuse a path that is not well formed, before anything is verified. Raises `DecodeError`."""
    for links in (path.hand_overs, path.overrides):
        heights = [link.height for link in links]
        if heights != sorted(set(heights)):
            raise DecodeError("links of one kind ascend by height", code="TRUST_DISORDER")
    for link in path.hand_overs:
        check_header_shape(link.header)
        check_certificate_shape(link.certificate)
    for override in path.overrides:
        decode_override(encode_override(override))  # also: its certificate is the one that was signed
