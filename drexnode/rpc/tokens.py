"""Tokens: JSON Web Tokens (RFC 7519) signed with Ed25519 (RFC 8037), made and checked by PyJWT.

A token names its key (`kid`), its holder (`sub`), one chain (`aud`), its end (`exp`), perhaps its beginning
(`nbf`) and the `methods` it grants, as globs. EdDSA is the only algorithm, whatever a token's header says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from drexnode.config import ConfigError
from drexnode.rpc.access_file import TokenKey
from drexnode.rpc.errors import bad_credential
from drexnode.rpc.globs import check_globs

ALGORITHM = "EdDSA"
LEEWAY_S = 5
MAX_TOKEN_CHARS = 8192
MAX_LIFETIME_S = 366 * 24 * 3600
_SUBJECT = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


@dataclass(frozen=True, slots=True)
class Token:
    """What a token that was believed grants; `begins_s` and `ends_s` are Unix times."""

    key_id: str
    subject: str
    methods: tuple[str, ...]
    begins_s: int
    ends_s: int


def audience_of(chain_id: bytes) -> str:
    """A token is for the nodes of one chain."""
    return f"drexnode:{chain_id.hex()}"


def make_token(seed: bytes, token: Token, chain_id: bytes) -> str:
    """Sign. Raises `ConfigError` RPC_BAD_GLOB, RPC_BAD_TOKEN_CLAIMS."""
    check_globs(token.methods, "token")
    if not _SUBJECT.fullmatch(token.subject):
        message = f"{token.subject[:64]!r} can't name a holder: 1 to 64 letters, digits, _ . @ -"
        raise ConfigError("RPC_BAD_TOKEN_CLAIMS", message)
    if not 0 < token.ends_s - token.begins_s <= MAX_LIFETIME_S:
        message = f"a token is valid for 1 s to {MAX_LIFETIME_S // 86400} days"
        raise ConfigError("RPC_BAD_TOKEN_CLAIMS", message)
    claims = {
        "sub": token.subject, "aud": audience_of(chain_id), "methods": list(token.methods),
        "nbf": token.begins_s, "exp": token.ends_s,
    }  # fmt: skip
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": token.key_id})


def read_token(text: str, keys: dict[str, TokenKey], audience: str) -> Token:
    """Check everything. Raises `RpcError` RPC_TOKEN_INVALID, _UNKNOWN_KEY, _REVOKED, _EXPIRED,
    _NOT_YET_VALID, _OTHER_AUDIENCE."""
    if len(text) > MAX_TOKEN_CHARS:
        raise bad_credential("RPC_TOKEN_INVALID", f"a token has at most {MAX_TOKEN_CHARS} characters")
    try:
        key_id = jwt.get_unverified_header(text).get("kid")
    except jwt.PyJWTError:
        raise bad_credential("RPC_TOKEN_INVALID", "this is no token") from None
    known = keys.get(key_id) if isinstance(key_id, str) else None
    if known is None or not isinstance(key_id, str):
        raise bad_credential("RPC_TOKEN_UNKNOWN_KEY", "the token names a key that this node does not know")
    if known.revoked:
        raise bad_credential("RPC_TOKEN_REVOKED", f"the key {key_id} was revoked: ask for a new token")
    return _token(key_id, _claims(text, known, audience))


def _claims(text: str, key: TokenKey, audience: str) -> dict[str, Any]:
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_key))
        return jwt.decode(
            text,
            public,
            algorithms=[ALGORITHM],
            audience=audience,
            leeway=LEEWAY_S,
            options={"require": ["exp", "sub", "aud"], "strict_aud": True},
        )
    except jwt.ExpiredSignatureError:
        raise bad_credential("RPC_TOKEN_EXPIRED", "the token's time is over: ask for a new one") from None
    except jwt.ImmatureSignatureError:
        raise bad_credential("RPC_TOKEN_NOT_YET_VALID", "the token's time has not come yet") from None
    except jwt.InvalidAudienceError:
        raise bad_credential("RPC_TOKEN_OTHER_AUDIENCE", "the token is for another chain") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError):
        raise bad_credential("RPC_TOKEN_INVALID", "the token is not signed as it must be") from None


def _token(key_id: str, claims: dict[str, Any]) -> Token:
    methods, subject = claims.get("methods"), claims["sub"]
    if not isinstance(methods, list) or not _SUBJECT.fullmatch(subject):
        raise bad_credential("RPC_TOKEN_INVALID", "the token lacks its methods or its holder")
    try:
        globs = check_globs(methods, "token")
    except ConfigError:
        raise bad_credential("RPC_TOKEN_INVALID", "the token's methods are no globs") from None
    return Token(key_id, subject, globs, int(claims.get("nbf", 0)), int(claims["exp"]))
