"""Frames on a direct stream: an unsigned varint length, then that many bytes. Sans-IO.

The decoder refuses a length above its limit before a byte of the body is kept, so what a peer can make us
hold is one frame and one piece. The varint is libp2p's (multiformats unsigned-varint), shortest form only.
"""

from __future__ import annotations

from primitives.errors import DecodeError

MAX_VARINT_BYTES = 5


def frame(payload: bytes) -> bytes:
    """`payload` with its length in front."""
    return encode_varint(len(payload)) + payload


def encode_varint(number: int) -> bytes:
    """The shortest unsigned varint of `number` (< 2^35)."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class FrameDecoder:
    """Turns pieces of a stream into frames."""

    __slots__ = ("_buffer", "_max_frame_bytes", "_needed")

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._needed = -1  # length of the frame being filled, -1 while its length is unknown

    @property
    def buffered_bytes(self) -> int:
        return len(self._buffer)

    def feed(self, piece: bytes) -> list[bytes]:
        """The frames that `piece` completes. Raises `DecodeError` for a length above the limit or not in its
        shortest form; the stream is then beyond repair."""
        self._buffer += piece
        frames: list[bytes] = []
        position = 0
        while True:
            if self._needed < 0:
                header = self._read_length(position)
                if header is None:
                    break
                self._needed, position = header
            end = position + self._needed
            if end > len(self._buffer):
                break
            frames.append(bytes(self._buffer[position:end]))
            position = end
            self._needed = -1
        del self._buffer[:position]
        return frames

    def _read_length(self, position: int) -> tuple[int, int] | None:
        length = shift = 0
        for count in range(MAX_VARINT_BYTES):
            if position + count >= len(self._buffer):
                return None
            byte = self._buffer[position + count]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if byte == 0 and count:
                    raise DecodeError("a frame's length is not in its shortest form")
                if length > self._max_frame_bytes:
                    raise DecodeError(
                        f"a frame of {length} bytes, at most {self._max_frame_bytes} are allowed"
                    )
                return length, position + count + 1
        raise DecodeError("a frame's length is not a varint of at most five bytes")
