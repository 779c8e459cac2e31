"""Money between banks and parties on a network of processes: whole or not at all, through files.

The tests share one network and run in the order written. Each command waits until what it did is final.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drexnode.wallet import wait_final
from drexnode.wallet_accounts import key_of
from drexnode.wallet_draft import Draft, make_draft
from drexnode.wallet_interbank import interbank_draft
from ledger.devnet import (
    BANK_A_DVT,
    BANK_A_ISPB,
    BANK_B_DVT,
    BANK_B_ISPB,
)
from tests.drexnode.shell import alone, tamper
from tests.network.desk import Desk
from tests.network.net import network

pytestmark = pytest.mark.network
BOND = "X:99990001/BOND"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("kinds")
    with network(folder / "net", full=0, observers=0) as running:
        yield Desk(running, folder)


def test_three_assets_move_in_one_interbank_transfer(desk: Desk) -> None:
    desk.final("tx", "emit", "bcb", "bank-a", "1000.00")
    done = desk.final("tx", "interbank", "alice", "bob", "100.00")
    assert (done["asset"], done["to_asset"]) == (BANK_A_DVT, BANK_B_DVT)
    assert [desk.held(*place) for place in (("bob", BANK_B_DVT), ("bank-b", "BRL"), ("bank-a", "BRL"))] == [
        "100.00",
        "100.00",
        "900.00",
    ]
    supplies = [
        desk.done("query", "supply", asset)["circulating"] for asset in (BANK_A_DVT, BANK_B_DVT, "BRL")
    ]
    assert supplies == ["999900.00", "100.00", "1000.00"]


def test_an_interbank_transfer_is_refused_whole_without_any_leg_or_signature_or_by_one_centavo(
    desk: Desk,
) -> None:
    wallet = desk.open()
    alice, bank = desk.account("alice"), desk.account("bank-a")
    assets = wallet.asset(BANK_A_DVT), wallet.asset(BANK_B_DVT)
    draft = interbank_draft(wallet, alice.address, assets[0], desk.account("bob").address, assets[1], 50_00)
    keys = key_of(alice), key_of(bank)
    wrong: dict[str, Draft] = {
        "without the payer's signature": draft.signed(keys[1]),
        "without the bank's signature": draft.signed(keys[0]),
    }
    outputs = draft.body.outputs
    for place, output in enumerate(outputs):
        rest = (*outputs[:place], *outputs[place + 1 :])
        wrong[f"without output {place}"] = _changed(draft, rest).signed(*keys)
        for cent in (-1, 1):
            bent = msgspec.structs.replace(output, value=output.value + cent)
            moved = (*outputs[:place], bent, *outputs[place + 1 :])
            wrong[f"output {place} by {cent}"] = _changed(draft, moved).signed(*keys)
    found = {what: desk.net.code_of("validator-1", item.transaction.raw) for what, item in wrong.items()}
    expected = {"TX_WITNESS_MISSING", "TX_UNBALANCED", "TX_INTERBANK_SHAPE", "TX_NOT_AUTHORISED"}
    assert set(found.values()) <= expected, found
    assert desk.held("bob", BANK_B_DVT) == "100.00"
    wallet.send(draft.signed(*keys))
    wait_final(wallet.client, draft.transaction.txid.hex(), 20)
    assert desk.held("bob", BANK_B_DVT) == "150.00"
    wallet.client.close()


def _changed(draft: Draft, outputs: tuple[Any, ...]) -> Draft:
    return make_draft(msgspec.structs.replace(draft.body, outputs=outputs), draft.chain_id)


def test_without_standing_consent_the_receiving_bank_signs_a_file(desk: Desk) -> None:
    desk.final("registry", "asset", "consent", BANK_B_DVT, "off", "--by", "bank-b")
    bob = desk.account("bob").address
    pay = ("tx", "interbank", "alice", bob, "10.00", "--asset", BANK_A_DVT, "--to-asset", BANK_B_DVT)
    half, whole = desk.file("ib-half"), desk.file("ib-whole")
    payer = alone(desk.url, desk.home, "alice", key_of(desk.account("alice")))
    payer.done(*pay, "--out", half)
    desk.done("tx", "sign", half, "bank-a", "--yes", "--out", whole)
    assert desk.refused("tx", "send", whole) == "TX_NOT_AUTHORISED"
    desk.final("tx", "sign", whole, "bank-b", "--yes")
    assert desk.held("bob", BANK_B_DVT) == "160.00"
    desk.final("registry", "asset", "consent", BANK_B_DVT, "on", "--by", "bank-b")


def test_delivery_versus_payment_between_wallets_that_share_only_files(desk: Desk) -> None:
    desk.final(
        "registry", "asset", "add", BOND, BANK_A_ISPB, "--holders", "participants", "--by", "bcb-registry"
    )
    desk.final("tx", "emit", "bank-a", "bank-a", "100.00", "--asset", BOND)
    _exchange(desk, "dvp", "bank-a", f"50.00 {BOND}", "bank-b", "45.00 BRL", 45_00)
    assert (desk.held("bank-b", BOND), desk.held("bank-a", BOND)) == ("50.00", "50.00")


def test_payment_versus_payment_between_two_clients(desk: Desk) -> None:
    desk.final("registry", "wallet", "enable", BANK_B_ISPB, "alice", "--by", "bank-b")
    _exchange(desk, "pvp", "alice", f"30.00 {BANK_A_DVT}", "bob", f"29.00 {BANK_B_DVT}", 29_00)
    assert desk.held("alice", BANK_B_DVT) == "29.00"


def _exchange(
    desk: Desk, name: str, maker_name: str, give: str, taker_name: str, get: str, price: int
) -> None:
    """Through files, after each of them was changed on the way and refused for it."""
    maker, taker = (
        alone(desk.url, desk.home, who, key_of(desk.account(who))) for who in (maker_name, taker_name)
    )
    f1, f2, f3 = (desk.file(f"{name}-{number}") for number in (1, 2, 3))
    maker.done("tx", "swap", "offer", maker_name, "--give", give, "--get", get, "--out", f1)
    accept = ("tx", "swap", "accept", f1, taker_name, "--give", get, "--get", give, "--out", f2)
    tamper(Path(f1), price, price + 1)
    assert taker.refused(*accept) == "WALLET_TERMS_DIFFER"
    tamper(Path(f1), price + 1, price)
    taker.done(*accept)
    tamper(Path(f2), price, price - 1)
    sign = ("tx", "sign", f2, maker_name)
    assert maker.refused(*sign, "--offer", f1, "--out", f3) == "WALLET_TERMS_DIFFER"
    blind = desk.file(f"{name}-blind")
    maker.done(*sign, "--yes", "--out", blind)
    assert maker.refused("tx", "send", blind) in ("TX_BAD_SIGNATURE", "TX_UNBALANCED")
    tamper(Path(f2), price - 1, price)
    maker.done(*sign, "--offer", f1, "--out", f3)
    tamper(Path(f3), price, price - 1)
    assert taker.refused("tx", "send", f3) in ("TX_BAD_SIGNATURE", "TX_UNBALANCED")
    tamper(Path(f3), price - 1, price)
    assert taker.done("tx", "send", f3, "--wait")["status"] == "FINAL"


def test_a_hashed_time_lock_is_claimed_and_another_refunded(desk: Desk) -> None:
    deal, secret = desk.file("deal"), desk.file("secret")
    create = ("tx", "htlc", "create", "alice", "bob", "20.00", "--asset", BANK_A_DVT)
    desk.final(*create, "--contract", deal, "--secret-file", secret, "--open-secret", "--refund-after", "1h")
    assert desk.refused("tx", "htlc", "refund", deal, "alice") == "TX_LOCK_UNSATISFIED"
    assert (
        desk.refused("tx", "htlc", "claim", deal, "alice", "--secret-file", secret) == "TX_LOCK_UNSATISFIED"
    )
    desk.final("tx", "htlc", "claim", deal, "bob", "--secret-file", secret)
    late = desk.file("late")
    desk.final(*create, "--contract", late, "--hash", "ab" * 32, "--refund-after", "0s")
    assert desk.refused("tx", "htlc", "refund", late, "bob") == "TX_LOCK_UNSATISFIED"
    desk.final("tx", "htlc", "refund", late, "alice")


def test_a_vault_opens_for_two_of_three_who_sign_one_after_another(desk: Desk) -> None:
    vault, one = desk.file("vault"), desk.file("one")
    keys = [part for name in ("alice", "bob", "bank-a") for part in ("--key", name)]
    create = ("tx", "vault", "create", "alice", "30.00", "--asset", BANK_A_DVT)
    desk.final(*create, *keys, "--needed", "2", "--contract", vault)
    spend = ("tx", "vault", "spend", vault, "bob", "10.00", "--by", "bank-a")
    assert desk.refused(*spend) == "TX_LOCK_UNSATISFIED"
    desk.done(*spend, "--out", one)
    desk.final("tx", "sign", one, "alice", "--yes")


def test_all_nodes_agree_after_everything(desk: Desk) -> None:
    height = desk.net.height("validator-0")
    assert height is not None
    desk.net.await_agreement(height)
