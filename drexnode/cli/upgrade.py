"""`drexnode upgrade`: is the network ready for the next protocol version?"""

from __future__ import annotations

import click

from drexnode import client as rpc
from drexnode.cli.locate import open_client
from drexnode.cli.options import ExampleCommand, ExampleGroup, as_output, at_node
from drexnode.cli.output import FAILURE, OK, show_json, show_pairs, show_table


@click.group("upgrade", cls=ExampleGroup, example="drexnode upgrade status --home node")
def command() -> None:
    """Protocol versions, which the registry sets for a height."""


@command.command("status", cls=ExampleCommand, example="drexnode upgrade status --home node -o json")
@at_node
@as_output
def status(as_json: bool) -> int:
    """Which protocol version holds, which comes at which height, and which nodes know it.

    Ends with 1 when a version is coming that this node, or a quorum of validators, does not know.
    """
    with open_client() as client:
        found = client.run(rpc.protocol())
    wanted = found["next_version"]
    deciding = [node for node in found["nodes"] if node["decides"]]
    ready = [node for node in deciding if _knows(node["protocol"], wanted)]
    is_ready = wanted is None or (found["supported"] >= wanted and len(ready) >= found["quorum"])
    if as_json:
        show_json({"rpc_url": client.url, **found, "ready_validators": len(ready), "ready": is_ready})
        return OK if is_ready else FAILURE
    coming = "none set" if wanted is None else f"version {wanted} from block {found['next_height']} on"
    left = "" if found["next_height"] is None else f", in {found['next_height'] - found['height']} blocks"
    show_pairs(
        [
            ("height", found["height"]),
            ("in force", f"version {found['version']}"),
            ("coming", coming + left),
            ("this program", f"knows versions up to {found['supported']}"),
            ("ready", f"{len(ready)} of {len(deciding)} validators; {found['quorum']} are needed"),
        ]
    )
    click.echo()
    rows = [
        (
            node["name"] or node["peer_id"][:16],
            node["role"],
            "yes" if node["decides"] else "no",
            node["protocol"],
            _word(node["protocol"], wanted),
        )
        for node in found["nodes"]
    ]
    show_table(("NODE", "ROLE", "DECIDES", "KNOWS", "READY"), rows, right=(3,))
    if not is_ready:
        click.echo(
            "next: install a drexnode that knows the version on each node that is not ready, restart it"
        )
    return OK if is_ready else FAILURE


def _knows(known: int | None, wanted: int | None) -> bool:
    return known is not None and (wanted is None or known >= wanted)


def _word(known: int | None, wanted: int | None) -> str:
    return "not connected" if known is None else "yes" if _knows(known, wanted) else "NO"
