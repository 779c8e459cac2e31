"""Whose money: accounts by name or address, and a devnet's file of open wallets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primitives.address import decode_address
from primitives.errors import DecodeError, DrexError
from primitives.keys import SigningKey


class WalletError(DrexError):
    """The wallet can't do what was asked. Codes WALLET_*, TX_NOT_FINAL, TX_REJECTED."""


@dataclass(frozen=True, slots=True)
class Account:
    """An address, and its key when it is ours. `public_key` is known for a key that stays closed."""

    name: str
    address: str
    key: SigningKey | None = None
    public_key: bytes | None = None


class WalletBook:
    """A devnet's `wallets.json`: accounts by name."""

    def __init__(self, accounts: dict[str, Account]) -> None:
        self.accounts = accounts

    @classmethod
    def load(cls, path: Path) -> WalletBook:
        """Read `{name: {seed, public_key, address}}`. Raises `WalletError` WALLET_UNREADABLE."""
        try:
            document: Any = json.loads(path.read_text("utf-8"))
            accounts = {}
            for name, entry in document.items():
                key = SigningKey(bytes.fromhex(entry["seed"]))
                accounts[name] = Account(name, entry["address"], key, key.public_key)
            return cls(accounts)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            message = f"{path} is not a file of wallets"
            raise WalletError("WALLET_UNREADABLE", message, path=str(path)) from None

    def find(self, text: str) -> Account | None:
        """The account of that name or address."""
        if text in self.accounts:
            return self.accounts[text]
        return next((account for account in self.accounts.values() if account.address == text), None)


def key_of(account: Account) -> SigningKey:
    """The key of an account. Raises `WalletError` WALLET_NO_KEY."""
    if account.key is None:
        raise WalletError("WALLET_NO_KEY", f"the key of {account.name} is not here", address=account.address)
    return account.key


def find_account(text: str, book: WalletBook | None, prefix: str) -> Account:
    """An account by name or address; an unknown address has no key. Raises `WalletError` WALLET_UNKNOWN."""
    found = None if book is None else book.find(text)
    if found is not None:
        return found
    try:
        decode_address(prefix, text)
    except DecodeError as error:
        known = "" if book is None else f"; wallets here: {', '.join(sorted(book.accounts))}"
        message = f"{text[:90]!r} is no wallet's name and no address ({error.message}){known}"
        raise WalletError("WALLET_UNKNOWN", message) from None
    return Account(text[:16] + "…", text)
