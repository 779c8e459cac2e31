"""Protocol versions: which holds, which comes, who is ready for it."""

from __future__ import annotations

import dataclasses
from typing import Any

from drexnode.rpc import answers_node
from drexnode.rpc.registry import Context, method


@method(
    "drex_getProtocol",
    "{height, version, next_version, next_height, supported, quorum, nodes}",
    answers_node.Protocol,
    rest="GET /protocol",
)
async def get_protocol(context: Context) -> dict[str, Any]:
    """The protocol version at the tip, the next one that the registry has set, and who knows it."""
    return dataclasses.asdict(context.api.upgrade())
