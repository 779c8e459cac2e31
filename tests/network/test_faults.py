"""What validators stand on real processes: one dead, one with a wrong clock, one voted in and one out.

Short forms of commands that measure the same for longer (docs/performance.md, "Faults").
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from drexnode.clock import OFFSET_VARIABLE
from drexnode.home import write_genesis
from drexnode.network_plan import plan_network
from drexnode.processes import find_process, log_tail, start_process
from tests.network import clock_offset, dead_validator, membership
from tests.network.net import Network, drexnode, free_base_port, network, until

pytestmark = pytest.mark.network


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path / "net", full=0, observers=0) as running:
        yield running


def test_without_one_of_four_validators_most_blocks_wait_for_nobody(net: Network) -> None:
    """That the interval grows by less than 20 % is measured by `make faults`; a busy machine is no judge."""
    said: list[str] = []
    figures = dead_validator.measure(net, rate=100, seconds=8, say=said.append)
    assert "validator-3 is killed" in said[-1]
    assert figures.lost == 0
    waited = sum(round > 0 for round in figures.rounds_after)
    assert 0 < waited < len(figures.rounds_after) / 2, str(figures)


def test_a_validator_whose_clock_is_an_hour_wrong_stops_nobody(net: Network) -> None:
    said: list[str] = []
    clock_offset.run(net, rate=50, seconds=8, say=said.append, most_s=60)
    assert [text.split(":")[0].rpartition("is ")[2] for text in said] == [
        "an hour ahead",
        "an hour behind",
        "right again",
    ]
    assert " 0 of them sealed" not in said[2]


def test_a_wrong_clock_is_refused_on_a_chain_that_is_no_test_network(tmp_path: Path) -> None:
    genesis, port = tmp_path / "genesis.json", free_base_port(1)
    plan = plan_network(
        validators=1, full=0, observers=0, base_port=port, entropy=bytes(32), timestamp_ms=1, name="real"
    )
    write_genesis(genesis, msgspec.structs.replace(plan.document, address_prefix="drex"))
    home = tmp_path / "home"
    made = drexnode("init", "--home", home, "--genesis", genesis, "--p2p-port", port, "--rpc-port", port + 50)
    assert made.returncode == 0, made.stderr
    start_process(home, variables={OFFSET_VARIABLE: "3600000"})
    until("the node ends", lambda: find_process(home) is None)
    assert "CONFIG_TEST_ONLY" in log_tail(home)


def test_one_validator_is_voted_in_and_another_out_under_load(net: Network, tmp_path: Path) -> None:
    newcomer = membership.Newcomer(net, tmp_path / "newcomer")
    said: list[str] = []
    try:
        membership.run(net, newcomer, rate=50, say=said.append)
    finally:
        newcomer.stop()
    assert "none lost" in said[-1]
