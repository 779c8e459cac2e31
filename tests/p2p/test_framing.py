"""Frames survive any cutting of the stream, and no length makes the decoder hold more than one frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.framing import FrameDecoder, encode_varint, frame
from primitives.errors import DecodeError


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(1, 400), min_size=1, max_size=50))
def test_frames_survive_any_cutting(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(payload) for payload in payloads)
    decoder = FrameDecoder(300)
    decoded: list[bytes] = []
    position = turn = 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        decoded += decoder.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert decoded == payloads
    assert decoder.buffered_bytes == 0


@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_a_decode_error(data: bytes) -> None:
    decoder = FrameDecoder(50)
    try:
        frames = decoder.feed(data)
    except DecodeError:
        return
    assert all(len(payload) <= 50 for payload in frames)
    assert sum(len(frame(payload)) for payload in frames) + decoder.buffered_bytes <= len(data)


def test_length_above_the_limit_is_refused_before_its_body_comes() -> None:
    decoder = FrameDecoder(1000)
    with pytest.raises(DecodeError, match="1001"):
        decoder.feed(encode_varint(1001))


@pytest.mark.parametrize("length", [b"\x80\x00", b"\x81\x80\x00", b"\xff\xff\xff\xff\xff\x01"])
def test_length_not_in_its_shortest_form_is_refused(length: bytes) -> None:
    with pytest.raises(DecodeError):
        FrameDecoder(1000).feed(length + bytes(10))


@pytest.mark.parametrize(
    ("number", "encoded"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**32, "8080808010")]
)
def test_varints_are_those_of_multiformats(number: int, encoded: str) -> None:
    assert encode_varint(number).hex() == encoded
