"""The HTTP status of a refusal by REST. JSON-RPC answers most refusals with 200; REST says them in HTTP."""

from __future__ import annotations

from drexnode.rpc.errors import (
    HTTP_OK,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REFUSED,
    RpcError,
)

REST_STATUSES = {
    400: "A parameter is missing, of another type or out of range, or the body is not JSON.",
    401: "The method needs a credential.",
    403: "The origin or the credential is not allowed to.",
    404: "There is no such thing, or no such path.",
    405: "The path has no such verb.",
    408: "The body did not come in time.",
    410: "It was there and is no longer: an expired cursor, a pruned block.",
    413: "Body, range or number above its limit; Retry-After.",
    422: "The node refuses; data.code says what, TX_… from the ledger.",
    429: "Too many calls; Retry-After.",
    500: "The node's fault; its log says why.",
    503: "The node can't now: it catches up, is busy or stops; try again later.",
}
_BY_NUMBER = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    METHOD_NOT_FOUND: 404,
    INTERNAL_ERROR: 500,
}
_BY_CODE = {
    "RPC_ASSET_UNKNOWN": 404,
    "RPC_HEIGHT_UNKNOWN": 404,
    "RPC_NOT_FOUND": 404,
    "CURSOR_EXPIRED": 410,
    "BLOCK_PRUNED": 410,
    "NODE_BUSY": 503,
    "NODE_NOT_READY": 503,
    "NODE_STOPPED": 503,
}
UNPROCESSABLE = 422


def rest_status(error: RpcError) -> int:
    """The status that says it: that of JSON-RPC where it is no 200, else by number and code."""
    if error.http_status != HTTP_OK:
        return error.http_status
    return _BY_NUMBER.get(error.number) or _BY_CODE.get(error.code, UNPROCESSABLE)


def not_found(what: str) -> RpcError:
    """By REST what is not there is an error."""
    return RpcError(REFUSED, "RPC_NOT_FOUND", what)
