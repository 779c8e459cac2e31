"""Names for other people's addresses, kept in one file of the user (docs/cli.md, "Address book").

A name stands for an address, and for its public key where that is known: what pays under a condition needs
the key. The file is JSON, mode 0600, bounded, replaced whole; an address that is mistyped never gets in, its
checksum sees to that. A name says nothing about who may do what: that is the ledger's to know.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drexnode.keystore import NAME
from drexnode.wallet_accounts import Account, WalletError
from ledger.locks import key_lock
from primitives.address import decode_address, encode_address
from primitives.errors import DecodeError
from primitives.limits import ADDRESS_BOOK_BYTES, ADDRESS_BOOK_ENTRIES

BOOK = "drexnode address book"
BOOK_VERSION = 1


@dataclass(frozen=True, slots=True)
class Contact:
    """A name, its address, and its public key or None."""

    name: str
    address: str
    public_key: bytes | None = None

    def account(self) -> Account:
        """The contact as an account whose key is not here."""
        return Account(self.name, self.address, None, self.public_key)


class AddressBook:
    """The contacts in one file; every change writes the file before it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.contacts = _read(path)

    def add(self, name: str, address: str, public_key: bytes | None = None) -> Contact:
        """Add a contact whose address is right for its own prefix and, where given, for its key.

        Raises `WalletError` ADDRESS_BOOK_NAME, ADDRESS_BOOK_EXISTS, ADDRESS_BOOK_FULL, ADDRESS_BOOK_KEY;
        `DecodeError` ADDRESS_INVALID."""
        if NAME.fullmatch(name) is None:
            message = f"{name[:64]!r} is no name: letters, digits, '.', '_' and '-', at most 64"
            raise WalletError("ADDRESS_BOOK_NAME", message)
        if name in self.contacts:
            where = self.contacts[name].address
            message = f"{name} is in the address book already, as {where}"
            raise WalletError("ADDRESS_BOOK_EXISTS", message, next=f"drexnode address-book remove {name}")
        if len(self.contacts) >= ADDRESS_BOOK_ENTRIES:
            raise WalletError("ADDRESS_BOOK_FULL", f"an address book holds {ADDRESS_BOOK_ENTRIES} names")
        prefix = address.rpartition("1")[0].lower()
        lock = decode_address(prefix, address)
        if public_key is not None and key_lock(public_key) != lock:
            raise WalletError("ADDRESS_BOOK_KEY", f"{address} is not the address of {public_key.hex()}")
        contact = Contact(name, encode_address(prefix, lock), public_key)
        self._write({**self.contacts, name: contact})
        return contact

    def remove(self, name: str) -> Contact:
        """Take a contact out. Raises `WalletError` ADDRESS_BOOK_UNKNOWN."""
        if name not in self.contacts:
            known = ", ".join(sorted(self.contacts)) or "nobody"
            raise WalletError("ADDRESS_BOOK_UNKNOWN", f"{name[:64]!r} is not in the address book; {known} is")
        removed = self.contacts[name]
        self._write({other: contact for other, contact in self.contacts.items() if other != name})
        return removed

    def _write(self, contacts: dict[str, Contact]) -> None:
        rows = {
            name: {"address": contact.address, "public_key": (contact.public_key or b"").hex() or None}
            for name, contact in sorted(contacts.items())
        }
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"type": BOOK, "version": BOOK_VERSION, "contacts": rows}, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)
        self.contacts = contacts


def _read(path: Path) -> dict[str, Contact]:
    try:
        with path.open("rb") as file:
            data = file.read(ADDRESS_BOOK_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WalletError("ADDRESS_BOOK_UNREADABLE", f"{path}: {error.strerror}", path=str(path)) from None
    try:
        document: Any = json.loads(data) if len(data) <= ADDRESS_BOOK_BYTES else {}
        if (document["type"], document["version"]) != (BOOK, BOOK_VERSION):
            raise ValueError
        return {name: _contact(name, row) for name, row in document["contacts"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, DecodeError):
        message = f"{path} is not an address book of version {BOOK_VERSION}"
        raise WalletError("ADDRESS_BOOK_UNREADABLE", message, path=str(path)) from None


def _contact(name: str, row: Any) -> Contact:
    address, text = row["address"], row["public_key"]
    lock = decode_address(address.rpartition("1")[0], address)
    public_key = None if text is None else bytes.fromhex(text)
    if public_key is not None and key_lock(public_key) != lock:
        raise ValueError(f"{name}: the key has another address")
    return Contact(name, address, public_key)
