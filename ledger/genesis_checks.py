"""What a genesis document must fulfil, each rule with a sentence that says where and what is wrong.

`check_genesis` raises `DecodeError` with code GENESIS_INVALID and the path of the part, for the first rule
broken, in the order of the document.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NoReturn

from ledger.assets import WHOLESALE, Family, find_asset, parse_asset
from ledger.genesis_records import GENESIS_VERSION, GenesisAsset, GenesisDocument
from ledger.genesis_state import genesis_view
from ledger.locks import Condition, check_condition
from ledger.parameters import ChainParameters
from ledger.payloads import Holders, NodeRole, Role
from ledger.registry import Standing, standing
from ledger.state import StateView
from ledger.state_tree import BUCKET_COUNTS
from ledger.supply import check_backing
from primitives.errors import DecodeError, InvalidTransaction
from primitives.hashing import ZERO_HASH
from primitives.keys import PUBLIC_KEY_BYTES
from primitives.limits import (
    MAX_BLOCK_BYTES,
    MAX_BLOCK_SIGNATURES,
    MAX_BLOCK_TRANSACTIONS,
    MAX_ROUND_TIMEOUT_MS,
    MAX_TIMESTAMP_MS,
    MAX_TRANSACTION_BYTES,
    MAX_VALIDATORS,
)
from primitives.validators import ValidatorSet

_DAY_MS = 24 * 60 * 60 * 1000
_MAX_WINDOW_BLOCKS = 10_000_000


def check_genesis(document: GenesisDocument) -> None:
    """Refuse a document that contradicts itself or the ledger's rules."""
    _check_head(document)
    _check_parameters(document.parameters)
    _check_parties(document)
    _check_assets(document)
    _check_wallets(document)
    _check_validators(document)
    _check_nodes(document)
    _check_outputs(document)


def refuse_genesis(path: str, message: str) -> NoReturn:
    """Raise the error of a document that is wrong at `path`."""
    raise DecodeError(f"{path}: {message}", code="GENESIS_INVALID", path=path)


def _require(holds: bool, path: str, message: str) -> None:
    if not holds:
        refuse_genesis(path, message)


def _check_head(document: GenesisDocument) -> None:
    _require(document.version == GENESIS_VERSION, "version", f"{document.version} is unknown, 1 is expected")
    in_range = 0 < document.timestamp_ms <= MAX_TIMESTAMP_MS
    _require(in_range, "timestamp_ms", f"1 … {MAX_TIMESTAMP_MS} milliseconds since 1970 are expected")
    _check_condition("recovery", document.recovery)


def _check_parameters(parameters: ChainParameters) -> None:
    limits = parameters.limits
    ranges = (
        ("limits.max_bytes", limits.max_bytes, MAX_TRANSACTION_BYTES, MAX_BLOCK_BYTES),
        ("limits.max_transactions", limits.max_transactions, 1, MAX_BLOCK_TRANSACTIONS),
        ("limits.max_signatures", limits.max_signatures, 1, MAX_BLOCK_SIGNATURES),
        ("min_block_interval_ms", parameters.min_block_interval_ms, 0, parameters.empty_block_period_ms),
        ("empty_block_period_ms", parameters.empty_block_period_ms, 1, _DAY_MS),
        ("base_timeout_ms", parameters.base_timeout_ms, 1, parameters.max_timeout_ms),
        ("max_timeout_ms", parameters.max_timeout_ms, 1, MAX_ROUND_TIMEOUT_MS),
        ("max_clock_skew_ms", parameters.max_clock_skew_ms, 1, _DAY_MS),
        ("replay_window_blocks", parameters.replay_window_blocks, 1, _MAX_WINDOW_BLOCKS),
        ("recovery_delay_blocks", parameters.recovery_delay_blocks, 1, _MAX_WINDOW_BLOCKS),
        ("min_validators", parameters.min_validators, 1, MAX_VALIDATORS),
    )
    for name, value, low, high in ranges:
        _require(low <= value <= high, f"parameters.{name}", f"{value} is outside {low} … {high}")
    known = parameters.bucket_count in BUCKET_COUNTS
    _require(known, "parameters.bucket_count", f"{parameters.bucket_count} is not one of {BUCKET_COUNTS}")


def _check_parties(document: GenesisDocument) -> None:
    bcb = document.bcb
    for name in ("emission", "orders", "registry", "recovery"):
        _check_condition(f"bcb.{name}", getattr(bcb, name))
    ispbs = [participant.ispb for participant in document.participants]
    _check_ascending("participants", ispbs)
    _require(bcb.ispb not in ispbs, "participants", f"{bcb.ispb} is the Banco Central's")
    own_locks = {bcb.settlement_lock}
    for place, participant in enumerate(document.participants):
        path = f"participants[{place}]"
        _check_condition(f"{path}.condition", participant.condition)
        _require(participant.role != Role.BCB, f"{path}.role", "there is one Banco Central")
        direct = len(participant.settlement_lock) == 32
        _require(direct != bool(participant.sponsor), path, "either a settlement lock or a sponsor is needed")
        sponsors = [other.ispb for other in document.participants if other.settlement_lock]
        if participant.sponsor:
            _require(participant.sponsor in sponsors, f"{path}.sponsor", "it is no direct participant")
        _check_ascending(f"{path}.locks", participant.locks)
        for lock in (*participant.locks, *([participant.settlement_lock] if direct else [])):
            _require(lock not in own_locks, path, f"the lock {lock.hex()} is registered twice")
            own_locks.add(lock)


