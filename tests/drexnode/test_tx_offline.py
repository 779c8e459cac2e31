"""Signing without a node: built where one is, signed where none is, sent by anyone, through files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drexnode.cli import output
from drexnode.cli.main import run
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB
from primitives.keys import SigningKey
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.shell import Shell, alone
from tests.drexnode.test_cli_kinds import play

NOWHERE = "http://127.0.0.1:9"  # nothing listens there
CAROL = SigningKey(b"c" * 32)


def packed_payment(shell: Shell) -> str:
    """Carol's payment of 10.00 to bob, built with a node but without her key."""
    address = shell.run_plain("keys", "list", "--keystore", shell.file("keys-carol"), "--prefix", "drexdev")
    carol = address[1]["keys"][0]["address"]
    shell.done("registry", "wallet", "enable", BANK_A_ISPB, carol, "--by", "bank-a")
    shell.done("tx", "transfer", "alice", carol, "50.00")
    shell.done("tx", "transfer", carol, "bob", "10.00", "--out", shell.file("half"))
    assert shell.done("tx", "pack", shell.file("half"), "--out", shell.file("packed"))["transactions"] == 1
    return shell.file("packed")


def changed(path: str, change: Any) -> str:
    """A copy of a packed file with its document changed."""
    document = json.loads(Path(path).read_text())
    change(document)
    copy = Path(f"{path}-changed")
    copy.write_text(json.dumps(document))
    return str(copy)


async def test_a_machine_without_a_node_signs_what_another_built(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        offline = alone(NOWHERE, tmp_path, "carol", CAROL)
        packed = packed_payment(shell)
        sign = ("tx", "sign", packed, "carol", "--offline", "--out", shell.file("whole"))
        done = offline.done(*sign, "--expect", f"-10.00 {BANK_A_DVT}")
        assert (done["status"], len(done["signed_by"])) == ("UNSENT", 1)
        assert shell.done("tx", "send", shell.file("whole"), "--wait")["status"] == "FINAL"
        assert shell.held("bob", BANK_A_DVT) == "10.00"

    await play(tmp_path, work)


async def test_a_packed_file_that_lies_or_differs_from_what_was_agreed_is_not_signed(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        offline = alone(NOWHERE, tmp_path, "carol", CAROL)
        packed = packed_payment(shell)

        def refusal(path: str, *more: str) -> str:
            code, answer = offline.run("tx", "sign", path, "carol", "--offline", "--out", "never", *more)
            assert code != output.OK
            return str(answer["code"])

        agreed = ("--expect", f"-10.00 {BANK_A_DVT}")
        assert refusal(packed, "--expect", f"-9.99 {BANK_A_DVT}") == "WALLET_TERMS_DIFFER"
        assert refusal(packed, "--expect", f"-10.00 {BANK_A_DVT}", "--expect", "+1.00 BRL") == (
            "WALLET_TERMS_DIFFER"
        )
        assert refusal(packed) == "WALLET_CONFIRM_NEEDED"
        assert refusal(changed(packed, lambda document: document["makers"].clear()), *agreed) == (
            "WALLET_SOURCE_UNKNOWN"
        )

        def richer(document: Any) -> None:
            """An input that seems to hold less, so that less change seems to be missing."""
            for txid, data in document["makers"].items():
                document["makers"][txid] = data.replace(f"cd{5000:04x}", f"cd{4000:04x}")

        assert refusal(changed(packed, richer), *agreed) == "WALLET_SOURCE_UNKNOWN"
        assert refusal(changed(packed, lambda document: document.pop("makers")), *agreed) == "WALLET_FILE"
        assert refusal(shell.file("half"), *agreed) == "WALLET_NOT_PACKED"
        assert run(["tx", "sign", packed, "carol", "--offline"]) == output.USAGE
        assert not Path("never").exists()

    await play(tmp_path, work)


async def test_a_spend_of_a_genesis_output_can_be_packed(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        shell.done("tx", "transfer", "alice", "bob", "1.00", "--out", shell.file("half"))
        shell.done("tx", "pack", shell.file("half"), "--out", shell.file("packed"))
        offline = Shell(NOWHERE, tmp_path, shell.options)
        sign = ("tx", "sign", shell.file("packed"), "alice", "--offline", "--out", shell.file("whole"))
        offline.done(*sign, "--expect", f"-1.00 {BANK_A_DVT}")
        assert shell.done("tx", "send", shell.file("whole"), "--wait")["status"] == "FINAL"

    await play(tmp_path, work)
