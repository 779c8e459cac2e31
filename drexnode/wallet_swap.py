"""An exchange between two parties that never share keys: delivery versus payment, payment versus payment.

    maker: offer(...)  -> a file: what it spends, what it gets, its public key; signs nothing
    taker: accept(...) -> checks the offer against what it agreed to, adds its half, signs the whole
    maker: confirm(...) -> checks that the whole does exactly what it offered, signs, sends

The result is one TRANSFER: both halves happen or neither does. Nothing in a file is believed: amounts come
from hash-checked outputs, and both signatures cover the whole body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from drexnode import client as rpc
from drexnode.wallet import Wallet
from drexnode.wallet_accounts import Account, WalletError, key_of
from drexnode.wallet_draft import (
    FILE_VERSION,
    Draft,
    draft_of,
    make_draft,
    read_document,
    write_new,
)
from drexnode.wallet_effect import check_terms, read_sources
from ledger.build import build_body, make_output
from ledger.locks import key_lock
from ledger.payloads import Kind
from ledger.transaction import Body

OFFER = "drexnode swap offer"


class Terms(NamedTuple):
    """What the maker gives and gets: asset and amount in smallest units, both above 0."""

    gives: str
    gives_amount: int
    gets: str
    gets_amount: int

    def for_maker(self) -> dict[str, int]:
        """How the maker's holdings change."""
        return {self.gives: -self.gives_amount, self.gets: self.gets_amount}

    def for_taker(self) -> dict[str, int]:
        """How the taker's holdings change."""
        return {self.gives: self.gives_amount, self.gets: -self.gets_amount}


@dataclass(frozen=True, slots=True)
class Offer:
    """The maker's half: an unbalanced, unsigned body, and the key whose lock it spends from and pays to."""

    draft: Draft
    public_key: bytes


def make_offer(
    wallet: Wallet,
    maker: Account,
    terms: Terms,
    *,
    valid_until: int = 0,
    reference: bytes = b"",
) -> Offer:
    """The maker's half. Raises `WalletError` WALLET_FUNDS, WALLET_NO_KEY, WALLET_TERMS_INVALID."""
    public_key = _public_key(maker)
    if terms.gives == terms.gets or min(terms.gives_amount, terms.gets_amount) < 1:
        message = "an exchange gives some of one asset and gets some of another"
        raise WalletError("WALLET_TERMS_INVALID", message)
    payment = wallet.payment(maker.address, wallet.asset(terms.gives), terms.gives_amount)
    received = make_output(wallet.asset(terms.gets).asset, terms.gets_amount, key_lock(public_key))
    body = build_body(
        Kind.TRANSFER,
        payment.inputs,
        [received, *payment.change],
        valid_until=valid_until,
        reference=reference,
    )
    return Offer(make_draft(body, wallet.chain_id), public_key)


def read_terms(client: rpc.Client, offer: Offer) -> Terms:
    """What an offer says by its inputs and outputs.

    Raises `WalletError` WALLET_OFFER_INVALID for a body that is anything else than a maker's half: it spends
    from and pays to the maker's own lock alone, gives one asset and gets one.
    """
    body, lock = offer.draft.body, key_lock(offer.public_key)
    sources = read_sources(client, offer.draft.chain_id, body)
    if body.kind != Kind.TRANSFER or offer.draft.transaction.payload != ():
        raise _invalid("it is no plain transfer")
    if any(spent.lock != lock for spent in sources.values()):
        raise _invalid("it spends what is not under the lock of the maker's key")
    if any(output.lock != lock for output in body.outputs):
        raise _invalid("it pays others than the maker")
    net: dict[str, int] = {}
    for spent in sources.values():
        net[spent.asset] = net.get(spent.asset, 0) - spent.value
    for output in body.outputs:
        net[output.asset] = net.get(output.asset, 0) + output.value
    given = [(asset, -change) for asset, change in net.items() if change < 0]
    got = [(asset, change) for asset, change in net.items() if change > 0]
    if len(given) != 1 or len(got) != 1:
        raise _invalid("it does not give one asset and get one other")
    return Terms(*given[0], *got[0])


