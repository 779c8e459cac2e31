"""Follows certified headers ahead of execution: what makes the next header ours, and who must have signed it.

Promise: a header that passes `link`, and whose seals all verify, was decided by the validators of this chain,
those of a recovery override included. The validators of a height are known from the header before it as long
as the set does not change; after a change, once that header is executed; after a block that an override
names, from the override. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.block import check_header
from ledger.override import Check, Overrides, finality_checks
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate
from primitives.errors import InvalidBlock
from primitives.validators import ValidatorSet


@dataclass(frozen=True, slots=True)
class ChainMark:
    """Where a `HeaderChain` stood: what `return_to` wants."""

    header: BlockHeader
    validators: ValidatorSet
    is_known: bool


class HeaderChain:
    """A trusted header and the set that decides the height after it, while that set is known."""

    def __init__(
        self,
        chain_id: bytes,
        header: BlockHeader,
        validators: ValidatorSet,
        overrides: Overrides | None = None,
    ) -> None:
        """`overrides` are those the node follows, as they are when a header is linked."""
        self._chain_id = chain_id
        self._header = header
        self._validators = validators  # of the linked header's height, or of the next one
        self._is_known = True  # they decide the next height, unless an override says otherwise
        self._overrides = Overrides() if overrides is None else overrides

    @property
    def header(self) -> BlockHeader:
        """The last header that was linked."""
        return self._header

    @property
    def height(self) -> int:
        """Its height."""
        return self._header.height

    @property
    def validators(self) -> ValidatorSet:
        """Who decides the next height, if `next_is_known`."""
        return self._overrides.validators_after(self._header) or self._validators

    @property
    def next_is_known(self) -> bool:
        """False after a header that changes the validator set: execute up to it, then `reset`."""
        return self._is_known or self._overrides.validators_after(self._header) is not None

    def reset(self, header: BlockHeader, validators: ValidatorSet) -> None:
        """Go on from a final header whose next validators are known by execution."""
        self.return_to(ChainMark(header, validators, is_known=True))

    def mark(self) -> ChainMark:
        """Where it stands now."""
        return ChainMark(self._header, self._validators, self._is_known)

    def return_to(self, mark: ChainMark) -> None:
        """Stand there again."""
        self._header, self._validators, self._is_known = mark.header, mark.validators, mark.is_known

    def link(self, header: BlockHeader, certificate: CommitCertificate) -> list[Check]:
        """Accept the next header if it continues the chain; returns the seals to verify, (key, message,
        signature) each. Raises `InvalidBlock` and then stays where it was."""
        if not self.next_is_known:
            raise InvalidBlock("BLOCK_VALIDATORS", "its validators are not known yet", height=header.height)
        validators = self.validators
        check_header(header, self._header, validators)
        if self._overrides.contradicts(header.height, block_id(header)):
            message = "a recovery override names another block of this height"
            raise InvalidBlock("OVERRIDE_CONTRADICTED", message, height=header.height)
        checks = self.seals(header, certificate)
        self._is_known = header.next_validators_hash == validators.hash
        self._header, self._validators = header, validators
        return checks

    def seals(self, header: BlockHeader, certificate: CommitCertificate) -> list[Check]:
        """What has to verify for `header`, at the next height, to be certified. Raises `InvalidBlock`."""
        return finality_checks(header, certificate, self._chain_id, self.validators, self._overrides)
