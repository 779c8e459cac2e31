"""Peer identities: an Ed25519 key of its own, apart from any validator key. Never imports libp2p.

A PeerId is the base58 form of the identity multihash of the protobuf-encoded public key, as the libp2p
peer-id specification says for keys of at most 42 bytes (all Ed25519 keys): `12D3KooW…`, 52 characters.
"""

from __future__ import annotations

from typing import NewType

import base58

from primitives.errors import DecodeError
from primitives.keys import PUBLIC_KEY_BYTES, PublicKey, SigningKey

PeerId = NewType("PeerId", str)

_MULTIHASH_PREFIX = bytes([0x00, 0x24])  # identity, 36 bytes
_PROTOBUF_PREFIX = bytes([0x08, 0x01, 0x12, 0x20])  # KeyType = Ed25519, Data of 32 bytes
_PREFIX = _MULTIHASH_PREFIX + _PROTOBUF_PREFIX
PEER_ID_CHARS = 52


def peer_id_from_public_key(public_key: bytes) -> PeerId:
    """The PeerId of an Ed25519 public key (32 bytes)."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ValueError(f"a public key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    return PeerId(base58.b58encode(_PREFIX + public_key).decode("ascii"))


def peer_id_from_seed(seed: bytes) -> PeerId:
    """The PeerId of the identity key made from a 32-byte seed."""
    return peer_id_from_public_key(SigningKey(seed).public_key)


def public_key_of(peer_id: PeerId) -> PublicKey:
    """The Ed25519 public key inside a PeerId. Raises `DecodeError`."""
    return PublicKey(_decode(peer_id))


def parse_peer_id(text: str) -> PeerId:
    """Accept `text` only if it is the PeerId of an Ed25519 key. Raises `DecodeError`."""
    _decode(text)
    return PeerId(text)


def _decode(text: str) -> bytes:
    if len(text) != PEER_ID_CHARS:
        raise DecodeError(f"a peer id has {PEER_ID_CHARS} characters, not {len(text)}")
    try:
        data: bytes = base58.b58decode(text)
    except ValueError:
        raise DecodeError("a peer id is base58") from None
    if len(data) != len(_PREFIX) + PUBLIC_KEY_BYTES or not data.startswith(_PREFIX):
        raise DecodeError("not the peer id of an Ed25519 key")
    return data[len(_PREFIX) :]
