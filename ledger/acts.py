"""How each act of the registry changes it. Who may is decided before, in `ledger/authority.py`.

Promises: an entry that stands is never silently replaced; a lock disabled by BCB stays disabled however it is
registered anew; BRL's policy never changes; a validator in the set keeps its node and its candidacy.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NoReturn

import msgspec

from ledger import codes
from ledger.assets import WHOLESALE, AssetRecord, Family, find_asset, get_asset, parse_asset, put_asset
from ledger.authority import ISSUERS_OF_RETAIL, is_bcb
from ledger.context import BlockContext
from ledger.payloads import (
    CancelRecovery,
    Credential,
    DisableWallet,
    EnableWallets,
    Holders,
    NodeRole,
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
    Role,
    RotateCondition,
    SetConsent,
    SetProtocol,
    SetReserveLock,
    SetSettlementLock,
    UpdateAsset,
    UpdateParticipant,
)
from ledger.registry import (
    DISABLED_BY_BCB,
    DISABLED_BY_OWNER,
    CandidateRecord,
    CredentialRecord,
    LockRecord,
    NodeRecord,
    ParticipantRecord,
    ProtocolRecord,
    Purpose,
    find_candidate,
    find_lock,
    find_node,
    find_participant,
    find_wallet,
    get_authority,
    get_participant,
    get_protocol,
    put_authority,
    put_candidate,
    put_lock,
    put_node,
    put_participant,
    put_protocol,
    put_wallet,
)
from ledger.state import LOCK_BYTES, StateView
from ledger.supply import check_backing, read_supply


def apply_act(view: StateView, context: BlockContext, payload: RegistryAct) -> None:
    """Change the registry by one act, whose authority was checked. Refuses what breaks a rule of it."""
    _ACTS[type(payload.act)](view, context, payload.actor, payload.act)


# --- participants


def _register_participant(
    view: StateView, context: BlockContext, actor: str, act: RegisterParticipant
) -> None:
    if find_participant(view, act.ispb) is not None:
        _refuse_registered(f"participant {act.ispb}")
    if act.role is Role.BCB or is_bcb(context, act.ispb):
        _refuse_rule("the Banco Central is registered by the genesis alone")
    if act.sponsor and act.settlement_lock:
        _refuse_rule("an indirect participant settles through its sponsor: it has no settlement lock")
    _check_sponsor(view, act.ispb, act.sponsor)
    if act.settlement_lock:
        _claim_lock(view, act.ispb, act.settlement_lock, Purpose.SETTLEMENT, "")
    record = ParticipantRecord(
        act.name, act.role, CredentialRecord(act.condition), act.settlement_lock, act.sponsor
    )
    put_participant(view, act.ispb, record)


def _update_participant(view: StateView, context: BlockContext, actor: str, act: UpdateParticipant) -> None:
    former = get_participant(view, act.ispb)
    _check_sponsor(view, act.ispb, act.sponsor)
    record = ParticipantRecord(act.name, former.role, former.credential, former.settlement_lock, act.sponsor)
    put_participant(view, act.ispb, record)


def _check_sponsor(view: StateView, ispb: str, sponsor: str) -> None:
    if sponsor and (sponsor == ispb or get_participant(view, sponsor).sponsor):
        _refuse_rule(f"{sponsor} can't sponsor {ispb}: a sponsor is another, direct participant")


# --- conditions that speak for someone


def _rotate_condition(view: StateView, context: BlockContext, actor: str, act: RotateCondition) -> None:
    """At once. A pending recovery goes on: a stolen key does not stop it."""
    held = _read_credential(view, context, act.ispb, act.credential)
    record = CredentialRecord(act.condition, held.cancelled, held.pending, held.due)
    _write_credential(view, act.ispb, act.credential, record)


def _recover_condition(view: StateView, context: BlockContext, actor: str, act: RecoverCondition) -> None:
    """After `recovery_delay_blocks`."""
    held = _read_credential(view, context, act.ispb, act.credential)
    if held.pending is not None:
        codes.refuse(codes.RECOVERY_PENDING, f"a recovery is pending, due at height {held.due}", due=held.due)
    due = context.height + context.parameters.recovery_delay_blocks
    record = CredentialRecord(held.condition, held.cancelled, act.condition, due)
    _write_credential(view, act.ispb, act.credential, record)


def _cancel_recovery(view: StateView, context: BlockContext, actor: str, act: CancelRecovery) -> None:
    """Only the first attempt: whoever stole a key can't hold off its owner for ever."""
    held = _read_credential(view, context, act.ispb, act.credential)
    if held.pending is None:
        codes.refuse(codes.RECOVERY_MISSING, "no recovery is pending")
    if held.cancelled:
        codes.refuse(
            codes.NOT_CANCELLABLE, "an attempt was cancelled before: this one can't be", due=held.due
        )
    _write_credential(view, act.ispb, act.credential, CredentialRecord(held.condition, held.cancelled + 1))


