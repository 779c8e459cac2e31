"""Secrets on the command line: from a file, a descriptor or a prompt; never from an argument."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from drexnode.config import NodeConfig
from drexnode.keystore import KeyFailure, read_node_key, read_secret
from primitives.keys import SEED_BYTES, SigningKey

F = TypeVar("F", bound=Callable[..., Any])
MAX_SECRET_BYTES = 4096


def default_folder() -> Path:
    """Where keys lie when no folder is named."""
    return Path.home() / ".drexnode" / "keys"


def default_keystore() -> Path:
    """The folder of keys of a command without `--keystore`: DREX_KEYSTORE, or the default."""
    named = os.environ.get("DREX_KEYSTORE")
    return Path(named) if named else default_folder()


def with_passphrase(command: F) -> F:
    """`--passphrase-file` and `--passphrase-fd`; without both a prompt asks."""
    for option in (
        click.option(
            "--passphrase-fd",
            type=click.IntRange(0),
            metavar="N",
            help="Read the passphrase from this open descriptor.",
        ),
        click.option(
            "--passphrase-file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Read the passphrase from a file of mode 0600.",
        ),
    ):
        command = option(command)
    return command


def passphrase(file: Path | None, descriptor: int | None, *, confirm: bool = False) -> bytes:
    """The passphrase, without its line end. Raises `KeyFailure` KEY_NO_PASSPHRASE when nobody can be
    asked.
    """
    secret = _from_source(file, descriptor)
    if secret is None:
        if not sys.stdin.isatty():
            message = "no terminal to ask for the passphrase; give --passphrase-file or --passphrase-fd"
            raise KeyFailure("KEY_NO_PASSPHRASE", message)
        secret = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True).encode()
    if not secret:
        raise KeyFailure("KEY_NO_PASSPHRASE", "the passphrase is empty")
    return bytes(secret)


def validator_key(config: NodeConfig, file: Path | None, descriptor: int | None) -> SigningKey:
    """A home's validator key, plain or encrypted; the passphrase comes from the option, else from the file
    that keys.passphrase_file names, else from a prompt. Raises `KeyFailure`."""

    def ask() -> bytes:
        named = config.keys.passphrase_file
        source = config.path(named) if file is None and descriptor is None and named else file
        return passphrase(source, descriptor)

    return read_node_key(config.validator_key_path, ask)


def _from_source(file: Path | None, descriptor: int | None) -> bytes | None:
    if file is not None:
        return read_secret(file).rstrip(b"\r\n")
    if descriptor is not None:
        return _read_descriptor(descriptor).rstrip(b"\r\n")
    return None


def _read_descriptor(descriptor: int) -> bytes:
    try:
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(MAX_SECRET_BYTES)
    except OSError as error:
        message = f"descriptor {descriptor}: {error.strerror}"
        raise KeyFailure("KEY_NO_PASSPHRASE", message) from None


def read_seed(file: Path | None, descriptor: int | None) -> bytes:
    """A seed of 64 hex characters from a file of mode 0600, a descriptor, or a prompt. Raises
    `KeyFailure`.
    """
    text = _from_source(file, descriptor)
    if text is None:
        if not sys.stdin.isatty():
            raise KeyFailure("KEY_MALFORMED", "no seed given; name it with --seed-file or --seed-fd")
        text = click.prompt("Seed (64 hex characters)", hide_input=True, err=True).encode()
    try:
        seed = bytes.fromhex(bytes(text).strip().decode("ascii"))
        if len(seed) != SEED_BYTES:
            raise ValueError
    except ValueError:
        raise KeyFailure("KEY_MALFORMED", f"a seed has {2 * SEED_BYTES} hex characters") from None
    return seed
