"""A PeerId is what libp2p makes of the same key, and nothing else passes for one."""

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from p2p.addresses import Address, parse_address
from p2p.identity import parse_peer_id, peer_id_from_seed, public_key_of
from primitives.errors import DecodeError
from primitives.keys import SigningKey

PEER = peer_id_from_seed(bytes(32))


def test_peer_id_of_a_frozen_seed() -> None:
    assert PEER == "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


@given(st.binary(min_size=32, max_size=32))
def test_peer_ids_are_those_of_libp2p(seed: bytes) -> None:
    peer = peer_id_from_seed(seed)
    assert peer == ID.from_pubkey(create_new_key_pair(seed).public_key).to_base58()
    assert public_key_of(peer) == SigningKey(seed).public_key
    assert parse_peer_id(peer) == peer


@pytest.mark.parametrize(
    "text",
    [
        "",
        PEER[:-1],
        PEER + "1",
        PEER.replace("o", "0"),
        "Qm" + PEER[2:],
        base58.b58encode(b"\x00\x24\x08\x02\x12\x20" + bytes(range(200, 232))).decode(),  # a secp256k1 key
    ],
)
def test_other_texts_are_no_peer_ids(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_peer_id(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/ip4/127.0.0.1/tcp/26600", Address("127.0.0.1", 26600)),
        ("/ip6/::1/tcp/1", Address("::1", 1)),
        (f"/ip4/10.0.0.1/tcp/65535/p2p/{PEER}", Address("10.0.0.1", 65535, PEER)),
        ("/dns/node-1.example/tcp/26600", Address("node-1.example", 26600)),
    ],
)
def test_addresses_are_read_and_written(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:26600",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/1",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/",
        "/ip4/::1/tcp/1",
        "/ip4/256.0.0.1/tcp/1",
        "/ip4/node.example/tcp/1",
        "/onion/x/tcp/1",
        "/ip4/127.0.0.1/tcp/1/p2p/nobody",
        "/ip4/127.0.0.1/tcp/1/ws",
        "/dns//tcp/1",
        "/dns/" + "a" * 600 + "/tcp/1",
    ],
)
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_address(text)
