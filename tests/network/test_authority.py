"""Acts of authorities on a network of processes: done by who may, refused to who may not, never twice.

The tests share one network and run in the order written. Each command waits until what it did is final.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from drexnode import client as rpc
from drexnode.config import load_config
from drexnode.keystore import read_plain_key
from drexnode.wallet import wait_final
from drexnode.wallet_accounts import key_of
from drexnode.wallet_contracts import VAULT, Contract, write_contract
from drexnode.wallet_orders import vote_draft
from ledger.devnet import (
    BANK_A_DVT,
    BANK_A_ISPB,
    BANK_A_MET,
    BANK_B_DVT,
    BANK_B_ISPB,
    BANK_B_MET,
    BCB_ISPB,
    STN_ISPB,
    reserve_condition,
)
from ledger.payloads import VoteOperation
from p2p.identity import peer_id_from_seed
from primitives.keys import PublicKey, SigningKey
from tests.drexnode.shell import alone
from tests.network.desk import Desk
from tests.network.net import network

pytestmark = pytest.mark.network
RECOVERY_DELAY_BLOCKS = 100


class NamedKey(NamedTuple):
    """A key and what it is called."""

    name: str
    key: SigningKey


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("authority")
    with network(folder / "net", full=0, observers=0) as running:
        desk = Desk(running, folder)
        desk.final("tx", "emit", "bcb", "bank-a", "1000.00")
        yield desk


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
        (BANK_B_DVT, "bob", "bank-b"),
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


def test_the_registry_by_bcb_and_each_participants_own_part_by_itself(desk: Desk) -> None:
    stranger, stn_key = "07" * 32, key_of(desk.account("stn")).public_key.hex()
    bank_key = key_of(desk.account("bank-a")).public_key.hex()
    peer = peer_id_from_seed(b"\x07" * 32)
    orders, recovery, settlement = (
        desk.account(name).address for name in ("bcb-orders", "bcb-recovery", "bank-b")
    )
    bcb, bank, by_a = "bcb-registry", "bank-a", ("--author", BANK_A_ISPB)
    cells: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = [
        (("wallet", "enable", BANK_A_ISPB, orders), bank, ("bank-b", "stn", "alice", "bcb")),
        (("wallet", "enable", BANK_A_ISPB, recovery), bcb, ("bank-b", "stn", "alice", "bcb-orders")),
        (("wallet", "disable", BANK_A_ISPB, orders, "--order", "d-1"), bank, ("bank-b", "stn", "alice", bcb)),
        (("wallet", "restore", BANK_A_ISPB, orders, "--order", "d-1"), bank, ()),
        (("lock", "add", BANK_B_ISPB, orders), "bank-b", (bank, "stn", "alice", "bcb")),
        (("lock", "settle", BANK_B_ISPB, orders), "bank-b", (bank, "stn", "alice", "bcb")),
        (("lock", "settle", BANK_B_ISPB, settlement), bcb, (bank, "stn", "alice", "bcb-orders")),
        (("lock", "remove", BANK_B_ISPB, orders), bcb, (bank, "stn", "alice", "bcb-orders")),
        (("key", "rotate", STN_ISPB, "own", "--key", stn_key), "stn", (bank, bcb, "alice")),
        (("asset", "update", BANK_A_DVT, "--cap", "5000000.00"), bcb, (bank, "stn", "alice", "bcb")),
        (("participant", "update", BANK_B_ISPB, "Banco B"), bcb, (bank, "bank-b", "stn", "alice")),
        (("candidate", "add", stranger, BANK_B_ISPB), bcb, (bank, "bank-b", "stn", "alice")),
        (("candidate", "remove", stranger), bcb, (bank, "bank-b", "stn", "alice")),
        (("node", "add", peer, "observer", BANK_A_ISPB), bcb, (bank, "bank-b", "stn", "alice", "bcb")),
        (("node", "remove", peer), bcb, (bank, "bank-b", "stn", "alice", "bcb-orders")),
        (("protocol", "2", "1000000"), bcb, (bank, "bank-b", "stn", "alice", "bcb", "bcb-orders")),
        (("key", "recover", STN_ISPB, "own", "--key", bank_key), bcb, (bank, "stn", "alice", "bcb-recovery")),
        (("key", "cancel", STN_ISPB, "own"), "stn", (bank, bcb, "alice", "bcb-recovery")),
        (("pause", BANK_A_DVT, "--order", "p-2"), bank, ("bank-b", "stn", "alice", bcb)),
        (("resume", BANK_A_DVT, "--order", "p-2", *by_a), bank, ("bank-b", "stn", "alice", bcb)),
    ]
    for act, may, may_not in cells:
        for by in may_not:
            assert desk.refused("registry", *act, "--by", by) == "TX_NOT_AUTHORISED", (act, by)
        old = desk.final("registry", *act, "--by", may)
        assert desk.verdict(desk.raw(old["txid"])) == "TX_REPLAYED"


def test_everybody_else_does_nothing_but_transfer_what_is_theirs(desk: Desk) -> None:
    """The table's empty cells for BCB's recovery, STN, a client and a validator's key; and its transfers."""
    home = desk.net.devnet.node("validator-0").home
    validator = NamedKey("validator-0", read_plain_key(load_config(home).validator_key_path))
    strangers = [
        NamedKey(name, key_of(desk.account(name))) for name in ("bcb-recovery", "stn", "alice", "bob")
    ]
    acts: list[tuple[str, ...]] = [
        ("tx", "freeze", "bob", "1.00", "--asset", BANK_B_DVT, "--order", "x", "--as", BCB_ISPB, "--by"),
        ("registry", "pause", BANK_B_DVT, "--order", "x", "--as", BANK_B_ISPB, "--by"),
        ("registry", "participant", "update", BANK_B_ISPB, "B", "--as", BCB_ISPB, "--by"),
    ]
    wallet = desk.open()
    for who in (*strangers, validator):
        shell = alone(desk.url, desk.home, who.name, who.key)
        shell.options = (*shell.options, *desk.options)
        for act in acts:
            assert shell.refused(*act, who.name) == "TX_NOT_AUTHORISED", (who.name, act)
        emit = ("tx", "emit", who.name, "bank-a", "1.00", "--asset", "BRL")
        assert shell.refused(*emit) == "TX_NOT_AUTHORISED", who.name
        if who is not validator:
            subject = desk.account("bcb").key
            assert subject is not None
            vote = vote_draft(wallet, who.key.public_key, subject.public_key, VoteOperation.ADD, 100)
            assert desk.verdict(vote.signed(who.key).transaction.raw) == "TX_NOT_A_VALIDATOR", who.name
    wallet.client.close()
    desk.final("tx", "transfer", "bank-a", "stn", "2.00", "--asset", "BRL")
    desk.final("tx", "transfer", "stn", "bcb", "1.00", "--asset", "BRL")
    desk.final("tx", "transfer", "bcb", "bank-a", "1.00", "--asset", "BRL")
    desk.final("tx", "transfer", "bob", "alice", "0.01", "--asset", BANK_A_DVT)


def test_nobody_but_the_order_authority_and_bcb_takes_money_by_force(desk: Desk) -> None:
    move = ("tx", "move", "bob", "1.00", "--to", "alice", "--asset", BANK_A_DVT, "--order", "m-3", "--by")
    for by in ("bank-b", "stn", "alice", "bcb", "bcb-registry"):
        assert desk.refused(*move, by) == "TX_NOT_AUTHORISED", by
    desk.final(*move, "bank-a")


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
    first = desk.final(*recover, "bcb-recovery")
    assert desk.refused(*recover, "bcb-recovery") == "TX_RECOVERY_PENDING"
    cancel = ("registry", "key", "cancel", BCB_ISPB, "emission", "--by")
    for by in ("bcb", "bcb-registry", "bcb-orders"):
        assert desk.refused(*cancel, by) == "TX_NOT_AUTHORISED", by
    desk.final(*cancel, "bank-a")
    assert desk.refused(*cancel, "bank-a") == "TX_RECOVERY_MISSING"
    assert desk.verdict(desk.raw(first["txid"])) == "TX_REPLAYED"
    begun = desk.final(*recover, "bcb-recovery")["height"]
    assert desk.refused(*cancel, "bank-a") == "TX_NOT_CANCELLABLE"
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
