"""The error tree. Every failure has an owner, a stable code and the evidence.

*Theirs* — `DecodeError`, `InvalidTransaction`, `InvalidBlock`: bad input, expected, counted, changes nothing.
*The world's* — `StorageFailure`: the disk failed; halt and recover at restart.
*Ours* — `InvariantViolation`: a promise of this program is broken; halt, never go on.
"""

from __future__ import annotations

from typing import Any


class DrexError(Exception):
    """An error with a stable `code`, a sentence for people and `data` for programs."""

    def __init__(self, code: str, message: str, **data: Any) -> None:
        super().__init__(f"{code} ({message})")
        self.code = code
        self.message = message
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling between processes (worker pool) with code and data intact."""
        return (_rebuild, (type(self), self.code, self.message, self.data))


def _rebuild(cls: type[DrexError], code: str, message: str, data: dict[str, Any]) -> DrexError:
    return cls(code, message, **data)


class DecodeError(DrexError):
    """Bytes that are not the canonical encoding of what was expected."""

    def __init__(self, message: str, code: str = "DECODE_ERROR", **data: Any) -> None:
        super().__init__(code, message, **data)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild_decode, (self.message, self.code, self.data))


def _rebuild_decode(message: str, code: str, data: dict[str, Any]) -> DecodeError:
    return DecodeError(message, code, **data)


class InvalidTransaction(DrexError):
    """A well-formed transaction that the ledger's rules refuse."""


class InvalidBlock(DrexError):
    """A block or certificate that breaks a rule."""


class StorageFailure(DrexError):
    """The disk or database failed. The node stops and recovers at the next start."""


class InvariantViolation(DrexError):
    """A promise of our own is broken. Raised explicitly; the node halts."""
