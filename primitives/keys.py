"""Ed25519 keys and signatures. Signing by PyNaCl, verification by the ZIP-215 rule everywhere.

Libraries disagree on crafted keys and signatures; two rules in one network fork it. ZIP-215 is the rule
written for consensus: it accepts non-canonical and small-order points by one exact (cofactored) equation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NewType

from ed25519_zebra import ed_verify
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

PublicKey = NewType("PublicKey", bytes)
Signature = NewType("Signature", bytes)

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64


class SigningKey:
    """A private key made from its 32-byte seed. Never printed, never encoded."""

    __slots__ = ("_secret", "public_key", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        public_key, self._secret = crypto_sign_seed_keypair(seed)
        self.public_key = PublicKey(public_key)
        self.seed = seed

    def sign(self, message: bytes) -> Signature:
        """Sign `message` (any length); deterministic, 64 bytes."""
        return Signature(crypto_sign(message, self._secret)[:SIGNATURE_BYTES])

    def __repr__(self) -> str:
        return f"SigningKey(public_key={self.public_key.hex()})"


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """True when `signature` is valid for `message` under ZIP-215. Never raises for any bytes."""
    return bool(ed_verify(signature, message, public_key))


def verify_many(checks: Iterable[tuple[bytes, bytes, bytes]]) -> list[bool]:
    """Verify (public key, message, signature) triples in order; one answer each."""
    return [verify(public_key, message, signature) for public_key, message, signature in checks]
