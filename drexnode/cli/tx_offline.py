"""`drexnode tx pack`, and `tx sign --offline`: signing on a machine that has no node.

online$  drexnode tx transfer alice bob 10.00 --out half.tx
online$  drexnode tx pack half.tx --out packed.tx
offline$ drexnode tx sign packed.tx alice --offline --expect '-10.00 BRL@99990001/DVT' --out whole.tx
online$  drexnode tx send whole.tx --wait

The packed file carries the transactions that made the inputs, whose hashes are their names, so the machine
without a node knows what it spends and believes nobody. BRL and retail money have 2 decimals by the rules of
the ledger; amounts of any other asset are given and shown in its smallest unit, for nothing here proves more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from drexnode.cli.locate import open_client, wallet_book
from drexnode.cli.options import ExampleCommand, as_output, at_node
from drexnode.cli.output import CliError
from drexnode.cli.secrets import default_folder, passphrase
from drexnode.cli.tx_session import Delivery, show
from drexnode.keystore import Keystore
from drexnode.wallet import Wallet
from drexnode.wallet_accounts import Account, WalletBook, key_of
from drexnode.wallet_draft import read_draft, write_draft
from drexnode.wallet_effect import Sources, check_terms, effect_of
from drexnode.wallet_packed import DECIMALS, Packed, fetch_makers, is_retail_or_brl, read_packed, write_packed
from ledger.locks import key_lock
from primitives.address import encode_address
from primitives.units import format_amount, parse_amount

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("pack", cls=ExampleCommand, example="drexnode tx pack half.tx --out packed.tx")
@click.argument("file", type=FILE)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A new file.")
@at_node
@as_output
def pack(file: Path, out: Path, as_json: bool) -> None:
    """Add to a transaction file what a machine without a node needs, to see what it signs."""
    with open_client() as client:
        wallet = Wallet(client)
        draft = read_draft(file, wallet.chain_id)
        makers = fetch_makers(client, wallet.chain_id, draft.body)
        write_packed(out, Packed(draft, makers, wallet.prefix))
    view = {"txid": draft.transaction.txid.hex(), "transactions": len(makers), "file": str(out)}
    show(view, as_json)


def sign_offline(file: Path, signer: str, expect: Sequence[str], yes: bool, how: Delivery) -> None:
    """Check a packed file by itself, sign, and write it. Raises `CliError`, `WalletError`."""
    from drexnode.cli.tx_files import ask

    if how.out is None:
        raise click.UsageError("--out FILE is needed: a machine without a node sends nothing")
    packed = read_packed(file)
    sources = packed.sources()
    owner = _owner(signer, packed.prefix, how)
    key = key_of(owner)
    if expect:
        terms = _expected(expect)
        check_terms(packed.draft, sources, key.public_key, terms)
    else:
        ask({} if yes else describe_offline(packed, sources), yes=yes)
    signed = packed.draft.signed(key)
    write_draft(how.out, signed)
    by = [encode_address(packed.prefix, key_lock(each)) for each in signed.signers()]
    view = {"txid": signed.transaction.txid.hex(), "kind": signed.transaction.kind.name, "status": "UNSENT"}
    show({**view, "chain_id": signed.chain_id.hex(), "signed_by": by, "file": str(how.out)}, how.as_json)


def describe_offline(packed: Packed, sources: Sources) -> dict[str, object]:
    """What a packed draft does, as far as it can be proven without a node."""
    draft = packed.draft
    changes = [
        {
            "address": encode_address(packed.prefix, place.lock),
            "asset": place.asset,
            "change": _signed(place.asset, change),
        }
        for place, change in effect_of(draft.body, sources).items()
    ]
    return {
        "txid": draft.transaction.txid.hex(),
        "chain_id": draft.chain_id.hex(),
        "kind": draft.transaction.kind.name,
        "changes": changes,
        "payload": msgspec.to_builtins(draft.transaction.payload, builtin_types=(bytes,)),
        "valid_from": draft.body.valid_from,
        "valid_until": draft.body.valid_until,
        "reference": draft.body.reference.hex(),
        "signed_by": [encode_address(packed.prefix, key_lock(key)) for key in draft.signers()],
    }


def _signed(asset: str, change: int) -> str:
    sign = "+" if change > 0 else "-"
    if is_retail_or_brl(asset):
        return sign + format_amount(abs(change), DECIMALS)
    return f"{sign}{abs(change)} smallest units"


def _expected(texts: Sequence[str]) -> dict[str, int]:
    expected: dict[str, int] = {}
    for text in texts:
        amount, _, asset = text.strip().partition(" ")
        if amount[:1] not in ("+", "-") or not asset:
            raise click.UsageError(f"{text!r}: such as '-10.00 BRL' is expected")
        value = parse_amount(amount[1:], DECIMALS if is_retail_or_brl(asset) else 0)
        expected[asset] = expected.get(asset, 0) + (value if amount[0] == "+" else -value)
    return expected


def _owner(text: str, prefix: str, how: Delivery) -> Account:
    """An account of a devnet's file, or of the keystore, which is unlocked."""
    book: WalletBook | None = wallet_book()
    known = None if book is None else book.find(text)
    if known is not None and known.key is not None and how.keystore is None:
        return known
    store = Keystore(how.keystore or default_folder())
    if text not in store.names():
        names = ", ".join(store.names()) or "none"
        raise CliError("WALLET_UNKNOWN", f"no key {text!r} is here; in {store.folder} there are {names}")
    key = store.unlock(text, passphrase(how.passphrase_file, how.passphrase_fd))
    return Account(text, encode_address(prefix, key_lock(key.public_key)), key, key.public_key)
