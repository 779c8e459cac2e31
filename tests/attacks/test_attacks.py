"""Every attack, briefly, against one network: the victim lives, holds its memory, and blocks still come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.run import MAX_GROWTH_BYTES, attack, invited_seed
from tests.attacks.villains import ATTACKS
from tests.long import LONG
from tests.network.net import Network, network

pytestmark = [pytest.mark.network, pytest.mark.slow]
SECONDS = 1.0
UNTIL_BANNED_S = 5.0
BRIEF = ("garbage", "replay", "fake_heads", "lying_ranges", "unknown_ids")
"""Those that once hurt, or once hit nothing: on a busy machine all fourteen take over two minutes."""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network(tmp_path_factory.mktemp("attacks") / "net", full=0, observers=0) as running:
        running.transfer()
        yield running


@pytest.fixture(scope="module")
def seed(net: Network) -> bytes:
    return invited_seed(net)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in BRIEF else LONG) for name in ATTACKS]
)
def test_an_attack_costs_bounded_memory_and_the_network_goes_on(net: Network, seed: bytes, name: str) -> None:
    outcome = attack(net, name, seed, SECONDS)
    assert outcome.blows > 0
    assert outcome.growth_bytes < MAX_GROWTH_BYTES
    net.await_agreement(net.transfer()["height"])


@LONG
@pytest.mark.parametrize(
    "name",
    ["lying_ranges", "fake_heads", "violate_windows", "oversize_frames", "invalid_transactions"],
)
def test_who_lies_about_blocks_or_breaks_the_protocol_is_banned(net: Network, seed: bytes, name: str) -> None:
    assert attack(net, name, seed, UNTIL_BANNED_S).banned
