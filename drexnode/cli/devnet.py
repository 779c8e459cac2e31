"""`drexnode devnet`: a local network of real processes over real libp2p."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from drexnode.cli.options import ExampleCommand, ExampleGroup, as_output
from drexnode.cli.output import CliError, note, show_json, show_table

F = TypeVar("F", bound=Callable[..., Any])
_POLL_S = 0.2


def in_folder(command: F) -> F:
    """`--dir DIR`, passed as `folder`."""
    return click.option(
        "--dir",
        "folder",
        envvar="DREX_DIR",
        type=click.Path(path_type=Path),
        default=Path("devnet"),
        show_default=True,
        metavar="DIR",
        help="The devnet's folder.",
    )(command)


@click.group("devnet", cls=ExampleGroup, example="drexnode devnet up --demo\ndrexnode devnet status")
def command() -> None:
    """A local network of real processes: up, down, status, reset, kill, start."""


@command.command("up", cls=ExampleCommand, example="drexnode devnet up --validators 4 --demo --detach")
@click.option("--validators", type=click.IntRange(1, 40), default=4, show_default=True)
@click.option("--full", type=click.IntRange(0, 20), default=1, show_default=True)
@click.option("--observers", type=click.IntRange(0, 20), default=1, show_default=True)
@click.option(
    "--base-port",
    type=click.IntRange(1024, 65000),
    default=26600,
    show_default=True,
    help="Node n listens for peers on this port + n, its RPC on this port + 50 + n.",
)
@click.option("--demo", is_flag=True, help="Move money: an emission, a transfer and a burn.")
@click.option(
    "--detach", is_flag=True, help="Return when the network runs, instead of keeping it until Ctrl-C."
)
@in_folder
@click.pass_context
def up(
    ctx: click.Context,
    validators: int,
    full: int,
    observers: int,
    base_port: int,
    demo: bool,
    detach: bool,
    folder: Path,
) -> None:
    """Start a network, or the one in DIR again, and keep it running until Ctrl-C."""
    from drexnode.devnet import Devnet

    started = time.monotonic()
    with _ctrl_c() as stopped:
        if Devnet.exists(folder):
            devnet = Devnet(folder)
            _refuse_running(devnet)
            _refuse_other_shape(ctx, devnet)
            note(f"starting the network in {folder} again; `drexnode devnet reset` begins a new one")
        else:
            devnet = Devnet.create(
                folder, validators=validators, full=full, observers=observers, base_port=base_port
            )
        try:
            for node in devnet.nodes:
                devnet.start(node)
            devnet.wait_started(devnet.nodes, note)
            if not devnet.wait_mesh():
                note("not every node is connected to all others yet")
            _introduce(devnet, time.monotonic() - started)
            if demo:
                _run_demo(devnet)
        except BaseException:
            devnet.stop()
            raise
        if detach:
            note(f"the network keeps running; stop it with: drexnode devnet down --dir {folder}")
            return
        _keep_running(devnet, stopped)


def _refuse_running(devnet: Any) -> None:
    running = devnet.running()
    if running:
        names = ", ".join(node.name for node in running)
        message = f"the devnet in {devnet.folder} runs already: {names}"
        hint = f"drexnode devnet status --dir {devnet.folder}, or drexnode devnet down --dir {devnet.folder}"
        raise CliError("DEVNET_RUNNING", message, next=hint)


def _refuse_other_shape(ctx: click.Context, devnet: Any) -> None:
    """A network keeps the shape it was made with: an option that asks for another is an error, not
    ignored.
    """
    roles = [node.role for node in devnet.nodes]
    made = {
        "validators": roles.count("validator"),
        "full": roles.count("full"),
        "observers": roles.count("observer"),
        "base_port": devnet.nodes[0].p2p_port,
    }
    for name, value in made.items():
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and ctx.params[name] != value:
            option = f"--{name.replace('_', '-')}"
            message = f"the network in {devnet.folder} was made with {option} {value}, not {ctx.params[name]}"
            hint = f"drexnode devnet reset --dir {devnet.folder}, or another --dir"
            raise CliError("DEVNET_EXISTS", message, next=hint)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """SIGTERM becomes Ctrl-C; yields whether one came while nothing could be interrupted."""
    came = []

    def interrupt(*_: object) -> None:
        came.append(True)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


def _introduce(devnet: Any, seconds: float) -> None:
    counts: dict[str, int] = {}
    for node in devnet.nodes:
        counts[node.role] = counts.get(node.role, 0) + 1
    made = ", ".join(
        f"{count} {'full node' if role == 'full' else role}{'s' if count > 1 else ''}"
        for role, count in counts.items()
    )
    click.echo(f"network of {made} runs after {seconds:.1f} s")
    _show_status(devnet)


def _run_demo(devnet: Any) -> None:
    from drexnode.demo import run_demo

    click.echo()
    run_demo(devnet, click.echo)
    click.echo()
    url = devnet.nodes[0].rpc_url
    click.echo(f"RPC: {url}   wallets: {devnet.folder / 'wallets.json'}")
    click.echo(f"try: drexnode tx transfer alice bob 10.00 --wait --dir {devnet.folder}")


def _keep_running(devnet: Any, stopped: Callable[[], bool]) -> None:
    """Watch the nodes until Ctrl-C, then stop all of them."""
    from drexnode.processes import reap

    note("running; Ctrl-C stops the network")
    alive = {node.name for node in devnet.running()}
    try:
        while not stopped():
            time.sleep(_POLL_S)
            reap()
            now = {node.name for node in devnet.running()}
            for name in sorted(alive - now):
                note(f"{name} ended; its log is {devnet.folder / name / 'node.log'}")
            for name in sorted(now - alive):
                note(f"{name} runs again")
            alive = now
    except KeyboardInterrupt:
        pass
    note("stopping the network")
    devnet.stop()


@command.command("down", cls=ExampleCommand, example="drexnode devnet down")
@in_folder
@as_output
def down(folder: Path, as_json: bool) -> None:
    """Stop every node in order; the chain stays and `up` goes on with it."""
    from drexnode.devnet import Devnet

    names = Devnet(folder).stop()
    note(f"stopped {', '.join(names)}" if names else "nothing ran")
    if as_json:
        show_json({"dir": str(folder), "stopped": list(names)})


@command.command("status", cls=ExampleCommand, example="drexnode devnet status -o json")
@in_folder
@as_output
def status(folder: Path, as_json: bool) -> None:
    """Name, role, process, ports, height and peers of every node."""
    from drexnode.devnet import Devnet

    devnet = Devnet(folder)
    if as_json:
        show_json({"dir": str(folder), "nodes": _rows(devnet)})
    else:
        _show_status(devnet)


def _rows(devnet: Any) -> list[dict[str, object]]:
    return [
        {
            "name": state.node.name,
            "role": state.node.role,
            "pid": state.pid,
            "rpc_url": state.node.rpc_url,
            "p2p_address": state.node.p2p_address,
            "height": state.height,
            "peers": state.peers,
            "ready": state.ready,
            "home": str(state.node.home),
        }
        for state in devnet.status()
    ]


def _show_status(devnet: Any) -> None:
    heads = ("NAME", "ROLE", "PID", "HEIGHT", "PEERS", "READY", "RPC", "P2P")
    rows = [
        (
            row["name"],
            row["role"],
            row["pid"],
            row["height"],
            row["peers"],
            "yes" if row["ready"] else "no",
            row["rpc_url"],
            str(row["p2p_address"]).split("/p2p/")[0],
        )
        for row in _rows(devnet)
    ]
    show_table(heads, rows, right=(2, 3, 4))


@command.command("reset", cls=ExampleCommand, example="drexnode devnet reset")
@in_folder
@as_output
def reset(folder: Path, as_json: bool) -> None:
    """Stop every node and delete the folder: the next `up` begins a new chain."""
    from drexnode.devnet import Devnet

    Devnet(folder).delete()
    note(f"{folder} is gone")
    if as_json:
        show_json({"dir": str(folder), "deleted": True})


@command.command("kill", cls=ExampleCommand, example="drexnode devnet kill validator-1")
@click.argument("name")
@in_folder
@as_output
def kill(name: str, folder: Path, as_json: bool) -> None:
    """`kill -9` a node."""
    from drexnode.devnet import Devnet

    devnet = Devnet(folder)
    devnet.kill(devnet.node(name))
    note(f"{name} is killed; start it with: drexnode devnet start {name} --dir {folder}")
    if as_json:
        show_json({"dir": str(folder), "killed": name})


@command.command("start", cls=ExampleCommand, example="drexnode devnet start validator-1")
@click.argument("name")
@click.option("--wait/--no-wait", default=False, help="Return when the node is ready.")
@in_folder
@as_output
def start(name: str, wait: bool, folder: Path, as_json: bool) -> None:
    """Start a node that does not run."""
    from drexnode.devnet import Devnet

    devnet = Devnet(folder)
    node = devnet.node(name)
    process = devnet.start(node)
    note(f"{name} runs, pid {process.pid}")
    if wait:
        devnet.wait_started([node], note)
    if as_json:
        show_json({"dir": str(folder), "name": name, "pid": process.pid, "rpc_url": node.rpc_url})
