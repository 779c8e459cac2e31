"""One configuration: flag > `DREX_*` environment > `drexnode.toml` > profile (`node.profile`) > default
(docs/cli.md, "Configuration").

Every key is declared once, as a field of a section below: its name, type, bounds, default and help. A file
or an environment that names an unknown key is refused with a suggestion; nothing is ignored silently. The
result is a frozen `NodeConfig` with every path absolute. Secrets are never values here, only paths to files.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

from drexnode.profiles import PROFILES
from primitives.errors import DrexError
from primitives.limits import MIN_KEPT_BLOCKS

CONFIG_FILE = "drexnode.toml"
ROLES = ("validator", "full", "observer")
Value = str | int | bool | tuple[str, ...]
Origin = Literal["flag", "environment", "file", "profile", "default"]


class ConfigError(DrexError):
    """The configuration can't be used. Codes CONFIG_*; exit 3."""


def _key(
    default: Any, text: str, *, low: int | None = None, high: int | None = None, one_of: tuple[str, ...] = ()
) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high, "one_of": one_of})


@dataclass(frozen=True, slots=True)
class NodeSection:
    """Who the node is and where its files are."""

    name: str = _key("node", "Name in logs, metrics and peers' lists.")
    role: str = _key("full", "validator, full or observer.", one_of=ROLES)
    genesis: str = _key("genesis.json", "Genesis document (relative to the home).")
    data_dir: str = _key("data", "Chain, state and vote journal.")
    profile: str = _key(
        "balanced", "balanced, throughput or latency: defaults for other keys.", one_of=tuple(PROFILES)
    )


@dataclass(frozen=True, slots=True)
class KeysSection:
    """Files that hold this node's secrets, mode 0600, and the sign watermark."""

    validator: str = _key("keys/validator.key", "Validator's signing seed (role validator only).")
    peer: str = _key("keys/peer.key", "libp2p identity seed.")
    watermark: str = _key(
        "signer/watermark", "Sign watermark; outside the data directory, never in a backup."
    )
    signer: str = _key("local", "Who signs: local (this process), or unix:PATH of a drexnode signer run.")
    passphrase_file: str = _key("", "File of mode 0600 with an encrypted validator key's passphrase.")


@dataclass(frozen=True, slots=True)
class P2pSection:
    """The libp2p host."""

    listen: tuple[str, ...] = _key(("/ip4/0.0.0.0/tcp/26600",), "Multiaddresses to listen on.")
    announce: tuple[str, ...] = _key((), "Multiaddresses told to others; empty: those listened on.")
    peers: tuple[str, ...] = _key((), "Peers to keep connected, multiaddresses that end in /p2p/<peer id>.")
    allow: tuple[str, ...] = _key((), "Peer ids permitted beside those of the registry.")
    max_peers: int = _key(64, "Connections held at most.", low=1, high=1000)


@dataclass(frozen=True, slots=True)
class PoolSection:
    """Transactions that wait for a block."""

    max_transactions: int = _key(50_000, "Transactions held at most.", low=1, high=5_000_000)
    max_bytes: int = _key(64 << 20, "Bytes held at most.", low=1 << 16, high=1 << 34)
    batch_wait_ms: int = _key(
        50, "Under load, a proposer waits this long for a fuller block.", low=0, high=10_000
    )
    verify_workers: int = _key(0, "Worker processes for signatures; 0: inline.", low=0, high=64)


@dataclass(frozen=True, slots=True)
class StorageSection:
    """LevelDB and the RAM hot set."""

    hot_set_bytes: int = _key(256 << 20, "RAM for the hot set of unspent outputs.", low=1 << 20, high=1 << 40)
    cache_bytes: int = _key(32 << 20, "LevelDB block cache.", low=1 << 20, high=1 << 38)
    ram_lock: bool = _key(False, "Keep all of the node's pages in RAM (mlockall), or do not start.")
    retention: str = _key(
        "full", "archive: every block since genesis; full: every block it gets; pruned:N: the last N."
    )
    free_floor_bytes: int = _key(
        256 << 20, "Halt while the disk has less than this free.", low=0, high=1 << 40
    )


