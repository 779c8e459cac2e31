"""What every command that makes a transaction shares: whose keys, which node, and how it is delivered.

A transaction is sent, or with `--out FILE` written for others to sign. Keys come from a devnet's wallets or
from the encrypted keystore.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from drexnode import client as rpc
from drexnode.cli.locate import KEY_CHARS, open_client, wallet_book
from drexnode.cli.options import as_output, at_node
from drexnode.cli.output import CliError, show_json, show_pairs
from drexnode.cli.secrets import default_folder, passphrase, with_passphrase
from drexnode.keystore import Keystore
from drexnode.wallet import MakeDraft, Wallet
from drexnode.wallet_accounts import Account, find_account, key_of
from drexnode.wallet_draft import Draft, write_draft
from drexnode.wallet_finality import wait_final
from ledger.locks import Condition, KeyLeaf, key_lock, threshold
from primitives.keys import SigningKey
from primitives.units import parse_amount

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """The options of `sending`."""

    wait: bool
    timeout: float
    out: Path | None
    also: tuple[str, ...]
    keystore: Path | None
    passphrase_file: Path | None
    passphrase_fd: int | None
    as_json: bool


_OPTIONS = (
    click.option("--wait", is_flag=True, help="Return when it is FINAL, or say why it is not."),
    click.option("--timeout", type=float, default=TIMEOUT_S, show_default=True, help="Seconds to wait."),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write it to a new file for others to sign, and send nothing.",
    ),
    click.option("--also", multiple=True, metavar="WALLET", help="Sign with this wallet as well."),
    click.option(
        "--keystore",
        envvar="DREX_KEYSTORE",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Encrypted keys.",
    ),
    with_passphrase,
    at_node,
    as_output,
)
_FIELDS = tuple(Delivery.__dataclass_fields__)


def sending(command: F) -> F:
    """Options of every command that makes a transaction, passed as `how`, a `Delivery`."""

    @functools.wraps(command)
    def collect(**given: Any) -> Any:
        how = Delivery(**{name: given.pop(name) for name in _FIELDS})
        return command(how=how, **given)

    for option in reversed(_OPTIONS):
        collect = option(collect)
    return collect  # type: ignore[return-value]


class Session:
    """A client, a wallet, and the accounts a command names."""

    def __init__(self, how: Delivery) -> None:
        self.how = how
        self.client = open_client(sends=True)
        click.get_current_context().call_on_close(self.client.close)
        self.wallet = Wallet(self.client)
        self.book = wallet_book()

    # --- who

    def account(self, text: str) -> Account:
        """An account by name or address; its key stays closed. Raises `WalletError` WALLET_UNKNOWN."""
        stored = self._from_keystore(text, unlock=False)
        return stored or find_account(text, self.book, self.wallet.prefix)

    def owner(self, text: str) -> Account:
        """An account whose key can sign, if it is here."""
        stored = self._from_keystore(text, unlock=True)
        return stored or find_account(text, self.book, self.wallet.prefix)

    def signing_key(self, text: str) -> SigningKey:
        """The key of an account. Raises `WalletError` WALLET_NO_KEY."""
        return key_of(self.owner(text))

    def public_key(self, text: str) -> bytes:
        """A public key: 64 hex characters, or that of an account we know. Raises `CliError`
        WALLET_NO_KEY."""
        if len(text) == KEY_CHARS:
            try:
                return bytes.fromhex(text)
            except ValueError:
                pass
        account = self.account(text)
        if account.public_key is None:
            message = f"the public key of {text} is not here: give its 64 hex characters"
            raise CliError("WALLET_NO_KEY", message, address=account.address)
        return account.public_key

    def condition(self, keys: Sequence[str], needed: int | None) -> Condition:
        """One key, or `needed` (all when it is not named) of several."""
        leaves = [KeyLeaf(self.public_key(text)) for text in keys]
        if len(leaves) == 1 and needed in (None, 1):
            return leaves[0]
        return threshold(len(leaves) if needed is None else needed, *leaves)

    def issuer(self, name: str | None, asset: rpc.Asset) -> Account | None:
        """Who signs for an asset's issuer: the one named, or a devnet's wallet at its settlement address.

        None with `--out`, when it is to sign later. Raises `CliError` WALLET_ISSUER_NEEDED."""
        if name is not None:
            return self.owner(name)
        address = self.wallet.issuer_address(asset)
        found = None if self.book is None or address is None else self.book.find(address)
        if found is None and self.how.out is None:
            message = f"the issuer {asset.issuer} of {asset.asset} must sign; name its key"
            raise CliError("WALLET_ISSUER_NEEDED", message)
        return found

    # --- what

    def asset_of(self, account: Account, name: str | None) -> rpc.Asset:
        """The asset that is named, or the only one an account holds."""
        return self.wallet.only_asset(account) if name is None else self.wallet.asset(name)

    def amount_of(self, text: str) -> tuple[rpc.Asset, int]:
        """`"50.00 BRL"`: an asset and an amount of it in smallest units."""
        amount, _, name = text.strip().partition(" ")
        if not name:
            raise click.UsageError(f"{text!r}: an amount and an asset are expected, such as '50.00 BRL'")
        asset = self.wallet.asset(name.strip())
        return asset, parse_amount(amount, asset.decimals)

    # --- how

    def deliver(
        self,
        make: MakeDraft,
        signers: Sequence[Account | None],
        facts: Mapping[str, object],
        preimages: Sequence[bytes] = (),
    ) -> None:
        """Sign and send, or sign with the keys that are here and write the file. Shows what was done.

        Raises `WalletError`, `RpcRefused`."""
        named = [account for account in signers if account is not None]
        accounts = [*named, *(self.owner(name) for name in self.how.also)]
        if self.how.out is not None:
            keys = [account.key for account in accounts if account.key is not None]
            self.write(make(()).signed(*keys, preimages=preimages), facts)
            return
        keys = [key_of(account) for account in accounts]
        started = time.monotonic()
        transaction = self.wallet.submit(lambda avoid: make(avoid).signed(*keys, preimages=preimages))
        view: dict[str, object] = {"txid": transaction.txid.hex(), **facts, "status": "PENDING"}
        if self.how.wait:
            view |= final_view(self.client, transaction.txid.hex(), self.how.timeout, started)
        show(view, self.how.as_json)

    def write(self, draft: Draft, facts: Mapping[str, object]) -> None:
        """Write a draft to `--out` and show it. Raises `WalletError` WALLET_FILE_EXISTS."""
        assert self.how.out is not None
        write_draft(self.how.out, draft)
        signers = [self.wallet.address(key_lock(key)) for key in draft.signers()]
        view = {"txid": draft.transaction.txid.hex(), **facts, "status": "UNSENT"}
        show(view | {"signed_by": signers, "file": str(self.how.out)}, self.how.as_json)

    def _from_keystore(self, name: str, *, unlock: bool) -> Account | None:
        how = self.how
        known = None if self.book is None else self.book.accounts.get(name)
        if known is not None and known.key is not None and how.keystore is None:
            return None
        store = Keystore(how.keystore or default_folder())
        if name not in store.names():
            return None
        public_key = store.show(name).public_key
        secret = passphrase(how.passphrase_file, how.passphrase_fd) if unlock else b""
        key = store.unlock(name, secret) if unlock else None
        return Account(name, self.wallet.address(key_lock(public_key)), key, public_key)


def final_view(
    client: rpc.Client, txid: str, timeout: float, started: float | None = None
) -> dict[str, object]:
    """Wait until a transaction is final. Raises `WalletError`."""
    done = wait_final(client, txid, timeout, started)
    return {
        "status": "FINAL",
        "height": done.height,
        "round": done.round,
        "block_id": done.block_id,
        "signers": list(done.signers),
        "latency_ms": done.latency_ms,
    }


def show(view: Mapping[str, object], as_json: bool) -> None:
    """Show what was done; the table counts the validators that signed."""
    if as_json:
        show_json(view)
        return
    signers, signed = view.get("signers"), view.get("signed_by")
    shown = dict(view)
    if isinstance(signers, list):
        shown["signers"] = len(signers)
    if isinstance(shown.get("moved"), list):
        shown["moved"] = ", ".join(map(str, shown["moved"]))  # type: ignore[call-overload]
    if isinstance(signed, list):
        shown["signed_by"] = " ".join(map(str, signed)) or "nobody yet"
    show_pairs(list(shown.items()))
