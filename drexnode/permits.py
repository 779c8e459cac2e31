"""Which peers may connect, what they are, and which validator speaks through which peer.

The registry decides (`NODE` entries of the state); an operator may permit more peers in the configuration,
and a recovery override names the peers of the validators it appoints.
Peers of validators in the current set stay permitted whatever the registry says, so that no registry act can
cut the quorum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import base58

from ledger.override import Overrides
from ledger.payloads import NodeRole
from ledger.registry import NodeRecord
from ledger.state import NODE, Change
from p2p.transport import PeerId
from primitives.codec import decode_typed
from primitives.limits import MAX_REGISTRY_RECORD_BYTES
from primitives.validators import ValidatorSet


class Permits:
    """The permitted peers as of the last final block."""

    def __init__(
        self,
        entries: Iterable[tuple[bytes, bytes]],
        validators: ValidatorSet,
        own_peer: PeerId,
        allowed: Mapping[PeerId, tuple[str, ...]],
        overrides: Overrides | None = None,
    ) -> None:
        """`entries` are the state's `NODE` entries, `allowed` what the configuration adds, `overrides` those
        that the node follows, as they are at each block."""
        self._overrides = Overrides() if overrides is None else overrides
        self._own_peer = own_peer
        self._allowed = dict(allowed)
        self._nodes: dict[PeerId, NodeRecord] = {}
        self._validators = validators
        for key, value in entries:
            self._nodes[_peer_of(key)] = _read(value)
        self._index()

    def apply(self, changes: Mapping[bytes, Change], validators: ValidatorSet) -> bool:
        """Follow a final block's changes; True when the permitted peers or the validators' peers changed."""
        touched = [key for key in changes if key[:1] == NODE]
        if not touched and validators == self._validators:
            return False
        for key in sorted(touched):
            value = changes[key][1]
            if value is None:
                self._nodes.pop(_peer_of(key), None)
            else:
                self._nodes[_peer_of(key)] = _read(value)
        self._validators = validators
        self._index()
        return True

    def permitted(self) -> dict[PeerId, tuple[str, ...]]:
        """All permitted peers and their known addresses, this node excluded."""
        known = {peer: node.addresses for peer, node in sorted(self._nodes.items())}
        for peer, addresses in self._allowed.items():
            known[peer] = addresses or known.get(peer, ())
        for peer in self._key_of_peer:
            known.setdefault(peer, ())
        known.pop(self._own_peer, None)
        return known

    def validator_key_of(self, peer: PeerId) -> bytes | None:
        """The current validator that speaks through `peer`, or None."""
        return self._key_of_peer.get(peer)

    def peer_of_validator(self, public_key: bytes) -> PeerId | None:
        """The peer through which a current validator speaks, or None when none is registered."""
        return self._peer_of_key.get(public_key)

    def peers_of_validator(self, public_key: bytes) -> tuple[PeerId, ...]:
        """All peers registered for a current validator: two while its key moves to another machine."""
        return tuple(peer for peer, key in sorted(self._key_of_peer.items()) if key == public_key)

    def peers_registered_for(self, public_key: bytes) -> tuple[PeerId, ...]:
        """All peers that the registry names for a key, whether it is in the set or a candidate's."""
        return tuple(peer for peer, node in sorted(self._nodes.items()) if node.validator_key == public_key)

    def other_validators(self) -> tuple[PeerId, ...]:
        """Peers of all current validators but this node."""
        return self._others

    def validators(self) -> tuple[PeerId, ...]:
        """Peers of all current validators, ascending, this node's included if it speaks for one."""
        return self._all

    def role_of(self, peer: PeerId) -> NodeRole | None:
        """The registered role of a peer, or None when only the configuration permits it."""
        node = self._nodes.get(peer)
        return None if node is None else node.role

    def registered(self) -> list[tuple[PeerId, NodeRecord]]:
        """All entries of the registry, ascending by peer id."""
        return sorted(self._nodes.items())

    def _index(self) -> None:
        appointed = [
            (_base58(member.peer_id), member.public_key)
            for override in self._overrides
            for member in override.order.validators
        ]
        registered = [(peer, node.validator_key) for peer, node in sorted(self._nodes.items())]
        self._key_of_peer = {peer: key for peer, key in (*appointed, *registered) if key in self._validators}
        self._peer_of_key = {key: peer for peer, key in self._key_of_peer.items()}
        self._all = tuple(sorted(self._key_of_peer))
        self._others = tuple(peer for peer in self._all if peer != self._own_peer)


def _peer_of(key: bytes) -> PeerId:
    return _base58(key[len(NODE) :])


def _base58(peer_id: bytes) -> PeerId:
    return PeerId(base58.b58encode(peer_id).decode("ascii"))


def _read(value: bytes) -> NodeRecord:
    return decode_typed(value, NodeRecord, max_bytes=MAX_REGISTRY_RECORD_BYTES)