@dataclass(frozen=True, slots=True)
class RpcSection:
    """The HTTP port."""

    host: str = _key("127.0.0.1", "Address to listen on.")
    port: int = _key(26650, "Port to listen on; 0: any free one.", low=0, high=65535)
    max_connections: int = _key(500, "Connections open at one time.", low=1, high=100_000)
    max_body_bytes: int = _key(4 << 20, "Larger bodies are answered 413.", low=1 << 10, high=1 << 28)
    max_batch: int = _key(100, "Calls in one JSON-RPC batch.", low=1, high=10_000)
    max_range: int = _key(256, "Heights or rows in one answer.", low=1, high=10_000)
    max_transactions: int = _key(1000, "Transactions in one drex_sendTransactions.", low=1, high=10_000)
    rate_per_second: int = _key(1000, "Calls a second and client; 0: no limit.", low=0, high=1_000_000)
    rate_burst: int = _key(2000, "Calls a client may save up.", low=1, high=1_000_000)
    max_wait_ms: int = _key(60_000, "Longest drex_waitTransaction.", low=0, high=600_000)
    max_waiters: int = _key(1000, "Calls and subscriptions that wait at one time.", low=1, high=100_000)
    origins: tuple[str, ...] = _key((), "Browser origins allowed; empty: none.")
    cookie: str = _key("data/admin.cookie", "File for the admin credential, made at start, mode 0600.")


@dataclass(frozen=True, slots=True)
class LogSection:
    """Logs go to stderr."""

    level: str = _key("info", "debug, info, warning or error.", one_of=("debug", "info", "warning", "error"))
    format: str = _key(
        "auto", "console, json or auto (console on a terminal).", one_of=("auto", "console", "json")
    )
    traces: str = _key("", "File for OpenTelemetry spans, one a line; needs drexnode[tracing]; empty: none.")


@dataclass(frozen=True, slots=True)
class Retention:
    """`kept_blocks` bodies are kept, all when None; `from_genesis` forbids data that begins later."""

    kept_blocks: int | None
    from_genesis: bool


