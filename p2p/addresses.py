"""Addresses of peers: the part of multiaddr that a node needs, without importing libp2p.

    /ip4/10.0.0.1/tcp/26600            /ip6/::1/tcp/26600            /dns4/node.example/tcp/26600

each with an optional `/p2p/<PeerId>` behind.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from p2p.identity import PeerId, parse_peer_id
from primitives.errors import DecodeError

_HOST_KINDS = ("ip4", "ip6", "dns", "dns4", "dns6")
_MAX_ADDRESS_CHARS = 512


@dataclass(frozen=True, slots=True)
class Address:
    """Where a peer listens, and who should answer there, if that is known."""

    host: str
    port: int
    peer: PeerId | None = None

    def __str__(self) -> str:
        text = f"/{_kind_of(self.host)}/{self.host}/tcp/{self.port}"
        return text if self.peer is None else f"{text}/p2p/{self.peer}"


def _kind_of(host: str) -> str:
    try:
        return f"ip{ipaddress.ip_address(host).version}"
    except ValueError:
        return "dns"


def parse_address(text: str) -> Address:
    """Read a multiaddr of the forms above. Raises `DecodeError` with what is wrong."""
    if len(text) > _MAX_ADDRESS_CHARS:
        raise DecodeError("an address has at most 512 characters")
    match text.split("/"):
        case ["", kind, host, "tcp", port]:
            peer = None
        case ["", kind, host, "tcp", port, "p2p", peer_text]:
            peer = parse_peer_id(peer_text)
        case _:
            raise DecodeError(f"{text!r} is not of the form /ip4/HOST/tcp/PORT[/p2p/PEER]")
    if kind not in _HOST_KINDS:
        raise DecodeError(f"an address starts with one of {', '.join(_HOST_KINDS)}, not {kind!r}")
    if not host or (kind.startswith("ip") and _kind_of(host) != kind):
        raise DecodeError(f"{host!r} is not an {kind} address")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 2**16):
        raise DecodeError(f"{port!r} is not a port")
    return Address(host, int(port), peer)
