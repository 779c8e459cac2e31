"""TLS of the RPC port: version 1.3 alone, and clients with certificates alone where their authority is named.

Nothing falls back: a certificate without its key, or files that can't be used, keep the node from starting.
"""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509

from drexnode.config import ConfigError, NodeConfig
from drexnode.keystore import KeyFailure, read_secret

HTTP_1 = "http/1.1"
CLOCKS_DIFFER = datetime.timedelta(minutes=5)


def tls_context(config: NodeConfig) -> ssl.SSLContext | None:
    """The server's context, or None for plain HTTP. Raises `ConfigError` RPC_TLS_*."""
    rpc = config.rpc
    if not rpc.tls_certificate and not rpc.tls_key:
        if rpc.tls_client_ca:
            message = "rpc.tls_client_ca needs rpc.tls_certificate and rpc.tls_key beside it"
            raise ConfigError("RPC_TLS_INCOMPLETE", message, key="rpc.tls_client_ca")
        return None
    if not rpc.tls_certificate or not rpc.tls_key:
        missing = "rpc.tls_key" if rpc.tls_certificate else "rpc.tls_certificate"
        message = f"{missing} is missing: certificate and key go together"
        raise ConfigError("RPC_TLS_INCOMPLETE", message, key=missing)
    certificate, key = config.path(rpc.tls_certificate), config.path(rpc.tls_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([HTTP_1])
    _expiry(certificate, "rpc.tls_certificate")
    try:
        read_secret(key)
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except KeyFailure as error:
        raise ConfigError("RPC_TLS_KEY", f"rpc.tls_key: {error.message}", key="rpc.tls_key") from None
    except (OSError, ssl.SSLError, ValueError) as error:
        message = f"{key} is not the plain key of {certificate}: {error}"
        raise ConfigError("RPC_TLS_KEY", message, key="rpc.tls_key") from None
    if rpc.tls_client_ca:
        _demand_clients(context, config.path(rpc.tls_client_ca))
    return context


def check_tls(config: NodeConfig) -> dict[str, object]:
    """Facts for `config check`. Raises `ConfigError` RPC_TLS_*."""
    context = tls_context(config)
    if context is None:
        return {"rpc_tls": "off"}
    clients = "any" if context.verify_mode == ssl.CERT_NONE else "with a certificate"
    ends = _expiry(config.path(config.rpc.tls_certificate), "rpc.tls_certificate")
    return {"rpc_tls": "1.3", "rpc_tls_clients": clients, "rpc_tls_ends": ends.isoformat()}


def _demand_clients(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        message = f"rpc.tls_client_ca: {authorities}: {error}"
        raise ConfigError("RPC_TLS_CLIENT_CA", message, key="rpc.tls_client_ca") from None
    context.verify_mode = ssl.CERT_REQUIRED


def _expiry(path: Path, key: str) -> datetime.datetime:
    """When a certificate ends. Raises `ConfigError` RPC_TLS_CERTIFICATE, also outside of its time."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        message = f"{key}: {path} holds no PEM certificate: {error}"
        raise ConfigError("RPC_TLS_CERTIFICATE", message, key=key) from None
    now, ends = datetime.datetime.now(datetime.UTC), certificate.not_valid_after_utc
    begins = certificate.not_valid_before_utc
    if begins > now + CLOCKS_DIFFER:
        message = f"{key}: {path} begins at {begins.isoformat()}: check the clock, or use another until then"
        raise ConfigError("RPC_TLS_CERTIFICATE", message, key=key)
    if ends <= now:
        message = f"{key}: {path} ended at {ends.isoformat()}: renew it, then start again"
        raise ConfigError("RPC_TLS_CERTIFICATE", message, key=key)
    return ends


def _no_passphrase() -> str:
    """Without this OpenSSL would ask on the terminal."""
    return ""
