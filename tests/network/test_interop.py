"""Another libp2p, written by others, reads heads and verifies certificates; unpermitted, it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.interop.run import is_installed, scenes
from tests.network.net import network

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.mark.skipif(not is_installed(), reason="Node.js and its packages are not here: make interop")
def test_js_libp2p_follows_heads_as_an_observer_and_is_refused_when_it_is_none(tmp_path: Path) -> None:
    with network(tmp_path / "net", full=1, observers=0) as net:
        assert scenes(net.folder, 2)
