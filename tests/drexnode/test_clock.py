"""The clock can be set wrong on a test network alone."""

from __future__ import annotations

import pytest

from drexnode.clock import MAX_OFFSET_MS, OFFSET_VARIABLE, open_clock, wall_clock_ms
from drexnode.config import ConfigError, read_environment
from ledger.devnet import DEVNET_PREFIX


@pytest.mark.parametrize("offset_ms", [3_600_000, -3_600_000])
def test_a_test_networks_clock_is_shifted_by_the_offset(offset_ms: int) -> None:
    clock = open_clock({OFFSET_VARIABLE: str(offset_ms)}, DEVNET_PREFIX)
    before = wall_clock_ms()
    shown = clock() - offset_ms
    assert before <= shown <= wall_clock_ms()


def test_without_the_variable_every_chain_has_the_machines_clock() -> None:
    assert open_clock({}, "drex") is wall_clock_ms
    assert open_clock({}, DEVNET_PREFIX) is wall_clock_ms


def test_the_variable_is_refused_on_any_other_chain() -> None:
    with pytest.raises(ConfigError) as refused:
        open_clock({OFFSET_VARIABLE: "0"}, "drex")
    assert refused.value.code == "CONFIG_TEST_ONLY"
    assert OFFSET_VARIABLE in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "an hour", "1e3", str(MAX_OFFSET_MS + 1), str(-MAX_OFFSET_MS - 1), "9" * 9999]
)
def test_an_offset_that_is_no_number_or_more_than_a_day_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_clock({OFFSET_VARIABLE: text}, DEVNET_PREFIX)
    assert refused.value.code == "CONFIG_BAD_VALUE"


def test_the_variable_is_no_key_of_the_configuration() -> None:
    assert read_environment({OFFSET_VARIABLE: "5"}) == {}
