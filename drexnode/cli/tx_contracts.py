"""`drexnode tx htlc create|claim|refund` and `drexnode tx vault create|spend`: money under a condition.

The contract file holds the condition, without which nobody can spend: it is written before the money moves.
It holds no secret; a hash's secret lies in a file of its own, mode 0600, sealed by a passphrase as a key is
(drexnode/keystore.py) unless `--open-secret` says otherwise. A secret from somebody else is read as hex.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from drexnode.cli.moments import parse_moment
from drexnode.cli.options import ExampleCommand, ExampleGroup
from drexnode.cli.output import CliError
from drexnode.cli.secrets import passphrase
from drexnode.cli.tx_session import Delivery, Session, sending
from drexnode.keystore import (
    is_encrypted,
    read_secret,
    unlock_key,
    write_encrypted_key,
    write_secret,
)
from drexnode.wallet import Avoid
from drexnode.wallet_contracts import (
    HTLC,
    VAULT,
    Contract,
    htlc_condition,
    lock_draft,
    read_contract,
    unlock_draft,
    vault_condition,
    write_contract,
)
from drexnode.wallet_draft import Draft
from ledger.locks import digest_of
from primitives.limits import MAX_PREIMAGE_BYTES
from primitives.units import format_amount, parse_amount

SECRET_BYTES = 32
_NEW = click.Path(path_type=Path)
_CONTRACT = click.Path(path_type=Path, exists=True, dir_okay=False)


def _secret(path: Path, how: Delivery) -> bytes:
    """The secret in a file: sealed, or hex of 1 to 64 bytes. Raises WALLET_SECRET, `KeyFailure`."""
    if is_encrypted(path):
        return bytes(unlock_key(path, passphrase(how.passphrase_file, how.passphrase_fd)).seed)
    try:
        secret = bytes.fromhex(read_secret(path).decode("ascii").strip())
    except ValueError:
        secret = b""
    if not 1 <= len(secret) <= MAX_PREIMAGE_BYTES:
        message = f"{path} holds no secret: hex of 1 to {MAX_PREIMAGE_BYTES} bytes is expected"
        raise CliError("WALLET_SECRET", message)
    return secret


def _make_secret(path: Path, how: Delivery, *, is_open: bool) -> bytes:
    """A new secret in a new file, sealed unless it is to be open. Raises `KeyFailure`."""
    secret = secrets.token_bytes(SECRET_BYTES)
    if is_open:
        write_secret(path, secret.hex().encode() + b"\n")
    else:
        sealing = passphrase(how.passphrase_file, how.passphrase_fd, confirm=True)
        write_encrypted_key(path, "secret", secret, sealing)
    return secret


def _digest(hash_: str | None, secret_file: Path | None, how: Delivery, *, is_open: bool) -> bytes:
    if (hash_ is None) == (secret_file is None):
        raise click.UsageError("name either --hash, or --secret-file for a secret of your own")
    if secret_file is not None:
        if secret_file.exists():
            return digest_of(_secret(secret_file, how))
        return digest_of(_make_secret(secret_file, how, is_open=is_open))
    try:
        digest = bytes.fromhex(hash_ or "")
    except ValueError:
        digest = b""
    if len(digest) != SECRET_BYTES:
        raise click.UsageError("--hash expects a SHA-256 digest of 64 hex characters")
    return digest


def _lock(session: Session, owner: str, contract: Contract, file: Path, amount: str, more: str) -> None:
    """Write the contract, then put the money under it."""
    account = session.owner(owner)
    policy = session.wallet.asset(contract.asset)
    value = parse_amount(amount, policy.decimals)
    address = session.wallet.address(contract.lock)
    write_contract(file, contract, address)

    def make(avoid: Avoid) -> Draft:
        return lock_draft(session.wallet, account.address, contract, value, avoid=avoid)

    facts = {"kind": "TRANSFER", "asset": policy.asset, "amount": format_amount(value, policy.decimals)}
    facts |= {"from": account.address, "to": address, "contract": str(file), "terms": more}
    session.deliver(make, [account], facts)


def _unlock(
    session: Session,
    contract: Contract,
    to: str,
    amount: str | None,
    by: tuple[str, ...],
    preimages: tuple[bytes, ...] = (),
) -> None:
    target, policy = session.account(to), session.wallet.asset(contract.asset)
    value = None if amount is None else parse_amount(amount, policy.decimals)

    def make(avoid: Avoid) -> Draft:
        return unlock_draft(session.wallet, contract, target.address, value, avoid=avoid)

    facts = {"kind": "TRANSFER", "asset": policy.asset, "to": target.address}
    facts |= {"from": session.wallet.address(contract.lock)}
    session.deliver(make, [session.owner(name) for name in by], facts, preimages)


@click.group("htlc", cls=ExampleGroup, example="drexnode tx htlc claim deal.json bob --secret-file secret")
def htlc() -> None:
    """Hashed time locks: the payee claims with a secret, or the payer takes the money back after a time."""


@htlc.command(
    "create",
    cls=ExampleCommand,
    example="drexnode tx htlc create alice bob 10.00 --secret-file secret --refund-after 24h "
    "--contract deal.json",
)
@click.argument("payer", metavar="FROM")
@click.argument("payee", metavar="TO")
@click.argument("amount")
@click.option("--asset", help="The asset; not needed when the payer holds one alone.")
@click.option("--hash", "hash_", metavar="HEX", help="SHA-256 of a secret that another party keeps.")
@click.option(
    "--secret-file", type=_NEW, metavar="FILE", help="A secret of your own; made and sealed when missing."
)
@click.option(
    "--open-secret", is_flag=True, help="Write a new secret open, to be read by whoever can read it."
)
@click.option("--refund-after", required=True, metavar="WHEN", help="24h, 30m, 7d, or 2026-12-01T10:00:00Z.")
@click.option("--contract", required=True, type=_NEW, metavar="FILE", help="New file for the condition.")
@sending
def htlc_create(
    payer: str,
    payee: str,
    amount: str,
    asset: str | None,
    hash_: str | None,
    secret_file: Path | None,
    open_secret: bool,
    refund_after: str,
    contract: Path,
    how: Delivery,
) -> None:
    """Put money under a hash and a time. TO is a wallet whose public key is here, or a key in hex."""
    moment = parse_moment(refund_after)
    session = Session(how)
    digest = _digest(hash_, secret_file, how, is_open=open_secret)
    keys = session.public_key(payee), session.public_key(payer)
    name = session.asset_of(session.account(payer), asset).asset
    made = Contract(HTLC, name, htlc_condition(digest, *keys, moment))
    _lock(session, payer, made, contract, amount, f"hash {digest.hex()}, refund from {moment} ms on")


@htlc.command(
    "claim", cls=ExampleCommand, example="drexnode tx htlc claim deal.json bob --secret-file secret --wait"
)
@click.argument("contract", type=_CONTRACT)
@click.argument("payee", metavar="WALLET")
@click.option("--secret-file", required=True, type=_CONTRACT, metavar="FILE", help="The secret, mode 0600.")
@click.option("--to", help="Where the money goes.  [default: the wallet itself]")
@sending
def htlc_claim(contract: Path, payee: str, secret_file: Path, to: str | None, how: Delivery) -> None:
    """Take the money with the secret, which everybody can read afterwards."""
    secret, held = _secret(secret_file, how), read_contract(contract, HTLC)
    _unlock(Session(how), held, to or payee, None, (payee,), (secret,))


@htlc.command("refund", cls=ExampleCommand, example="drexnode tx htlc refund deal.json alice --wait")
@click.argument("contract", type=_CONTRACT)
@click.argument("payer", metavar="WALLET")
@click.option("--to", help="Where the money goes.  [default: the wallet itself]")
@sending
def htlc_refund(contract: Path, payer: str, to: str | None, how: Delivery) -> None:
    """Take the money back after the time."""
    _unlock(Session(how), read_contract(contract, HTLC), to or payer, None, (payer,))


@click.group("vault", cls=ExampleGroup, example="drexnode tx vault spend vault.json bob 5.00 --by alice")
def vault() -> None:
    """Vaults: money that several of a number of keys open together."""


@vault.command(
    "create",
    cls=ExampleCommand,
    example="drexnode tx vault create alice 10.00 --key alice --key bob --key bank-a --needed 2 "
    "--contract vault.json",
)
@click.argument("owner", metavar="FROM")
@click.argument("amount")
@click.option("--asset", help="The asset; not needed when the owner holds one alone.")
@click.option("--key", "keys", multiple=True, required=True, help="A wallet's name or a public key.")
@click.option("--needed", type=click.IntRange(1), required=True, help="How many of the keys must sign.")
@click.option("--contract", required=True, type=_NEW, metavar="FILE", help="New file for the condition.")
@sending
def vault_create(
    owner: str,
    amount: str,
    asset: str | None,
    keys: tuple[str, ...],
    needed: int,
    contract: Path,
    how: Delivery,
) -> None:
    """Put money under several keys."""
    session = Session(how)
    name = session.asset_of(session.account(owner), asset).asset
    condition = vault_condition(needed, [session.public_key(text) for text in keys])
    made = Contract(VAULT, name, condition)
    _lock(session, owner, made, contract, amount, f"{needed} of {len(keys)} keys")


@vault.command(
    "spend",
    cls=ExampleCommand,
    example="drexnode tx vault spend vault.json bob 5.00 --by alice --by bank-a --wait",
)
@click.argument("contract", type=_CONTRACT)
@click.argument("to")
@click.argument("amount")
@click.option(
    "--by", multiple=True, required=True, metavar="WALLET", help="Signs; others sign the --out file."
)
@sending
def vault_spend(contract: Path, to: str, amount: str, by: tuple[str, ...], how: Delivery) -> None:
    """Pay from a vault; what is left stays in it."""
    _unlock(Session(how), read_contract(contract, VAULT), to, amount, by)
