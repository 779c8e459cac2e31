"""A client of a home's own node: where its configuration says, with its admin credential, trusting exactly
its certificate. For commands on the node's machine; whoever can read the home needs nothing else.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from pathlib import Path

from drexnode import client as rpc
from drexnode.client_tls import pinned_context
from drexnode.config import NodeConfig

EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def own_client(
    config: NodeConfig,
    *,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    cert_file: Path | None = None,
    timeout_s: float = rpc.DEFAULT_TIMEOUT_S,
) -> rpc.Client:
    """`token` replaces the admin credential and `tls` the trust in the node's own certificate; `cert_file`
    (default: DREX_CLIENT_CERT) is shown where the node demands one. Raises `TrustError`."""
    host = EVERY_ADDRESS.get(config.rpc.host, config.rpc.host)
    where = f"{f'[{host}]' if ':' in host else host}:{config.rpc.port}"
    if token is None:
        with suppress(OSError):
            token = config.cookie_path.read_text("ascii")
    if not config.rpc.tls_certificate:
        return rpc.Client(f"http://{where}", token=token, timeout_s=timeout_s)
    if cert_file is None and "DREX_CLIENT_CERT" in os.environ:
        cert_file = Path(os.environ["DREX_CLIENT_CERT"])
    tls = tls or pinned_context(config.path(config.rpc.tls_certificate), cert_file)
    return rpc.Client(f"https://{where}", token=token, tls=tls, timeout_s=timeout_s)
