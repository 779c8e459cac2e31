"""Who calls: nobody known, the node's own user (cookie), the holder of a token, or of an API key.

What looks like a token or an API key and isn't good is refused at once, never served as nobody's call; an
`Authorization` of another kind is nobody's. A change of the access file counts within `RELOAD_S`; a file that
can't be read makes every token and API key invalid until it is repaired, and leaves the cookie alone.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drexnode.config import ConfigError
from drexnode.rpc.access_file import API_KEY_PREFIX, Access, hash_secret, read_access
from drexnode.rpc.errors import RpcError, bad_credential
from drexnode.rpc.globs import allows
from drexnode.rpc.tokens import LEEWAY_S, Token, audience_of, read_token
from drexnode.telemetry import get_logger

log = get_logger("rpc")
RELOAD_S = 1.0
MAX_REMEMBERED = 1024
API_KEY_PARTS = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `name` is counted by the rate limit; `rate_per_second` 0 means the configured rate."""

    name: str
    methods: tuple[str, ...] = ()
    rate_per_second: int = 0
    is_known: bool = True

    def may(self, method: str, *, admin: bool, public: tuple[str, ...]) -> bool:
        """Whether a method is granted, or open to everyone."""
        return allows(self.methods, method) or (not admin and allows(public, method))


class Credentials:
    """Reads `Authorization` headers."""

    def __init__(self, chain_id: bytes, cookie: str | None, access_path: Path | None) -> None:
        self._audience = audience_of(chain_id)
        self._cookie = None if cookie is None else cookie.encode()
        self._path = access_path
        self._access = Access()
        self._failure: ConfigError | None = None
        self._version: tuple[int, int, int] | None = None
        self._looked_at = -RELOAD_S
        self._believed: OrderedDict[bytes, Token] = OrderedDict()

    def caller(
        self,
        authorization: str | None,
        address: str,
        before_work: Callable[[], RpcError | None] = lambda: None,
    ) -> Caller:
        """Who sends this header from that address. Raises `RpcError` with HTTP status 401, and what
        `before_work` answers before a signature is checked, which costs more than all else here."""
        nobody = Caller(f"address {address}", is_known=False)
        scheme, _, given = (authorization or "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            return nobody
        if self._cookie is not None and hmac.compare_digest(given.encode(), self._cookie):
            return Caller("cookie", ("*",))
        if given.startswith(f"{API_KEY_PREFIX}_"):
            return self._of_api_key(given)
        return self._of_token(given, before_work) if "." in given else nobody

    def _of_api_key(self, given: str) -> Caller:
        parts = given.split("_")
        entry = self._current().api_keys.get(parts[1]) if len(parts) == API_KEY_PARTS else None
        if entry is None or not hmac.compare_digest(hash_secret(parts[2]), entry.secret_sha256):
            raise bad_credential("RPC_API_KEY_UNKNOWN", "this node does not know this API key")
        if entry.revoked:
            raise bad_credential("RPC_API_KEY_REVOKED", f"the API key {parts[1]} was revoked")
        return Caller(f"key {parts[1]}", entry.methods, entry.rate_per_second)

    def _of_token(self, given: str, before_work: Callable[[], RpcError | None]) -> Caller:
        """The signature is checked once for each token; time and revocation each time."""
        keys = self._current().token_keys
        digest = hashlib.sha256(given.encode()).digest()
        token, now = self._believed.get(digest), time.time()
        if token is None or not token.begins_s - LEEWAY_S <= now < token.ends_s + LEEWAY_S:
            refused = before_work()
            if refused is not None:
                raise refused
            token = read_token(given, keys, self._audience)
            self._believed[digest] = token
            if len(self._believed) > MAX_REMEMBERED:
                self._believed.popitem(last=False)
        return Caller(f"token {token.key_id}/{token.subject}", token.methods)

    def _current(self) -> Access:
        """The access file as it is now. Raises `RpcError` RPC_ACCESS_UNREADABLE."""
        if self._path is not None and time.monotonic() - self._looked_at >= RELOAD_S:
            self._looked_at = time.monotonic()
            self._reload(self._path)
        if self._failure is not None:
            raise bad_credential("RPC_ACCESS_UNREADABLE", "the node can't read its tokens and keys now")
        return self._access

    def _reload(self, path: Path) -> None:
        try:
            found = path.stat()
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            version = (0, 0, 0)  # reading says why
        if version == self._version:
            return
        self._believed.clear()
        told = self._failure
        try:
            self._access, self._failure, self._version = read_access(path), None, version
        except ConfigError as failure:
            self._failure, self._version = failure, None  # also what lasts a moment: look again
            if told is None or told.message != failure.message:
                log.error("rpc.access_unreadable", code=failure.code, reason=failure.message)
