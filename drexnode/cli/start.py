"""`drexnode start`: run a node until it is stopped.

SIGTERM and Ctrl-C stop it in order: no new work, stores closed, exit 0. A failing disk ends with 75 (try
again after the cause is gone), a broken promise of the program or corrupt data with 7, a bad configuration
with 3.
"""

from __future__ import annotations

import signal
from pathlib import Path

import click

from drexnode.cli.options import ExampleCommand, a_home
from drexnode.cli.output import CONFIGURATION, CORRUPT, FAILURE, OK, TRY_AGAIN, UNSAFE
from drexnode.cli.secrets import with_passphrase
from drexnode.config import ConfigError, NodeConfig, load_config
from primitives.keys import SigningKey

OPEN_FILES = 65_536
# What a restart can't mend; every other StorageFailure asks to try again.
_EXIT_OF_STORAGE = {
    "STORAGE_CORRUPT": CORRUPT,
    "STORAGE_LOST_BLOCKS": CORRUPT,
    "CHAIN_HOLE": CORRUPT,
    "STORAGE_FOREIGN": CONFIGURATION,
    "STORAGE_SCHEMA": CONFIGURATION,
    "PROTOCOL_UNSUPPORTED": CONFIGURATION,
    "JOURNAL_FOREIGN": CONFIGURATION,
    "WATERMARK_FOREIGN": CONFIGURATION,
    "WATERMARK_MISSING": CONFIGURATION,
    "SIGNER_FOREIGN": CONFIGURATION,
    "SIGNER_RETIRED": UNSAFE,
    "SIGNER_OLDER": UNSAFE,
}


@click.command("start", cls=ExampleCommand, example="drexnode start --home node --set rpc.port=26650")
@a_home
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A configuration key; repeatable."
)
@click.option(
    "--sync",
    type=click.Choice(("blocks", "snapshot", "snapshot-or-blocks")),
    help="How an empty node begins (sync.mode).",
)
@with_passphrase
@click.pass_context
def command(
    ctx: click.Context,
    home: Path,
    settings: tuple[str, ...],
    sync: str | None,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
) -> int:
    """Run a node until it is stopped."""
    flags = {} if sync is None else {"sync.mode": sync}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator:
            raise click.UsageError(f"--set wants KEY=VALUE, not {setting!r}", ctx)
        flags[name] = value
    return run(load_config(home, flags), passphrase_file, passphrase_fd)


def run(config: NodeConfig, passphrase_file: Path | None = None, passphrase_fd: int | None = None) -> int:
    """Check the home, unlock its key, set logs up, run the node; returns the exit code."""
    from drexnode.cli.secrets import validator_key
    from drexnode.home import check_home
    from drexnode.ram import lock_ram
    from drexnode.telemetry import get_logger, setup_logging
    from drexnode.tracing import tracing

    check_home(config)
    if config.storage.ram_lock:
        lock_ram(config)
    signs_here = config.node.role == "validator" and config.signer_socket is None
    key = validator_key(config, passphrase_file, passphrase_fd) if signs_here else None
    setup_logging(config.log.level, config.log.format, node=config.node.name)
    log = get_logger("start")
    _raise_open_files()
    with tracing(config):
        code = _run_until_stopped(config, key)
    log.info("node.stopped", exit_code=code)
    return code


def _raise_open_files() -> None:
    """Take as many descriptors as the system allows: store, peers and RPC share them."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run_until_stopped(config: NodeConfig, key: SigningKey | None) -> int:
    import trio

    from drexnode.telemetry import get_logger

    log = get_logger("start")
    try:
        trio.run(_main, config, key)
    except BaseException as error:
        failure, code = _cause(error), exit_code_of(error)
        if code == OK:
            return OK
        if isinstance(failure, ConfigError):
            raise failure from None
        log.error(
            "node.failed", exit_code=code, error=str(failure), exc_info=error if code == FAILURE else None
        )
        return code
    return OK


async def _main(config: NodeConfig, key: SigningKey | None) -> None:
    import trio

    from drexnode.node import run_node

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope, (signal.SIGTERM, signal.SIGINT))
        await run_node(config, key)
        nursery.cancel_scope.cancel()


async def _stop_on_signal(scope: object, signals: tuple[signal.Signals, ...]) -> None:
    import trio

    from drexnode.telemetry import get_logger

    assert isinstance(scope, trio.CancelScope)
    with trio.open_signal_receiver(*signals) as received:
        async for number in received:
            get_logger("start").info("node.stopping", signal=number)
            scope.cancel()


def _cause(error: BaseException) -> BaseException:
    """The one error that matters: of a group, a failure before a cancellation."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [_cause(item) for item in error.exceptions]
    return sorted(causes, key=_weight)[0]


def _weight(error: BaseException) -> int:
    from primitives.errors import DrexError

    return 0 if isinstance(error, DrexError) else 1 if isinstance(error, Exception) else 2


def exit_code_of(stopped_by: BaseException) -> int:
    """The documented exit code for what ended a node: the one that matters of a group."""
    from primitives.errors import DrexError, InvariantViolation, StorageFailure

    error = _cause(stopped_by)
    if isinstance(error, KeyboardInterrupt):
        return OK
    if isinstance(error, ConfigError):
        return CONFIGURATION
    if isinstance(error, StorageFailure):
        return _EXIT_OF_STORAGE.get(error.code, TRY_AGAIN)
    if isinstance(error, InvariantViolation):
        return CORRUPT
    if isinstance(error, DrexError) and error.code == "SNAPSHOT_NO_OFFER":
        return TRY_AGAIN
    return FAILURE
