"""`drexnode doctor`: what is wrong with a node's machine and home, and an archive for whoever helps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from drexnode import client as rpc
from drexnode.cli.options import ExampleCommand, a_home, as_output
from drexnode.cli.output import FAILURE, OK, note, show_json, show_table


@click.command(
    "doctor", cls=ExampleCommand, example="drexnode doctor --home node\ndrexnode doctor --bundle help.tar.gz"
)
@a_home
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write findings, configuration, status, metrics, the log's end to a new .tar.gz, no secrets.",
)
@as_output
def command(home: Path, bundle: Path | None, as_json: bool) -> int:
    """Check clock, disk, ports, limits, keys, peers and versions. Works whether the node runs or not.

    Ends with 1 when something is bad; warnings alone end with 0.
    """
    from drexnode.cli.locate import client_of_home
    from drexnode.cli.progress import show_progress
    from drexnode.cli.version import versions
    from drexnode.config import load_config
    from drexnode.doctor import examine

    config = load_config(home)
    with client_of_home(config) as client, show_progress() as report:
        report("checks", 0, 0)
        findings = examine(config, client)
        rows = [dataclasses.asdict(item) for item in findings]
        found: dict[str, Any] = {"home": str(config.home), "findings": rows, "versions": versions()}
        files = None if bundle is None else _bundle(bundle, config, client, found)
    if as_json:
        show_json({**found, "bundle": None if bundle is None else {"path": str(bundle), "files": files}})
    else:
        shown = [(item.verdict.upper(), item.check, item.message) for item in findings]
        show_table(("", "CHECK", "FOUND"), shown)
        for check, following in dict.fromkeys((item.check, item.next) for item in findings):
            if following is not None:
                click.echo(f"next ({check}): {following}")
        if files is not None:
            note(f"{bundle}: {', '.join(files)}; look it through before you send it")
    return FAILURE if any(item.verdict == "bad" for item in findings) else OK


def _bundle(path: Path, config: Any, client: rpc.Client, found: dict[str, Any]) -> list[str]:
    from drexnode.doctor_bundle import write_bundle

    documents: dict[str, str | dict[str, Any]] = {
        "findings.json": found,
        "config.json": _configuration(config),
    }
    try:
        documents["status.json"] = dict(client.run(rpc.network_info()))
        documents["stall.json"] = dict(client.run(rpc.explain_stall()))
        documents["metrics.txt"] = client.get("/metrics")[1].decode("utf-8", "replace")
    except (rpc.NodeUnreachable, rpc.RpcRefused) as error:
        documents["unreachable.txt"] = f"{error.code}: {error.message}\n"
    return write_bundle(path, config, documents)


def _configuration(config: Any) -> dict[str, Any]:
    from drexnode.config import KEYS

    return {
        name: {"value": getattr(getattr(config, spec.section), spec.key), "origin": config.origins[name]}
        for name, spec in KEYS.items()
    }
