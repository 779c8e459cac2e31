"""ZIP-215 in plain integers: the oracle for `primitives.keys.verify`.

Source: ZIP-215 and RFC 8032. Points may be encoded non-canonically, the scalar must be canonical, and the
equation is the cofactored one: 8·(s·B) = 8·(R + k·A).
"""

from __future__ import annotations

from hashlib import sha512

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_MINUS_ONE = pow(2, (P - 1) // 4, P)

Point = tuple[int, int]
IDENTITY: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    """Add two points of the Edwards curve (complete formula)."""
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P)
    return x % P, y % P


def multiply(scalar: int, point: Point) -> Point:
    """`scalar` times `point` by doubling and adding."""
    total = IDENTITY
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point, scalar = add(point, point), scalar >> 1
    return total


def decompress(data: bytes) -> Point | None:
    """A point from 32 bytes; y may be non-canonical, x = 0 may have either sign. None: not on the curve."""
    value = int.from_bytes(data, "little")
    sign, y = value >> 255, (value & (2**255 - 1)) % P
    x_squared = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x_squared, (P + 3) // 8, P)
    if (x * x - x_squared) % P:
        x = x * SQRT_MINUS_ONE % P
    if (x * x - x_squared) % P:
        return None
    return (P - x) % P if x & 1 != sign else x, y


BASE = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """The ZIP-215 answer, slowly."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    a, r, s = decompress(public_key), decompress(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    k = int.from_bytes(sha512(signature[:32] + public_key + message).digest(), "little") % L
    assert BASE is not None
    return multiply(8 * s, BASE) == multiply(8, add(r, multiply(k, a)))
