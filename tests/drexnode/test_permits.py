"""Who may connect and which validator speaks through whom, as the registry and the set change."""

from __future__ import annotations

from typing import Any, cast

import base58

from drexnode.node import Node
from drexnode.permits import Permits
from ledger.payloads import NodeRole
from ledger.registry import NodeRecord
from ledger.state import NODE
from p2p.identity import peer_id_from_seed
from p2p.transport import PeerId
from primitives.codec import encode
from primitives.validators import ValidatorSet
from tests.drexnode.chain import key

OWN, OTHER, FULL = (peer_id_from_seed(key(name).seed) for name in ("peer-0", "peer-1", "full-0"))
FIRST, SECOND = sorted(key(f"validator-{number}").public_key for number in range(2))
SET = ValidatorSet(0, (FIRST, SECOND))


def state_key(peer: PeerId) -> bytes:
    return NODE + bytes(base58.b58decode(peer))


def record(role: NodeRole, validator_key: bytes = b"", addresses: tuple[str, ...] = ()) -> bytes:
    return encode(NodeRecord(role, "00000000", addresses, validator_key))


def permits(allowed: dict[PeerId, tuple[str, ...]] | None = None) -> Permits:
    entries = [
        (state_key(OWN), record(NodeRole.VALIDATOR, FIRST)),
        (state_key(OTHER), record(NodeRole.VALIDATOR, SECOND, ("/ip4/10.0.0.1/tcp/1",))),
    ]
    return Permits(entries, SET, OWN, allowed or {})


def test_validators_are_known_by_their_peers_and_this_node_is_not_its_own_peer() -> None:
    known = permits()
    assert known.other_validators() == (OTHER,)
    assert (known.validator_key_of(OTHER), known.peer_of_validator(SECOND)) == (SECOND, OTHER)
    assert known.permitted() == {OTHER: ("/ip4/10.0.0.1/tcp/1",)}


def test_a_key_that_leaves_the_set_speaks_for_nobody_but_its_peer_stays_permitted() -> None:
    known = permits()
    assert known.apply({}, ValidatorSet(1, (FIRST,)))
    assert known.other_validators() == ()
    assert known.validator_key_of(OTHER) is None
    assert OTHER in known.permitted()
    assert known.role_of(OTHER) is NodeRole.VALIDATOR


def test_a_registered_node_is_permitted_and_an_unregistered_one_no_longer() -> None:
    known = permits()
    added = record(NodeRole.FULL)
    assert known.apply({state_key(FULL): (None, added)}, SET)
    assert known.permitted()[FULL] == ()
    assert known.apply({state_key(FULL): (added, None)}, SET)
    assert FULL not in known.permitted()


def test_a_block_that_changes_neither_nodes_nor_validators_changes_nothing() -> None:
    assert not permits().apply({b"o" + bytes(36): (None, b"")}, SET)


def test_the_configurations_peers_are_permitted_with_the_addresses_of_either() -> None:
    known = permits({FULL: (), OTHER: ("/ip4/10.0.0.2/tcp/2",)})
    assert known.permitted() == {FULL: (), OTHER: ("/ip4/10.0.0.2/tcp/2",)}
    assert known.role_of(FULL) is None


class Dialled:
    """A transport that remembers to whom it stays connected."""

    def __init__(self) -> None:
        self.peer_id = OWN
        self.persistent: set[PeerId] = set()

    def add_persistent(self, peer: PeerId) -> None:
        self.persistent.add(peer)

    def remove_persistent(self, peer: PeerId) -> None:
        self.persistent.remove(peer)


def test_validators_stay_connected_to_those_who_join_and_let_go_of_those_who_leave() -> None:
    """Whom to dial was settled at start: two validators voted in later never had a connection."""
    node, transport, known = object.__new__(Node), Dialled(), permits({FULL: ("/ip4/10.0.0.3/tcp/3",)})
    node._transport, node._permits, node._configured = cast(Any, transport), known, {FULL: ()}
    node._driver, node._persistent = cast(Any, "a validator's"), set()
    known.apply({}, ValidatorSet(1, (FIRST,)))
    node._stay_connected()
    assert transport.persistent == {FULL}
    known.apply({}, SET)
    node._stay_connected()
    assert transport.persistent == {FULL, OTHER}
    known.apply({}, ValidatorSet(3, (FIRST,)))
    node._stay_connected()
    assert transport.persistent == {FULL}
