"""Assets: how their names read, and the policy registered for each.

Names: `BRL`, `BRL@<ispb>/DVT`, `BRL@<ispb>/MET`, `TPF:<isin>`, `X:<issuer>/<code>` (docs/encodings.md,
"Assets"). Reading a policy from the state decodes each distinct value once.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

import msgspec

from ledger import codes
from ledger.payloads import Holders
from ledger.state import ASSET, StateReader, StateView
from primitives.codec import Record, encode

WHOLESALE = "BRL"

_NAME = re.compile(
    r"BRL(?:@(?P<bank>[0-9A-Z]{8})/(?P<form>DVT|MET))?"
    r"|TPF:(?P<isin>[A-Z]{2}[0-9A-Z]{9}[0-9])"
    r"|X:(?P<owner>[0-9A-Z]{8})/(?P<code>[0-9A-Z._-]{1,16})",
    re.ASCII,
)


class Family(Enum):
    """What an asset is, from its name alone."""

    WHOLESALE = "wholesale"
    DEPOSIT = "deposit token"
    E_MONEY = "e-money"
    BOND = "federal bond"
    OTHER = "other"


class ParsedName(NamedTuple):
    """A name taken apart: `issuer` is the ispb in the name, or empty when the name holds none."""

    family: Family
    issuer: str

    @property
    def is_retail(self) -> bool:
        """True for an institution's tokenised deposit or e-money."""
        return self.family in (Family.DEPOSIT, Family.E_MONEY)


class AssetRecord(Record, frozen=True):
    """An asset's policy as registered, and who paused it."""

    issuer: str
    decimals: int
    cap: int | None
    min_value: int
    holders: Holders
    order_authority: str
    burn_needs_issuer: bool
    standing_consent: bool
    reserve_lock: bytes
    paused_by: tuple[str, ...]


@lru_cache(maxsize=4096)
def parse_asset(name: str) -> ParsedName | None:
    """Take a name apart, or None when it is no asset's name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    if match["bank"]:
        return ParsedName(Family.DEPOSIT if match["form"] == "DVT" else Family.E_MONEY, match["bank"])
    if match["isin"]:
        return ParsedName(Family.BOND, "")
    if match["owner"]:
        return ParsedName(Family.OTHER, match["owner"])
    return ParsedName(Family.WHOLESALE, "")


decode_asset = lru_cache(maxsize=4096)(msgspec.msgpack.Decoder(AssetRecord).decode)


def find_asset(reader: StateReader, name: str) -> AssetRecord | None:
    """The policy of the asset, or None when it is not registered."""
    value = reader.get(ASSET + name.encode())
    return None if value is None else decode_asset(value)


def get_asset(reader: StateReader, name: str) -> AssetRecord:
    """The policy of the asset; refuses with TX_ASSET_UNKNOWN."""
    asset = find_asset(reader, name)
    if asset is None:
        codes.refuse(codes.ASSET_UNKNOWN, f"{name} is not registered", asset=name)
    return asset


def put_asset(view: StateView, name: str, asset: AssetRecord) -> None:
    """Write the policy of the asset."""
    view.put(ASSET + name.encode(), encode(asset))