def parse_retention(text: str) -> Retention:
    """Read `storage.retention`. Raises `ConfigError` CONFIG_BAD_VALUE."""
    if text in ("archive", "full"):
        return Retention(None, text == "archive")
    kind, _, number = text.partition(":")
    if kind == "pruned" and number.isascii() and number.isdigit() and len(number) <= 18:
        if int(number) >= MIN_KEPT_BLOCKS:
            return Retention(int(number), False)
        number = f"{number}, at least {MIN_KEPT_BLOCKS}"
        raise ConfigError(
            "CONFIG_BAD_VALUE", f"storage.retention = pruned:{number} are kept", key="storage.retention"
        )
    message = f"storage.retention must be archive, full or pruned:N, not {text!r}"
    raise ConfigError("CONFIG_BAD_VALUE", message, key="storage.retention")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """All a node needs to start. Make it with `load_config`."""

    home: Path
    node: NodeSection = NodeSection()
    keys: KeysSection = KeysSection()
    p2p: P2pSection = P2pSection()
    pool: PoolSection = PoolSection()
    storage: StorageSection = StorageSection()
    rpc: RpcSection = RpcSection()
    log: LogSection = LogSection()
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def path(self, value: str) -> Path:
        """A configured path, absolute: relative ones start at the home."""
        return (self.home / value).resolve()

    @property
    def genesis_path(self) -> Path:
        """The genesis document."""
        return self.path(self.node.genesis)

    @property
    def data_path(self) -> Path:
        """Chain, state and vote journal."""
        return self.path(self.node.data_dir)

    @property
    def validator_key_path(self) -> Path:
        """The validator's signing seed."""
        return self.path(self.keys.validator)

    @property
    def peer_key_path(self) -> Path:
        """The libp2p identity's seed."""
        return self.path(self.keys.peer)

    @property
    def watermark_path(self) -> Path:
        """The sign watermark."""
        return self.path(self.keys.watermark)

    @property
    def votes_path(self) -> Path:
        """The vote journal."""
        return self.data_path / "votes"

    @property
    def signer_socket(self) -> Path | None:
        """The socket of the signer process, or None when this process signs. Raises `ConfigError`."""
        scheme, _, path = self.keys.signer.partition(":")
        if self.keys.signer == "local":
            return None
        if scheme != "unix" or not path:
            message = f"keys.signer is local or unix:PATH, not {self.keys.signer!r}"
            raise ConfigError("CONFIG_BAD_VALUE", message, key="keys.signer")
        return self.path(path)

    @property
    def retention(self) -> Retention:
        """Which blocks are kept. Raises `ConfigError` CONFIG_BAD_VALUE."""
        return parse_retention(self.storage.retention)

    @property
    def cookie_path(self) -> Path:
        """The admin credential."""
        return self.path(self.rpc.cookie)


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One declared key: `name` is `section.key`, `kind` is str, int, bool or list."""

    name: str
    section: str
    key: str
    kind: Literal["str", "int", "bool", "list"]
    default: Value
    help: str
    low: int | None
    high: int | None
    one_of: tuple[str, ...]

    @property
    def variable(self) -> str:
        """Name of the environment variable."""
        return f"DREX_{self.section}_{self.key}".upper()


SECTIONS: dict[str, type[Any]] = {
    "node": NodeSection,
    "keys": KeysSection,
    "p2p": P2pSection,
    "pool": PoolSection,
    "storage": StorageSection,
    "rpc": RpcSection,
    "log": LogSection,
}


def _kind(annotation: object) -> Literal["str", "int", "bool", "list"]:
    if get_origin(annotation) is tuple and get_args(annotation)[0] is str:
        return "list"
    names: dict[object, Literal["str", "int", "bool"]] = {str: "str", int: "int", bool: "bool"}
    return names[annotation]


def _declared() -> Iterator[KeySpec]:
    for section, kind in SECTIONS.items():
        for item in fields(kind):
            meta = item.metadata
            yield KeySpec(
                f"{section}.{item.name}", section, item.name, _kind(item.type), cast(Value, item.default),
                meta["help"], meta["low"], meta["high"], meta["one_of"],
            )  # fmt: skip


KEYS: dict[str, KeySpec] = {spec.name: spec for spec in _declared()}
_VARIABLES = {spec.variable: spec for spec in KEYS.values()}
# Read by the command line and for tests of crashes and clocks; no configuration keys.
_OTHER_VARIABLES = frozenset(
    {
        "DREX_HOME",
        "DREX_DIR",
        "DREX_RPC",
        "DREX_FAILPOINT",
        "DREX_KEYSTORE",
        "DREX_ADDRESS_BOOK",
        "DREX_TEST_CLOCK_OFFSET_MS",
    }
)


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _refuse_unknown(name: str, where: str, known: list[str]) -> ConfigError:
    return ConfigError("CONFIG_UNKNOWN_KEY", f"{where}: unknown key {name}{_suggest(name, known)}", key=name)


def check_value(spec: KeySpec, value: object, where: str) -> Value:
    """Check type and bounds of a value. Raises `ConfigError` CONFIG_BAD_VALUE."""
    wanted: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "bool": bool, "list": (list, tuple)}
    wrong_bool = isinstance(value, bool) and spec.kind != "bool"
    if wrong_bool or not isinstance(value, wanted[spec.kind]):
        raise ConfigError(
            "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be {spec.kind}, not {value!r}", key=spec.name
        )
    if isinstance(value, list | tuple):
        if not all(isinstance(item, str) for item in value):
            raise ConfigError(
                "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be a list of strings", key=spec.name
            )
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool):
        low, high = spec.low, spec.high
        if (low is not None and value < low) or (high is not None and value > high):
            raise ConfigError(
                "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be {low} … {high}, not {value}", key=spec.name
            )
    if spec.one_of and value not in spec.one_of:
        allowed = ", ".join(spec.one_of)
        raise ConfigError(
            "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be one of {allowed}, not {value!r}", key=spec.name
        )
    return cast(Value, value)


def parse_text(spec: KeySpec, text: str, where: str) -> Value:
    """A value from a flag or the environment; lists are separated by commas. Raises `ConfigError`."""
    if spec.kind == "int":
        try:
            return check_value(spec, int(text.replace("_", "")), where)
        except ValueError:
            raise ConfigError(
                "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be int, not {text!r}", key=spec.name
            ) from None
    if spec.kind == "bool":
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigError(
                "CONFIG_BAD_VALUE", f"{where}: {spec.name} must be true or false, not {text!r}", key=spec.name
            )
        return text.lower() in ("true", "1")
    if spec.kind == "list":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return check_value(spec, text, where)


def read_file(path: Path) -> dict[str, Value]:
    """Keys of one `drexnode.toml`. Raises `ConfigError` CONFIG_UNREADABLE, CONFIG_UNKNOWN_KEY,
    CONFIG_BAD_VALUE.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError("CONFIG_UNREADABLE", f"{path}: {error.strerror}", path=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("CONFIG_UNREADABLE", f"{path}: not TOML: {error}", path=str(path)) from None
    found: dict[str, Value] = {}
    for section, table in document.items():
        if section not in SECTIONS or not isinstance(table, dict):
            raise _refuse_unknown(section, str(path), [*SECTIONS, *KEYS])
        for key, value in table.items():
            name = f"{section}.{key}"
            if name not in KEYS:
                raise _refuse_unknown(name, str(path), list(KEYS))
            found[name] = check_value(KEYS[name], value, str(path))
    return found


def read_environment(environment: Mapping[str, str]) -> dict[str, Value]:
    """Keys from `DREX_<SECTION>_<KEY>`. Raises `ConfigError` CONFIG_UNKNOWN_KEY, CONFIG_BAD_VALUE."""
    found: dict[str, Value] = {}
    for variable in sorted(environment):
        if not variable.startswith("DREX_") or variable in _OTHER_VARIABLES:
            continue
        if variable not in _VARIABLES:
            raise _refuse_unknown(variable, "environment", [*_VARIABLES, *_OTHER_VARIABLES])
        spec = _VARIABLES[variable]
        found[spec.name] = parse_text(spec, environment[variable], f"environment {variable}")
    return found


def load_config(
    home: Path, flags: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
) -> NodeConfig:
    """The configuration of a home. `flags` maps `section.key` to text. Raises `ConfigError`."""
    home = home.resolve()
    path = home / CONFIG_FILE
    if not path.is_file():
        raise ConfigError(
            "CONFIG_NO_HOME",
            f"{home} holds no {CONFIG_FILE}; make a home with: drexnode init --home {home}",
            home=str(home),
        )
    values: dict[str, Value] = {name: spec.default for name, spec in KEYS.items()}
    origins: dict[str, Origin] = dict.fromkeys(KEYS, "default")
    flag_values: dict[str, Value] = {}
    for name, text in (flags or {}).items():
        if name not in KEYS:
            raise _refuse_unknown(name, "flag", list(KEYS))
        flag_values[name] = parse_text(KEYS[name], text, "flag")
    sources: list[tuple[Origin, dict[str, Value]]] = [
        ("file", read_file(path)),
        ("environment", read_environment(os.environ if environment is None else environment)),
        ("flag", flag_values),
    ]
    chosen = [found["node.profile"] for _, found in sources if "node.profile" in found]
    sources.insert(0, ("profile", dict(PROFILES[str(chosen[-1])]) if chosen else {}))
    for origin, found in sources:
        values.update(found)
        origins.update(dict.fromkeys(found, origin))
    sections = {
        section: kind(**{spec.key: values[name] for name, spec in KEYS.items() if spec.section == section})
        for section, kind in SECTIONS.items()
    }
    config = NodeConfig(home=home, origins=origins, **sections)
    parse_retention(config.storage.retention)
    return config


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def render_file(chosen: Mapping[str, Value]) -> str:
    """A whole `drexnode.toml`: chosen keys set, every other one shown as a comment with its default and
    help.
    """
    lines = ["# drexnode configuration. Precedence: flag > DREX_* environment > this file > default."]
    for section, kind in SECTIONS.items():
        lines += ["", f"# {(kind.__doc__ or '').strip()}", f"[{section}]"]
        for spec in KEYS.values():
            if spec.section == section:
                value = chosen.get(spec.name)
                line = f"{spec.key} = {_toml(spec.default if value is None else value)}"
                lines.append(f"{line if value is not None else '# ' + line}  # {spec.help}")
    return "\n".join(lines) + "\n"
