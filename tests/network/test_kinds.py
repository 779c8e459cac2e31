"""Every kind by its command on a network of processes: done by who may, refused to who may not.

The tests share one network and run in the order written. Each command waits until what it did is final.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drexnode import client as rpc
from drexnode.wallet import Wallet, wait_final
from drexnode.wallet_accounts import Account, key_of
from drexnode.wallet_contracts import VAULT, Contract, write_contract
from drexnode.wallet_draft import Draft, make_draft
from drexnode.wallet_interbank import interbank_draft
from ledger.devnet import (
    BANK_A_DVT,
    BANK_A_ISPB,
    BANK_A_MET,
    BANK_B_DVT,
    BANK_B_ISPB,
    BANK_B_MET,
    BCB_ISPB,
    reserve_condition,
)
from primitives.keys import PublicKey
from tests.drexnode.shell import Shell, alone, tamper
from tests.network.net import Network, network

pytestmark = pytest.mark.network
BOND = "X:99990001/BOND"
RECOVERY_DELAY_BLOCKS = 100


class Desk(Shell):
    """Commands at one node; what is sent is waited for. `folder` takes the files that are handed over."""

    def __init__(self, net: Network, folder: Path) -> None:
        super().__init__(net.nodes[0].rpc_url, folder, ("--dir", str(net.folder)))
        self.net = net

    def final(self, *arguments: str) -> dict[str, Any]:
        done = self.done(*arguments, "--wait")
        assert done["status"] == "FINAL"
        assert len(done["signers"]) >= 2
        return done

    def account(self, name: str) -> Account:
        return self.net.wallets[name]

    def open(self) -> Wallet:
        return Wallet(rpc.Client(self.url))

    def next_validators(self) -> int:
        """How many decide the next height."""
        with rpc.Client(self.url) as client:
            return len(client.run(rpc.validators(client.run(rpc.block_number()) + 1)))

    def raw(self, txid: str) -> bytes:
        found = self.net.ask("validator-0", rpc.transaction(txid))
        assert found is not None
        return bytes.fromhex(found["raw"])

    def verdict(self, raw: bytes) -> str | None:
        return self.net.ask("validator-0", rpc.simulate(raw)).code


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
    desk.final(*create, "--contract", deal, "--secret-file", secret, "--refund-after", "1h")
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


def test_what_bcb_froze_no_bank_lifts_or_moves_around(desk: Desk) -> None:
    before = desk.held("alice", BANK_A_DVT)
    order = ("tx", "freeze", "alice", before, "--asset", BANK_A_DVT, "--order", "court-7")
    for by in ("alice", "stn", "bank-b", "bcb", "bcb-registry"):
        assert desk.refused(*order, "--by", by) == "TX_NOT_AUTHORISED", by
    old = desk.final(*order, "--by", "bcb-orders")
    assert desk.refused("tx", "transfer", "alice", "bob", "1.00", "--asset", BANK_A_DVT) == "TX_FROZEN"
    move = ("tx", "move", "alice", "1.00", "--asset", BANK_A_DVT, "--order", "m-1")
    assert desk.refused(*move, "--to", "bob", "--by", "bank-a") == "TX_FROZEN"
    assert desk.refused(*move, "--burn", "--by", "bank-a") == "TX_FROZEN"
    lift = ("tx", "unfreeze", "alice", "--asset", BANK_A_DVT, "--order", "court-7", "--author", BCB_ISPB)
    for by in ("bank-a", "alice", "stn"):
        assert desk.refused(*lift, "--by", by) in ("TX_NOT_AUTHORISED",)
    desk.final(*move, "--to", "bob", "--by", "bcb-orders")
    desk.final(*lift, "--by", "bcb-orders")
    raw = desk.raw(old["txid"])
    assert desk.verdict(raw) == "TX_REPLAYED"
    assert desk.done("tx", "send", raw.hex())["txid"] == old["txid"]
    desk.final("tx", "transfer", "alice", "bob", "1.00", "--asset", BANK_A_DVT)
    assert desk.done("query", "frozen", "alice")["freezes"] == []


def test_a_bank_freezes_and_moves_its_own_asset_alone_and_bcb_lifts_it(desk: Desk) -> None:
    order = ("tx", "freeze", "bob", "1.00", "--order", "fraud-1", "--by", "bank-a", "--asset")
    assert desk.refused(*order, BANK_B_DVT) == "TX_NOT_AUTHORISED"
    desk.final(*order, BANK_A_DVT)
    assert desk.refused(*order, BANK_A_DVT) == "TX_ORDER_EXISTS"
    lift = ("tx", "unfreeze", "bob", "--asset", BANK_A_DVT, "--order", "fraud-1", "--author", BANK_A_ISPB)
    assert desk.refused(*lift, "--by", "bank-b") == "TX_NOT_AUTHORISED"
    desk.final(*lift, "--by", "bcb-orders")
    moved = desk.final(
        "tx", "move", "bob", "1.00", "--burn", "--asset", BANK_A_DVT, "--order", "m-2", "--by", "bank-a"
    )
    assert moved["to"] == "out of circulation"


def test_pauses_stand_until_their_author_or_bcb_lifts_them(desk: Desk) -> None:
    pause = ("registry", "pause", BANK_A_DVT, "--order", "p-1", "--by")
    for by in ("bank-b", "stn", "alice", "bcb-registry"):
        assert desk.refused(*pause, by) == "TX_NOT_AUTHORISED", by
    old = desk.final(*pause, "bcb-orders")
    assert desk.refused("tx", "transfer", "alice", "bob", "1.00", "--asset", BANK_A_DVT) == "TX_PAUSED"
    resume = ("registry", "resume", BANK_A_DVT, "--order", "p-1", "--author", BCB_ISPB, "--by")
    assert desk.refused(*resume, "bank-a") == "TX_NOT_AUTHORISED"
    desk.final(*resume, "bcb-orders")
    assert desk.verdict(desk.raw(old["txid"])) == "TX_REPLAYED"
    desk.final("tx", "transfer", "alice", "bob", "1.00", "--asset", BANK_A_DVT)


def test_an_issuer_fails_to_drain_the_reserve_of_its_e_money(desk: Desk) -> None:
    reserve = Contract(VAULT, "BRL", reserve_condition(PublicKey(key_of(desk.account("bank-a")).public_key)))
    wallet = desk.open()
    address = wallet.address(reserve.lock)
    wallet.client.close()
    write_contract(desk.home / "reserve", reserve, address)
    emit = ("tx", "emit", "bank-a", "alice", "--asset", BANK_A_MET)
    assert desk.refused(*emit, "50.00") == "TX_NOT_BACKED"
    desk.final("tx", "transfer", "bank-a", address, "50.00", "--asset", "BRL")
    desk.final(*emit, "50.00")
    assert desk.refused(*emit, "0.01") == "TX_NOT_BACKED"
    drain = ("tx", "vault", "spend", desk.file("reserve"), "bank-a", "0.01", "--by", "bank-a")
    assert desk.refused(*drain) == "TX_NOT_BACKED"
    re_point = ("registry", "asset", "reserve", BANK_A_MET, desk.account("bcb-orders").address)
    assert desk.refused(*re_point, "--by", "bank-a") == "TX_NOT_BACKED"
    pay = ("tx", "interbank", "alice", "bob", "20.00", "--asset", BANK_A_MET)
    done = desk.final(*pay, "--contract", desk.file("reserve"))
    assert done["to_asset"] == BANK_B_MET
    assert desk.held(address, "BRL") == "30.00"


def test_every_emission_by_its_issuer_alone(desk: Desk) -> None:
    for asset, to, issuer in (
        ("BRL", "bank-a", "bcb"),
        (BANK_A_DVT, "alice", "bank-a"),
        (BOND, "bank-a", "bank-a"),
    ):
        emit = ("tx", "emit", "--asset", asset)
        for by in ("bcb", "bcb-orders", "bcb-registry", "bank-a", "bank-b", "stn", "alice"):
            if by != issuer:
                assert desk.refused(*emit, by, to, "1.00") == "TX_NOT_AUTHORISED", (asset, by)
        desk.final(*emit, issuer, to, "1.00")
    assert (
        desk.refused("tx", "burn", "alice", "1.00", "--asset", BANK_A_DVT, "--issuer", "alice")
        == "TX_NOT_AUTHORISED"
    )
    desk.final("tx", "burn", "alice", "1.00", "--asset", BANK_A_DVT)


def test_a_validator_is_voted_out_and_in_again_and_old_votes_do_nothing(desk: Desk) -> None:
    first = desk.final("tx", "vote", "remove", "validator-3", "--by", "validator-0")
    desk.final("tx", "vote", "withdraw", "validator-3", "--by", "validator-0")
    raw = desk.raw(first["txid"])
    assert desk.verdict(raw) == "TX_REPLAYED"
    assert desk.done("tx", "send", raw.hex())["txid"] == first["txid"]
    assert desk.done("query", "votes")["votes"] == []
    for voter in ("validator-0", "validator-1", "validator-2"):
        assert desk.next_validators() == 4
        desk.final("tx", "vote", "remove", "validator-3", "--by", voter)
    assert desk.next_validators() == 3
    assert desk.refused("tx", "vote", "remove", "validator-0", "--by", "validator-3") == "TX_NOT_A_VALIDATOR"
    for voter in ("validator-0", "validator-1"):
        desk.final("tx", "vote", "add", "validator-3", "--by", voter)
    assert desk.next_validators() == 4


def test_the_emission_key_is_rotated_and_a_lost_one_replaced_after_the_delay(desk: Desk) -> None:
    bank_a, bank_b = (key_of(desk.account(name)).public_key.hex() for name in ("bank-a", "bank-b"))
    rotate = ("registry", "key", "rotate", BCB_ISPB, "emission", "--key", bank_a, "--by")
    for by in ("bcb-registry", "bcb-orders", "bcb-recovery", "bank-a"):
        assert desk.refused(*rotate, by) == "TX_NOT_AUTHORISED", by
    old = desk.final(*rotate, "bcb")
    emit = ("tx", "emit", "--asset", "BRL")
    assert desk.refused(*emit, "bcb", "bank-a", "1.00") == "TX_NOT_AUTHORISED"
    desk.final(*emit, "bank-a", "bank-a", "1.00")
    assert desk.verdict(desk.raw(old["txid"])) == "TX_REPLAYED"
    recover = ("registry", "key", "recover", BCB_ISPB, "emission", "--key", bank_b, "--by")
    for by in ("bcb-registry", "bcb-orders", "bcb"):
        assert desk.refused(*recover, by) == "TX_NOT_AUTHORISED", by
    begun = desk.final(*recover, "bcb-recovery")["height"]
    desk.final(*emit, "bank-a", "bank-a", "1.00")
    wallet, alice = desk.open(), desk.account("alice")
    dvt = wallet.asset(BANK_A_DVT)
    while wallet.client.run(rpc.block_number()) < begun + RECOVERY_DELAY_BLOCKS:
        sent = wallet.transfer(alice, desk.account("bob").address, dvt, 1)
        wait_final(wallet.client, sent.txid.hex(), 20)
    wallet.client.close()
    assert desk.refused(*emit, "bank-a", "bank-a", "1.00") == "TX_NOT_AUTHORISED"
    desk.final(*emit, "bank-b", "bank-a", "1.00")


def test_all_nodes_agree_after_everything(desk: Desk) -> None:
    height = desk.net.height("validator-0")
    assert height is not None
    desk.net.await_agreement(height)
