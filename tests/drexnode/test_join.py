"""Join bundles: read back whole, refused when damaged, expired, changed, foreign; and `drexnode join`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from drexnode.cli import output
from drexnode.config import load_config
from drexnode.home import check_home
from drexnode.join_bundle import (
    BundleRefused,
    JoinBundle,
    check_bundle,
    make_bundle,
    read_bundle,
    write_bundle,
)
from drexnode.network_plan import NetworkPlan, plan_network
from ledger.genesis import chain_id_of
from p2p.identity import peer_id_from_seed
from primitives.keys import SigningKey
from tests.network.net import drexnode

NOW_MS = 1_800_000_000_000
SEED = bytes([7] * 32)


def plan(entropy: int = 1) -> NetworkPlan:
    return plan_network(
        validators=4, full=1, observers=0, base_port=26600, entropy=bytes([entropy] * 32), timestamp_ms=NOW_MS
    )


def bundle_of(
    network: NetworkPlan, *, key: SigningKey | None = None, seed: bytes = SEED, lasts_ms: int = 60_000
) -> JoinBundle:
    return make_bundle(
        network.document,
        role="observer",
        ispb="99990001",
        peer=peer_id_from_seed(SEED),
        peer_seed=seed,
        peers=tuple(node.address for node in network.nodes),
        created_ms=NOW_MS,
        expires_ms=NOW_MS + lasts_ms,
        key=key or network.wallets["bcb-registry"],
    )


def code_of(bundle: JoinBundle, now_ms: int = NOW_MS, **options: object) -> str:
    with pytest.raises(BundleRefused) as refused:
        check_bundle(bundle, now_ms, **options)  # type: ignore[arg-type]
    return refused.value.code


def test_a_bundle_is_read_back_as_it_was_written_and_believed(tmp_path: Path) -> None:
    network, path = plan(), tmp_path / "bundle.json"
    made = bundle_of(network)
    write_bundle(path, made)
    assert read_bundle(path) == made
    assert check_bundle(made, NOW_MS, chain_id=chain_id_of(network.document)) == network.document


def test_an_expired_or_foreign_or_changed_bundle_is_refused_with_its_code() -> None:
    network, other = plan(), plan(2)
    made = bundle_of(network)
    assert code_of(made, NOW_MS + 60_000) == "BUNDLE_EXPIRED"
    check_bundle(made, NOW_MS + 59_999)
    assert code_of(made, chain_id=chain_id_of(other.document)) == "BUNDLE_OTHER_CHAIN"
    longer = structs.replace(made.body, expires_ms=NOW_MS * 2)
    assert code_of(structs.replace(made, body=longer)) == "BUNDLE_BAD_SIGNATURE"
    stranger = bundle_of(network, key=network.wallets["alice"])
    assert code_of(stranger) == "BUNDLE_FOREIGN_SIGNER"
    check_bundle(stranger, NOW_MS, authority=[network.wallets["alice"].public_key])
    assert code_of(made, authority=[network.wallets["alice"].public_key]) == "BUNDLE_FOREIGN_SIGNER"
    assert code_of(bundle_of(network, seed=bytes(32))) == "BUNDLE_MALFORMED"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_file_with_a_changed_byte_is_taken_for_the_one_that_was_signed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("bundle") / "bundle.json"
    made = bundle_of(plan())
    write_bundle(path, made)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        code, found = "", read_bundle(path)
    except BundleRefused as refused:
        code, found = refused.code, made
    assert code in ("", "BUNDLE_UNREADABLE", "BUNDLE_DAMAGED")
    assert found == made  # a byte of what is shown to people alone changes nothing


def test_join_makes_a_home_that_starts_and_writes_nothing_for_a_bad_bundle(tmp_path: Path) -> None:
    network, path = plan(), tmp_path / "bundle.json"
    lasting = 10**12
    write_bundle(path, bundle_of(network, lasts_ms=lasting))
    made = drexnode("join", path, "--home", tmp_path / "node", "-o", "json")
    assert made.returncode == 0, made.stderr
    config = load_config(tmp_path / "node", environment={})
    assert check_home(config)["peer_id"] == peer_id_from_seed(SEED)
    assert config.node.role == "observer"
    assert config.p2p.peers == tuple(node.address for node in network.nodes)
    assert json.loads(made.stdout)["next"] == f"drexnode start --home {tmp_path / 'node'}"
    document = json.loads(path.read_text())
    document["record"] = document["record"][:-2] + "00"
    path.write_text(json.dumps(document))
    refused = drexnode("join", path, "--home", tmp_path / "other")
    assert refused.returncode == output.UNSAFE
    assert "BUNDLE_DAMAGED" in refused.stderr
    assert "copy the file again" in refused.stderr
    assert not (tmp_path / "other").exists()
    assert drexnode("join", "--home", tmp_path / "other").returncode == output.USAGE
    path.write_text("{}")
    assert "BUNDLE_UNREADABLE" in drexnode("join", path, "--home", tmp_path / "other").stderr