def _read_credential(
    view: StateView, context: BlockContext, ispb: str, credential: Credential
) -> CredentialRecord:
    if credential is not Credential.OWN:
        return get_authority(view, credential).at(context.height)
    record = get_participant(view, ispb).credential
    if record is None:
        _refuse_rule(f"{ispb} has no condition of its own")
    return record.at(context.height)


def _write_credential(view: StateView, ispb: str, credential: Credential, record: CredentialRecord) -> None:
    if credential is not Credential.OWN:
        put_authority(view, credential, record)
        return
    former = get_participant(view, ispb)
    put_participant(
        view,
        ispb,
        ParticipantRecord(former.name, former.role, record, former.settlement_lock, former.sponsor),
    )


# --- locks of participants


def _register_lock(view: StateView, context: BlockContext, actor: str, act: RegisterLock) -> None:
    get_participant(view, act.ispb)
    if find_lock(view, act.lock) is not None:
        _refuse_registered(f"lock {act.lock.hex()}")
    _claim_lock(view, act.ispb, act.lock, Purpose.OTHER, "")


def _remove_lock(view: StateView, context: BlockContext, actor: str, act: RemoveLock) -> None:
    record = find_lock(view, act.lock)
    if record is None or record.ispb != act.ispb:
        _refuse_unregistered(f"lock {act.lock.hex()} of {act.ispb}")
    if record.purpose is not Purpose.OTHER or record.disabled:
        _refuse_rule("a settlement, reserve or disabled lock can't be removed")
    put_lock(view, act.lock, None)


def _set_settlement_lock(view: StateView, context: BlockContext, actor: str, act: SetSettlementLock) -> None:
    former = get_participant(view, act.ispb)
    if former.sponsor:
        _refuse_rule(f"{act.ispb} settles through {former.sponsor}")
    _claim_lock(view, act.ispb, act.lock, Purpose.SETTLEMENT, "")
    _release_lock(view, former.settlement_lock)
    put_participant(
        view, act.ispb, ParticipantRecord(former.name, former.role, former.credential, act.lock, "")
    )


def _claim_lock(view: StateView, ispb: str, lock: bytes, purpose: Purpose, asset: str) -> None:
    """Give a lock of `ispb` a purpose: a new one, or one registered without a purpose. Disabled stays so."""
    if len(lock) != LOCK_BYTES:
        _refuse_rule(f"a lock has {LOCK_BYTES} bytes, not {len(lock)}")
    record = find_lock(view, lock)
    if record is None:
        if find_wallet(view, ispb, lock) is not None:
            _refuse_registered(f"lock {lock.hex()} as a client's wallet of {ispb}")
        record = LockRecord(ispb, purpose, asset, 0)
    elif record.ispb != ispb or record.purpose is not Purpose.OTHER:
        _refuse_registered(f"lock {lock.hex()} of {record.ispb} as {record.purpose.name.lower()}")
    put_lock(view, lock, LockRecord(ispb, purpose, asset, record.disabled))


def _release_lock(view: StateView, lock: bytes) -> None:
    """A former settlement or reserve lock stays registered, without a purpose."""
    record = find_lock(view, lock) if lock else None
    if record is not None:
        put_lock(view, lock, LockRecord(record.ispb, Purpose.OTHER, "", record.disabled))


# --- assets


def _register_asset(view: StateView, context: BlockContext, actor: str, act: RegisterAsset) -> None:
    if find_asset(view, act.asset) is not None:
        _refuse_registered(act.asset)
    record = AssetRecord(
        issuer=act.issuer,
        decimals=act.decimals,
        cap=act.cap,
        min_value=act.min_value,
        holders=act.holders,
        order_authority=act.order_authority,
        burn_needs_issuer=act.burn_needs_issuer,
        standing_consent=act.standing_consent,
        reserve_lock=act.reserve_lock,
        paused_by=(),
    )
    _check_policy(view, act.asset, record)
    get_participant(view, act.order_authority)
    if record.reserve_lock:
        _claim_lock(view, act.issuer, record.reserve_lock, Purpose.RESERVE, act.asset)
    put_asset(view, act.asset, record)


