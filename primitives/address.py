"""Addresses: a 32-byte lock in bech32m (BIP-350), with the network's prefix (`drex`, `drexdev`).

`decode_address` accepts exactly what `encode_address` makes (upper case allowed, mixed case not).
"""

from __future__ import annotations

from primitives.errors import DecodeError

LOCK_BYTES = 32
MAX_ADDRESS_CHARS = 90
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUE_OF = {char: value for value, char in enumerate(_CHARSET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32M = 0x2BC830A3
_CHECKSUM_CHARS = 6


def encode_address(prefix: str, lock: bytes) -> str:
    """Write a 32-byte `lock` as text: `<prefix>1<52 characters><6 checksum characters>`."""
    if len(lock) != LOCK_BYTES:
        raise ValueError(f"a lock has {LOCK_BYTES} bytes, not {len(lock)}")
    values = _to_base32(lock)
    checksum = _polymod([*_expand(prefix), *values, *([0] * _CHECKSUM_CHARS)]) ^ _BECH32M
    tail = [(checksum >> 5 * (5 - i)) & 31 for i in range(_CHECKSUM_CHARS)]
    return prefix + "1" + "".join(_CHARSET[v] for v in [*values, *tail])


def decode_address(prefix: str, text: str) -> bytes:
    """Read the 32-byte lock from `text`. Raises `DecodeError` (ADDRESS_INVALID) and says what is wrong."""
    if len(text) > MAX_ADDRESS_CHARS or not text.isascii():
        raise _invalid("it is too long or not ASCII")
    if text != text.lower() and text != text.upper():
        raise _invalid("it mixes upper and lower case")
    found_prefix, separator, data = text.lower().rpartition("1")
    if not separator or found_prefix != prefix:
        raise _invalid(f"its prefix is {found_prefix!r}, this network's is {prefix!r}")
    if any(char not in _VALUE_OF for char in data):
        raise _invalid("it has a character that bech32m does not use")
    values = [_VALUE_OF[char] for char in data]
    if _polymod([*_expand(prefix), *values]) != _BECH32M:
        raise _invalid("its checksum is wrong: a character is mistyped")
    return _from_base32(values[:-_CHECKSUM_CHARS])


def _invalid(reason: str) -> DecodeError:
    return DecodeError(f"not an address: {reason}", code="ADDRESS_INVALID")


def _polymod(values: list[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate(_GENERATOR):
            if (top >> i) & 1:
                checksum ^= generator
    return checksum


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _to_base32(data: bytes) -> list[int]:
    bits = int.from_bytes(data, "big") << 4  # 256 bits and 4 bits of padding: 52 groups of 5
    return [(bits >> 5 * (51 - i)) & 31 for i in range(52)]


def _from_base32(values: list[int]) -> bytes:
    if len(values) != 52:
        raise _invalid(f"it has {len(values)} data characters, expected 52")
    bits = 0
    for value in values:
        bits = bits << 5 | value
    if bits & 0xF:
        raise _invalid("its padding is not zero")
    return (bits >> 4).to_bytes(LOCK_BYTES, "big")
