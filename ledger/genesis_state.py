"""What a genesis document writes into the empty state, with the same writers that transactions use."""

from __future__ import annotations

from ledger.assets import AssetRecord, find_asset, parse_asset, put_asset
from ledger.genesis_records import GenesisAsset, GenesisDocument, GenesisOutput, GenesisParticipant
from ledger.payloads import Credential, Role
from ledger.registry import (
    CandidateRecord,
    CredentialRecord,
    LockRecord,
    NodeRecord,
    ParticipantRecord,
    Purpose,
    put_authority,
    put_candidate,
    put_lock,
    put_node,
    put_participant,
    put_recovery,
    put_wallet,
)
from ledger.state import (
    AMOUNT_BYTES,
    VALIDATORS,
    StateView,
    balance_key,
    output_key,
    output_value,
    read_balance,
)
from ledger.supply import post
from ledger.votes import validators_value
from primitives.errors import InvariantViolation
from primitives.validators import ValidatorSet


class _Nothing:
    """The state before height 0."""

    def get(self, key: bytes) -> bytes | None:
        return None


def genesis_view(document: GenesisDocument, chain_id: bytes, validators: ValidatorSet) -> StateView:
    """A view over nothing that holds the state of height 0. Refuses (`InvalidTransaction`) an emission above
    the cap of its asset."""
    view = StateView(_Nothing())
    _write_bcb(view, document)
    for participant in document.participants:
        _write_participant(view, participant)
    for asset in document.assets:
        _write_asset(view, asset)
    for wallets in document.wallets:
        for lock in wallets.locks:
            put_wallet(view, wallets.issuer, lock, 0)
    for node in document.nodes:
        record = NodeRecord(node.role, node.ispb, node.addresses, node.validator_key)
        put_node(view, node.peer_id, record)
    for validator in document.validators:
        put_candidate(view, validator.public_key, CandidateRecord(validator.ispb))
    view.put(VALIDATORS, validators_value(validators))
    for index, output in enumerate(document.outputs):
        _write_output(view, chain_id, index, output)
    return view


def _write_bcb(view: StateView, document: GenesisDocument) -> None:
    bcb = document.bcb
    put_participant(view, bcb.ispb, ParticipantRecord(bcb.name, Role.BCB, None, bcb.settlement_lock, ""))
    put_lock(view, bcb.settlement_lock, LockRecord(bcb.ispb, Purpose.SETTLEMENT, "", 0))
    for number, condition in (
        (Credential.EMISSION, bcb.emission),
        (Credential.ORDERS, bcb.orders),
        (Credential.REGISTRY, bcb.registry),
    ):
        put_authority(view, number, CredentialRecord(condition))
    put_recovery(view, bcb.recovery)


def _write_participant(view: StateView, participant: GenesisParticipant) -> None:
    credential = CredentialRecord(participant.condition)
    record = ParticipantRecord(
        participant.name, participant.role, credential, participant.settlement_lock, participant.sponsor
    )
    put_participant(view, participant.ispb, record)
    if participant.settlement_lock:
        entry = LockRecord(participant.ispb, Purpose.SETTLEMENT, "", 0)
        put_lock(view, participant.settlement_lock, entry)
    for lock in participant.locks:
        put_lock(view, lock, LockRecord(participant.ispb, Purpose.OTHER, "", 0))


def _write_asset(view: StateView, asset: GenesisAsset) -> None:
    record = AssetRecord(
        issuer=asset.issuer,
        decimals=asset.decimals,
        cap=asset.cap,
        min_value=asset.min_value,
        holders=asset.holders,
        order_authority=asset.order_authority,
        burn_needs_issuer=asset.burn_needs_issuer,
        standing_consent=asset.standing_consent,
        reserve_lock=asset.reserve_lock,
        paused_by=(),
    )
    put_asset(view, asset.name, record)
    if asset.reserve_lock:
        put_lock(view, asset.reserve_lock, LockRecord(asset.issuer, Purpose.RESERVE, asset.name, 0))


def _write_output(view: StateView, chain_id: bytes, index: int, output: GenesisOutput) -> None:
    asset = find_asset(view, output.asset)
    if asset is None or parse_asset(output.asset) is None:
        raise InvariantViolation("GENESIS_UNCHECKED", f"{output.asset} is not an asset of the genesis")
    view.put(output_key(chain_id, index), output_value(output.lock, output.value, output.asset))
    balance = read_balance(view, output.lock, output.asset) + output.value
    view.put(balance_key(output.lock, output.asset), balance.to_bytes(AMOUNT_BYTES, "big"))
    post(view, output.asset, asset, output.value)
