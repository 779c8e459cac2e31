"""The canonical codec: MessagePack arrays, one encoding for every value.

Guarantees: `decode` accepts only bytes that `encode` would make again (shortest integers, `bin` for bytes,
no maps, floats or extension types in typed records), never reads past its bound, and raises `DecodeError`
for anything else. Records are `msgspec` structs written as arrays.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from primitives.errors import DecodeError

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}

encode = _encoder.encode


class Record(
    msgspec.Struct,
    array_like=True,
    frozen=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """Base of every encoded record: a frozen struct that is a MessagePack array of its fields in order.

    A subclass repeats `frozen=True` for the type checker."""


def decode(data: bytes, record_type: type[T], *, max_bytes: int) -> T:
    """Decode canonical `data` of at most `max_bytes` into `record_type`.

    Raises `DecodeError` when the bytes are too long, malformed, of another shape, or not canonical.
    """
    value = decode_typed(data, record_type, max_bytes=max_bytes)
    if encode(value) != data:
        raise DecodeError(
            "the bytes are not the canonical encoding of their value", code="DECODE_NONCANONICAL"
        )
    return value


def decode_typed(data: bytes, record_type: type[T], *, max_bytes: int) -> T:
    """Decode without the canonical check: only for bytes this node wrote itself, or when the caller
    re-encodes and compares anyway. Raises `DecodeError`."""
    if len(data) > max_bytes:
        raise DecodeError(f"{len(data)} bytes, at most {max_bytes} are accepted", code="DECODE_TOO_LARGE")
    decoder = _decoders.get(record_type)
    if decoder is None:
        decoder = _decoders[record_type] = msgspec.msgpack.Decoder(record_type, strict=True)
    try:
        value: T = decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError, TypeError) as error:
        raise DecodeError(str(error) or type(error).__name__) from None
    return value
