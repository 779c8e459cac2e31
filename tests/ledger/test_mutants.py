"""The list of mutants fits the source: each names a text that occurs once, and changes some function."""

from __future__ import annotations

import importlib

import pytest

from tests.ledger.mutants import MUTANTS, Mutant, applied, is_found, mutated_functions


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_mutant_changes_exactly_the_rule_it_names(mutant: Mutant) -> None:
    module = importlib.import_module(mutant.module)
    changed = mutated_functions(module, mutant)
    assert changed
    former = [function.__code__ for function, _ in changed]
    with applied(mutant):
        assert all(function.__code__ is not code for (function, _), code in zip(changed, former, strict=True))
    assert [function.__code__ for function, _ in changed] == former


def test_a_mutant_is_found_by_its_property() -> None:
    """One of them here; all by `make ledger-mutants`."""
    assert is_found(MUTANTS[0])
