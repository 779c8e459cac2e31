"""`drexnode signer`: the key in a process of its own, and moving it to another machine."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click

from drexnode.cli.options import ExampleCommand, ExampleGroup, a_home, as_output
from drexnode.cli.output import OK, note, show_json, show_pairs
from drexnode.cli.secrets import passphrase, validator_key, with_passphrase
from drexnode.config import NodeConfig, load_config

DEFAULT_SOCKET = "signer/signer.sock"
STEPS = ("ROUND_CHANGE", "PROPOSAL", "PREPARE", "COMMIT")


def _socket_of(config: NodeConfig) -> Path:
    return config.signer_socket or config.path(DEFAULT_SOCKET)


@click.group("signer", cls=ExampleGroup, example="drexnode signer run --home validator")
def command() -> None:
    """The validator's key in a process of its own, and moving it: run, status, export-state, import-state."""


@command.command("run", cls=ExampleCommand, example="drexnode signer run --home validator --passphrase-fd 3")
@a_home
@with_passphrase
def run(home: Path, passphrase_file: Path | None, passphrase_fd: int | None) -> int:
    """Hold key, journal and watermark of a home and sign for its node, until stopped.

    The node is told with keys.signer = "unix:signer/signer.sock". Processes of this user alone are served,
    one node at a time.
    """
    import trio

    from drexnode.cli.start import exit_code_of
    from drexnode.home import read_genesis
    from drexnode.signer import open_local_signer
    from drexnode.signer_server import SignerServer, open_socket
    from drexnode.telemetry import get_logger, setup_logging
    from ledger.genesis import chain_id_of
    from primitives.errors import DrexError, StorageFailure

    config = load_config(home)
    key = validator_key(config, passphrase_file, passphrase_fd)
    chain_id = chain_id_of(read_genesis(config.genesis_path))
    setup_logging(config.log.level, config.log.format, node=config.node.name)
    server = SignerServer(chain_id, lambda: open_local_signer(config, chain_id, key))
    path = _socket_of(config)
    listener = open_socket(path)
    log = get_logger("signer")
    log.info("signer.started", socket=str(path), public_key=key.public_key.hex())

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            await server.serve(listener)

    try:
        trio.run(serve)
    except BaseException as error:
        code = exit_code_of(error)
        if code != OK:
            known = error if isinstance(error, DrexError) else None
            group = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
            found = next((item for item in group if isinstance(item, StorageFailure)), known)
            log.error("signer.failed", exit_code=code, error=str(found or error))
        return code
    finally:
        listener.close()
        path.unlink(missing_ok=True)
    log.info("signer.stopped")
    return OK


async def _stop_on_signal(scope: Any) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for _ in received:
            scope.cancel()


@command.command("status", cls=ExampleCommand, example="drexnode signer status --home validator -o json")
@a_home
@as_output
def status(home: Path, as_json: bool) -> None:
    """What a home's signer holds and how far it has signed; of its files when no signer process runs."""
    from drexnode.keystore import read_plain_key
    from p2p.identity import peer_id_from_seed

    config = load_config(home)
    facts: dict[str, object] = {
        "peer_id": peer_id_from_seed(read_plain_key(config.peer_key_path).seed),
        "socket": str(_socket_of(config)),
        **(_running(_socket_of(config)) or _at_rest(config)),
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))