def _check_assets(document: GenesisDocument) -> None:
    issuers = {document.bcb.ispb, *(participant.ispb for participant in document.participants)}
    _check_ascending("assets", [asset.name for asset in document.assets])
    taken = {document.bcb.settlement_lock}
    for participant in document.participants:
        taken.update((participant.settlement_lock, *participant.locks))
    for place, asset in enumerate(document.assets):
        path = f"assets[{place}]"
        _require(asset.issuer in issuers, f"{path}.issuer", f"{asset.issuer} is not registered")
        _require(asset.order_authority in issuers, f"{path}.order_authority", "it is not registered")
        _check_policy(path, asset, document.bcb.ispb)
        if asset.reserve_lock:
            _require(asset.reserve_lock not in taken, f"{path}.reserve_lock", "it serves something else")
            taken.add(asset.reserve_lock)
    known = any(asset.name == WHOLESALE for asset in document.assets)
    _require(known, "assets", "BRL is missing")


def _check_policy(path: str, asset: GenesisAsset, bcb: str) -> None:
    parsed = parse_asset(asset.name)
    if parsed is None:
        refuse_genesis(f"{path}.name", f"{asset.name!r} is not an asset's name")
    if parsed.issuer:
        _require(parsed.issuer == asset.issuer, f"{path}.issuer", "it is not the one in the name")
    wholesale, e_money = parsed.family is Family.WHOLESALE, parsed.family is Family.E_MONEY
    if wholesale:
        _require(asset.issuer == asset.order_authority == bcb, path, "BRL is the Banco Central's")
    holders = Holders.PARTICIPANTS if wholesale else Holders.CLIENTS if parsed.is_retail else asset.holders
    _require(asset.holders is holders, f"{path}.holders", f"{holders.name} is expected")
    if wholesale or parsed.is_retail:
        _require(asset.burn_needs_issuer, f"{path}.burn_needs_issuer", "true for BRL and retail assets")
        _require(asset.decimals == 2, f"{path}.decimals", "2 for BRL and retail assets")
    expected = 32 if e_money else 0
    _require(
        len(asset.reserve_lock) == expected, f"{path}.reserve_lock", "e-money has one, nothing else does"
    )


def _check_wallets(document: GenesisDocument) -> None:
    issuers = {participant.ispb for participant in document.participants}
    _check_ascending("wallets", [wallets.issuer for wallets in document.wallets])
    for place, wallets in enumerate(document.wallets):
        _require(wallets.issuer in issuers, f"wallets[{place}].issuer", f"{wallets.issuer} is not registered")
        _check_ascending(f"wallets[{place}].locks", wallets.locks)


def _check_validators(document: GenesisDocument) -> None:
    parties = {document.bcb.ispb, *(participant.ispb for participant in document.participants)}
    validators = document.validators
    count = len(validators)
    low = document.parameters.min_validators
    _require(low <= count <= MAX_VALIDATORS, "validators", f"{count}, expected {low} … {MAX_VALIDATORS}")
    _check_ascending("validators", [validator.public_key for validator in validators])
    for place, validator in enumerate(validators):
        path = f"validators[{place}]"
        _require(len(validator.public_key) == PUBLIC_KEY_BYTES, f"{path}.public_key", "32 bytes are expected")
        _require(validator.ispb in parties, f"{path}.ispb", f"{validator.ispb} is not registered")


def _check_nodes(document: GenesisDocument) -> None:
    parties = {document.bcb.ispb, *(participant.ispb for participant in document.participants)}
    keys = {bytes(validator.public_key) for validator in document.validators}
    _check_ascending("nodes", [node.peer_id for node in document.nodes])
    for place, node in enumerate(document.nodes):
        path = f"nodes[{place}]"
        _require(node.ispb in parties, f"{path}.ispb", f"{node.ispb} is not registered")
        if node.role is NodeRole.VALIDATOR:
            _require(
                node.validator_key in keys, f"{path}.validator_key", "it is no validator's of this document"
            )
        else:
            _require(node.validator_key == b"", f"{path}.validator_key", "a validator's node alone has one")
    named = [node.validator_key for node in document.nodes if node.validator_key]
    _require(len(named) == len(set(named)), "nodes", "two nodes carry the same validator key")
    _require(set(named) == keys, "nodes", "each validator needs its node")


def _check_outputs(document: GenesisDocument) -> None:
    """Write the state and ask the ledger's own rules about it."""
    names = {asset.name for asset in document.assets}
    for place, output in enumerate(document.outputs):
        _require(output.asset in names, f"outputs[{place}].asset", f"{output.asset} is not registered")
    validators = ValidatorSet(0, tuple(validator.public_key for validator in document.validators))
    try:
        view = genesis_view(document, ZERO_HASH, validators)
        for asset in document.assets:
            record = find_asset(view, asset.name)
            if record is not None and record.reserve_lock:
                check_backing(view, asset.name, record)
    except InvalidTransaction as error:
        refuse_genesis("outputs", str(error))
    for place, output in enumerate(document.outputs):
        _check_output(view, f"outputs[{place}]", output.asset, output.value, output.lock)


def _check_output(view: StateView, path: str, name: str, value: int, lock: bytes) -> None:
    asset = find_asset(view, name)
    if asset is None:
        refuse_genesis(f"{path}.asset", f"{name} is not registered")
    _require(value >= asset.min_value, f"{path}.value", f"at least {asset.min_value} are expected")
    may_hold = standing(view, asset, lock) is Standing.ENABLED
    _require(may_hold, f"{path}.lock", f"it may not hold {name}")


def _check_condition(path: str, condition: Condition) -> None:
    try:
        check_condition(condition)
    except InvalidTransaction as error:
        refuse_genesis(path, error.message)


def _check_ascending(path: str, names: Iterable[str] | Iterable[bytes]) -> None:
    values = [name.encode() if isinstance(name, str) else name for name in names]
    _require(all(left < right for left, right in pairwise(values)), path, "entries ascend and differ")
