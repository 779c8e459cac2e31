"""How a client of the RPC checks a node's certificate and shows its own: TLS 1.3, the URL's name checked.

Nothing here turns the check off. A node's own user may trust exactly the certificate in the node's home.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from primitives.errors import DrexError


class TrustError(DrexError):
    """A file of certificates can't be used. Code CLIENT_TLS_FILE."""


def client_context(ca_file: Path | None = None, cert_file: Path | None = None) -> ssl.SSLContext:
    """Trust the authorities of a PEM file, or the system's. `cert_file` holds this client's certificate
    and its key, for nodes that demand one. Raises `TrustError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TrustError("CLIENT_TLS_FILE", f"authorities in {ca_file}: {error}", path=str(ca_file)) from None
    _show(context, cert_file)
    return context


def pinned_context(certificate: Path, cert_file: Path | None = None) -> ssl.SSLContext:
    """Trust a file's first certificate alone, whatever the node is called. Raises `TrustError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # this very certificate is believed, and no other
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    end = "-----END CERTIFICATE-----"
    try:
        first, found, _ = certificate.read_text("ascii").partition(end)
        context.load_verify_locations(cadata=first + found)
    except (OSError, ValueError, ssl.SSLError) as error:
        message = f"the node's certificate {certificate}: {error}"
        raise TrustError("CLIENT_TLS_FILE", message, path=str(certificate)) from None
    _show(context, cert_file)
    return context


def _show(context: ssl.SSLContext, cert_file: Path | None) -> None:
    if cert_file is None:
        return
    try:
        context.load_cert_chain(cert_file, password=lambda: "")
    except (OSError, ssl.SSLError, ValueError) as error:
        message = f"own certificate and key in {cert_file}: {error}"
        raise TrustError("CLIENT_TLS_FILE", message, path=str(cert_file)) from None
