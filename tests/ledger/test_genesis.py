"""The genesis document: one array, one id, one JSON view; what contradicts the rules is refused by name."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genesis
from ledger.assets import find_asset
from ledger.devnet import (
    BANK_A_DVT,
    BANK_A_MET,
    BANK_B_DVT,
    BCB_ISPB,
    DEVNET_WALLETS,
    make_devnet_genesis,
    reserve_condition,
)
from ledger.genesis import (
    chain_id_of,
    decode_genesis,
    encode_genesis,
    genesis_validators,
    ledger_parameters,
    make_genesis_state,
)
from ledger.genesis_json import condition_from_json, condition_to_json, document_from_json, document_to_json
from ledger.genesis_records import GenesisOutput
from ledger.locks import (
    AfterHeight,
    AfterTime,
    BeforeHeight,
    BeforeTime,
    Condition,
    HashLeaf,
    KeyLeaf,
    lock_of,
    threshold,
)
from ledger.payloads import Credential
from ledger.registry import Standing, get_authority, get_recovery, standing
from ledger.state import read_balance
from ledger.state_tree import StateTree
from ledger.supply import read_supply
from ledger.votes import read_validators
from primitives.errors import DecodeError
from primitives.hashing import ZERO_HASH, tagged_hash
from scripts.make_devnet_genesis import open_devnet
from tests.ledger.chain import Chain, Pages, devnet, lock, wallet
from tests.ledger.test_state_tree import naive_root

VIEW = document_to_json(devnet())


@pytest.mark.parametrize("validators", [1, 4, 7])
def test_the_devnet_can_be_made_for_one_four_and_seven_validators(validators: int) -> None:
    document = devnet(validators)
    assert genesis_validators(document).size == validators
    assert decode_genesis(encode_genesis(document)) == document
    assert document_from_json(json.loads(json.dumps(document_to_json(document)))) == document
    jsonschema.validate(document_to_json(document), genesis.schema())


def test_the_shipped_documents_are_valid_and_follow_the_schema() -> None:
    assert "devnet" in genesis.named_networks()
    jsonschema.Draft202012Validator.check_schema(genesis.schema())
    for name in genesis.named_networks():
        document = genesis.named_genesis(name)
        assert document.name == name
        jsonschema.validate(document_to_json(document), genesis.schema())
    with pytest.raises(KeyError):
        genesis.named_genesis("schema")


def test_the_shipped_devnet_is_what_its_script_writes() -> None:
    assert genesis.named_genesis("devnet") == open_devnet(4)


def test_the_chain_id_is_the_hash_of_the_canonical_array() -> None:
    document = devnet()
    data = encode_genesis(document)
    assert chain_id_of(document) == tagged_hash("drex/genesis", data)
    assert msgpack.packb(msgpack.unpackb(data)) == data
    assert chain_id_of(devnet(1)) != chain_id_of(document)


def test_the_genesis_block_holds_the_state_it_announces() -> None:
    chain = Chain()
    header = chain.headers[0]
    assert (header.height, header.parent_id, header.proposer, header.tx_count) == (0, ZERO_HASH, bytes(32), 0)
    assert header.timestamp_ms == chain.genesis.timestamp_ms
    assert header.state_root == naive_root(chain.state, 16**3)
    assert header.validators_hash == header.next_validators_hash == read_validators(chain.state).hash


def test_the_devnets_wallets_hold_and_may_do_what_they_should() -> None:
    chain = Chain()
    state = chain.state
    for number, name in (
        (Credential.EMISSION, "bcb"),
        (Credential.ORDERS, "bcb-orders"),
        (Credential.REGISTRY, "bcb-registry"),
    ):
        assert get_authority(state, number).condition == KeyLeaf(wallet(name).public_key)
    assert get_recovery(state) == KeyLeaf(wallet("bcb-recovery").public_key)
    may_hold = {
        (asset, name)
        for asset in ("BRL", BANK_A_DVT, BANK_B_DVT)
        for name in DEVNET_WALLETS
        if (policy := find_asset(state, asset)) and standing(state, policy, lock(name)) is Standing.ENABLED
    }
    assert may_hold == {
        *(("BRL", name) for name in ("bcb", "stn", "bank-a", "bank-b")),
        *((BANK_A_DVT, name) for name in ("bank-a", "alice", "bob")),
        *((BANK_B_DVT, name) for name in ("bank-b", "bob")),
    }
    funded = read_balance(state, lock("alice"), BANK_A_DVT)
    assert funded == read_supply(state, BANK_A_DVT).circulating > 0
    assert read_supply(state, "BRL").emitted == 0
    met = find_asset(state, BANK_A_MET)
    assert met is not None
    assert met.reserve_lock == lock_of(reserve_condition(wallet("bank-a").public_key))


def test_outputs_of_the_genesis_are_named_by_the_chain_and_their_place() -> None:
    chain = Chain()
    points = [point for point, _ in chain.unspent("alice", BANK_A_DVT)]
    assert [(point.txid, point.index) for point in points] == [(chain.chain_id, place) for place in range(4)]


def test_parameters_of_the_ledger_come_from_the_document() -> None:
    document = devnet()
    parameters = ledger_parameters(document)
    assert parameters.bcb == BCB_ISPB
    assert parameters.replay_window_blocks == document.parameters.replay_window_blocks


def test_a_missing_wallet_is_named() -> None:
    keys = {name: wallet(name).public_key for name in DEVNET_WALLETS if name != "stn"}
    with pytest.raises(KeyError, match="stn"):
        make_devnet_genesis([], keys)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The devnet's view with one part replaced (or removed, for `...`)."""
    view = copy.deepcopy(VIEW)
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    place: Any = view
    for part in way:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return view


