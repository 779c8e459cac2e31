"""Follows certified headers ahead of execution: what makes the next header ours, and who must have signed it.

Promise: a header that passes `link`, and whose seals all verify, was decided by the validators of this chain.
The validators of a height are known from the header before it as long as the set does not change; after a
change, once that header is executed. Pure.
"""

from __future__ import annotations

from ledger.block import check_header
from primitives.block import BlockHeader, block_id
from primitives.certificate import CommitCertificate, certificate_checks
from primitives.errors import InvalidBlock
from primitives.validators import ValidatorSet

Check = tuple[bytes, bytes, bytes]


class HeaderChain:
    """A trusted header and the set that decides the height after it, while that set is known."""

    def __init__(self, chain_id: bytes, header: BlockHeader, validators: ValidatorSet) -> None:
        self._chain_id = chain_id
        self._header = header
        self._validators = validators
        self._next_is_known = True

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
        return self._validators

    @property
    def next_is_known(self) -> bool:
        """False after a header that changes the validator set: execute up to it, then `reset`."""
        return self._next_is_known

    def reset(self, header: BlockHeader, validators: ValidatorSet) -> None:
        """Go on from a final header whose next validators are known by execution."""
        self._header = header
        self._validators = validators
        self._next_is_known = True

    def link(self, header: BlockHeader, certificate: CommitCertificate) -> list[Check]:
        """Accept the next header if it continues the chain; returns the seals to verify, (key, message,
        signature) each. Raises `InvalidBlock` and then stays where it was."""
        if not self._next_is_known:
            raise InvalidBlock("BLOCK_VALIDATORS", "its validators are not known yet", height=header.height)
        check_header(header, self._header, self._validators)
        checks = self.seals(header, certificate)
        self._next_is_known = header.next_validators_hash == self._validators.hash
        self._header = header
        return checks

    def seals(self, header: BlockHeader, certificate: CommitCertificate) -> list[Check]:
        """What has to verify for `header`, at the next height, to be certified. Raises `InvalidBlock`."""
        name = block_id(header)
        return certificate_checks(certificate, self._chain_id, self._validators, name, header.height)