def accept_offer(wallet: Wallet, offer: Offer, taker: Account, agreed: Terms) -> Draft:
    """The whole exchange, signed by the taker.

    `agreed` is what the taker wants, whatever the file says. Raises `WalletError` WALLET_TERMS_DIFFER,
    WALLET_OFFER_INVALID, WALLET_FUNDS.
    """
    key = key_of(taker)
    found = read_terms(wallet.client, offer)
    if found != agreed:
        message = f"not signed: the offer gives {found.gives_amount} {found.gives}"
        message += f" for {found.gets_amount} {found.gets}, which is not what was agreed"
        raise WalletError("WALLET_TERMS_DIFFER", message)
    half = offer.draft.body
    payment = wallet.payment(taker.address, wallet.asset(agreed.gets), agreed.gets_amount)
    received = make_output(agreed.gives, agreed.gives_amount, key_lock(key.public_key))
    body = build_body(
        Kind.TRANSFER,
        [*half.inputs, *payment.inputs],
        [*half.outputs, received, *payment.change],
        valid_from=half.valid_from,
        valid_until=half.valid_until,
        reference=half.reference,
    )
    whole = make_draft(body, wallet.chain_id)
    sources = read_sources(wallet.client, wallet.chain_id, body)
    check_terms(whole, sources, key.public_key, agreed.for_taker(), counterparties=[offer.public_key])
    return whole.signed(key)


def confirm_swap(wallet: Wallet, whole: Draft, offer: Offer, maker: Account) -> Draft:
    """The whole exchange, signed by the maker as well, after it proved to be what `offer` (the maker's own
    copy) asked for. Raises `WalletError` WALLET_TERMS_DIFFER."""
    key = key_of(maker)
    if offer.public_key != key.public_key:
        raise WalletError("WALLET_TERMS_DIFFER", f"the offer was made by another key than {maker.name}'s")
    expected: Mapping[str, int] = read_terms(wallet.client, offer).for_maker()
    if not _extends(whole.body, offer.draft.body):
        raise WalletError("WALLET_TERMS_DIFFER", "not signed: it does not spend what the offer spends")
    sources = read_sources(wallet.client, wallet.chain_id, whole.body)
    check_terms(whole, sources, key.public_key, expected)
    return whole.signed(key)


def write_offer(path: Path, offer: Offer) -> None:
    """Write an offer to a new file. Raises `WalletError` WALLET_FILE_EXISTS."""
    document = {
        "type": OFFER,
        "version": FILE_VERSION,
        "chain_id": offer.draft.chain_id.hex(),
        "public_key": offer.public_key.hex(),
        "transaction": offer.draft.transaction.raw.hex(),
    }
    write_new(path, document)


def read_offer(path: Path, chain_id: bytes) -> Offer:
    """Read an offer of the chain `chain_id`. Raises `WalletError` WALLET_FILE, WALLET_OTHER_CHAIN."""
    document = read_document(path, OFFER)
    draft = draft_of(document, chain_id, path)
    try:
        public_key = bytes.fromhex(document["public_key"])
        if len(public_key) != 32:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise WalletError("WALLET_FILE", f"{path} names no public key", path=str(path)) from None
    return Offer(draft, public_key)


def _extends(whole: Body, half: Body) -> bool:
    """The whole spends and pays at least what the half does, and is valid for as long."""
    return (
        set(half.inputs) <= set(whole.inputs)
        and set(half.outputs) <= set(whole.outputs)
        and (half.valid_from, half.valid_until, half.reference)
        == (whole.valid_from, whole.valid_until, whole.reference)
    )


def _public_key(account: Account) -> bytes:
    public_key = account.public_key if account.key is None else account.key.public_key
    if public_key is None:
        message = f"the public key of {account.name} is not here"
        raise WalletError("WALLET_NO_KEY", message, address=account.address)
    return public_key


def _invalid(why: str) -> WalletError:
    return WalletError("WALLET_OFFER_INVALID", f"not an offer to accept: {why}")
