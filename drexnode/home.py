"""A node's home: made once by `create_home`, checked by `check_home` before each start.

    HOME/drexnode.toml   HOME/genesis.json   HOME/keys/{validator.key, peer.key}   HOME/data/
    HOME/signer/watermark/   outside the data directory, never in a backup

Promise: nothing that exists is overwritten, and a home is whole when `drexnode.toml` is there (written last).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drexnode.config import CONFIG_FILE, ConfigError, NodeConfig, Value, render_file
from drexnode.keystore import (
    KeyFailure,
    public_key_in,
    read_plain_key,
    write_encrypted_key,
    write_plain_key,
)
from drexnode.ram import check_ram
from ledger.genesis import chain_id_of, genesis_validators
from ledger.genesis_json import document_from_json, document_to_json
from ledger.genesis_records import GenesisDocument
from p2p.identity import peer_id_from_seed
from primitives.errors import DecodeError
from primitives.keys import SigningKey
from primitives.limits import MAX_GENESIS_BYTES
from storage.watermark import create_watermark

GENESIS_FILE = "genesis.json"
MAX_GENESIS_FILE_BYTES = 8 * MAX_GENESIS_BYTES


class HomeError(ConfigError):
    """A home can't be made or used. Codes HOME_*, CONFIG_*; exit 3 or 8."""


@dataclass(frozen=True, slots=True)
class NewHome:
    """What `create_home` made; the keys are what an operator hands to the registry."""

    home: Path
    role: str
    chain_id: bytes
    peer_id: str
    validator_key: bytes | None


def read_genesis(path: Path) -> GenesisDocument:
    """Read and check a genesis document's JSON. Raises `ConfigError` GENESIS_UNREADABLE, GENESIS_INVALID."""
    try:
        if path.stat().st_size > MAX_GENESIS_FILE_BYTES:
            raise ConfigError("GENESIS_UNREADABLE", f"{path} is too large", path=str(path))
        view = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError("GENESIS_UNREADABLE", f"{path}: {error.strerror}", path=str(path)) from None
    except (ValueError, RecursionError):
        raise ConfigError("GENESIS_UNREADABLE", f"{path} is not JSON", path=str(path)) from None
    try:
        return document_from_json(view)
    except DecodeError as error:
        raise ConfigError(error.code, f"{path}: {error.message}", path=str(path)) from None


def write_genesis(path: Path, document: GenesisDocument) -> None:
    """Write a genesis document's JSON; an existing file is kept and refused. Raises `HomeError`
    HOME_EXISTS.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(document_to_json(document), file, ensure_ascii=False, indent=2)
            file.write("\n")
    except FileExistsError:
        raise HomeError("HOME_EXISTS", f"{path} exists and is not overwritten", path=str(path)) from None


def create_home(
    home: Path,
    document: GenesisDocument,
    role: str,
    peer_seed: bytes,
    validator_seed: bytes | None,
    settings: Mapping[str, Value],
    *,
    passphrase: bytes | None = None,
    awaits_key: bool = False,
    keeps_peer_key: bool = False,
) -> NewHome:
    """Make a home. With a `passphrase` the validator's key is encrypted; a validator that `awaits_key` has
    none until `signer import-state`. `keeps_peer_key`: the same identity key may lie there already.
    Raises `HomeError` HOME_EXISTS, and `KeyFailure` or `StorageFailure` for
    a file in the way.
    """
    for taken in (home / CONFIG_FILE, home / GENESIS_FILE):
        if taken.exists():
            raise HomeError("HOME_EXISTS", f"{taken} exists; a home is never overwritten", path=str(taken))
    if (role == "validator") != (validator_seed is not None or awaits_key):
        raise HomeError("HOME_BAD_ROLE", "a validator, and only a validator, has a validator key", role=role)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / "data").mkdir(exist_ok=True, mode=0o700)
    chain_id = chain_id_of(document)
    peer_key = home / "keys" / "peer.key"
    if not (keeps_peer_key and peer_key.exists() and read_plain_key(peer_key).seed == peer_seed):
        write_plain_key(peer_key, peer_seed)
    validator_key = None
    if validator_seed is not None:
        validator_key = SigningKey(validator_seed).public_key
        path = home / "keys" / "validator.key"
        if passphrase is None:
            write_plain_key(path, validator_seed)
        else:
            write_encrypted_key(path, path.name, validator_seed, passphrase)
        create_watermark(home / "signer" / "watermark", chain_id, validator_key)
    write_genesis(home / GENESIS_FILE, document)
    (home / CONFIG_FILE).write_text(render_file({"node.role": role, **settings}), "utf-8")
    return NewHome(home, role, chain_id, peer_id_from_seed(peer_seed), validator_key)


def check_home(config: NodeConfig) -> dict[str, object]:
    """Check genesis, keys and watermark of a home; returns what was found.

    Raises `ConfigError` (GENESIS_*, HOME_*) or `KeyFailure`, each saying what to do.
    """
    check_ram(config)
    from drexnode.rpc.check import check_rpc  # cryptography: only who checks pays for it

    rpc_facts = check_rpc(config)
    document = read_genesis(config.genesis_path)
    facts: dict[str, object] = {
        "role": config.node.role,
        "network": document.name,
        "chain_id": chain_id_of(document).hex(),
        "peer_id": peer_id_from_seed(read_plain_key(config.peer_key_path).seed),
    }
    facts |= rpc_facts
    if config.node.role == "validator" and config.signer_socket is not None:
        facts["signer"] = str(config.signer_socket)
    elif config.node.role == "validator":
        if not config.validator_key_path.exists():
            message = f"{config.validator_key_path} is missing: this home was made to receive a key"
            hint = f"drexnode signer import-state FILE --home {config.home}"
            raise HomeError("HOME_NO_KEY", message, path=str(config.validator_key_path), next=hint)
        key = public_key_in(config.validator_key_path)
        facts["validator_key"] = key.hex()
        facts["in_genesis"] = key in genesis_validators(document)
        if not config.watermark_path.is_dir():
            message = f"{config.watermark_path} is missing: this key's memory of what it signed"
            raise HomeError("HOME_NO_WATERMARK", message, path=str(config.watermark_path))
        if config.watermark_path.is_relative_to(config.data_path):
            message = "keys.watermark lies inside node.data_dir; a restored backup would turn it back"
            raise HomeError("HOME_WATERMARK_PLACE", message, path=str(config.watermark_path))
    return facts


def adopt_validator_key(config: NodeConfig, key: SigningKey, passphrase: bytes | None) -> None:
    """Put a key that moved here into the home; one that lies there already must be the same. Raises
    `KeyFailure` KEY_EXISTS.
    """
    path = config.validator_key_path
    if path.exists():
        if public_key_in(path) == key.public_key:
            return
        message = f"{path} holds another key; a home has one validator key for ever"
        raise KeyFailure("KEY_EXISTS", message, path=str(path))
    if passphrase is None:
        write_plain_key(path, key.seed)
    else:
        write_encrypted_key(path, path.name, key.seed, passphrase)