ALICE, BOB = (view_lock for view_lock in (VIEW["wallets"][0]["locks"]))
DECIMAL = "100"


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("version", 2, "version"),
        ("version", True, "version"),
        ("name", ..., "name"),
        ("name", "Dev Net", "name"),
        ("motto", "ordem", "motto"),
        ("address_prefix", 7, "address_prefix"),
        ("address_prefix", "drex", "bcb.settlement_lock"),
        ("timestamp_ms", 0, "timestamp_ms"),
        ("timestamp_ms", 1.5, "timestamp_ms"),
        ("parameters.bucket_count", 4095, "parameters.bucket_count"),
        ("parameters.limits.max_bytes", 1, "parameters.limits.max_bytes"),
        ("parameters.limits.max_transactions", 0, "parameters.limits.max_transactions"),
        ("parameters.max_timeout_ms", 30_001, "parameters.max_timeout_ms"),
        ("parameters.base_timeout_ms", 16_001, "parameters.base_timeout_ms"),
        ("parameters.min_block_interval_ms", 5_001, "parameters.min_block_interval_ms"),
        ("parameters.replay_window_blocks", 0, "parameters.replay_window_blocks"),
        ("parameters.min_validators", 5, "validators"),
        ("recovery", {"key": "00"}, "recovery"),
        ("recovery", {"threshold": 2, "of": [{"key": "00" * 32}]}, "recovery"),
        ("bcb.emission", {"key": "zz"}, "bcb.emission.key"),
        ("bcb.emission", {"fingerprint": "00"}, "bcb.emission"),
        ("participants.0.ispb", BCB_ISPB, "participants"),
        ("participants.0.role", "bcb", "participants[0].role"),
        ("participants.0.role", "king", "participants[0].role"),
        ("participants.0.sponsor", "99990001", "participants[0]"),
        ("participants.0.settlement_lock", "", "participants[0]"),
        ("participants.1.settlement_lock", VIEW["participants"][0]["settlement_lock"], "participants[1]"),
        ("participants.0.locks", [BOB, ALICE], "participants[0].locks"),
        ("assets.0.issuer", "99990001", "assets[0]"),
        ("assets.0.issuer", "00000000", "assets[0].issuer"),
        ("assets.0.name", "BR", "assets[0].name"),
        ("assets.0", ..., "assets"),
        ("assets.1.issuer", "99990002", "assets[1].issuer"),
        ("assets.1.holders", "any", "assets[1].holders"),
        ("assets.1.burn_needs_issuer", False, "assets[1].burn_needs_issuer"),
        ("assets.1.decimals", 3, "assets[1].decimals"),
        ("assets.1.cap", "0100", "assets[1].cap"),
        ("assets.1.cap", 100, "assets[1].cap"),
        ("assets.1.cap", DECIMAL, "outputs"),
        ("assets.2.reserve_lock", "", "assets[2].reserve_lock"),
        ("assets.2.reserve_lock", VIEW["participants"][1]["settlement_lock"], "assets[2].reserve_lock"),
        ("assets.4.reserve_lock", VIEW["assets"][2]["reserve_lock"], "assets[4].reserve_lock"),
        ("wallets.0.issuer", "00000000", "wallets[0].issuer"),
        ("wallets.0.locks", [BOB, ALICE], "wallets[0].locks"),
        ("nodes.0.ispb", "00000000", "nodes[0].ispb"),
        ("nodes.0.validator_key", "00" * 32, "nodes[0].validator_key"),
        ("nodes.0.peer_id", "0OIl", "nodes[0].peer_id"),
        ("nodes.0", ..., "nodes"),
        ("validators.0.ispb", "00000000", "validators[0].ispb"),
        ("validators.0.public_key", "ff" * 32, "validators"),
        ("validators", [], "validators"),
        ("outputs.0.asset", "BRL@00000000/DVT", "outputs[0].asset"),
        ("outputs.0.lock", VIEW["bcb"]["settlement_lock"], "outputs[0].lock"),
        ("outputs.0.value", "0", "outputs"),
        ("outputs.0.value", "-1", "outputs[0].value"),
        ("outputs.0.asset", BANK_A_MET, "outputs"),
        ("outputs", {}, "outputs"),
    ],
)
def test_a_document_that_breaks_a_rule_is_refused_and_the_part_is_named(
    path: str, value: Any, named: str
) -> None:
    with pytest.raises(DecodeError) as refusal:
        document_from_json(changed(path, value))
    assert refusal.value.code == "GENESIS_INVALID"
    assert refusal.value.data["path"] == named, str(refusal.value)


