"""Who may do what: for every kind and every act of the registry, whose conditions must have signed.

This file answers only *who*. A `Requirement` is a condition of the registry that must be satisfied;
`ledger/witness.py` checks it together with the inputs' locks. Nothing here changes the state.

| | emit BRL | emit own retail | orders | registry |
|---|---|---|---|---|
| BCB | its emission authority | - | its orders authority, every asset | its registry authority, all |
| bank, payment institution | - | own condition | own condition, own asset | own wallets, own keys |
| STN, infrastructure, regulator | - | - | - | own keys |

Everybody transfers by the locks of the inputs alone; a current validator votes with its own key.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger import codes
from ledger.assets import AssetRecord, get_asset
from ledger.context import BlockContext
from ledger.locks import Condition, KeyLeaf
from ledger.payloads import (
    Act,
    CancelRecovery,
    Credential,
    DisableWallet,
    EnableWallets,
    Freeze,
    Move,
    Pause,
    RecoverCondition,
    RegisterLock,
    RegistryAct,
    RemoveLock,
    RestoreWallet,
    Resume,
    Role,
    RotateCondition,
    SetConsent,
    SetReserveLock,
    SetSettlementLock,
    Unfreeze,
    ValidatorVote,
)
from ledger.registry import get_authority, get_participant, get_recovery
from ledger.state import StateReader

ISSUERS_OF_RETAIL = (Role.BANK, Role.PAYMENT_INSTITUTION)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A condition that must be satisfied, and whose it is. An optional one may sign but need not."""

    condition: Condition
    who: str
    optional: bool = False


# --- conditions in force


def own_condition(reader: StateReader, context: BlockContext, ispb: str) -> Requirement:
    """A participant's own condition. BCB has none: it acts by its three authorities."""
    record = get_participant(reader, ispb).credential
    if record is None:
        codes.refuse(codes.NOT_AUTHORISED, f"{ispb} acts by its authorities only", who=ispb)
    return Requirement(record.at(context.height).condition, f"participant {ispb}")


def bcb_authority(reader: StateReader, context: BlockContext, number: Credential) -> Requirement:
    """The condition of one of BCB's authorities."""
    record = get_authority(reader, number).at(context.height)
    return Requirement(record.condition, f"BCB's {number.name.lower()} authority")


def is_bcb(context: BlockContext, ispb: str) -> bool:
    """True for the Banco Central's ispb."""
    return ispb == context.parameters.bcb


# --- money


def issuer(reader: StateReader, context: BlockContext, asset: AssetRecord) -> Requirement:
    """Emission, and a burn that needs the issuer: BCB's emission authority for what BCB issues, else the
    issuing participant's condition."""
    if is_bcb(context, asset.issuer):
        return bcb_authority(reader, context, Credential.EMISSION)
    return own_condition(reader, context, asset.issuer)


def interbank(
    reader: StateReader, context: BlockContext, payer_bank: AssetRecord, payee_bank: AssetRecord
) -> list[Requirement]:
    """The paying bank always; the receiving bank unless its asset gives standing consent."""
    payee = issuer(reader, context, payee_bank)
    return [
        issuer(reader, context, payer_bank),
        Requirement(payee.condition, payee.who, optional=payee_bank.standing_consent),
    ]


# --- orders


def orders(reader: StateReader, context: BlockContext, actor: str, asset: AssetRecord) -> Requirement:
    """FREEZE, MOVE, pause: the asset's order authority, or BCB for every asset."""
    if is_bcb(context, actor):
        return bcb_authority(reader, context, Credential.ORDERS)
    if actor != asset.order_authority:
        codes.refuse(
            codes.NOT_AUTHORISED,
            f"{actor} may give no orders about this asset; {asset.order_authority} or BCB may",
            actor=actor,
            order_authority=asset.order_authority,
        )
    return own_condition(reader, context, actor)


def lifting(reader: StateReader, context: BlockContext, actor: str, author: str) -> Requirement:
    """UNFREEZE, resume, restore: only the order's author or BCB."""
    if is_bcb(context, actor):
        return bcb_authority(reader, context, Credential.ORDERS)
    if actor != author:
        codes.refuse(
            codes.NOT_AUTHORISED,
            f"only {author} or BCB may do this, not {actor}",
            actor=actor,
            author=author,
        )
    return own_condition(reader, context, actor)


def freeze(reader: StateReader, context: BlockContext, payload: Freeze) -> Requirement:
    """Kind 5: the order authority of the asset, or BCB."""
    return orders(reader, context, payload.author, get_asset(reader, payload.asset))


