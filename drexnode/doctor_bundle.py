"""The archive that `drexnode doctor --bundle` makes for whoever helps: what a node is and says, no secret.

Guarantees: no file below `keys/` or `signer/`, no cookie, no wallet file is ever put in; every text that is
put in goes through `Redactor`, which knows the home's secrets by their bytes and wipes them in hex and
base64, and wipes anything named like a secret, and addresses (personal data) besides. At most the last
`LOG_BYTES` of the log are taken. The archive has mode 0600 and replaces nothing.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drexnode.config import NodeConfig
from drexnode.processes import LOG_FILE
from primitives.errors import DrexError

LOG_BYTES = 4 << 20
MAX_SECRET_BYTES = 64 << 10
WIPED = "[redacted]"
_NAMED = re.compile(
    r"(?i)([\"']?\b\w*(?:seed|secret|passphrase|password|token|cookie|authorization|private_key)\w*[\"']?"
    r"\s*[:=]\s*)([\"']?)(?:bearer\s+)?[^\s\"',{}\[\]]+\2"
)
_BEARER = re.compile(r"(?i)\bbearer\s+\S+")
_ADDRESS = re.compile(r"\b([a-z]{1,20}1)[02-9ac-hj-np-z]{38,}\b")


class Redactor:
    """Wipes the given secrets from text, in every spelling, and whatever is named or looks like one."""

    def __init__(self, secrets: list[bytes]) -> None:
        self._spellings = sorted({text for secret in secrets for text in _spellings(secret)}, key=len)[::-1]

    @classmethod
    def of_home(cls, config: NodeConfig) -> Redactor:
        """One that knows every secret file of a home, and its devnet's wallets when there are."""
        found = []
        places = [config.home / "keys", config.home / "signer"]
        files = [path for place in places if place.is_dir() for path in place.rglob("*") if path.is_file()]
        files += [config.peer_key_path, config.validator_key_path, config.cookie_path]
        files += [config.home.parent / "wallets.json"]
        if config.keys.passphrase_file:
            files.append(config.path(config.keys.passphrase_file))
        for path in files:
            try:
                found.append(path.read_bytes()[:MAX_SECRET_BYTES])
            except OSError:
                continue
        return cls([secret for content in found for secret in _secrets_in(content)])

    def text(self, text: str) -> str:
        """The text without secrets."""
        for spelling in self._spellings:
            text = text.replace(spelling, WIPED)
        text = _BEARER.sub(WIPED, text)
        text = _NAMED.sub(lambda found: f"{found[1]}{found[2]}{WIPED}{found[2]}", text)
        return _ADDRESS.sub(lambda found: f"{found[1]}{WIPED}", text)


def _secrets_in(content: bytes) -> list[bytes]:
    """The content itself when it is short, and every long hexadecimal word of it but public ones."""
    stripped = content.strip()
    words = re.findall(rb'"seed": *"([0-9a-f]{32,})"|\b([0-9a-f]{64})\b', content)
    try:
        public = json.loads(content).get("public_key", "").encode()
    except (ValueError, AttributeError):
        public = b""
    found = [seed or word for seed, word in words if (seed or word) != public]
    return [*([stripped] if 8 <= len(stripped) <= 256 else []), *found]


def _spellings(secret: bytes) -> list[str]:
    """A secret as it may stand in text: as it is, from hex, in hex, in base64."""
    raws = {secret}
    with contextlib.suppress(ValueError):
        raws.add(bytes.fromhex(secret.decode("ascii")))
    texts = set()
    for raw in raws:
        texts |= {raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode().rstrip("=")}
        try:
            texts.add(raw.decode("ascii"))
        except UnicodeDecodeError:
            continue
    return [text for text in texts if len(text) >= 8]


def write_bundle(path: Path, config: NodeConfig, documents: Mapping[str, str | dict[str, Any]]) -> list[str]:
    """Write the archive; returns the names of its files. `documents` are texts or JSON by file name.

    Raises `DrexError` FILE_EXISTS, DOCTOR_ARCHIVE_FAILED.
    """
    redactor = Redactor.of_home(config)
    texts = {name: _as_text(document) for name, document in documents.items()}
    if (log := _log_end(config.home / LOG_FILE)) is not None:
        texts[LOG_FILE] = log
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise DrexError("FILE_EXISTS", f"{path} exists and is not overwritten", path=str(path)) from None
    except OSError as error:
        raise DrexError("DOCTOR_ARCHIVE_FAILED", f"{path}: {error.strerror}", path=str(path)) from None
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in sorted(texts):
            content = redactor.text(texts[name]).encode()
            entry = tarfile.TarInfo(f"drexnode-doctor/{name}")
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return sorted(texts)


def _as_text(document: str | dict[str, Any]) -> str:
    return (
        document if isinstance(document, str) else json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    )


def _log_end(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return None