def _check_policy(view: StateView, name: str, record: AssetRecord) -> None:
    """A policy fits the family of its name."""
    parsed = parse_asset(name)
    if parsed is None or parsed.family is Family.WHOLESALE:
        codes.refuse(codes.ASSET_NAME, f"{name!r} is not the name of an asset that can be registered")
    role = get_participant(view, record.issuer).role
    if parsed.issuer and parsed.issuer != record.issuer:
        _refuse_rule(f"{name} is issued by {parsed.issuer}, not {record.issuer}")
    if parsed.family is Family.BOND and role is not Role.STN:
        _refuse_rule(f"{name} is issued by the Tesouro Nacional")
    if bool(record.reserve_lock) != (parsed.family is Family.E_MONEY):
        _refuse_rule("e-money has a reserve lock, and nothing else has")
    if not parsed.is_retail:
        return
    if role not in ISSUERS_OF_RETAIL:
        _refuse_rule(f"{record.issuer} is neither a bank nor a payment institution")
    if (record.decimals, record.holders, record.burn_needs_issuer) != (2, Holders.CLIENTS, True):
        _refuse_rule("retail money has 2 decimals, is held by clients, and its burn needs the issuer")
    if record.order_authority != record.issuer:
        _refuse_rule("orders about retail money are its issuer's (and BCB's)")


def _update_asset(view: StateView, context: BlockContext, actor: str, act: UpdateAsset) -> None:
    former = _mutable_asset(view, act.asset)
    circulating = read_supply(view, act.asset).circulating
    if act.cap is not None and act.cap < circulating:
        _refuse_rule(f"{circulating} circulate: the cap can't be {act.cap}")
    put_asset(view, act.asset, _changed(former, cap=act.cap, min_value=act.min_value))


def _set_consent(view: StateView, context: BlockContext, actor: str, act: SetConsent) -> None:
    former = _mutable_asset(view, act.asset)
    put_asset(view, act.asset, _changed(former, standing_consent=act.consent))


def _set_reserve_lock(view: StateView, context: BlockContext, actor: str, act: SetReserveLock) -> None:
    former = _mutable_asset(view, act.asset)
    if not former.reserve_lock:
        _refuse_rule(f"{act.asset} has no reserve: it is no e-money")
    _claim_lock(view, former.issuer, act.lock, Purpose.RESERVE, act.asset)
    _release_lock(view, former.reserve_lock)
    record = _changed(former, reserve_lock=act.lock)
    put_asset(view, act.asset, record)
    check_backing(view, act.asset, record)


def _mutable_asset(view: StateView, name: str) -> AssetRecord:
    if name == WHOLESALE:
        _refuse_rule("BRL's policy never changes")
    return get_asset(view, name)


def _changed(record: AssetRecord, **fields: Any) -> AssetRecord:
    return msgspec.structs.replace(record, **fields)


# --- orders


def _pause(view: StateView, context: BlockContext, actor: str, act: Pause) -> None:
    former = get_asset(view, act.asset)
    if actor in former.paused_by:
        codes.refuse(codes.ORDER_EXISTS, f"{actor} paused {act.asset} already", asset=act.asset)
    put_asset(view, act.asset, _changed(former, paused_by=tuple(sorted((*former.paused_by, actor)))))


def _resume(view: StateView, context: BlockContext, actor: str, act: Resume) -> None:
    former = get_asset(view, act.asset)
    if act.author not in former.paused_by:
        codes.refuse(codes.ORDER_UNKNOWN, f"{act.author} has not paused {act.asset}", asset=act.asset)
    left = tuple(author for author in former.paused_by if author != act.author)
    put_asset(view, act.asset, _changed(former, paused_by=left))


def _disable_wallet(view: StateView, context: BlockContext, actor: str, act: DisableWallet) -> None:
    bit = DISABLED_BY_BCB if is_bcb(context, actor) else DISABLED_BY_OWNER
    disabled = _read_disabled(view, act.issuer, act.lock)
    if disabled & bit:
        codes.refuse(codes.ORDER_EXISTS, f"{actor} disabled lock {act.lock.hex()} already")
    _write_disabled(view, act.issuer, act.lock, disabled | bit)


def _restore_wallet(view: StateView, context: BlockContext, actor: str, act: RestoreWallet) -> None:
    bit = DISABLED_BY_BCB if is_bcb(context, act.author) else DISABLED_BY_OWNER
    disabled = _read_disabled(view, act.issuer, act.lock)
    if not disabled & bit or (bit == DISABLED_BY_OWNER and act.author != act.issuer):
        codes.refuse(codes.ORDER_UNKNOWN, f"{act.author} has not disabled lock {act.lock.hex()}")
    _write_disabled(view, act.issuer, act.lock, disabled & ~bit)


def _read_disabled(view: StateView, ispb: str, lock: bytes) -> int:
    """The disabled bits of a client's wallet or of a participant's own lock."""
    wallet = find_wallet(view, ispb, lock)
    if wallet is not None:
        return wallet
    record = find_lock(view, lock)
    if record is None or record.ispb != ispb:
        _refuse_unregistered(f"lock {lock.hex()} with {ispb}")
    return record.disabled


