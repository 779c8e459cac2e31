"""The process that verifies signatures for a node: `python -m drexnode.verify_worker`, started by the node.

Reads frames from stdin and answers each on stdout, in order, until stdin ends (its node closed it or died):

    request  = count(4, big-endian) + count * [public key(32) + message(32) + signature(64)]
    response = count bytes, each 1 (verifies under ZIP-215) or 0

It holds no secret, opens no file and no connection, and imports nothing but the keys of `primitives`.
"""

from __future__ import annotations

import signal
import sys
from typing import BinaryIO

from primitives.keys import verify
from primitives.limits import VERIFY_BATCH

COUNT_BYTES = 4
KEY_END = 32
MESSAGE_END = 64
CHECK_BYTES = 128


def encode_request(checks: list[tuple[bytes, bytes, bytes]]) -> bytes:
    """One request frame. Every check is of exactly 32, 32 and 64 bytes; at most `VERIFY_BATCH` of them."""
    parts = [len(checks).to_bytes(COUNT_BYTES, "big")]
    for public_key, message, signature in checks:
        parts += (public_key, message, signature)
    return b"".join(parts)


def answer(body: bytes) -> bytes:
    """Verify the checks of one request (without its count)."""
    return bytes(
        verify(
            body[at : at + KEY_END],
            body[at + KEY_END : at + MESSAGE_END],
            body[at + MESSAGE_END : at + CHECK_BYTES],
        )
        for at in range(0, len(body), CHECK_BYTES)
    )


def serve(requests: BinaryIO, responses: BinaryIO) -> int:
    """Answer until the requests end. Returns the exit code: 0 at a clean end, 1 for a torn or false frame."""
    while header := requests.read(COUNT_BYTES):
        count = int.from_bytes(header, "big")
        if len(header) < COUNT_BYTES or count > VERIFY_BATCH:
            return 1
        body = requests.read(count * CHECK_BYTES)
        if len(body) < count * CHECK_BYTES:
            return 1
        responses.write(answer(body))
        responses.flush()
    return 0


def main() -> int:
    """A Ctrl-C in the terminal is the node's to handle; this process ends with its stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    sys.exit(main())
