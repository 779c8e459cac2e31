"""Keys in files: plain seeds for a node, encrypted seeds for people (docs/cli.md, "Keys").

Every file is made new with mode 0600, written whole or not at all, and never overwritten. A plain key is the
seed's 64 hex characters and a newline; a file that others can read is refused. An encrypted key is JSON:
Argon2id stretches the passphrase, XSalsa20-Poly1305 (secretbox) seals the seed, so a wrong passphrase or a
flipped bit is noticed, never used.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primitives.errors import DrexError
from primitives.keys import PUBLIC_KEY_BYTES, SEED_BYTES, PublicKey, SigningKey
from storage.files import sync_directory

KEY_SUFFIX = ".key.json"
KEYSTORE_VERSION = 1
MAX_KEY_FILE_BYTES = 4096
MAX_MEMORY_BYTES = 1 << 30
MAX_PASSES = 16
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeyFailure(DrexError):
    """A key can't be made, read or unlocked. Codes KEY_*."""


def write_secret(path: Path, content: bytes) -> None:
    """Make a file of mode 0600 that did not exist, whole and durably, its name included.

    Raises `KeyFailure` KEY_EXISTS, `StorageFailure`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _link_new(name, path)
    except FileExistsError:
        raise KeyFailure("KEY_EXISTS", f"{path} exists and is not overwritten", path=str(path)) from None
    finally:
        Path(name).unlink(missing_ok=True)
    sync_directory(path.parent)


def _link_new(name: str, path: Path) -> None:
    """Give a written file its name. Raises `FileExistsError` when there is one of that name."""
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, a stick that carries an export
        if path.exists():
            raise FileExistsError(path) from None
        os.rename(name, path)


def read_secret(path: Path) -> bytes:
    """Read a file only its owner can read. Raises `KeyFailure` KEY_MISSING, KEY_EXPOSED, KEY_MALFORMED."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise KeyFailure("KEY_MISSING", f"{path}: {error.strerror}", path=str(path)) from None
    if stat.S_IMODE(mode) & 0o077:
        message = f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}); run: chmod 600 {path}"
        raise KeyFailure("KEY_EXPOSED", message, path=str(path))
    if path.stat().st_size > MAX_KEY_FILE_BYTES:
        raise KeyFailure("KEY_MALFORMED", f"{path} is too large to be a key", path=str(path))
    return path.read_bytes()


def write_plain_key(path: Path, seed: bytes) -> None:
    """Write a node's seed: 64 hex characters. Raises `KeyFailure`."""
    write_secret(path, seed.hex().encode() + b"\n")


def read_plain_key(path: Path) -> SigningKey:
    """Read a node's plain key. Raises `KeyFailure`, KEY_ENCRYPTED for one that a passphrase opens."""
    text = read_secret(path).strip()
    if text.startswith(b"{"):
        message = f"{path} is encrypted, and a plain key is needed here"
        raise KeyFailure("KEY_ENCRYPTED", message, path=str(path))
    try:
        seed = bytes.fromhex(text.decode("ascii"))
        if len(seed) != SEED_BYTES:
            raise ValueError
    except ValueError:
        message = f"{path} is not a seed of {2 * SEED_BYTES} hex characters"
        raise KeyFailure("KEY_MALFORMED", message, path=str(path)) from None
    return SigningKey(seed)


def write_encrypted_key(
    path: Path, name: str, seed: bytes, passphrase: bytes, *, sensitive: bool = True
) -> None:
    """Seal a seed into a new file. `sensitive` False stretches less. Raises `KeyFailure` KEY_EXISTS."""
    from nacl import pwhash, secret, utils

    ops = pwhash.argon2id.OPSLIMIT_MODERATE if sensitive else pwhash.argon2id.OPSLIMIT_MIN
    memory = pwhash.argon2id.MEMLIMIT_MODERATE if sensitive else pwhash.argon2id.MEMLIMIT_MIN
    salt = utils.random(pwhash.argon2id.SALTBYTES)
    nonce = utils.random(secret.SecretBox.NONCE_SIZE)
    key = pwhash.argon2id.kdf(secret.SecretBox.KEY_SIZE, passphrase, salt, opslimit=ops, memlimit=memory)
    sealed = secret.SecretBox(key).encrypt(seed, nonce).ciphertext
    document = {
        "version": KEYSTORE_VERSION,
        "name": name,
        "public_key": SigningKey(seed).public_key.hex(),
        "kdf": {"name": "argon2id", "passes": ops, "memory_bytes": memory, "salt": salt.hex()},
        "cipher": {"name": "xsalsa20-poly1305", "nonce": nonce.hex(), "text": sealed.hex()},
    }
    write_secret(path, json.dumps(document, indent=2).encode() + b"\n")


def is_encrypted(path: Path) -> bool:
    """True for a key that a passphrase opens. Raises `KeyFailure` KEY_MISSING, KEY_EXPOSED."""
    return read_secret(path).lstrip()[:1] == b"{"


