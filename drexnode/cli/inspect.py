"""`drexnode inspect`: the data of a stopped or killed node, read and never changed.

Everything `drexnode query` answers of a running node, and what only files know: what a validator's key has
signed, and what a restart would make of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from drexnode.cli import query
from drexnode.cli.options import NODE_KEY, STOPPED_KEY, ExampleCommand, ExampleGroup, a_home, as_output
from drexnode.cli.output import CliError, show_json, show_pairs
from drexnode.config import NodeConfig, load_config

_ELSEWHERE = ("rpc", "home", "dir")
STEPS = ("ROUND_CHANGE", "PROPOSAL", "PREPARE", "COMMIT")


@click.group("inspect", cls=ExampleGroup, example="drexnode inspect balance alice --home devnet/full-0")
def command() -> None:
    """Read a stopped node's data: summary, blocks, balances, transactions, what a key has signed."""


@command.command("summary", cls=ExampleCommand, example="drexnode inspect summary --home node")
@a_home
@as_output
def summary(home: Path, as_json: bool) -> None:
    """Tip, supply, sizes: what lies in the data, after the checks of a start."""
    from drexnode.recovery import STORE_FOLDER
    from drexnode.stopped import open_stopped

    config = load_config(home)
    with open_stopped(config) as chain:
        header = chain.tip.header
        supplies = chain.queries.supplies()
        facts: dict[str, object] = {
            "network": chain.document.name,
            "chain_id": chain.chain_id.hex(),
            "height": chain.tip.height,
            "block_id": chain.tip.block_id.hex(),
            "state_root": header.state_root.hex(),
            "timestamp_ms": header.timestamp_ms,
            "bodies_from": chain.queries.pruned_below,
            "undecided_blocks": len(chain.store.undecided),
            "database_bytes": _size(config.data_path / STORE_FOLDER),
            "recovered": list(chain.store.database.recovered),
        }
    if as_json:
        view = {
            asset: {"emitted": str(item.emitted), "burned": str(item.burned)}
            for asset, item in supplies.items()
        }
        show_json({**facts, "supply": view})
        return
    show_pairs(list(facts.items()))
    show_pairs(
        [(f"supply {asset}", f"{item.circulating} smallest units") for asset, item in supplies.items()]
    )


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in folder.iterdir() if entry.is_file())


@command.command("signing", cls=ExampleCommand, example="drexnode inspect signing --home node -o json")
@a_home
@as_output
def signing(home: Path, as_json: bool) -> None:
    """What a validator's key has signed, as journal and watermark remember it, and what a restart may do."""
    config = load_config(home)
    if config.node.role != "validator":
        message = f"{config.home} is the home of a {config.node.role}: it has signed nothing"
        raise CliError("NOT_A_VALIDATOR", message, next=f"drexnode inspect summary --home {home}")
    facts = _signing_facts(config)
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))


def _signing_facts(config: NodeConfig) -> dict[str, object]:
    from consensus.journal import lock_of
    from storage.signing_state import Quarantine, recover_signing_state
    from storage.vote_journal import read_journal
    from storage.watermark import read_watermark

    journal, watermark = read_journal(config.data_path / "votes"), read_watermark(config.watermark_path)
    outcome = recover_signing_state(journal, watermark)
    newest = watermark.newest
    last = outcome.floor if isinstance(outcome, Quarantine) else outcome.last
    lock = None if last is None else lock_of([*journal.records, last], last.height)
    return {
        "public_key": None if journal.owner is None else journal.owner.public_key.hex(),
        "journal_records": len(journal.records),
        "journal_last": _vote(journal.last),
        "journal_damage": journal.damage,
        "watermark_last": _vote(None if newest is None else newest.record),
        "watermark_bad_slots": watermark.damaged,
        "lock_round": None if lock is None else lock.round,
        "at_restart": _at_restart(watermark.is_retired, isinstance(outcome, Quarantine)),
        "note": outcome.reason if isinstance(outcome, Quarantine) else outcome.note,
    }


def _at_restart(is_retired: bool, in_quarantine: bool) -> str:
    if is_retired:
        return "retired: its key moved to another machine"
    return "quarantine" if in_quarantine else "signs above the last vote"


def _vote(record: Any) -> str | None:
    if record is None:
        return None
    return f"height {record.height}, round {record.round}, {STEPS[record.step]}"


def _offline(name: str, online: click.Command) -> click.Command:
    """A command of `drexnode query` that asks files instead of a node."""
    assert isinstance(online, ExampleCommand)
    params = [param for param in online.params if param.name not in _ELSEWHERE]
    home_option = a_home(click.Command("home")).params[0]
    example = online.example.replace("drexnode query", "drexnode inspect", 1) + " --home node"
    callback: Callable[..., Any] | None = online.callback
    assert callback is not None

    def run(home: Path, **arguments: Any) -> Any:
        from drexnode.stopped import open_stopped
        from drexnode.stopped_api import StoppedClient

        config = load_config(home)
        meta = click.get_current_context().meta
        with open_stopped(config) as chain:
            meta[STOPPED_KEY] = StoppedClient(config, chain)
            meta.setdefault(NODE_KEY, {})["dir"] = _devnet_of(config)
            return callback(**arguments)

    return ExampleCommand(
        name, params=[*params, home_option], callback=run, help=online.help, example=example
    )


def _devnet_of(config: NodeConfig) -> Path | None:
    """The devnet that a home belongs to: it knows wallets by name."""
    from drexnode.devnet import Devnet

    return config.home.parent if Devnet.exists(config.home.parent) else None


for _name, _command in query.command.commands.items():
    command.add_command(_offline(_name, _command))
