"""Names for addresses: kept, refused when wrong, and taken wherever an address is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drexnode.address_book import AddressBook
from drexnode.cli import output
from drexnode.config import load_config
from drexnode.wallet_accounts import WalletError
from ledger.devnet import BANK_A_DVT, BANK_A_ISPB, BANK_B_ISPB
from ledger.locks import key_lock
from primitives.address import encode_address
from primitives.errors import DecodeError
from primitives.keys import SigningKey
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.shell import Shell
from tests.drexnode.test_cli_kinds import play

CAROL = SigningKey(b"c" * 32)
ADDRESS = encode_address("drexdev", key_lock(CAROL.public_key))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    book = tmp_path / "mine" / "addresses.json"
    monkeypatch.setenv("DREX_ADDRESS_BOOK", str(book))
    return book


def code_of(book: AddressBook, *given: object) -> str:
    with pytest.raises((WalletError, DecodeError)) as caught:
        book.add(*given)  # type: ignore[arg-type]
    return caught.value.code


def test_a_contact_is_there_when_the_file_is_read_again(path: Path) -> None:
    AddressBook(path).add("carol", ADDRESS, CAROL.public_key)
    assert path.stat().st_mode & 0o077 == 0
    (contact,) = AddressBook(path).contacts.values()
    assert (contact.name, contact.address, contact.public_key) == ("carol", ADDRESS, CAROL.public_key)
    assert AddressBook(path).remove("carol") == contact
    assert AddressBook(path).contacts == {}


def test_what_is_wrong_never_gets_in(path: Path) -> None:
    book = AddressBook(path)
    book.add("carol", ADDRESS)
    assert code_of(book, "carol", ADDRESS) == "ADDRESS_BOOK_EXISTS"
    assert code_of(book, "no name", ADDRESS) == "ADDRESS_BOOK_NAME"
    mistyped = ADDRESS[:-1] + ("q" if ADDRESS[-1] != "q" else "p")
    assert code_of(book, "dave", mistyped) == "ADDRESS_INVALID"
    assert code_of(book, "dave", ADDRESS, SigningKey(bytes(32)).public_key) == "ADDRESS_BOOK_KEY"
    with pytest.raises(WalletError, match="ADDRESS_BOOK_UNKNOWN"):
        book.remove("dave")
    assert list(AddressBook(path).contacts) == ["carol"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"type": "drexnode address book", "version": 2, "contacts": {}}', "[" * 100_000]
)
def test_a_file_that_is_no_address_book_is_refused(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(WalletError, match="ADDRESS_BOOK_UNREADABLE"):
        AddressBook(path)


def test_a_changed_key_or_address_in_the_file_is_noticed(path: Path) -> None:
    AddressBook(path).add("carol", ADDRESS, CAROL.public_key)
    document = json.loads(path.read_text())
    document["contacts"]["carol"]["public_key"] = SigningKey(bytes(32)).public_key.hex()
    path.write_text(json.dumps(document))
    with pytest.raises(WalletError, match="ADDRESS_BOOK_UNREADABLE"):
        AddressBook(path)


async def test_a_name_is_taken_wherever_an_address_is(path: Path, tmp_path: Path) -> None:
    def work(shell: Shell, chain: MemoryChain) -> None:
        code, made = shell.run_plain(
            "address-book", "add", "carol", "--key", CAROL.public_key.hex(), "--prefix", "drexdev"
        )
        assert (code, made["address"]) == (output.OK, ADDRESS)
        shell.done("registry", "wallet", "enable", BANK_A_ISPB, "carol", "--by", "bank-a")
        shell.done("tx", "transfer", "alice", "carol", "12.00")
        assert shell.held("carol", BANK_A_DVT) == "12.00"
        deal, secret = shell.file("deal"), shell.file("secret")
        create = ("tx", "htlc", "create", "alice", "carol", "1.00", "--refund-after", "24h")
        shell.done(*create, "--contract", deal, "--secret-file", secret, "--open-secret")
        vault = ("tx", "vault", "create", "alice", "1.00", "--key", "carol", "--key", "bob", "--needed", "2")
        shell.done(*vault, "--contract", shell.file("vault"))
        order = ("--asset", BANK_A_DVT, "--order", "o1", "--by", "bank-a")
        shell.done("tx", "freeze", "carol", "2.00", *order)
        assert shell.done("query", "frozen", "carol")["freezes"][0]["amount"] == "2.00"
        shell.done(
            "tx", "move", "carol", "3.00", "--to", "bob", *order[:2], "--order", "o2", "--by", "bank-a"
        )
        shell.done("registry", "lock", "add", BANK_B_ISPB, "carol", "--by", "bank-b")
        assert shell.held("carol", BANK_A_DVT) == "9.00"
        assert shell.run("tx", "transfer", "carol", "bob", "1.00")[1]["code"] == "WALLET_NO_KEY"
        assert [row["name"] for row in shell.run_plain("address-book", "list")[1]["contacts"]] == ["carol"]
        shell.run_plain("address-book", "remove", "carol")
        assert shell.run("query", "balance", "carol")[1]["code"] == "WALLET_UNKNOWN"

    await play(tmp_path, work)


def test_the_variable_that_names_the_book_is_no_unknown_key_of_a_node(path: Path, tmp_path: Path) -> None:
    (tmp_path / "drexnode.toml").touch()
    assert load_config(tmp_path).home == tmp_path.resolve()
