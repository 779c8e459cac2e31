"""The list of codes is whole: each is documented once, raised by a rule, and produced by a test.

OpenCBDC's static checks (`transaction/validation.cpp`) are the floor: for each of them a case that we refuse.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from ledger import codes
from ledger.mempool import Mempool, MempoolLimits
from tests.ledger.cases import INVALID
from tests.ledger.test_cases import refusal
from tests.ledger.test_mempool import add, point, tx
from tests.ledger.world import World

ROOT = Path(__file__).parents[2]
CASES = {case.name: case for case in INVALID}

OPENCBDC: dict[str, tuple[str, str]] = {
    "tx_error_code::no_inputs": ("transfer without inputs", codes.INPUTS_MISSING),
    "tx_error_code::no_outputs": ("transfer without outputs", codes.OUTPUTS_MISSING),
    "tx_error_code::missing_witness": ("no signature", codes.WITNESS_MISSING),
    "tx_error_code::missing_witness, one of two": (
        "transfer that only one of two senders signed",
        codes.WITNESS_MISSING,
    ),
    "tx_error_code::asymmetric_values, more": (
        "transfer of one centavo more than the input",
        codes.UNBALANCED,
    ),
    "tx_error_code::asymmetric_values, less": (
        "transfer of one centavo less than the input",
        codes.UNBALANCED,
    ),
    "tx_error_code::value_overflow": (
        "outputs sum past 64 bits to a small number",
        codes.SUM_OVERFLOW,
    ),
    "input_error_code::duplicate": ("duplicate input", codes.INPUT_DUPLICATE),
    "input_error_code::data_error": ("malformed: txid of 31 bytes", codes.MALFORMED),
    "output_error_code::zero_value": ("value 0", codes.VALUE_RANGE),
    "witness_error_code::missing_witness_program_type": ("malformed: witness missing", codes.MALFORMED),
    "witness_error_code::unknown_witness_program_type": ("malformed: condition tag 7", codes.MALFORMED),
    "witness_error_code::malformed": ("malformed: signature of 63 bytes", codes.MALFORMED),
    "witness_error_code::program_mismatch": (
        "transfer signed by another key than its owners",
        codes.NOT_AUTHORISED,
    ),
    "witness_error_code::invalid_public_key": ("signature by a key off the curve", codes.BAD_SIGNATURE),
    "witness_error_code::invalid_signature": ("signature of another body", codes.BAD_SIGNATURE),
}


def declared() -> dict[str, str]:
    """Names and values of the codes in ledger/codes.py, read from its source."""
    tree = ast.parse((ROOT / "ledger" / "codes.py").read_text())
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def quota_refusal() -> str:
    """What a mempool without room answers."""
    pool = Mempool(MempoolLimits(participant_transactions=1))
    add(pool, tx(point("x")))
    ((refused),) = add(pool, tx(point("y"))).refused
    return refused.code


@pytest.mark.parametrize("check", OPENCBDC)
def test_each_static_check_of_opencbdc_is_made(check: str) -> None:
    name, code = OPENCBDC[check]
    world = World.genesis()
    assert refusal(world, CASES[name].make(world)) == code == CASES[name].code


def test_every_declared_code_is_documented_and_no_other() -> None:
    assert sorted(declared().values()) == sorted(codes.CODES)
    assert len(set(declared().values())) == len(declared())


def test_every_declared_code_is_used_by_a_rule() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "ledger").glob("*.py") if path.name != "codes.py")
    assert [name for name in declared() if f"codes.{name}" not in sources] == []


def test_every_declared_code_is_produced() -> None:
    produced = {quota_refusal()}
    for case in INVALID:
        if case.code not in produced:
            world = World.genesis()
            produced.add(refusal(world, case.make(world)))
    assert set(declared().values()) - produced == set()


def test_the_vectors_hold_every_code_that_a_transaction_alone_can_have() -> None:
    vectors = json.loads((ROOT / "tests" / "vectors" / "transactions_invalid.json").read_text())
    held = {record["code"] for record in vectors["transactions"]}
    assert set(declared().values()) - held == {codes.QUOTA}
