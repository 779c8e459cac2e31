"""`rpc-access.json`: who may call what, beside the cookie. It holds no secret that could be used to call.

Of a token key it holds the public half, of an API key the SHA-256 of 32 random bytes (so much entropy needs
no slow hash). An entry that was revoked stays, so that its id is never given again. The file is replaced
whole and atomically, mode 0600, by one writer at a time; a running node reads it again within a second of a
change. One that others than its owner may write to is refused: they could grant themselves everything.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from drexnode.config import ConfigError
from drexnode.rpc.globs import check_globs
from storage.files import sync_directory

MAX_FILE_BYTES = 1 << 20
MAX_RATE = 1_000_000
API_KEY_PREFIX = "drexk"
KEY_BYTES = 32
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class TokenKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An Ed25519 key (hex) whose signature on a token is believed."""

    public_key: str
    revoked: bool = False


class ApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One caller: the methods it may call, and its calls a second (0: as everyone)."""

    secret_sha256: str
    methods: tuple[str, ...]
    rate_per_second: int = 0
    revoked: bool = False


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All entries by id."""

    token_keys: dict[str, TokenKey] = {}
    api_keys: dict[str, ApiKey] = {}


def read_access(path: Path) -> Access:
    """What the file holds; nothing when there is no file. Raises `ConfigError` RPC_ACCESS_UNREADABLE."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return Access()
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from None
    if mode & 0o022:
        raise _unreadable(path, f"others can write to it (mode {mode:04o}); run: chmod 600 {path}")
    if len(raw) > MAX_FILE_BYTES:
        raise _unreadable(path, "it is too large")
    try:
        access = msgspec.json.decode(raw, type=Access)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(path, str(error)) from None
    _check(access, path)
    return access


def edit_access(path: Path, change: Callable[[Access], Access]) -> None:
    """Read, change and write while no other command does, so that no revocation is undone by other writing.

    Raises `ConfigError` RPC_ACCESS_UNREADABLE, RPC_ACCESS_TOO_LARGE, what `change` raises, and `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        write_access(path, change(read_access(path)))
    finally:
        os.close(descriptor)


def write_access(path: Path, access: Access) -> None:
    """Replace the file whole and durably. Raises `ConfigError` RPC_ACCESS_TOO_LARGE, `OSError`."""
    raw = msgspec.json.format(msgspec.json.encode(access), indent=2) + b"\n"
    if len(raw) > MAX_FILE_BYTES:
        message = (
            f"{path} would have {len(raw):,} bytes, {MAX_FILE_BYTES:,} at most are read; use rpc.access = NEW"
        )
        raise ConfigError("RPC_ACCESS_TOO_LARGE", message, path=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def new_api_key(name: str, methods: Sequence[str], rate_per_second: int) -> tuple[str, ApiKey]:
    """A key as its owner sends it, to be shown once, and its entry. Raises `ConfigError`."""
    if not 0 <= rate_per_second <= MAX_RATE:
        message = f"{rate_per_second} calls a second: 0 … {MAX_RATE} can be set"
        raise ConfigError("RPC_BAD_RATE", message)
    secret = secrets.token_hex(KEY_BYTES)
    entry = ApiKey(hash_secret(secret), check_globs(methods, f"API key {name}"), rate_per_second)
    return f"{API_KEY_PREFIX}_{name}_{secret}", entry


def hash_secret(secret: str) -> str:
    """How an API key's secret part is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_id(name: str, taken: Mapping[str, object]) -> str:
    """A new entry's id. Raises `ConfigError` RPC_BAD_KEY_ID, RPC_KEY_ID_TAKEN."""
    if not _ID.fullmatch(name):
        message = f"{name[:64]!r} can't be an id: 1 to 32 of a-z, 0-9 and -, no - at the front"
        raise ConfigError("RPC_BAD_KEY_ID", message)
    if name in taken:
        message = f"{name} is taken, also when it was revoked: choose another id"
        raise ConfigError("RPC_KEY_ID_TAKEN", message, id=name)
    return name


def _check(access: Access, path: Path) -> None:
    for name, key in access.token_keys.items():
        if not _ID.fullmatch(name) or not re.fullmatch(r"[0-9a-f]{64}", key.public_key):
            raise _unreadable(path, f"token key {name[:64]!r} is malformed")
    for name, entry in access.api_keys.items():
        if not _ID.fullmatch(name) or not re.fullmatch(r"[0-9a-f]{64}", entry.secret_sha256):
            raise _unreadable(path, f"API key {name[:64]!r} is malformed")
        if not 0 <= entry.rate_per_second <= MAX_RATE:
            raise _unreadable(path, f"API key {name} has the rate {entry.rate_per_second}")
        check_globs(entry.methods, f"{path}, API key {name}")


def _unreadable(path: Path, why: str) -> ConfigError:
    message = f"{path}: {why}; no token and no API key is accepted until it is repaired"
    return ConfigError("RPC_ACCESS_UNREADABLE", message, path=str(path))
