"""The root of the command line. `--help` imports nothing but Click: subcommands are loaded when they are
called.

Every error that leaves a command is shown by its code, cause, evidence and next command, and becomes an exit
code (docs/cli.md); a traceback is a bug.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import click

from drexnode.cli import output
from drexnode.version import VERSION
from primitives.errors import DrexError

# Section of --help -> command -> (module, what it does).
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "devnet": ("devnet", "A local network of real processes: up, down, status, reset, kill, start."),
        "init": ("init", "Make a node's home: configuration, genesis, keys."),
        "join": ("join", "Make a node's home from one file, made by registry invite."),
        "start": ("start", "Run a node until it is stopped."),
    },
    "See": {
        "status": ("status", "Where the network stands, and why it stands still if it does."),
        "top": ("top", "One node and its network, live: round, signatures, peers, pool, disk."),
        "explain-stall": ("explain_stall", "Why no block comes, and what to do about it."),
        "logs": ("logs", "A node's log, and the level of a running one."),
        "doctor": ("doctor", "Check clock, disk, ports, limits, keys, peers and versions of a home."),
    },
    "Use": {
        "tx": (
            "tx",
            "Every kind of transaction: transfer, emit, burn, interbank, swap, freeze … sign, send.",
        ),
        "query": ("query", "Balances, outputs, transactions, blocks, supply, validators, freezes."),
        "watch": ("watch", "Follow what becomes final: blocks, transactions, one wallet."),
    },
    "Keys": {
        "keys": ("keys", "Encrypted keys: new, list, show, import, export, rotate."),
        "signer": (
            "signer",
            "The validator's key in a process of its own, and moving it to another machine.",
        ),
        "address-book": ("address_book", "Names for other people's addresses: add, list, remove."),
    },
    "Data": {
        "backup": ("backup", "The chain, extended and signed: create, verify, restore."),
        "snapshot": ("snapshot", "The state at one height: create, verify, restore."),
        "prune": ("prune", "Let the bodies of old blocks go."),
        "rollback": ("rollback", "Drop a stopped node's last blocks, to fetch them again."),
        "verify-proof": ("verify_proof", "Check a proof of the state against a genesis, without any node."),
        "verify": ("verify", "Scan a stopped node's data, whole."),
        "repair": ("repair", "Put a damaged chain aside, to fetch it again."),
        "recover": ("recover", "Go on after more than f validators were lost for good."),
        "replay": ("replay", "Execute all blocks of a stopped node again and compare roots."),
        "export": ("export", "Blocks, transactions, outputs as JSON lines or Parquet."),
        "inspect": ("inspect", "Read a stopped or killed node's data, as query reads a running node."),
    },
    "Network": {
        "peers": ("peers", "Peers of a node: list, test, add, remove, bans, unban."),
        "validators": ("validators", "Who decides blocks, and a validator's votes on that."),
        "registry": ("registry", "Participants, keys, wallets, assets, pauses, nodes, candidates."),
    },
    "Setup": {
        "config": ("config", "Show and check the configuration."),
        "genesis": ("genesis", "Make, check and show a genesis document."),
        "upgrade": ("upgrade", "Which nodes are ready for the next protocol version: status."),
        "rpc": ("rpc_access", "Who may call a node's RPC: tokens, their keys, API keys."),
        "render": ("render", "Files for systemd, compose or Kubernetes, made from a home."),
    },
    "Other": {
        "version": ("version", "Version of the program and of what it rests on."),
        "completion": ("completion", "Completion for bash, zsh or fish."),
    },
}
_ALL = {name: entry for commands in SECTIONS.values() for name, entry in commands.items()}


class RootGroup(click.Group):
    """Loads a subcommand's module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the sections."""
        return list(_ALL)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module."""
        if cmd_name not in _ALL:
            return None
        module = importlib.import_module(f"drexnode.cli.{_ALL[cmd_name][0]}")
        return cast(click.Command, module.command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections of --help, without importing anything."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, entry[1]) for name, entry in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """An example, as every command has one."""
        with formatter.section("Example"):
            formatter.write_text("drexnode devnet up --demo")


@click.group(
    cls=RootGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="A node of a permissioned central-bank ledger.",
)
@click.version_option(VERSION, "--version", prog_name="drexnode")
def root() -> None:
    """The root group."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(given))


def run(arguments: list[str]) -> int:
    """Run one command; the exit code is returned, every error is shown."""
    try:
        result: Any = root.main(arguments, prog_name="drexnode", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return output.USAGE
    except click.Abort:
        output.note("aborted")
        return output.FAILURE
    except DrexError as error:
        output.show_error(error, as_json=_wants_json(arguments))
        return output.exit_code(error)
    except BrokenPipeError:
        sys.stderr.close()
        return output.FAILURE
    return result if isinstance(result, int) else output.OK


def _wants_json(arguments: list[str]) -> bool:
    joined = " ".join(arguments)
    return "-o json" in joined or "--output json" in joined or "--output=json" in joined or "-ojson" in joined