def unfreeze(reader: StateReader, context: BlockContext, payload: Unfreeze) -> Requirement:
    """Kind 6: the author of the order, or BCB."""
    return lifting(reader, context, payload.actor, payload.author)


def move(
    reader: StateReader, context: BlockContext, payload: Move, assets: list[AssetRecord]
) -> list[Requirement]:
    """Kind 7: the order authority of every input's asset, or BCB."""
    return [orders(reader, context, payload.actor, asset) for asset in assets]


# --- votes


def vote(context: BlockContext, payload: ValidatorVote) -> Requirement:
    """Kind 9: a current validator, with the key it votes on blocks with."""
    if context.validators.index_of(payload.voter) is None:
        codes.refuse(
            codes.NOT_A_VALIDATOR,
            f"{payload.voter.hex()} is not in the set of epoch {context.validators.epoch}",
            voter=payload.voter.hex(),
        )
    return Requirement(KeyLeaf(payload.voter), f"validator {payload.voter.hex()}")


# --- registry


def registry(reader: StateReader, context: BlockContext, payload: RegistryAct) -> Requirement:
    """Kind 8: what each act needs. Everything not named belongs to BCB's registry authority alone."""
    actor, act = payload.actor, payload.act
    match act:
        case RotateCondition() | CancelRecovery():
            return _holder(reader, context, actor, act.ispb, act.credential)
        case RecoverCondition():
            return _recovery(reader, context, actor, act)
        case RegisterLock() | RemoveLock() | SetSettlementLock():
            return _self_or_registry(reader, context, actor, act.ispb)
        case EnableWallets():
            return _own_wallets(reader, context, actor, act)
        case SetConsent() | SetReserveLock():
            return _self_or_registry(reader, context, actor, get_asset(reader, act.asset).issuer)
        case Pause():
            return orders(reader, context, actor, get_asset(reader, act.asset))
        case DisableWallet():
            return lifting(reader, context, actor, act.issuer)
        case Resume() | RestoreWallet():
            return lifting(reader, context, actor, act.author)
        case _:
            return _registry_authority(reader, context, actor, act)


def _registry_authority(
    reader: StateReader, context: BlockContext, actor: str, act: Act | None
) -> Requirement:
    """BCB's registry authority, named as the actor."""
    if not is_bcb(context, actor):
        what = "" if act is None else f" {type(act).__name__}"
        codes.refuse(codes.NOT_AUTHORISED, f"{actor} may not{what}: BCB's registry may", actor=actor)
    return bcb_authority(reader, context, Credential.REGISTRY)


def _self_or_registry(reader: StateReader, context: BlockContext, actor: str, owner: str) -> Requirement:
    """The participant whose entry it is, or BCB's registry."""
    if actor == owner and not is_bcb(context, actor):
        return own_condition(reader, context, actor)
    return _registry_authority(reader, context, actor, None)


def _own_wallets(reader: StateReader, context: BlockContext, actor: str, act: EnableWallets) -> Requirement:
    """Banks and payment institutions enable their own clients; BCB enables anybody's."""
    if not is_bcb(context, actor) and get_participant(reader, actor).role not in ISSUERS_OF_RETAIL:
        codes.refuse(codes.NOT_AUTHORISED, f"{actor} has no clients of its own", actor=actor)
    return _self_or_registry(reader, context, actor, act.issuer)


def _holder(
    reader: StateReader, context: BlockContext, actor: str, ispb: str, credential: Credential
) -> Requirement:
    """A condition speaks for its own replacement: neither BCB's registry nor anybody else does."""
    if actor != ispb:
        codes.refuse(codes.NOT_AUTHORISED, f"only {ispb} itself may, not {actor}", actor=actor, owner=ispb)
    if credential is Credential.OWN:
        return own_condition(reader, context, ispb)
    _check_authority_holder(context, ispb)
    return bcb_authority(reader, context, credential)


def _recovery(reader: StateReader, context: BlockContext, actor: str, act: RecoverCondition) -> Requirement:
    """BCB's authorities come back by its recovery condition, a participant's by BCB's registry authority."""
    if act.credential is Credential.OWN:
        return _registry_authority(reader, context, actor, act)
    _check_authority_holder(context, act.ispb)
    if actor != act.ispb:
        codes.refuse(codes.NOT_AUTHORISED, f"only BCB recovers its authorities, not {actor}", actor=actor)
    return Requirement(get_recovery(reader), "BCB's recovery")


def _check_authority_holder(context: BlockContext, ispb: str) -> None:
    if not is_bcb(context, ispb):
        codes.refuse(codes.REGISTRY_RULE, f"{ispb} has no authorities, only BCB has", ispb=ispb)
