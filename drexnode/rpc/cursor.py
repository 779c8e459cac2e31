"""Cursors: opaque text that binds a page to the height it was read at.

A cursor is base64url of canonical `[height, place]`; one that was changed by hand is refused, never obeyed.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from drexnode.rpc.errors import invalid_params
from primitives.codec import decode, encode
from primitives.errors import DecodeError
from primitives.limits import MAX_HEIGHT

OUTPOINT_BYTES = 36
TXID_BYTES = 32
MAX_CURSOR_BYTES = 128


def write_cursor(height: int, place: Any) -> str:
    """The cursor of a page's end."""
    return base64.urlsafe_b64encode(encode([height, place])).decode("ascii").rstrip("=")


def _read(text: str, kind: Any) -> Any:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        height, place = decode(data, kind, max_bytes=MAX_CURSOR_BYTES)
    except (binascii.Error, ValueError, DecodeError):
        raise invalid_params("this is no cursor of this method") from None
    if not 0 <= height <= MAX_HEIGHT:
        raise invalid_params("this is no cursor of this method")
    return height, place


def read_event_cursor(kind: str, text: str | None) -> tuple[int, int] | None:
    """(epoch, number) of the event of a kind to go on after. Raises `RpcError` RPC_INVALID_PARAMS."""
    if text is None:
        return None
    epoch, (of, number) = _read(text, tuple[int, tuple[str, int]])
    if of != kind or not 0 <= number <= MAX_HEIGHT:
        raise invalid_params("this is no cursor of this method")
    return epoch, number


def read_pool_cursor(text: str | None) -> tuple[int, bytes] | None:
    """(added_ms, txid) of the entry to go on after. Raises `RpcError` RPC_INVALID_PARAMS."""
    if text is None:
        return None
    added_ms, txid = _read(text, tuple[int, bytes])
    if len(txid) != TXID_BYTES:
        raise invalid_params("this is no cursor of this method")
    return added_ms, txid


def read_unspent_cursor(text: str | None) -> tuple[int | None, bytes | None]:
    """(height, outpoint to go on after). Raises `RpcError` RPC_INVALID_PARAMS."""
    if text is None:
        return None, None
    height, place = _read(text, tuple[int, bytes])
    if len(place) != OUTPOINT_BYTES:
        raise invalid_params("this is no cursor of this method")
    return height, place


def read_history_cursor(text: str | None) -> tuple[int | None, tuple[int, int] | None]:
    """(height, (height, index) to go on before). Raises `RpcError` RPC_INVALID_PARAMS."""
    if text is None:
        return None, None
    height, place = _read(text, tuple[int, tuple[int, int]])
    if not (0 <= place[0] <= MAX_HEIGHT and 0 <= place[1] <= MAX_HEIGHT):
        raise invalid_params("this is no cursor of this method")
    return height, place
