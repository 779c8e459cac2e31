"""Commands as people give them, run in this process: what they print, and their exit codes."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from drexnode.cli import main, output
from drexnode.keystore import Keystore
from primitives.keys import SigningKey


class Shell:
    """Runs commands at one node with one set of wallets; `home` holds its files."""

    def __init__(self, url: str, home: Path, options: tuple[str, ...]) -> None:
        self.url, self.home, self.options = url, home, options

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit code, and the JSON of stdout or of the error."""
        return self.run_plain(*arguments, "--rpc", self.url, *self.options)

    def run_plain(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The same for a command that takes neither node nor wallets."""
        out, err = StringIO(), StringIO()
        given = [*arguments, "-o", "json"]
        with redirect_stdout(out), redirect_stderr(err):
            code = main.run(given)
        text = out.getvalue() if code == output.OK else (err.getvalue().splitlines() or [""])[-1]
        document = json.loads(text) if text.startswith("{") else {}
        return code, document.get("error", document)

    def done(self, *arguments: str) -> dict[str, Any]:
        code, document = self.run(*arguments)
        assert code == output.OK, document
        return document

    def refused(self, *arguments: str) -> str:
        code, document = self.run(*arguments)
        assert code == (output.REJECTED if document["code"].startswith("TX_") else output.UNSAFE), document
        return str(document["code"])

    def file(self, name: str) -> str:
        return str(self.home / name)

    def held(self, wallet: str, asset: str) -> str:
        rows = self.done("query", "balance", wallet)["balances"]
        return next((row["total"] for row in rows if row["asset"] == asset), "0.00")


def alone(url: str, folder: Path, name: str, key: SigningKey) -> Shell:
    """A shell whose keystore has one key and no other wallets."""
    store = Keystore(folder / f"keys-{name}")
    if name not in store.names():
        store.add(name, key.seed, b"secret", sensitive=False)
    secret = folder / f"secret-{name}"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    options = ("--keystore", str(store.folder), "--passphrase-file", str(secret))
    return _Alone(url, folder, options)


class _Alone(Shell):
    """Gives the keystore only to commands that take one."""

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        if arguments[:2] in (("tx", "show"), ("tx", "send")):
            return Shell(self.url, self.home, ()).run(*arguments)
        return super().run(*arguments)


def tamper(path: Path, old: int, new: int) -> None:
    """Change an amount of two bytes in a file's transaction."""
    document = json.loads(path.read_text())
    before, after = (f"cd{amount:04x}" for amount in (old, new))
    assert before in document["transaction"]
    document["transaction"] = document["transaction"].replace(before, after)
    path.write_text(json.dumps(document))
