"""One configuration: flag > `DREX_*` environment > `drexnode.toml` > profile (`node.profile`) > default
(docs/cli.md, "Configuration").

Every key is declared once, as a field of a section below: its name, type, bounds, default and help. A file
or an environment that names an unknown key is refused with a suggestion; nothing is ignored silently. The
result is a frozen `NodeConfig` with every path absolute. Secrets are never values here, only paths to files.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from drexnode.config_files import read_environment as read_environment
from drexnode.config_files import read_file as read_file
from drexnode.config_files import render_file as render_file
from drexnode.config_keys import KEYS as KEYS
from drexnode.config_keys import ConfigError as ConfigError
from drexnode.config_keys import KeySpec as KeySpec
from drexnode.config_keys import Value as Value
from drexnode.config_keys import parse_text, refuse_unknown
from drexnode.config_sections import ROLES as ROLES
from drexnode.config_sections import SECTIONS as SECTIONS
from drexnode.config_sections import KeysSection as KeysSection
from drexnode.config_sections import LogSection as LogSection
from drexnode.config_sections import NodeSection as NodeSection
from drexnode.config_sections import P2pSection as P2pSection
from drexnode.config_sections import PoolSection as PoolSection
from drexnode.config_sections import RpcSection as RpcSection
from drexnode.config_sections import StorageSection as StorageSection
from drexnode.config_sections import SyncSection as SyncSection
from drexnode.profiles import PROFILES
from drexnode.snapshot_settings import check_sync, parse_anchor, parse_snapshots
from primitives.limits import MIN_KEPT_BLOCKS

CONFIG_FILE = "drexnode.toml"
Origin = Literal["flag", "environment", "file", "profile", "default"]


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
    node: NodeSection = field(default_factory=NodeSection)
    keys: KeysSection = field(default_factory=KeysSection)
    p2p: P2pSection = field(default_factory=P2pSection)
    pool: PoolSection = field(default_factory=PoolSection)
    storage: StorageSection = field(default_factory=StorageSection)
    sync: SyncSection = field(default_factory=SyncSection)
    rpc: RpcSection = field(default_factory=RpcSection)
    log: LogSection = field(default_factory=LogSection)
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
            raise refuse_unknown(name, "flag", list(KEYS))
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
    retention = parse_retention(config.storage.retention)
    parse_snapshots(config.sync.snapshots, config.node.role)
    parse_anchor(config.sync.anchor)
    check_sync(config.sync.mode, config.node.role, from_genesis=retention.from_genesis)
    return config
