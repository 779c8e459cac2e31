"""Acts on assets and on who may hold them: policies, pauses, clients' wallets.

Promises: BRL's policy never changes; a policy fits the family of its name; what somebody paused or disabled
stands until it is lifted for that author.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec

from ledger import codes
from ledger.act_rules import claim_lock, refuse_registered, refuse_rule, refuse_unregistered, release_lock
from ledger.assets import WHOLESALE, AssetRecord, Family, find_asset, get_asset, parse_asset, put_asset
from ledger.authority import ISSUERS_OF_RETAIL, is_bcb
from ledger.context import BlockContext
from ledger.payloads import (
    DisableWallet,
    EnableWallets,
    Holders,
    Pause,
    RegisterAsset,
    RestoreWallet,
    Resume,
    Role,
    SetConsent,
    SetReserveLock,
    UpdateAsset,
)
from ledger.registry import (
    DISABLED_BY_BCB,
    DISABLED_BY_OWNER,
    LockRecord,
    Purpose,
    find_lock,
    find_wallet,
    get_participant,
    put_lock,
    put_wallet,
)
from ledger.state import StateView
from ledger.supply import check_backing, read_supply


def register_asset(view: StateView, context: BlockContext, actor: str, act: RegisterAsset) -> None:
    """Carry out `RegisterAsset`."""
    if find_asset(view, act.asset) is not None:
        refuse_registered(act.asset)
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
        claim_lock(view, act.issuer, record.reserve_lock, Purpose.RESERVE, act.asset)
    put_asset(view, act.asset, record)


def _check_policy(view: StateView, name: str, record: AssetRecord) -> None:
    """A policy fits the family of its name."""
    parsed = parse_asset(name)
    if parsed is None or parsed.family is Family.WHOLESALE:
        codes.refuse(codes.ASSET_NAME, f"{name!r} is not the name of an asset that can be registered")
    role = get_participant(view, record.issuer).role
    if parsed.issuer and parsed.issuer != record.issuer:
        refuse_rule(f"{name} is issued by {parsed.issuer}, not {record.issuer}")
    if parsed.family is Family.BOND and role is not Role.STN:
        refuse_rule(f"{name} is issued by the Tesouro Nacional")
    if bool(record.reserve_lock) != (parsed.family is Family.E_MONEY):
        refuse_rule("e-money has a reserve lock, and nothing else has")
    if not parsed.is_retail:
        return
    if role not in ISSUERS_OF_RETAIL:
        refuse_rule(f"{record.issuer} is neither a bank nor a payment institution")
    if (record.decimals, record.holders, record.burn_needs_issuer) != (2, Holders.CLIENTS, True):
        refuse_rule("retail money has 2 decimals, is held by clients, and its burn needs the issuer")
    if record.order_authority != record.issuer:
        refuse_rule("orders about retail money are its issuer's (and BCB's)")


def update_asset(view: StateView, context: BlockContext, actor: str, act: UpdateAsset) -> None:
    """Carry out `UpdateAsset`."""
    former = _mutable_asset(view, act.asset)
    circulating = read_supply(view, act.asset).circulating
    if act.cap is not None and act.cap < circulating:
        refuse_rule(f"{circulating} circulate: the cap can't be {act.cap}")
    put_asset(view, act.asset, _changed(former, cap=act.cap, min_value=act.min_value))


def set_consent(view: StateView, context: BlockContext, actor: str, act: SetConsent) -> None:
    """Carry out `SetConsent`."""
    former = _mutable_asset(view, act.asset)
    put_asset(view, act.asset, _changed(former, standing_consent=act.consent))


def set_reserve_lock(view: StateView, context: BlockContext, actor: str, act: SetReserveLock) -> None:
    """Carry out `SetReserveLock`."""
    former = _mutable_asset(view, act.asset)
    if not former.reserve_lock:
        refuse_rule(f"{act.asset} has no reserve: it is no e-money")
    claim_lock(view, former.issuer, act.lock, Purpose.RESERVE, act.asset)
    release_lock(view, former.reserve_lock)
    record = _changed(former, reserve_lock=act.lock)
    put_asset(view, act.asset, record)
    check_backing(view, act.asset, record)


def _mutable_asset(view: StateView, name: str) -> AssetRecord:
    if name == WHOLESALE:
        refuse_rule("BRL's policy never changes")
    return get_asset(view, name)


def _changed(record: AssetRecord, **fields: Any) -> AssetRecord:
    return msgspec.structs.replace(record, **fields)


# --- orders


def pause(view: StateView, context: BlockContext, actor: str, act: Pause) -> None:
    """Carry out `Pause`."""
    former = get_asset(view, act.asset)
    if actor in former.paused_by:
        codes.refuse(codes.ORDER_EXISTS, f"{actor} paused {act.asset} already", asset=act.asset)
    put_asset(view, act.asset, _changed(former, paused_by=tuple(sorted((*former.paused_by, actor)))))


def resume(view: StateView, context: BlockContext, actor: str, act: Resume) -> None:
    """Carry out `Resume`."""
    former = get_asset(view, act.asset)
    if act.author not in former.paused_by:
        codes.refuse(codes.ORDER_UNKNOWN, f"{act.author} has not paused {act.asset}", asset=act.asset)
    left = tuple(author for author in former.paused_by if author != act.author)
    put_asset(view, act.asset, _changed(former, paused_by=left))


def disable_wallet(view: StateView, context: BlockContext, actor: str, act: DisableWallet) -> None:
    """Carry out `DisableWallet`."""
    bit = DISABLED_BY_BCB if is_bcb(context, actor) else DISABLED_BY_OWNER
    disabled = _read_disabled(view, act.issuer, act.lock)
    if disabled & bit:
        codes.refuse(codes.ORDER_EXISTS, f"{actor} disabled lock {act.lock.hex()} already")
    _write_disabled(view, act.issuer, act.lock, disabled | bit)


def restore_wallet(view: StateView, context: BlockContext, actor: str, act: RestoreWallet) -> None:
    """Carry out `RestoreWallet`."""
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
        refuse_unregistered(f"lock {lock.hex()} with {ispb}")
    return record.disabled


def _write_disabled(view: StateView, ispb: str, lock: bytes, disabled: int) -> None:
    if find_wallet(view, ispb, lock) is not None:
        put_wallet(view, ispb, lock, disabled)
        return
    record = find_lock(view, lock)
    if record is not None:
        put_lock(view, lock, LockRecord(record.ispb, record.purpose, record.asset, disabled))


def enable_wallets(view: StateView, context: BlockContext, actor: str, act: EnableWallets) -> None:
    """Carry out `EnableWallets`."""
    get_participant(view, act.issuer)
    if any(left >= right for left, right in pairwise(act.locks)):
        refuse_rule("the locks are not distinct and ascending")
    for lock in act.locks:
        record = find_lock(view, lock)
        if find_wallet(view, act.issuer, lock) is not None or (
            record is not None and record.ispb == act.issuer
        ):
            refuse_registered(f"lock {lock.hex()} with {act.issuer}")
        put_wallet(view, act.issuer, lock, 0)
