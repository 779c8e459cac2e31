"""A new key takes over: all free money at once, or a role; refused to whom it does not belong."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from drexnode.cli import output
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB, BCB_ISPB
from ledger.locks import key_lock
from primitives.address import encode_address
from primitives.keys import SigningKey
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.shell import Shell, alone
from tests.drexnode.test_cli_kinds import play

NEW = SigningKey(b"n" * 32)
NEW_HEX = NEW.public_key.hex()
ADDRESS = encode_address("drexdev", key_lock(NEW.public_key))


async def test_all_free_money_moves_in_one_transaction_and_the_frozen_stays(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        assert shell.refused("keys", "rotate", "alice", NEW_HEX) == "TX_WALLET_NOT_ENABLED"
        shell.done("registry", "wallet", "enable", BANK_A_ISPB, ADDRESS, "--by", "bank-a")
        order = ("--asset", BANK_A_DVT, "--order", "o1", "--by", "bank-a")
        shell.done("tx", "freeze", "alice", "7.00", *order)
        before = shell.held("alice", BANK_A_DVT)
        done = shell.done("keys", "rotate", "alice", NEW_HEX, "--wait")
        assert (done["status"], shell.held("alice", BANK_A_DVT)) == ("FINAL", "7.00")
        free = str(Decimal(before) - 7)
        assert (shell.held(ADDRESS, BANK_A_DVT), done["moved"]) == (free, [f"{free} {BANK_A_DVT}"])
        code, answer = shell.run("keys", "rotate", "alice", NEW_HEX)
        assert (code, answer["code"]) == (output.FAILURE, "WALLET_FUNDS")
        shell.done("tx", "unfreeze", "alice", *order)
        shell.done("keys", "rotate", "alice", NEW_HEX)
        assert shell.held("alice", BANK_A_DVT) == "0.00"

    await play(tmp_path, work)


async def test_a_key_of_the_keystore_is_asked_about_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREX_KEYSTORE", str(tmp_path / "keys-carol"))

    def work(shell: Shell, chain: MemoryChain) -> None:
        alone(shell.url, tmp_path, "carol", NEW)
        shell.done("registry", "wallet", "enable", BANK_A_ISPB, "carol", "--by", "bank-a")
        shell.done("tx", "transfer", "alice", "carol", "3.00")
        assert shell.held("carol", BANK_A_DVT) == "3.00"

    await play(tmp_path, work)


async def test_a_role_passes_to_a_new_key_and_the_old_one_speaks_no_more(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        new = alone(shell.url, tmp_path, "bcb-2", NEW)
        role = ("--role", "emission", "--as", BCB_ISPB)
        assert shell.refused("keys", "rotate", "bank-a", NEW_HEX, *role) == "TX_NOT_AUTHORISED"
        shell.done("keys", "rotate", "bcb", NEW_HEX, "--role", "emission", "--wait")
        bank = chain.plan.wallets_view()["bank-a"]["address"]
        assert shell.refused("tx", "emit", "bcb", "bank-a", "1.00", "--asset", "BRL") == "TX_NOT_AUTHORISED"
        assert new.done("tx", "emit", "bcb-2", bank, "1.00", "--asset", "BRL")["status"] == "PENDING"

    await play(tmp_path, work)
