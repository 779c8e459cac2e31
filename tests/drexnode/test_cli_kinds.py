"""Every kind by its command, each side of an exchange with its own keys, over a chain in memory.

Commands run in this process (tests/drexnode/shell.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import trio

from drexnode.cli import output
from drexnode.cli.moments import parse_moment
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB, BANK_B_DVT, BCB_ISPB
from ledger.locks import digest_of
from ledger.transaction import decode_transaction
from primitives.keys import SigningKey
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving
from tests.drexnode.shell import Shell, alone, tamper

BOND = "X:99990001/BOND"


async def play(folder: Path, work: Callable[[Shell, MemoryChain], None]) -> None:
    chain = MemoryChain()
    (folder / "wallets.json").write_text(json.dumps(chain.plan.wallets_view()))
    async with serving(chain) as url:
        shell = Shell(url, folder, ("--dir", str(folder)))
        await trio.to_thread.run_sync(work, shell, chain)


async def test_interbank_by_command_and_with_signatures_from_two_places(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        shell.done("tx", "emit", "bcb", "bank-a", "500.00")
        done = shell.done("tx", "interbank", "alice", "bob", "100.00", "--wait")
        assert (done["status"], done["to_asset"]) == ("FINAL", BANK_B_DVT)
        assert shell.held("bank-b", "BRL") == "100.00"
        shell.done("registry", "asset", "consent", BANK_B_DVT, "off", "--by", "bank-b")
        half = shell.file("half")
        given = ("tx", "interbank", "alice", "bob", "1.00", "--to-asset", BANK_B_DVT)
        assert shell.refused(*given, "--payee-bank", "bank-a") == "TX_NOT_AUTHORISED"
        made = shell.done(*given, "--payee-bank", chain.plan.wallets_view()["stn"]["address"], "--out", half)
        assert made["status"] == "UNSENT"
        assert shell.refused("tx", "send", half) == "TX_NOT_AUTHORISED"
        (tmp_path / "half").unlink()
        shell.done(*given, "--out", half)
        assert shell.held("bob", BANK_B_DVT) == "100.00"

    await play(tmp_path, work)


async def test_delivery_versus_payment_between_two_keystores_through_files(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        by = ("--by", "bcb-registry")
        shell.done(
            "registry", "asset", "add", BOND, BANK_A_ISPB, "--holders", "participants", "--burn-freely", *by
        )
        shell.done("tx", "emit", "bank-a", "bank-a", "100.00", "--asset", BOND)
        shell.done("tx", "emit", "bcb", "bank-b", "90.00")
        maker, taker = (
            alone(shell.url, tmp_path, name, chain.plan.wallets[name]) for name in ("bank-a", "bank-b")
        )
        give, get = f"50.00 {BOND}", "45.00 BRL"
        f1, f2, f3 = (shell.file(name) for name in ("f1", "f2", "f3"))
        maker.done("tx", "swap", "offer", "bank-a", "--give", give, "--get", get, "--out", f1)
        agreed = ("--give", get, "--get", give)
        accept = ("tx", "swap", "accept", f1, "bank-b")
        assert (
            taker.refused(*accept, "--give", "44.00 BRL", "--get", give, "--out", f2) == "WALLET_TERMS_DIFFER"
        )
        assert taker.refused(*accept, "--out", f2) == "WALLET_CONFIRM_NEEDED"
        tamper(tmp_path / "f1", 45_00, 46_00)
        assert taker.refused(*accept, *agreed, "--out", f2) == "WALLET_TERMS_DIFFER"
        tamper(tmp_path / "f1", 46_00, 45_00)
        taker.done(*accept, *agreed, "--out", f2)
        shown = maker.done("tx", "show", f2)
        changes = {(item["asset"], item["change"]) for item in shown["changes"]}
        assert changes == {(BOND, "-50.00"), (BOND, "+50.00"), ("BRL", "-45.00"), ("BRL", "+45.00")}
        assert shown["would_be"] == "TX_WITNESS_MISSING"
        sign = ("tx", "sign", f2, "bank-a", "--out", f3)
        assert maker.refused(*sign) == "WALLET_CONFIRM_NEEDED"
        assert maker.refused(*sign, "--expect", f"-50.00 {BOND}") == "WALLET_TERMS_DIFFER"
        tamper(tmp_path / "f2", 45_00, 44_00)
        assert maker.refused(*sign, "--offer", f1) == "WALLET_TERMS_DIFFER"
        maker.done("tx", "sign", f2, "bank-a", "--yes", "--out", shell.file("blind"))
        assert maker.refused("tx", "send", shell.file("blind")) in ("TX_BAD_SIGNATURE", "TX_UNBALANCED")
        tamper(tmp_path / "f2", 44_00, 45_00)
        maker.done(*sign, "--offer", f1)
        assert taker.refused(*accept, *agreed, "--out", f2) == "WALLET_FILE_EXISTS"
        assert maker.done("tx", "send", f3, "--wait")["status"] == "FINAL"
        assert (shell.held("bank-b", BOND), shell.held("bank-a", "BRL")) == ("50.00", "45.00")

    await play(tmp_path, work)


async def test_hashed_time_locks_and_vaults(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        deal, secret = shell.file("deal"), shell.file("secret")
        create = ("tx", "htlc", "create", "alice", "bob", "20.00", "--refund-after", "24h")
        assert shell.run(*create, "--contract", deal)[0] == output.USAGE
        shell.done(*create, "--contract", deal, "--secret-file", secret, "--open-secret")
        assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
        assert shell.refused("tx", "htlc", "refund", deal, "alice") == "TX_LOCK_UNSATISFIED"
        other = tmp_path / "other"
        other.write_text("00" * 32)
        other.chmod(0o600)
        wrong = ("tx", "htlc", "claim", deal, "bob", "--secret-file", str(other))
        assert shell.refused(*wrong) in ("TX_LOCK_UNSATISFIED", "TX_WITNESS_UNUSED")
        claimed = shell.done("tx", "htlc", "claim", deal, "bob", "--secret-file", secret, "--wait")
        assert claimed["status"] == "FINAL"
        assert shell.held("bob", BANK_A_DVT) == "20.00"
        past = (
            "--refund-after",
            "2026-01-01T00:00:00Z",
            "--contract",
            shell.file("past"),
            "--hash",
            "ab" * 32,
        )
        shell.done("tx", "htlc", "create", "alice", "bob", "3.00", *past)
        shell.done("tx", "htlc", "refund", shell.file("past"), "alice")

        vault = shell.file("vault")
        keys = [part for name in ("alice", "bob", "bank-a") for part in ("--key", name)]
        shell.done("tx", "vault", "create", "alice", "30.00", *keys, "--needed", "2", "--contract", vault)
        spend = ("tx", "vault", "spend", vault, "bob", "10.00", "--by", "bank-a")
        assert shell.refused(*spend) == "TX_LOCK_UNSATISFIED"
        shell.done(*spend, "--out", shell.file("one"))
        assert shell.refused("tx", "sign", shell.file("one"), "alice") == "WALLET_CONFIRM_NEEDED"
        shell.done("tx", "sign", shell.file("one"), "alice", "--yes", "--wait")
        assert shell.held("bob", BANK_A_DVT) == "30.00"
        shell.done("tx", "vault", "spend", vault, "bob", "1.00", "--by", "bob", "--also", "alice")
        a, b = shell.file("a"), shell.file("b")
        shell.done("tx", "vault", "spend", vault, "bob", "2.00", "--by", "bob", "--out", a)
        shell.done("tx", "sign", a, "alice", "--yes", "--out", b)
        shell.done("tx", "join", a, b)

    await play(tmp_path, work)


async def test_orders_pauses_and_wallets_by_who_may_and_not_by_others(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        frozen = ("tx", "freeze", "alice", "999999.00", "--asset", BANK_A_DVT, "--order", "court-7")
        for by in ("alice", "stn", "bank-b", "bcb"):
            assert shell.refused(*frozen, "--by", by) == "TX_NOT_AUTHORISED", by
        shell.done(*frozen, "--by", "bcb-orders")
        [row] = shell.done("query", "frozen", "alice")["freezes"]
        assert (row["author"], row["amount"]) == (BCB_ISPB, "999999.00")
        assert shell.refused("tx", "transfer", "alice", "bob", "2.00") == "TX_FROZEN"
        lift = ("tx", "unfreeze", "alice", "--asset", BANK_A_DVT, "--order", "court-7")
        assert shell.refused(*lift, "--author", BCB_ISPB, "--by", "bank-a") == "TX_NOT_AUTHORISED"
        assert shell.refused(*lift, "--by", "bank-a") == "TX_ORDER_UNKNOWN"
        moved = ("tx", "move", "alice", "2.00", "--to", "bob", "--asset", BANK_A_DVT, "--order", "m-1")
        assert shell.refused(*moved, "--by", "bank-a") == "TX_FROZEN"
        assert shell.refused(*moved, "--by", "alice") == "TX_NOT_AUTHORISED"
        assert shell.run(*moved, "--burn", "--by", "bcb-orders")[0] == output.USAGE
        shell.done(*moved, "--by", "bcb-orders")
        assert shell.held("bob", BANK_A_DVT) == "2.00"
        shell.done(*lift, "--by", "bcb-orders")
        pause = ("registry", "pause", BANK_A_DVT, "--order", "p-1", "--by")
        assert shell.refused(*pause, "bank-b") == "TX_NOT_AUTHORISED"
        shell.done(*pause, "bcb-orders")
        assert shell.refused("tx", "transfer", "alice", "bob", "2.00") == "TX_PAUSED"
        resume = ("registry", "resume", BANK_A_DVT, "--order", "p-1", "--by")
        assert shell.refused(*resume, "bank-a", "--author", BCB_ISPB) == "TX_NOT_AUTHORISED"
        shell.done(*resume, "bcb-orders")
        disable = ("registry", "wallet", "disable", BANK_A_ISPB, "bob", "--order", "d-1", "--by")
        assert shell.refused(*disable, "bank-b") == "TX_NOT_AUTHORISED"
        shell.done(*disable, "bank-a")
        assert shell.refused("tx", "transfer", "alice", "bob", "2.00") == "TX_WALLET_NOT_ENABLED"
        found = shell.done("query", "wallet", "bob")["clients_of"]
        assert [item["disabled_by"] for item in found] == [["issuer"], []]
        shell.done("registry", "wallet", "restore", BANK_A_ISPB, "bob", "--order", "d-1", "--by", "bank-a")
        shell.done("tx", "transfer", "alice", "bob", "2.00")

    await play(tmp_path, work)


async def test_registry_acts_by_their_holders_alone(tmp_path: Path) -> None:
    new = SigningKey(b"\x09" * 32).public_key.hex()

    def work(shell: Shell, chain: MemoryChain) -> None:
        view = chain.plan.wallets_view()
        participant = ("registry", "participant", "add", "99990003", "Bank C", "bank", "--key", new, "--by")
        assert shell.refused(*participant, "bank-a") == "TX_NOT_AUTHORISED"
        shell.done(*participant, "bcb-registry", "--sponsor", BANK_A_ISPB)
        shell.done("registry", "participant", "update", BANK_A_ISPB, "Banco A", "--by", "bcb-registry")
        names = {item["name"] for item in shell.done("query", "participants")["participants"]}
        assert {"Bank C", "Banco A"} <= names
        update = ("registry", "asset", "update", BANK_A_DVT, "--cap", "2000000.00", "--by")
        assert shell.refused(*update, "bank-a") == "TX_NOT_AUTHORISED"
        shell.done(*update, "bcb-registry")
        stn = view["stn"]["address"]
        shell.done("registry", "wallet", "enable", BANK_A_ISPB, stn, "--by", "bank-a")
        shell.done("tx", "transfer", "alice", "stn", "1.00")
        candidate = ("registry", "candidate", "add", new, BANK_A_ISPB, "--by")
        assert shell.refused(*candidate, "bank-a") == "TX_NOT_AUTHORISED"
        shell.done(*candidate, "bcb-registry")
        shell.done("registry", "candidate", "remove", new, "--by", "bcb-registry")
        peer = chain.plan.nodes[0].peer_id
        assert (
            shell.refused("registry", "node", "remove", peer, "--by", "bcb-registry") == "TX_VALIDATOR_IN_SET"
        )
        assert shell.refused("registry", "protocol", "1", "9", "--by", "bcb-registry") == "TX_REGISTRY_RULE"
        shell.done("registry", "protocol", "2", "5000", "--by", "bcb-registry")
        rotate = ("registry", "key", "rotate", BANK_A_ISPB, "own", "--key", new, "--key", "bank-a", "--by")
        assert shell.refused(*rotate, "bcb-registry", "--as", BCB_ISPB) == "TX_NOT_AUTHORISED"
        shell.done(*rotate, "bank-a", "--needed", "1")
        recover = ("registry", "key", "recover", BCB_ISPB, "emission", "--key", new, "--by")
        assert shell.refused(*recover, "bcb-registry") == "TX_NOT_AUTHORISED"
        shell.done(*recover, "bcb-recovery")
        shell.done("registry", "key", "cancel", BCB_ISPB, "emission", "--by", "bcb")
        lock = ("registry", "lock", "add", BANK_A_ISPB, view["bcb-orders"]["address"], "--by")
        assert shell.refused(*lock, "bank-b") == "TX_NOT_AUTHORISED"
        shell.done(*lock, "bank-a")
        shell.done("registry", "lock", "remove", *lock[3:], "bank-a")
        assert shell.run("tx", "vote", "remove", new, "--by", "nobody")[1]["code"] == "WALLET_UNKNOWN"

    await play(tmp_path, work)


def test_moments_are_from_now_or_of_the_calendar_with_a_zone() -> None:
    assert parse_moment("90s", 1_000) == 91_000
    assert parse_moment("2d", 0) == 172_800_000
    assert parse_moment("1970-01-01T00:00:01.5Z") == 1_500
    assert parse_moment("1970-01-01T01:00:00+01:00") == 0
    for text in ("", "tomorrow", "2026-12-01T10:00:00", "-5s", "1969-12-31T00:00:00Z", "9" * 30 + "s"):
        with pytest.raises(click.UsageError):
            parse_moment(text)


async def test_a_secret_is_sealed_unless_it_is_asked_to_be_open(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        deal, secret, phrase = (tmp_path / name for name in ("deal", "secret", "phrase"))
        for path, text in ((phrase, "right\n"), (tmp_path / "other", "wrong\n")):
            path.write_text(text)
            path.chmod(0o600)
        terms = ("20.00", "--refund-after", "24h", "--contract", str(deal))
        create = ("tx", "htlc", "create", "alice", "bob", *terms, "--secret-file", str(secret))
        code, answer = shell.run(*create)
        assert (code, answer["code"], secret.exists()) == (output.CONFIGURATION, "KEY_NO_PASSPHRASE", False)
        made = shell.done(*create, "--passphrase-file", str(phrase))
        digest = made["terms"].split(",")[0].removeprefix("hash ")
        assert secret.stat().st_mode & 0o077 == 0
        claim = ("tx", "htlc", "claim", str(deal), "bob", "--secret-file", str(secret), "--passphrase-file")
        assert shell.run(*claim, str(tmp_path / "other"))[1]["code"] == "KEY_WRONG_PASSPHRASE"
        txid = shell.done(*claim, str(phrase), "--wait")["txid"]
        raw = shell.done("query", "tx", txid)["raw"]
        shown = decode_transaction(bytes.fromhex(raw), chain.chain_id).witness.preimages
        assert [digest_of(preimage).hex() for preimage in shown] == [digest]
        assert shown[0].hex() not in secret.read_text()

    await play(tmp_path, work)