def public_key_in(path: Path) -> PublicKey:
    """The public key of a plain or an encrypted key file; needs no passphrase. Raises `KeyFailure`."""
    if not is_encrypted(path):
        return read_plain_key(path).public_key
    return PublicKey(_field(_document(path), "public_key", PUBLIC_KEY_BYTES, path))


def unlock_key(path: Path, passphrase: bytes) -> SigningKey:
    """Decrypt a key file. Raises `KeyFailure` KEY_WRONG_PASSPHRASE, KEY_MISSING, KEY_MALFORMED."""
    from nacl import exceptions, pwhash, secret

    document = _document(path)
    kdf, cipher = document.get("kdf"), document.get("cipher")
    if not isinstance(kdf, dict) or not isinstance(cipher, dict) or kdf.get("name") != "argon2id":
        raise _malformed(path)
    passes, memory = kdf.get("passes"), kdf.get("memory_bytes")
    if not (isinstance(passes, int) and 1 <= passes <= MAX_PASSES):
        raise _malformed(path)
    if not (isinstance(memory, int) and 8192 <= memory <= MAX_MEMORY_BYTES):
        raise _malformed(path)
    salt = _field(kdf, "salt", pwhash.argon2id.SALTBYTES, path)
    nonce = _field(cipher, "nonce", secret.SecretBox.NONCE_SIZE, path)
    text = _field(cipher, "text", SEED_BYTES + secret.SecretBox.MACBYTES, path)
    size = secret.SecretBox.KEY_SIZE
    key = pwhash.argon2id.kdf(size, passphrase, salt, opslimit=passes, memlimit=memory)
    try:
        signing_key = SigningKey(secret.SecretBox(key).decrypt(text, nonce))
    except exceptions.CryptoError:
        name = path.name.removesuffix(KEY_SUFFIX)
        message = f"the passphrase does not open {name}"
        raise KeyFailure("KEY_WRONG_PASSPHRASE", message, name=name, path=str(path)) from None
    if signing_key.public_key != _field(document, "public_key", PUBLIC_KEY_BYTES, path):
        raise KeyFailure("KEY_MALFORMED", f"{path}: its public key is another one", path=str(path))
    return signing_key


def read_node_key(path: Path, ask: Callable[[], bytes]) -> SigningKey:
    """A node's validator key, plain or encrypted; `ask` gives the passphrase of an encrypted one.

    Raises `KeyFailure`."""
    return unlock_key(path, ask()) if is_encrypted(path) else read_plain_key(path)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_secret(path))
    except (ValueError, RecursionError):
        raise _malformed(path) from None
    if not isinstance(document, dict) or document.get("version") != KEYSTORE_VERSION:
        raise _malformed(path)
    return document


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An encrypted key as it lies in the keystore: what can be seen without its passphrase."""

    name: str
    public_key: bytes
    path: Path


class Keystore:
    """A folder of encrypted keys, one file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """Names of all keys, ascending."""
        return sorted(path.name.removesuffix(KEY_SUFFIX) for path in self.folder.glob(f"*{KEY_SUFFIX}"))

    def show(self, name: str) -> StoredKey:
        """What is public about a key. Raises `KeyFailure` KEY_MISSING, KEY_MALFORMED."""
        document = self._read(name)
        return StoredKey(name, _field(document, "public_key", 32, self._path(name)), self._path(name))

    def add(self, name: str, seed: bytes, passphrase: bytes, *, sensitive: bool = True) -> StoredKey:
        """Encrypt a seed under a new name. `sensitive` False stretches less (tests, throw-away keys)."""
        if NAME.fullmatch(name) is None:
            message = f"{name[:64]!r} is no key name: letters, digits, '.', '_' and '-', at most 64"
            raise KeyFailure("KEY_NAME_INVALID", message)
        write_encrypted_key(self._path(name), name, seed, passphrase, sensitive=sensitive)
        return self.show(name)

    def unlock(self, name: str, passphrase: bytes) -> SigningKey:
        """Decrypt a key. Raises `KeyFailure` KEY_WRONG_PASSPHRASE, KEY_MISSING, KEY_MALFORMED."""
        self._must_exist(name)
        return unlock_key(self._path(name), passphrase)

    def _path(self, name: str) -> Path:
        if NAME.fullmatch(name) is None:
            raise KeyFailure("KEY_MISSING", f"there is no key {name[:64]!r} in {self.folder}")
        return self.folder / f"{name}{KEY_SUFFIX}"

    def _must_exist(self, name: str) -> None:
        if not self._path(name).exists():
            known = ", ".join(self.names()) or "none"
            raise KeyFailure("KEY_MISSING", f"there is no key {name!r} in {self.folder} (there: {known})")

    def _read(self, name: str) -> dict[str, Any]:
        self._must_exist(name)
        return _document(self._path(name))


def _field(document: dict[str, Any], name: str, size: int, path: Path) -> bytes:
    try:
        value = bytes.fromhex(document[name])
    except (LookupError, TypeError, ValueError):
        raise _malformed(path) from None
    if len(value) != size:
        raise _malformed(path)
    return value


def _malformed(path: Path) -> KeyFailure:
    return KeyFailure("KEY_MALFORMED", f"{path} is not a key of this version", path=str(path))
