"""Acts on the network: permitted nodes, validator candidates, the protocol version.

Promise: a validator in the set keeps its node and its candidacy.
"""

from __future__ import annotations

from ledger import codes
from ledger.act_rules import refuse_registered, refuse_rule, refuse_unregistered
from ledger.context import BlockContext
from ledger.payloads import (
    NodeRole,
    RegisterCandidate,
    RegisterNode,
    RemoveCandidate,
    RemoveNode,
    SetProtocol,
)
from ledger.registry import (
    CandidateRecord,
    NodeRecord,
    ProtocolRecord,
    find_candidate,
    find_node,
    get_participant,
    get_protocol,
    put_candidate,
    put_node,
    put_protocol,
)
from ledger.state import StateView


def register_node(view: StateView, context: BlockContext, actor: str, act: RegisterNode) -> None:
    """Carry out `RegisterNode`."""
    get_participant(view, act.ispb)
    if len(act.validator_key) != (32 if act.role is NodeRole.VALIDATOR else 0):
        refuse_rule("a validator's node names its 32-byte key, other nodes name none")
    former = find_node(view, act.peer_id)
    if former is not None and former.validator_key != act.validator_key:
        _check_not_in_set(context, former.validator_key)
    put_node(view, act.peer_id, NodeRecord(act.role, act.ispb, act.addresses, act.validator_key))


def remove_node(view: StateView, context: BlockContext, actor: str, act: RemoveNode) -> None:
    """Carry out `RemoveNode`."""
    former = find_node(view, act.peer_id)
    if former is None:
        refuse_unregistered(f"node {act.peer_id.hex()}")
    _check_not_in_set(context, former.validator_key)
    put_node(view, act.peer_id, None)


def register_candidate(view: StateView, context: BlockContext, actor: str, act: RegisterCandidate) -> None:
    """Carry out `RegisterCandidate`."""
    get_participant(view, act.ispb)
    if find_candidate(view, act.public_key) is not None:
        refuse_registered(f"candidate {act.public_key.hex()}")
    put_candidate(view, act.public_key, CandidateRecord(act.ispb))


def remove_candidate(view: StateView, context: BlockContext, actor: str, act: RemoveCandidate) -> None:
    """Carry out `RemoveCandidate`."""
    if find_candidate(view, act.public_key) is None:
        refuse_unregistered(f"candidate {act.public_key.hex()}")
    _check_not_in_set(context, act.public_key)
    put_candidate(view, act.public_key, None)


def _check_not_in_set(context: BlockContext, public_key: bytes) -> None:
    if public_key and context.validators.index_of(public_key) is not None:
        codes.refuse(
            codes.VALIDATOR_IN_SET, f"validator {public_key.hex()} is in the set: it must be voted out first"
        )


def set_protocol(view: StateView, context: BlockContext, actor: str, act: SetProtocol) -> None:
    """Carry out `SetProtocol`."""
    current = get_protocol(view).at(context.height)
    if act.version <= current or act.height <= context.height:
        refuse_rule(f"version {current} is in force at height {context.height}: only later and higher ones")
    put_protocol(view, ProtocolRecord(current, act.version, act.height))
