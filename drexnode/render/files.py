"""Writes rendered files: all of them or none, nothing overwritten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from drexnode.config import ConfigError, NodeConfig
from p2p.addresses import parse_address
from primitives.errors import DecodeError, DrexError

Rendered = Mapping[str, str]
"""Text by path below the folder."""


def write_files(folder: Path, files: Rendered) -> list[Path]:
    """Write the files; returns their paths in order. Raises `DrexError` FILE_EXISTS, RENDER_FAILED."""
    paths = [folder / name for name in sorted(files)]
    for path in paths:
        if path.exists():
            raise DrexError("FILE_EXISTS", f"{path} exists and is not overwritten", path=str(path))
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(files[str(path.relative_to(folder))])
    except OSError as error:
        raise DrexError("RENDER_FAILED", f"{folder}: {error.strerror}", path=str(folder)) from None
    return paths


def listen_port(config: NodeConfig) -> int:
    """The port for peers. Raises `ConfigError` CONFIG_BAD_VALUE when there is no fixed one."""
    try:
        port = parse_address(config.p2p.listen[0]).port if config.p2p.listen else 0
    except DecodeError as error:
        raise ConfigError("CONFIG_BAD_VALUE", f"p2p.listen: {error.message}", key="p2p.listen") from None
    if port == 0 or config.rpc.port == 0:
        message = "p2p.listen and rpc.port must name ports that others can be told"
        raise ConfigError("CONFIG_BAD_VALUE", message, key="p2p.listen" if port == 0 else "rpc.port")
    return port


def live_probe(config: NodeConfig) -> str:
    """Python, without double quotes, that fails unless the node on this machine lives.

    It reaches no further than this machine, so it checks no certificate. Where the node demands one of its
    clients, the probe has none to show: that the node does its half of the handshake is all it asks for."""
    port = config.rpc.port
    if not config.rpc.tls_certificate:
        return f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/livez', timeout=3)"
    trusting = "c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE; "
    if config.rpc.tls_client_ca:
        connected = f"socket.create_connection(('127.0.0.1', {port}), 3)"
        return f"import socket, ssl; {trusting}c.wrap_socket({connected}).close()"
    asked = f"r.urlopen('https://127.0.0.1:{port}/livez', timeout=3, context=c)"
    return f"import ssl, urllib.request as r; {trusting}{asked}"


def quoted(text: str) -> str:
    """A scalar as YAML reads it whatever it holds: JSON's spelling is one of YAML's."""
    return json.dumps(text, ensure_ascii=False)


def indented(text: str, spaces: int) -> str:
    """Every line moved to the right, as a block scalar wants it."""
    return "".join(f"{' ' * spaces}{line}\n" if line else "\n" for line in text.splitlines())