def _running(path: Path) -> dict[str, object] | None:
    """What the signer process says, or None when none listens. Raises `DrexError` when it does not answer."""
    from drexnode.signer_remote import SignerConnection
    from drexnode.signer_wire import STATUS, SignerStatus
    from primitives.codec import decode
    from primitives.errors import DrexError

    try:
        connection = SignerConnection(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise DrexError("SIGNER_UNREACHABLE", f"{path}: {error}", path=str(path)) from None
    try:
        answer = connection.ask(STATUS)
    except OSError as error:
        raise DrexError("SIGNER_UNREACHABLE", f"{path}: {error}", path=str(path)) from None
    finally:
        connection.close()
    if answer.code:
        raise DrexError(answer.code, answer.message)
    found = decode(answer.body, SignerStatus, max_bytes=len(answer.body))
    return {
        "state": "quarantine" if found.in_quarantine else "signing",
        "public_key": found.public_key.hex(),
        "last_signed": None if found.last is None else _position(found.last),
        "node_pid": found.node_pid,
        "signed": found.signed,
        "refused": found.refused,
    }


def _at_rest(config: NodeConfig) -> dict[str, object]:
    """What the files say; nothing is changed or locked."""
    from drexnode.keystore import public_key_in
    from storage.watermark import read_watermark

    if not config.watermark_path.is_dir():
        return {"state": "no key", "public_key": None, "last_signed": None}
    found = read_watermark(config.watermark_path)
    key = public_key_in(config.validator_key_path).hex() if config.validator_key_path.exists() else None
    if found.is_retired:
        mark = found.retirement
        record = None if mark is None else mark.record
        state = "retired"
    else:
        record = None if found.newest is None else found.newest.record
        state = "no signer process"
    last = None if record is None else _position(record.position)
    return {"state": state, "public_key": key, "last_signed": last}


def _position(position: tuple[int, int, int]) -> str:
    height, round_, step = position
    return f"{STEPS[step]} at height {height}, round {round_}"


@command.command(
    "export-state",
    cls=ExampleCommand,
    example="drexnode signer export-state move.bin --home old --heir 12D3KooW…",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--heir", required=True, metavar="PEER_ID", help="Peer id of the home that will sign.")
@a_home
@with_passphrase
@as_output
def export_state(
    file: Path,
    heir: str,
    home: Path,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Retire this home's signer for good and write what its heir must know. Stop node and signer first.

    The retirement is durable before the file is written; the same heir can be given the file again.
    """
    from drexnode.home import read_genesis
    from drexnode.keystore import KeyFailure, read_plain_key
    from drexnode.signer_export import seal_export, write_export
    from ledger.genesis import chain_id_of
    from p2p.identity import parse_peer_id, public_key_of
    from primitives.errors import DecodeError
    from storage.signing_move import retire_key

    try:
        heir_key = public_key_of(parse_peer_id(heir))
    except DecodeError as error:
        raise click.UsageError(f"--heir: {error.message}") from None
    if file.exists():
        raise KeyFailure("KEY_EXISTS", f"{file} exists and is not overwritten", path=str(file))
    config = load_config(home)
    if heir_key == read_plain_key(config.peer_key_path).public_key:
        raise click.UsageError("--heir: that is this home itself, which would never sign again")
    key = validator_key(config, passphrase_file, passphrase_fd)
    chain_id = chain_id_of(read_genesis(config.genesis_path))
    memory = retire_key(config.votes_path, config.watermark_path, chain_id, key.public_key, heir_key)
    write_export(file, seal_export(chain_id, key, memory, heir_key))
    last = None if memory.last is None else _position(memory.last.position)
    facts: dict[str, object] = {"public_key": key.public_key.hex(), "last_signed": last, "file": str(file)}
    if as_json:
        show_json(facts)
    else:
        note(f"{config.home} never signs again")
        show_pairs([*facts.items(), ("next", f"on the new machine: drexnode signer import-state {file}")])


@command.command(
    "import-state", cls=ExampleCommand, example="drexnode signer import-state move.bin --home new"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--encrypt", is_flag=True, help="Encrypt the key with a passphrase.")
@a_home
@with_passphrase
@as_output
def import_state(
    file: Path,
    encrypt: bool,
    home: Path,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    as_json: bool,
) -> None:
    """Take a key over that was exported for this home: from now on this home signs, above its last vote."""
    from drexnode.home import adopt_validator_key, read_genesis
    from drexnode.keystore import read_plain_key
    from drexnode.signer_export import open_export, read_export
    from ledger.genesis import chain_id_of
    from storage.signing_move import adopt_key

    config = load_config(home)
    chain_id = chain_id_of(read_genesis(config.genesis_path))
    moved = open_export(read_export(file), chain_id, read_plain_key(config.peer_key_path))
    secret = passphrase(passphrase_file, passphrase_fd, confirm=True) if encrypt else None
    adopt_validator_key(config, moved.key, secret)
    adopt_key(config.votes_path, config.watermark_path, chain_id, moved.key.public_key, moved.memory)
    last = None if moved.memory.last is None else _position(moved.memory.last.position)
    facts: dict[str, object] = {"public_key": moved.key.public_key.hex(), "last_signed": last}
    if as_json:
        show_json(facts)
    else:
        show_pairs([*facts.items(), ("next", f"drexnode start --home {config.home}")])
