"""Amounts between text in an asset's unit (`100.00`) and integers of its smallest unit. No floats."""

from __future__ import annotations

import re

from primitives.errors import DecodeError
from primitives.limits import MAX_AMOUNT

_AMOUNT = re.compile(r"(\d{1,19})(?:\.(\d{1,18}))?", re.ASCII)


def parse_amount(text: str, decimals: int) -> int:
    """Read `text` (digits, at most `decimals` of them after one point) as smallest units, 1 to 2^63-1.

    Raises `DecodeError` (AMOUNT_INVALID).
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise _invalid(text, "write digits with an optional point, such as 100.00")
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > decimals:
        raise _invalid(text, f"this asset has {decimals} decimals")
    amount = int(whole + fraction.ljust(decimals, "0"))
    if not 0 < amount <= MAX_AMOUNT:
        raise _invalid(text, f"it must be above zero and at most {format_amount(MAX_AMOUNT, decimals)}")
    return amount


def format_amount(amount: int, decimals: int) -> str:
    """Write smallest units as text in the asset's unit: 10050 with 2 decimals is `100.50`."""
    sign, digits = ("-" if amount < 0 else ""), str(abs(amount))
    if decimals == 0:
        return sign + digits
    digits = digits.rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def _invalid(text: str, reason: str) -> DecodeError:
    return DecodeError(f"{text[:40]!r} is not an amount: {reason}", code="AMOUNT_INVALID")
