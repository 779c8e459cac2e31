"""Named transactions with their verdicts: the tests run them, and the vectors are written from them.

A case prepares its world and returns one transaction (or raw bytes, when what matters is how they read).
`VALID` are accepted; `INVALID` are refused with exactly the code they name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from ledger.transaction import Transaction
from tests.ledger.world import World

Make = Callable[[World], Transaction | bytes]


class Case(NamedTuple):
    """One transaction, made in a fresh world; `code` is None when it is accepted."""

    name: str
    make: Make
    code: str | None


VALID: list[Case] = []
INVALID: list[Case] = []
_MODULES = (
    "encoding",
    "shape",
    "money",
    "conditions",
    "signatures",
    "interbank",
    "orders",
    "registry",
    "votes",
)


def valid(make: Make) -> Make:
    """The transaction that `make` returns is accepted."""
    VALID.append(Case(_name(make), make, None))
    return make


def invalid(code: str) -> Callable[[Make], Make]:
    """The transaction that the decorated function returns is refused with `code`."""

    def decorate(make: Make) -> Make:
        INVALID.append(Case(_name(make), make, code))
        return make

    return decorate


def add_invalid(name: str, code: str, make: Make) -> None:
    """Add one of a family of refused transactions."""
    INVALID.append(Case(name, make, code))


def add_valid(name: str, make: Make) -> None:
    """Add one of a family of accepted transactions."""
    VALID.append(Case(name, make, None))


def _name(make: Make) -> str:
    return make.__name__.replace("_", " ")


for _module in _MODULES:
    import_module(f"{__name__}.{_module}")
