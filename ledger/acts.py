"""The acts of the registry: which function carries out which.

Who may is decided before, in `ledger/authority.py`; what each changes is in `ledger/acts_participants.py`,
`ledger/acts_assets.py` and `ledger/acts_network.py`. An entry that stands is never silently replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledger.acts_assets import (
    disable_wallet,
    enable_wallets,
    pause,
    register_asset,
    restore_wallet,
    resume,
    set_consent,
    set_reserve_lock,
    update_asset,
)
from ledger.acts_network import register_candidate, register_node, remove_candidate, remove_node, set_protocol
from ledger.acts_participants import (
    cancel_recovery,
    recover_condition,
    register_lock,
    register_participant,
    remove_lock,
    rotate_condition,
    set_settlement_lock,
    update_participant,
)
from ledger.context import BlockContext
from ledger.payloads import (
    CancelRecovery,
    DisableWallet,
    EnableWallets,
    Pause,
    RecoverCondition,
    RegisterAsset,
    RegisterCandidate,
    RegisterLock,
    RegisterNode,
    RegisterParticipant,
    RegistryAct,
    RemoveCandidate,
    RemoveLock,
    RemoveNode,
    RestoreWallet,
    Resume,
    RotateCondition,
    SetConsent,
    SetProtocol,
    SetReserveLock,
    SetSettlementLock,
    UpdateAsset,
    UpdateParticipant,
)
from ledger.state import StateView


def apply_act(view: StateView, context: BlockContext, payload: RegistryAct) -> None:
    """Change the registry by one act, whose authority was checked. Refuses what breaks a rule of it."""
    _ACTS[type(payload.act)](view, context, payload.actor, payload.act)


_ACTS: dict[type, Callable[[StateView, BlockContext, str, Any], None]] = {
    RegisterParticipant: register_participant,
    UpdateParticipant: update_participant,
    RotateCondition: rotate_condition,
    RecoverCondition: recover_condition,
    CancelRecovery: cancel_recovery,
    RegisterLock: register_lock,
    RemoveLock: remove_lock,
    SetSettlementLock: set_settlement_lock,
    RegisterAsset: register_asset,
    UpdateAsset: update_asset,
    SetConsent: set_consent,
    SetReserveLock: set_reserve_lock,
    Pause: pause,
    Resume: resume,
    EnableWallets: enable_wallets,
    DisableWallet: disable_wallet,
    RestoreWallet: restore_wallet,
    RegisterNode: register_node,
    RemoveNode: remove_node,
    RegisterCandidate: register_candidate,
    RemoveCandidate: remove_candidate,
    SetProtocol: set_protocol,
}
