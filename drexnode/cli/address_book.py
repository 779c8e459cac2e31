"""`drexnode address-book`: names for other people's addresses, usable wherever an address is taken."""

from __future__ import annotations

import os
from pathlib import Path

import click

from drexnode.address_book import AddressBook, Contact
from drexnode.cli.options import ExampleCommand, ExampleGroup, as_output
from drexnode.cli.output import show_json, show_pairs, show_table
from ledger.locks import key_lock
from primitives.address import encode_address
from primitives.keys import PUBLIC_KEY_BYTES

BOOK_VARIABLE = "DREX_ADDRESS_BOOK"


def default_path() -> Path:
    """The user's address book, or the one that DREX_ADDRESS_BOOK names."""
    named = os.environ.get(BOOK_VARIABLE)
    return Path(named) if named else Path.home() / ".drexnode" / "addresses.json"


def _view(contact: Contact) -> dict[str, str | None]:
    key = contact.public_key
    return {
        "name": contact.name,
        "address": contact.address,
        "public_key": None if key is None else key.hex(),
    }


@click.group(
    "address-book",
    cls=ExampleGroup,
    example="drexnode address-book add carol drexdev1…\ndrexnode tx transfer alice carol 10.00",
)
def command() -> None:
    """Names for other people's addresses: add, list, remove. DREX_ADDRESS_BOOK names another file."""


@command.command(
    "add", cls=ExampleCommand, example="drexnode address-book add carol --key KEY --prefix drexdev"
)
@click.argument("name")
@click.argument("address", required=False)
@click.option("--key", metavar="HEX", help="The public key: instead of the address, or to go with it.")
@click.option("--prefix", default="drex", show_default=True, help="Of the address, when only a key is given.")
@as_output
def add(name: str, address: str | None, key: str | None, prefix: str, as_json: bool) -> None:
    """Name an address. With --key it can also be paid under a condition (htlc, vault)."""
    public_key = None if key is None else _public_key(key)
    if address is None:
        if public_key is None:
            raise click.UsageError("an address, or --key, is expected")
        address = encode_address(prefix, key_lock(public_key))
    view = _view(AddressBook(default_path()).add(name, address, public_key))
    if as_json:
        show_json(view)
    else:
        show_pairs([(field, value) for field, value in view.items() if value is not None])


def _public_key(text: str) -> bytes:
    try:
        public_key = bytes.fromhex(text)
    except ValueError:
        public_key = b""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise click.UsageError(f"--key expects {2 * PUBLIC_KEY_BYTES} hex characters")
    return public_key


@command.command("list", cls=ExampleCommand, example="drexnode address-book list -o json")
@as_output
def list_(as_json: bool) -> None:
    """All names, with address and public key."""
    book = AddressBook(default_path())
    views = [_view(contact) for _, contact in sorted(book.contacts.items())]
    if as_json:
        show_json({"contacts": views})
    else:
        rows = [(view["name"], view["address"], view["public_key"] or "") for view in views]
        show_table(("NAME", "ADDRESS", "PUBLIC KEY"), rows)


@command.command("remove", cls=ExampleCommand, example="drexnode address-book remove carol")
@click.argument("name")
@as_output
def remove(name: str, as_json: bool) -> None:
    """Forget a name."""
    view = _view(AddressBook(default_path()).remove(name))
    if as_json:
        show_json(view)
    else:
        show_pairs([("removed", view["name"]), ("address", view["address"])])
