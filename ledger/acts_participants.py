"""Acts on participants, on the conditions that speak for them, and on their own locks.

Promises: a pending recovery is stopped by nothing but the first cancellation; a lock stays disabled however
it is registered anew.
"""

from __future__ import annotations

from ledger import codes
from ledger.act_rules import claim_lock, refuse_registered, refuse_rule, refuse_unregistered, release_lock
from ledger.authority import is_bcb
from ledger.context import BlockContext
from ledger.payloads import (
    CancelRecovery,
    Credential,
    RecoverCondition,
    RegisterLock,
    RegisterParticipant,
    RemoveLock,
    Role,
    RotateCondition,
    SetSettlementLock,
    UpdateParticipant,
)
from ledger.registry import (
    CredentialRecord,
    ParticipantRecord,
    Purpose,
    find_lock,
    find_participant,
    get_authority,
    get_participant,
    put_authority,
    put_lock,
    put_participant,
)
from ledger.state import StateView


def register_participant(
    view: StateView, context: BlockContext, actor: str, act: RegisterParticipant
) -> None:
    """Carry out `RegisterParticipant`."""
    if find_participant(view, act.ispb) is not None:
        refuse_registered(f"participant {act.ispb}")
    if act.role is Role.BCB or is_bcb(context, act.ispb):
        refuse_rule("the Banco Central is registered by the genesis alone")
    if act.sponsor and act.settlement_lock:
        refuse_rule("an indirect participant settles through its sponsor: it has no settlement lock")
    _check_sponsor(view, act.ispb, act.sponsor)
    if act.settlement_lock:
        claim_lock(view, act.ispb, act.settlement_lock, Purpose.SETTLEMENT, "")
    record = ParticipantRecord(
        act.name, act.role, CredentialRecord(act.condition), act.settlement_lock, act.sponsor
    )
    put_participant(view, act.ispb, record)


def update_participant(view: StateView, context: BlockContext, actor: str, act: UpdateParticipant) -> None:
    """Carry out `UpdateParticipant`."""
    former = get_participant(view, act.ispb)
    _check_sponsor(view, act.ispb, act.sponsor)
    record = ParticipantRecord(act.name, former.role, former.credential, former.settlement_lock, act.sponsor)
    put_participant(view, act.ispb, record)


def _check_sponsor(view: StateView, ispb: str, sponsor: str) -> None:
    if sponsor and (sponsor == ispb or get_participant(view, sponsor).sponsor):
        refuse_rule(f"{sponsor} can't sponsor {ispb}: a sponsor is another, direct participant")


# --- conditions that speak for someone


def rotate_condition(view: StateView, context: BlockContext, actor: str, act: RotateCondition) -> None:
    """At once. A pending recovery goes on: a stolen key does not stop it."""
    held = _read_credential(view, context, act.ispb, act.credential)
    record = CredentialRecord(act.condition, held.cancelled, held.pending, held.due)
    _write_credential(view, act.ispb, act.credential, record)


def recover_condition(view: StateView, context: BlockContext, actor: str, act: RecoverCondition) -> None:
    """After `recovery_delay_blocks`."""
    held = _read_credential(view, context, act.ispb, act.credential)
    if held.pending is not None:
        codes.refuse(codes.RECOVERY_PENDING, f"a recovery is pending, due at height {held.due}", due=held.due)
    due = context.height + context.parameters.recovery_delay_blocks
    record = CredentialRecord(held.condition, held.cancelled, act.condition, due)
    _write_credential(view, act.ispb, act.credential, record)


def cancel_recovery(view: StateView, context: BlockContext, actor: str, act: CancelRecovery) -> None:
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
        refuse_rule(f"{ispb} has no condition of its own")
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


def register_lock(view: StateView, context: BlockContext, actor: str, act: RegisterLock) -> None:
    """Carry out `RegisterLock`."""
    get_participant(view, act.ispb)
    if find_lock(view, act.lock) is not None:
        refuse_registered(f"lock {act.lock.hex()}")
    claim_lock(view, act.ispb, act.lock, Purpose.OTHER, "")


def remove_lock(view: StateView, context: BlockContext, actor: str, act: RemoveLock) -> None:
    """Carry out `RemoveLock`."""
    record = find_lock(view, act.lock)
    if record is None or record.ispb != act.ispb:
        refuse_unregistered(f"lock {act.lock.hex()} of {act.ispb}")
    if record.purpose is not Purpose.OTHER or record.disabled:
        refuse_rule("a settlement, reserve or disabled lock can't be removed")
    put_lock(view, act.lock, None)


def set_settlement_lock(view: StateView, context: BlockContext, actor: str, act: SetSettlementLock) -> None:
    """Carry out `SetSettlementLock`."""
    former = get_participant(view, act.ispb)
    if former.sponsor:
        refuse_rule(f"{act.ispb} settles through {former.sponsor}")
    claim_lock(view, act.ispb, act.lock, Purpose.SETTLEMENT, "")
    release_lock(view, former.settlement_lock)
    put_participant(
        view, act.ispb, ParticipantRecord(former.name, former.role, former.credential, act.lock, "")
    )
