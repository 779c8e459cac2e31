"""A transaction on its way from hand to hand: some signatures are there, others are missing.

The file holds the chain's id and the bytes `[body, witness]`, and nothing that a reader would have to
believe: what a signature will do is read from the body and from the hash-checked outputs it spends
(`drexnode/wallet_effect.py`). Every signature covers the whole body, so a file that was changed after
somebody signed is refused by every node.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drexnode.wallet_accounts import WalletError
from ledger.build import assemble, sign_body
from ledger.locks import Condition
from ledger.transaction import Body, Transaction, Witness, decode_transaction, make_transaction
from primitives.errors import DecodeError
from primitives.keys import SigningKey, verify
from primitives.limits import MAX_TRANSACTION_BYTES

DRAFT = "drexnode transaction"
FILE_VERSION = 1
MAX_DRAFT_FILE_BYTES = 2 * MAX_TRANSACTION_BYTES + 4096


@dataclass(frozen=True, slots=True)
class Draft:
    """A body of one chain, with the witness as far as it is there."""

    chain_id: bytes
    transaction: Transaction

    @property
    def body(self) -> Body:
        """What a signature covers."""
        return self.transaction.body

    def signed(
        self,
        *keys: SigningKey,
        conditions: Iterable[Condition] = (),
        preimages: Iterable[bytes] = (),
    ) -> Draft:
        """With these signatures, revealed conditions and preimages as well."""
        witness = self.transaction.witness
        transaction = assemble(
            self.body,
            self.chain_id,
            [*witness.signatures, *sign_body(self.body, self.chain_id, keys)],
            conditions=[*witness.conditions, *conditions],
            preimages=[*witness.preimages, *preimages],
        )
        return Draft(self.chain_id, transaction)

    def joined(self, other: Draft) -> Draft:
        """With the other's witness as well. Raises `WalletError` WALLET_FILES_DIFFER for another body."""
        if (self.chain_id, self.transaction.txid) != (other.chain_id, other.transaction.txid):
            message = "the files hold different transactions; signatures can't be joined"
            ours, theirs = self.transaction.txid, other.transaction.txid
            raise WalletError("WALLET_FILES_DIFFER", message, first=ours.hex(), second=theirs.hex())
        theirs_witness, witness = other.transaction.witness, self.transaction.witness
        transaction = assemble(
            self.body,
            self.chain_id,
            [*witness.signatures, *theirs_witness.signatures],
            conditions=[*witness.conditions, *theirs_witness.conditions],
            preimages=[*witness.preimages, *theirs_witness.preimages],
        )
        return Draft(self.chain_id, transaction)

    def signers(self) -> list[bytes]:
        """Keys whose signature is there and verifies."""
        message = self.transaction.sighash
        pairs = self.transaction.witness.signatures
        return [key for key, signature in pairs if verify(key, message, signature)]


def make_draft(body: Body, chain_id: bytes, conditions: Iterable[Condition] = ()) -> Draft:
    """A draft that nobody signed yet; `conditions` are revealed for its inputs."""
    return Draft(chain_id, make_transaction(body, Witness((), (), ()), chain_id)).signed(
        conditions=conditions
    )


def write_draft(path: Path, draft: Draft, **more: str) -> None:
    """Write a draft to a new file; `more` are further fields. Raises `WalletError` WALLET_FILE_EXISTS."""
    document = {
        "type": DRAFT,
        "version": FILE_VERSION,
        "chain_id": draft.chain_id.hex(),
        "transaction": draft.transaction.raw.hex(),
        **more,
    }
    write_new(path, document)


def write_new(path: Path, document: dict[str, Any]) -> None:
    """Write JSON to a file that must not exist yet. Raises `WalletError` WALLET_FILE_EXISTS."""
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
    except FileExistsError:
        message = f"{path} exists and is not overwritten"
        raise WalletError("WALLET_FILE_EXISTS", message, path=str(path)) from None
    except OSError as error:
        raise WalletError("WALLET_FILE", f"{path}: {error.strerror}", path=str(path)) from None


def read_document(path: Path, kind: str, max_bytes: int = MAX_DRAFT_FILE_BYTES) -> dict[str, Any]:
    """Read a bounded JSON file of a kind. Raises `WalletError` WALLET_FILE."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        document = json.loads(data) if len(data) <= max_bytes else None
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("type") != kind:
        raise WalletError("WALLET_FILE", f"{path} is not a file of type {kind!r}", path=str(path))
    if document.get("version") != FILE_VERSION:
        message = f"{path} has version {document.get('version')}, expected {FILE_VERSION}"
        raise WalletError("WALLET_FILE", message, path=str(path))
    return document


def read_draft(path: Path, chain_id: bytes) -> Draft:
    """Read a draft of the chain `chain_id`. Raises `WalletError` WALLET_FILE, WALLET_OTHER_CHAIN."""
    return draft_of(read_document(path, DRAFT), chain_id, path)


def draft_of(document: dict[str, Any], chain_id: bytes, path: Path) -> Draft:
    """The draft in a file's document. Raises `WalletError` WALLET_FILE, WALLET_OTHER_CHAIN."""
    if document.get("chain_id") != chain_id.hex():
        message = f"{path} is of another chain than the node"
        found = str(document.get("chain_id"))[:64]
        raise WalletError("WALLET_OTHER_CHAIN", message, file=found, node=chain_id.hex())
    try:
        raw = bytes.fromhex(document["transaction"])
        return Draft(chain_id, decode_transaction(raw, chain_id))
    except (KeyError, TypeError, ValueError, DecodeError) as error:
        message = f"{path} holds no transaction: {error}"
        raise WalletError("WALLET_FILE", message, path=str(path)) from None