def _write_disabled(view: StateView, ispb: str, lock: bytes, disabled: int) -> None:
    if find_wallet(view, ispb, lock) is not None:
        put_wallet(view, ispb, lock, disabled)
        return
    record = find_lock(view, lock)
    if record is not None:
        put_lock(view, lock, LockRecord(record.ispb, record.purpose, record.asset, disabled))


def _enable_wallets(view: StateView, context: BlockContext, actor: str, act: EnableWallets) -> None:
    get_participant(view, act.issuer)
    if any(left >= right for left, right in pairwise(act.locks)):
        _refuse_rule("the locks are not distinct and ascending")
    for lock in act.locks:
        record = find_lock(view, lock)
        if find_wallet(view, act.issuer, lock) is not None or (
            record is not None and record.ispb == act.issuer
        ):
            _refuse_registered(f"lock {lock.hex()} with {act.issuer}")
        put_wallet(view, act.issuer, lock, 0)


# --- nodes, candidates, protocol


def _register_node(view: StateView, context: BlockContext, actor: str, act: RegisterNode) -> None:
    get_participant(view, act.ispb)
    if len(act.validator_key) != (32 if act.role is NodeRole.VALIDATOR else 0):
        _refuse_rule("a validator's node names its 32-byte key, other nodes name none")
    former = find_node(view, act.peer_id)
    if former is not None and former.validator_key != act.validator_key:
        _check_not_in_set(context, former.validator_key)
    put_node(view, act.peer_id, NodeRecord(act.role, act.ispb, act.addresses, act.validator_key))


def _remove_node(view: StateView, context: BlockContext, actor: str, act: RemoveNode) -> None:
    former = find_node(view, act.peer_id)
    if former is None:
        _refuse_unregistered(f"node {act.peer_id.hex()}")
    _check_not_in_set(context, former.validator_key)
    put_node(view, act.peer_id, None)


def _register_candidate(view: StateView, context: BlockContext, actor: str, act: RegisterCandidate) -> None:
    get_participant(view, act.ispb)
    if find_candidate(view, act.public_key) is not None:
        _refuse_registered(f"candidate {act.public_key.hex()}")
    put_candidate(view, act.public_key, CandidateRecord(act.ispb))


def _remove_candidate(view: StateView, context: BlockContext, actor: str, act: RemoveCandidate) -> None:
    if find_candidate(view, act.public_key) is None:
        _refuse_unregistered(f"candidate {act.public_key.hex()}")
    _check_not_in_set(context, act.public_key)
    put_candidate(view, act.public_key, None)


def _check_not_in_set(context: BlockContext, public_key: bytes) -> None:
    if public_key and context.validators.index_of(public_key) is not None:
        codes.refuse(
            codes.VALIDATOR_IN_SET, f"validator {public_key.hex()} is in the set: it must be voted out first"
        )


def _set_protocol(view: StateView, context: BlockContext, actor: str, act: SetProtocol) -> None:
    current = get_protocol(view).at(context.height)
    if act.version <= current or act.height <= context.height:
        _refuse_rule(f"version {current} is in force at height {context.height}: only later and higher ones")
    put_protocol(view, ProtocolRecord(current, act.version, act.height))


def _refuse_registered(what: str) -> NoReturn:
    codes.refuse(codes.ALREADY_REGISTERED, f"{what} is registered already")


def _refuse_unregistered(what: str) -> NoReturn:
    codes.refuse(codes.NOT_REGISTERED, f"{what} is not registered")


def _refuse_rule(rule: str) -> NoReturn:
    codes.refuse(codes.REGISTRY_RULE, rule)


_ACTS: dict[type, Callable[[StateView, BlockContext, str, Any], None]] = {
    RegisterParticipant: _register_participant,
    UpdateParticipant: _update_participant,
    RotateCondition: _rotate_condition,
    RecoverCondition: _recover_condition,
    CancelRecovery: _cancel_recovery,
    RegisterLock: _register_lock,
    RemoveLock: _remove_lock,
    SetSettlementLock: _set_settlement_lock,
    RegisterAsset: _register_asset,
    UpdateAsset: _update_asset,
    SetConsent: _set_consent,
    SetReserveLock: _set_reserve_lock,
    Pause: _pause,
    Resume: _resume,
    EnableWallets: _enable_wallets,
    DisableWallet: _disable_wallet,
    RestoreWallet: _restore_wallet,
    RegisterNode: _register_node,
    RemoveNode: _remove_node,
    RegisterCandidate: _register_candidate,
    RemoveCandidate: _remove_candidate,
    SetProtocol: _set_protocol,
}
