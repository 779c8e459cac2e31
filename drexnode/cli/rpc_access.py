"""`drexnode rpc`: who may call a node's RPC beside its own user. A running node sees changes itself."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drexnode.cli.options import ExampleCommand, ExampleGroup, a_home, as_output
from drexnode.cli.output import CliError, note, show_json, show_pairs, show_table
from drexnode.config import load_config

if TYPE_CHECKING:
    from drexnode.rpc.access_file import Access

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
METHODS_HELP = "A method this grants, * and ? for letters; may be repeated. * is everything, admin included."


@click.group("rpc", cls=ExampleGroup, example="drexnode rpc token create --methods 'drex_*' --home node")
def command() -> None:
    """Who may call a node's RPC: tokens, their keys, API keys."""


@command.group("token", cls=ExampleGroup, example="drexnode rpc token new-key ops --home node")
def token() -> None:
    """Tokens (JWT, Ed25519) that end by themselves, and the keys that sign them."""


@command.group(
    "key", cls=ExampleGroup, example="drexnode rpc key create bank-a --methods 'drex_*' --home node"
)
def key() -> None:
    """API keys, each with its methods and its rate."""


def _seconds(ctx: click.Context, param: click.Parameter, text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not number.isascii() or not number.isdigit() or len(number) > 6:
        raise click.BadParameter("a number and s, m, h or d, as in 12h")
    return int(number) * UNITS[unit]


def _open(home: Path) -> tuple[Path, Access]:
    from drexnode.rpc.access_file import read_access

    config = load_config(home)
    path = config.path(config.rpc.access)
    return path, read_access(path)


def _key_path(home: Path, key_id: str) -> Path:
    return home / "keys" / f"rpc-{key_id}.key"


@token.command("new-key", cls=ExampleCommand, example="drexnode rpc token new-key ops --home node")
@click.argument("key_id", default="default")
@a_home
@as_output
def new_key(key_id: str, home: Path, as_json: bool) -> None:
    """Make a key that signs tokens; the node trusts it from now on.

    The private half is HOME/keys/rpc-KEY_ID.key: it is needed to make tokens, not to check them, and may be
    moved to where tokens are made."""
    import msgspec

    from drexnode.keystore import write_plain_key
    from drexnode.rpc.access_file import TokenKey, check_id, edit_access
    from primitives.keys import SigningKey

    path, _ = _open(home)
    seed, private = secrets.token_bytes(32), _key_path(home, key_id)
    public = SigningKey(seed).public_key.hex()

    def add(access: Access) -> Access:
        check_id(key_id, access.token_keys)
        write_plain_key(private, seed)
        keys = {**access.token_keys, key_id: TokenKey(public)}
        return msgspec.structs.replace(access, token_keys=keys)

    edit_access(path, add)
    facts: dict[str, object] = {
        "key_id": key_id,
        "public_key": public,
        "private_key": str(private),
        "access": str(path),
    }
    if as_json:
        show_json(facts)
    else:
        show_pairs(list(facts.items()))


@token.command(
    "create", cls=ExampleCommand,
    example="drexnode rpc token create --methods 'drex_*' --expires 12h --out reader.token --home node",
)  # fmt: skip
@click.option("--methods", "methods", multiple=True, required=True, metavar="GLOB", help=METHODS_HELP)
@click.option(
    "--expires",
    default="12h",
    show_default=True,
    callback=_seconds,
    metavar="TIME",
    help="How long it lasts.",
)
@click.option(
    "--starts-in", default="0s", callback=_seconds, metavar="TIME", help="It counts only after this time."
)
@click.option(
    "--subject",
    default="operator",
    show_default=True,
    metavar="NAME",
    help="Who holds it; rates count by it.",
)
@click.option("--key-id", default="default", show_default=True, metavar="ID", help="The key that signs it.")
@click.option(
    "--key-file", type=click.Path(path_type=Path), metavar="FILE", help="[default: HOME/keys/rpc-ID.key]"
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="New file, mode 0600, instead of stdout."
)
@a_home
@as_output
def create_token(
    methods: tuple[str, ...], expires: int, starts_in: int, subject: str, key_id: str,
    key_file: Path | None, out: Path | None, home: Path, as_json: bool,
) -> None:  # fmt: skip
    """Make a token. It can't be taken back alone: `token revoke` ends all tokens of its key."""
    from drexnode.home import read_genesis
    from drexnode.keystore import read_plain_key, write_secret
    from drexnode.rpc.tokens import Token, make_token
    from ledger.genesis import chain_id_of

    _, access = _open(home)
    signing = read_plain_key(key_file or _key_path(home, key_id))
    known = access.token_keys.get(key_id)
    if known is None or known.revoked or known.public_key != signing.public_key.hex():
        message = f"the node of {home} does not trust {key_id}: unknown, revoked, or another key"
        hint = f"drexnode rpc token new-key NAME --home {home}"
        raise CliError("RPC_KEY_NOT_TRUSTED", message, next=hint)
    begins = int(time.time()) + starts_in
    made = Token(key_id, subject, methods, begins, begins + expires)
    text = make_token(signing.seed, made, chain_id_of(read_genesis(load_config(home).genesis_path)))
    facts: dict[str, object] = {
        "key_id": key_id, "subject": subject, "methods": list(methods), "begins_s": begins,
        "ends_s": made.ends_s,
    }  # fmt: skip
    if out is not None:
        write_secret(out, text.encode() + b"\n")
        facts["file"] = str(out)
    if as_json:
        show_json(facts if out is not None else {**facts, "token": text})
        return
    note(", ".join(f"{name} {value}" for name, value in facts.items()))
    if out is None:
        click.echo(text)


@token.command("revoke", cls=ExampleCommand, example="drexnode rpc token revoke ops --home node")
@click.argument("key_id")
@a_home
@as_output
def revoke_token_key(key_id: str, home: Path, as_json: bool) -> None:
    """End all tokens that a key signed, within a second, for good."""
    import msgspec

    from drexnode.rpc.access_file import edit_access

    path, _ = _open(home)

    def end(access: Access) -> Access:
        if key_id not in access.token_keys:
            raise _unknown(key_id, home)
        ended = msgspec.structs.replace(access.token_keys[key_id], revoked=True)
        return msgspec.structs.replace(access, token_keys={**access.token_keys, key_id: ended})

    edit_access(path, end)
    _tell_revoked(key_id, as_json)


@key.command(
    "create", cls=ExampleCommand, example="drexnode rpc key create bank-a --methods 'drex_*' --home node"
)
@click.argument("name")
@click.option("--methods", "methods", multiple=True, required=True, metavar="GLOB", help=METHODS_HELP)
@click.option(
    "--rate", type=click.IntRange(0), default=0, metavar="N", help="Calls a second; 0: rpc.rate_per_second."
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="New file, mode 0600, instead of stdout."
)
@a_home
@as_output
def create_key(
    name: str, methods: tuple[str, ...], rate: int, out: Path | None, home: Path, as_json: bool
) -> None:
    """Make an API key. It is shown once: the node keeps its hash alone."""
    import msgspec

    from drexnode.keystore import write_secret
    from drexnode.rpc.access_file import check_id, edit_access, new_api_key

    path, _ = _open(home)
    shown, entry = new_api_key(name, methods, rate)

    def add(access: Access) -> Access:
        check_id(name, access.api_keys)
        if out is not None:
            write_secret(out, shown.encode() + b"\n")
        return msgspec.structs.replace(access, api_keys={**access.api_keys, name: entry})

    edit_access(path, add)
    facts: dict[str, object] = {"name": name, "methods": list(methods), "rate_per_second": rate}
    if as_json:
        show_json({**facts, **({"key": shown} if out is None else {"file": str(out)})})
        return
    note(f"{name}: {', '.join(methods)}; keep it, it is not shown again")
    click.echo(shown if out is None else str(out))


@key.command("revoke", cls=ExampleCommand, example="drexnode rpc key revoke bank-a --home node")
@click.argument("name")
@a_home
@as_output
def revoke_key(name: str, home: Path, as_json: bool) -> None:
    """End an API key, within a second, for good."""
    import msgspec

    from drexnode.rpc.access_file import edit_access

    path, _ = _open(home)

    def end(access: Access) -> Access:
        if name not in access.api_keys:
            raise _unknown(name, home)
        ended = msgspec.structs.replace(access.api_keys[name], revoked=True)
        return msgspec.structs.replace(access, api_keys={**access.api_keys, name: ended})

    edit_access(path, end)
    _tell_revoked(name, as_json)


@command.command("list", cls=ExampleCommand, example="drexnode rpc list --home node")
@a_home
@as_output
def show(home: Path, as_json: bool) -> None:
    """Token keys and API keys, the revoked ones too; no secret is here to be shown."""
    import msgspec

    path, access = _open(home)
    if as_json:
        show_json({"access": str(path), **msgspec.to_builtins(access)})
        return
    rows = [("token key", name, "-", "-", _state(item.revoked)) for name, item in access.token_keys.items()]
    rows += [
        ("API key", name, " ".join(item.methods), str(item.rate_per_second or "-"), _state(item.revoked))
        for name, item in access.api_keys.items()
    ]
    show_table(("KIND", "ID", "METHODS", "RATE", "STATE"), rows)


def _tell_revoked(name: str, as_json: bool) -> None:
    if as_json:
        show_json({"id": name, "state": _state(True)})
    else:
        note(f"{name} is revoked, for good")


def _state(revoked: bool) -> str:
    return "revoked" if revoked else "good"


def _unknown(name: str, home: Path) -> CliError:
    hint = f"drexnode rpc list --home {home}"
    return CliError("RPC_KEY_UNKNOWN", f"there is no {name[:64]!r} in this home", next=hint)
