"""What targets share: a check of canonical bytes, and signatures that hold by a coin's toss or always."""

from __future__ import annotations

import hashlib


def same(encoded: bytes, data: bytes) -> None:
    """Raise `AssertionError` when decoded bytes re-encode differently."""
    if encoded != data:
        raise AssertionError(f"decoded bytes re-encode differently: {data.hex()}")


def cheap_verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Cheap, and right often enough that both answers are walked."""
    return hashlib.sha256(public_key + message + signature).digest()[0] % 2 == 0


def always(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Every signature holds: for what lies behind many of them."""
    return True
