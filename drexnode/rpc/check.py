"""What `config check` and each start look at of the RPC: globs, origins, access file, TLS, who reaches it."""

from __future__ import annotations

from urllib.parse import urlsplit

from drexnode.config import ConfigError, NodeConfig
from drexnode.rpc.access_file import read_access
from drexnode.rpc.globs import check_globs
from drexnode.rpc.origins import is_loopback
from drexnode.rpc.tls import check_tls


def check_rpc(config: NodeConfig) -> dict[str, object]:
    """Facts about the RPC. Raises `ConfigError` RPC_BAD_GLOB, _BAD_ORIGIN, _ACCESS_UNREADABLE, _TLS_*."""
    rpc = config.rpc
    check_globs(rpc.public, "rpc.public")
    for origin in rpc.origins:
        _check_origin(origin)
    access = read_access(config.path(rpc.access))
    facts = check_tls(config)
    facts["rpc_token_keys"] = sum(not key.revoked for key in access.token_keys.values())
    facts["rpc_api_keys"] = sum(not key.revoked for key in access.api_keys.values())
    if not is_loopback(rpc.host) and not rpc.tls_certificate:
        facts["rpc_warning"] = (
            f"plain HTTP on {rpc.host}: credentials can be read on the way; "
            "set rpc.tls_certificate and rpc.tls_key"
        )
    return facts


def _check_origin(origin: str) -> None:
    """An origin is scheme://host[:port], as a browser sends it; there is no wildcard."""
    parts = urlsplit(origin)
    if (
        "*" in origin
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or origin != f"{parts.scheme}://{parts.netloc}"
    ):
        message = (
            f"rpc.origins: {origin[:128]!r} is no origin: https://host or https://host:port, no wildcard"
        )
        raise ConfigError("RPC_BAD_ORIGIN", message, key="rpc.origins")
