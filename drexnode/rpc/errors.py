"""Every error the RPC answers with: the JSON-RPC number, a stable code in `data.code`, and the HTTP status.

Numbers: -32700 not JSON, -32600 no request, -32601 unknown method, -32602 bad parameters, -32603 our fault,
-32000 everything the node refuses (`data.code` says what: TX_…, RPC_…, NODE_…). A single call that breaks a
limit is answered 413 or 429 with Retry-After; every other refusal is answered 200, as JSON-RPC has it.
"""

from __future__ import annotations

from typing import Any

from primitives.errors import DrexError

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REFUSED = -32000

HTTP_OK = 200
HTTP_UNAUTHORISED = 401
HTTP_FORBIDDEN = 403
HTTP_TOO_SLOW = 408
HTTP_TOO_LARGE = 413
HTTP_TOO_MANY = 429

DOCUMENTED_NUMBERS = frozenset(
    {PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR, REFUSED}
)


class RpcError(Exception):
    """A refusal of one call, ready to be written."""

    def __init__(
        self,
        number: int,
        code: str,
        message: str,
        *,
        http_status: int = HTTP_OK,
        retry_after_s: int | None = None,
        **data: Any,
    ) -> None:
        super().__init__(f"{code} ({message})")
        self.number = number
        self.code = code
        self.message = message
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.data = data

    def body(self) -> dict[str, Any]:
        """The JSON-RPC `error` object."""
        return {
            "code": self.number,
            "message": self.message,
            "data": {"code": self.code, **{key: plain(value) for key, value in self.data.items()}},
        }


def plain(value: Any) -> Any:
    """A value of an error's data as JSON: bytes in hex, what is beyond 2^53 as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [plain(item) for item in items]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def from_drex(error: DrexError) -> RpcError:
    """The answer for a refusal by the node; its code and evidence go through unchanged."""
    data = {key: value for key, value in error.data.items() if key != "code"}
    return _with_data(RpcError(REFUSED, error.code, error.message), data)


def _with_data(error: RpcError, data: dict[str, Any]) -> RpcError:
    error.data = data
    return error


def parse_error() -> RpcError:
    """The body is not JSON."""
    return RpcError(PARSE_ERROR, "RPC_PARSE", "the body is not JSON")


def invalid_request(why: str) -> RpcError:
    """JSON, but no JSON-RPC 2.0 request."""
    return RpcError(INVALID_REQUEST, "RPC_INVALID_REQUEST", why)


def method_not_found(name: str, close: str | None) -> RpcError:
    """No such method; `close` is one that may have been meant."""
    hint = f"; did you mean {close}?" if close else "; rpc.discover lists them"
    return RpcError(METHOD_NOT_FOUND, "RPC_METHOD_NOT_FOUND", f"no method {name[:64]!r}{hint}")


def invalid_params(why: str, **data: Any) -> RpcError:
    """A parameter is missing, of another type, or out of range."""
    return RpcError(INVALID_PARAMS, "RPC_INVALID_PARAMS", why, **data)


def internal_error() -> RpcError:
    """Our fault. The cause is in the node's log, never in the answer."""
    return RpcError(INTERNAL_ERROR, "RPC_INTERNAL", "the node failed to answer; its log says why")


def unauthorised(method: str) -> RpcError:
    """The method needs a credential, and none came."""
    return RpcError(
        REFUSED,
        "RPC_UNAUTHORISED",
        f"{method} needs the admin credential, a token or an API key that grants it: send 'Authorization: "
        "Bearer <content of admin.cookie, or the token>'",
        http_status=HTTP_UNAUTHORISED,
    )


def forbidden(method: str) -> RpcError:
    """A credential came, and does not grant the method."""
    message = (
        f"this credential does not grant {method}; drexnode rpc token create --methods makes one that does"
    )
    return RpcError(REFUSED, "RPC_FORBIDDEN", message, http_status=HTTP_FORBIDDEN)


def bad_credential(code: str, why: str) -> RpcError:
    """A token or an API key that is not good."""
    return RpcError(REFUSED, code, why, http_status=HTTP_UNAUTHORISED)


def too_large(what: str, found: int, limit: int) -> RpcError:
    """Body, batch or range above its bound."""
    return RpcError(
        REFUSED,
        "RPC_TOO_LARGE",
        f"{what}: {found}, at most {limit} are accepted",
        http_status=HTTP_TOO_LARGE,
        retry_after_s=1,
        found=found,
        limit=limit,
    )


def too_slow(limit_s: float) -> RpcError:
    """The body did not come in time."""
    message = f"the body did not come within {limit_s:g} s"
    return RpcError(REFUSED, "RPC_TOO_SLOW", message, http_status=HTTP_TOO_SLOW)


def rate_limited(retry_after_s: int) -> RpcError:
    """The client called too often."""
    return RpcError(
        REFUSED,
        "RPC_RATE_LIMITED",
        f"too many calls; try again in {retry_after_s} s",
        http_status=HTTP_TOO_MANY,
        retry_after_s=retry_after_s,
    )


def too_many_waiters(limit: int) -> RpcError:
    """All places for calls that wait are taken."""
    return RpcError(
        REFUSED,
        "RPC_TOO_MANY_WAITERS",
        f"{limit} calls wait already; ask drex_getTransactionStatus instead",
        http_status=HTTP_TOO_MANY,
        retry_after_s=1,
    )