def test_the_sum_of_outputs_is_bounded() -> None:
    document = devnet()
    output = GenesisOutput(BANK_A_DVT, 2**63 - 1, lock("alice"))
    with pytest.raises(DecodeError, match=r"outputs.*TX_SUPPLY_OVERFLOW"):
        make_genesis_state(
            type(document)(
                **{
                    **{name: getattr(document, name) for name in document.__struct_fields__},
                    "outputs": (output, output),
                }
            ),
            StateTree(16, Pages()),
        )


KEYS = st.binary(min_size=32, max_size=32)
LEAVES: st.SearchStrategy[Condition] = st.one_of(
    st.builds(KeyLeaf, KEYS),
    st.builds(HashLeaf, KEYS),
    st.builds(AfterHeight, st.integers(0, 2**63 - 1)),
    st.builds(BeforeHeight, st.integers(0, 2**63 - 1)),
    st.builds(AfterTime, st.integers(0, 2**53 - 1)),
    st.builds(BeforeTime, st.integers(0, 2**53 - 1)),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(LEAVES, min_size=1, max_size=4, unique=True),
    st.lists(LEAVES, min_size=1, max_size=3, unique=True),
)
def test_every_condition_survives_its_json_view(left: list[Condition], right: list[Condition]) -> None:
    condition = threshold(1, threshold(len(left), *left), *right)
    view = json.loads(json.dumps(condition_to_json(condition)))
    assert condition_from_json(view) == condition
    jsonschema.validate(view, {**genesis.schema()["$defs"]["condition"], "$defs": genesis.schema()["$defs"]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PATHS = [
    *VIEW,
    *(
        f"{part}.{place}"
        for part, items in VIEW.items()
        if isinstance(items, list)
        for place in range(len(items))
    ),
    *(f"{part}.{name}" for part in ("bcb", "parameters", "recovery") for name in VIEW[part]),
    *(f"{part}.0.{name}" for part, items in VIEW.items() if isinstance(items, list) for name in items[0]),
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PATHS), JSON)
def test_a_view_with_anything_in_it_raises_decode_error_alone(path: str, value: Any) -> None:
    try:
        document = document_from_json(changed(path, value))
    except DecodeError:
        return
    assert document_from_json(document_to_json(document)) == document


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_bytes_that_are_not_a_document_raise_decode_error_alone(data: st.DataObject) -> None:
    raw = bytearray(encode_genesis(devnet()))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        document = decode_genesis(bytes(raw))
    except DecodeError:
        return
    assert encode_genesis(document) == raw
