"""`tx vote add` warns when no node of the key is seen: a set with a validator that can't vote is weaker."""

from __future__ import annotations

from typing import Any, cast

import pytest

from drexnode import client as rpc
from drexnode.cli.tx_orders import is_seen

KEY, OTHER = b"\x01" * 32, b"\x02" * 32


class Asked:
    """A client whose node knows these nodes."""

    def __init__(self, nodes: list[dict[str, Any]]) -> None:
        self.nodes = nodes

    def run(self, call: rpc.Call[Any]) -> Any:
        return {"node": {"peer_id": "self"}} if call.method == "drex_getNetworkInfo" else self.nodes


@pytest.mark.parametrize(
    ("key", "peer", "connected", "seen"),
    [
        (KEY, "other", True, True),
        (KEY, "other", False, False),
        (KEY, "self", False, True),
        (OTHER, "other", True, False),
    ],
)
def test_a_key_is_seen_when_its_node_is_connected_or_asked(
    key: bytes, peer: str, connected: bool, seen: bool
) -> None:
    client = Asked([{"validator_key": key.hex(), "peer_id": peer, "connected": connected}])
    assert is_seen(cast(rpc.Client, client), KEY) is seen
    assert not is_seen(cast(rpc.Client, Asked([])), KEY)
