"""A note is for its payee: sealed by default, open only when asked for, and readable by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drexnode.wallet_accounts import WalletError
from drexnode.wallet_notes import MAX_SEALED_TEXT_BYTES, is_sealed, open_text, read_note, seal_note
from ledger.devnet import BANK_A_ISPB
from ledger.locks import key_lock
from ledger.transaction import decode_transaction
from primitives.address import encode_address
from primitives.keys import SigningKey
from primitives.limits import MAX_NOTE_BYTES
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.shell import Shell
from tests.drexnode.test_cli_kinds import play

BOB, EVE = SigningKey(b"b" * 32), SigningKey(b"e" * 32)
UNKNOWN = encode_address("drexdev", key_lock(EVE.public_key))


def code_of(call: object, *given: object) -> str:
    assert callable(call)
    with pytest.raises(WalletError) as caught:
        call(*given)
    return caught.value.code


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=50))
def test_what_is_sealed_for_a_key_is_read_by_that_key_alone(text: str) -> None:
    note = seal_note(text, BOB.public_key)
    assert (is_sealed(note), read_note(note, BOB)) == (True, text)
    assert len(note) <= MAX_NOTE_BYTES
    assert code_of(read_note, note, EVE) == "WALLET_NOTE_SEALED"


def test_a_damaged_or_cut_note_is_refused_and_never_half_read() -> None:
    note = seal_note("rent of May", BOB.public_key)
    for place in range(1, len(note)):
        assert code_of(read_note, note[:place], BOB) == "WALLET_NOTE_SEALED"
        bent = note[:place] + bytes([note[place] ^ 1]) + note[place + 1 :]
        assert code_of(read_note, bent, BOB) == "WALLET_NOTE_SEALED"


def test_the_longest_note_fits_and_a_longer_one_is_refused() -> None:
    assert len(seal_note("x" * MAX_SEALED_TEXT_BYTES, BOB.public_key)) == MAX_NOTE_BYTES
    assert code_of(seal_note, "x" * (MAX_SEALED_TEXT_BYTES + 1), BOB.public_key) == "WALLET_NOTE_TOO_LONG"
    assert code_of(open_text, "x" * (MAX_NOTE_BYTES + 1)) == "WALLET_NOTE_TOO_LONG"
    assert code_of(seal_note, "x", bytes(32)) == "WALLET_NOTE_KEY"


async def test_a_note_by_command_is_sealed_unless_it_is_asked_to_be_open(tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        def notes(txid: str) -> list[bytes]:
            raw = bytes.fromhex(shell.done("query", "tx", txid)["raw"])
            return [output.note for output in decode_transaction(raw, chain.chain_id).body.outputs]

        pay = ("tx", "transfer", "alice", "bob", "1.00")
        sealed = shell.done(*pay, "--note", "rent of May", "--wait")["txid"]
        assert b"rent" not in b"".join(notes(sealed))
        shown = [{"index": 0, "sealed": True, "note": "rent of May"}]
        assert shell.done("tx", "note", sealed, "bob")["notes"] == shown
        assert shell.done("tx", "note", sealed, "alice")["notes"] == []
        opened = shell.done(*pay, "--open-note", "seen by all", "--wait")["txid"]
        assert b"seen by all" in notes(opened)
        shell.done("registry", "wallet", "enable", BANK_A_ISPB, UNKNOWN, "--by", "bank-a")
        to_unknown = ("tx", "transfer", "alice", UNKNOWN, "1.00", "--note", "rent")
        assert shell.run(*to_unknown)[1]["code"] == "WALLET_NOTE_KEY_UNKNOWN"

    await play(tmp_path, work)
