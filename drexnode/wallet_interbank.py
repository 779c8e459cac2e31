"""A client of one bank pays a client of another: three assets move in one transaction, or none does.

The payer's money of bank A falls, the payee's of bank B rises, and BRL goes from A's cash lock to B's, all by
the same amount (docs/ledger.md, "Interbank transfer"). Payer and bank A sign; bank B signs or has given
standing consent. Payer and banks may be three machines: the draft goes from hand to hand.
"""

from __future__ import annotations

from collections.abc import Iterable

from drexnode import client as rpc
from drexnode.wallet import Avoid, Wallet
from drexnode.wallet_accounts import WalletError
from drexnode.wallet_draft import Draft, make_draft
from ledger.assets import WHOLESALE, parse_asset
from ledger.build import build_body, make_output
from ledger.locks import Condition
from ledger.payloads import Kind


def interbank_draft(
    wallet: Wallet,
    payer: str,
    payer_asset: rpc.Asset,
    payee: str,
    payee_asset: rpc.Asset,
    amount: int,
    *,
    reference: bytes = b"",
    note: bytes = b"",
    avoid: Avoid = (),
    revealed: Iterable[Condition] = (),
) -> Draft:
    """Payer and payee are addresses. `revealed` are conditions of locks that are no key locks, such as the
    reserve of e-money. Raises `WalletError` WALLET_FUNDS, WALLET_NO_CASH_LOCK."""
    cash_from, cash_to = cash_address(wallet, payer_asset), cash_address(wallet, payee_asset)
    wholesale = wallet.asset(WHOLESALE)
    spent = wallet.payment(payer, payer_asset, amount, avoid)
    cash = wallet.payment(cash_from, wholesale, amount, avoid)
    outputs = [
        make_output(payee_asset.asset, amount, wallet.lock(payee), note),
        make_output(WHOLESALE, amount, wallet.lock(cash_to)),
        *spent.change,
        *cash.change,
    ]
    body = build_body(Kind.INTERBANK_TRANSFER, [*spent.inputs, *cash.inputs], outputs, reference=reference)
    return make_draft(body, wallet.chain_id, revealed)


def cash_address(wallet: Wallet, asset: rpc.Asset) -> str:
    """Where the issuer of a retail asset settles in BRL: the reserve of e-money, else its settlement lock,
    else its sponsor's. Raises `WalletError` WALLET_NO_CASH_LOCK."""
    if asset.reserve_address is not None:
        return asset.reserve_address
    parties = {party["ispb"]: party for party in wallet.client.run(rpc.participants())}
    party = parties.get(asset.issuer)
    if party is not None and party["sponsor"]:
        party = parties.get(party["sponsor"])
    if party is None or not party["settlement_address"]:
        message = f"the issuer {asset.issuer} of {asset.asset} has nowhere to settle in {WHOLESALE}"
        raise WalletError("WALLET_NO_CASH_LOCK", message)
    address: str = party["settlement_address"]
    return address


def payee_asset(wallet: Wallet, payee: str, payer_asset: rpc.Asset) -> rpc.Asset:
    """The asset a payee can be paid in when none is named: the one of the same form (deposit or e-money) of
    another institution that enabled its wallet. Raises `WalletError` WALLET_ASSET_NEEDED."""
    own = parse_asset(payer_asset.asset)
    clients = {item.issuer for item in wallet.client.run(rpc.wallet(payee)).clients_of}
    fitting = []
    for asset in wallet.assets():
        parsed = parse_asset(asset.asset)
        if (
            parsed is not None
            and own is not None
            and parsed.is_retail
            and parsed.family is own.family
            and parsed.issuer != own.issuer
            and parsed.issuer in clients
        ):
            fitting.append(asset)
    if len(fitting) != 1:
        found = ", ".join(asset.asset for asset in fitting) or "nothing of another institution"
        message = f"the payee can be paid in {found}; name one with --to-asset"
        raise WalletError("WALLET_ASSET_NEEDED", message)
    return fitting[0]
