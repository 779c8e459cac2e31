"""The program's version, in one place; the tests hold it equal to the package's metadata."""

from __future__ import annotations

import platform

VERSION = "0.1.0"
PROTOCOL_VERSION = 1
"""The highest protocol version whose rules this program has (docs/handbook.md, "Upgrade the network")."""


def client_version() -> str:
    """`drexnode/<version>/<system>/python<version>`, as `web3_clientVersion` answers."""
    system = f"{platform.system().lower()}-{platform.machine()}"
    return f"drexnode/{VERSION}/{system}/python{platform.python_version()}"
