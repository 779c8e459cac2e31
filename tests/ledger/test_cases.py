"""Every named case: what is valid is accepted, what is not is refused with exactly its code."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.codes import CODES
from ledger.transaction import Transaction, decode_transaction
from primitives.errors import DecodeError
from tests.ledger.cases import INVALID, VALID, Case
from tests.ledger.world import CHAIN_ID, World

MEMPOOL_ONLY = {"TX_QUOTA"}  # produced by tests/ledger/test_mempool.py


def as_transaction(made: Transaction | bytes) -> Transaction:
    return made if isinstance(made, Transaction) else decode_transaction(made, CHAIN_ID)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
def test_valid_case_is_accepted(case: Case) -> None:
    world = World.genesis()
    made = as_transaction(case.make(world))
    assert decode_transaction(made.raw, CHAIN_ID) == made
    world.apply(made)


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
def test_invalid_case_is_refused_with_its_code(case: Case) -> None:
    world = World.genesis()
    assert refusal(world, case.make(world)) == case.code


def refusal(world: World, made: Transaction | bytes) -> str:
    """The code by which a node refuses what it received."""
    try:
        transaction = as_transaction(made)
    except DecodeError as error:
        return error.code
    return world.refused(transaction)


def test_every_documented_code_is_produced_by_a_case() -> None:
    assert {case.code for case in INVALID} == set(CODES) - MEMPOOL_ONLY


def test_case_names_are_distinct() -> None:
    names = [case.name for case in (*VALID, *INVALID)]
    assert len(names) == len(set(names))


def test_there_are_at_least_as_many_cases_as_the_vectors_promise() -> None:
    assert len(VALID) >= 60
    assert len(INVALID) >= 120


def test_the_documentation_lists_every_code_with_its_meaning() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
    for code, meaning in CODES.items():
        assert f"| `{code}` | {meaning} |" in page
