"""A draft with what a machine without a node needs: the transactions that made its inputs.

Guarantees: `Packed.sources` believes nothing in the file. A transaction's bytes must hash to the txid that an
input names, the genesis document to the chain's id; what is missing or false is refused, so a file can't lie
about what a signature spends. The address prefix is a claim, for people's eyes alone: an address of another
prefix names the same lock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drexnode import client as rpc
from drexnode.wallet_accounts import WalletError
from drexnode.wallet_draft import FILE_VERSION, Draft, draft_of, read_document, write_new
from drexnode.wallet_effect import Sources, outputs_in, read_maker, sources_of
from ledger.assets import WHOLESALE
from ledger.transaction import Body
from primitives.hashing import HASH_BYTES
from primitives.limits import MAX_PACKED_FILE_BYTES

PACKED = "drexnode packed transaction"
DECIMALS = 2  # of BRL and every retail asset: a rule of the ledger, not of a network
_PREFIX = re.compile(r"[a-z]{1,16}")


def is_retail_or_brl(asset: str) -> bool:
    """True for the assets whose decimals the ledger itself fixes."""
    return asset == WHOLESALE or asset.startswith(f"{WHOLESALE}@")


@dataclass(frozen=True, slots=True)
class Packed:
    """A draft, the bytes of what made its inputs by txid (a genesis document by the chain's id), a prefix."""

    draft: Draft
    makers: Mapping[bytes, bytes]
    prefix: str

    def sources(self) -> Sources:
        """The outputs it spends. Raises `WalletError` WALLET_SOURCE_UNKNOWN for one missing or false."""
        chain_id, body = self.draft.chain_id, self.draft.body
        return sources_of(body, lambda txid: outputs_in(self.makers.get(txid, b""), chain_id, txid))


def fetch_makers(client: rpc.Client, chain_id: bytes, body: Body) -> dict[bytes, bytes]:
    """The bytes of every transaction (or genesis document) that made an input, from a node, hash-checked.

    Raises `WalletError` WALLET_SOURCE_UNKNOWN."""
    makers = {}
    for txid in sorted({point.txid for point in body.inputs}):
        makers[txid] = read_maker(client, chain_id, txid)
        outputs_in(makers[txid], chain_id, txid)
    return makers


def write_packed(path: Path, packed: Packed) -> None:
    """Write to a new file. Raises `WalletError` WALLET_FILE_EXISTS, WALLET_FILE_TOO_LARGE."""
    size = 2 * sum(len(data) + HASH_BYTES for data in packed.makers.values())
    size += 2 * packed.draft.transaction.size + 4096
    if size > MAX_PACKED_FILE_BYTES:
        message = f"the transactions that made its inputs are {size} bytes, at most {MAX_PACKED_FILE_BYTES}"
        raise WalletError("WALLET_FILE_TOO_LARGE", message, next="drexnode tx consolidate WALLET")
    document = {
        "type": PACKED,
        "version": FILE_VERSION,
        "chain_id": packed.draft.chain_id.hex(),
        "prefix": packed.prefix,
        "transaction": packed.draft.transaction.raw.hex(),
        "makers": {txid.hex(): data.hex() for txid, data in packed.makers.items()},
    }
    write_new(path, document)


def read_packed(path: Path) -> Packed:
    """Read a packed file of any chain; `Packed.sources` checks it. Raises `WalletError` WALLET_FILE,
    WALLET_NOT_PACKED."""
    try:
        document = read_document(path, PACKED, MAX_PACKED_FILE_BYTES)
    except WalletError as error:
        hint = f"where a node is: drexnode tx pack {path.name} --out packed.tx"
        raise WalletError("WALLET_NOT_PACKED", error.message, path=str(path), next=hint) from None
    try:
        chain_id = bytes.fromhex(document["chain_id"])
        makers = {bytes.fromhex(txid): bytes.fromhex(data) for txid, data in document["makers"].items()}
        prefix = document["prefix"]
        if len(chain_id) != HASH_BYTES or _PREFIX.fullmatch(prefix) is None:
            raise ValueError
    except (KeyError, ValueError, TypeError, AttributeError):
        raise WalletError("WALLET_FILE", f"{path} is no packed transaction", path=str(path)) from None
    return Packed(draft_of(document, chain_id, path), makers, prefix)
