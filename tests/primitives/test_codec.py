"""The codec: what we encode the reference MessagePack encodes alike, and only canonical bytes come in."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError


class Sample(Record, frozen=True):
    number: int
    data: bytes
    text: str
    items: tuple[int, ...]


samples = st.builds(
    Sample,
    number=st.integers(-(2**63), 2**64 - 1),
    data=st.binary(max_size=300),
    text=st.text(max_size=40),
    items=st.lists(st.integers(0, 2**63), max_size=20).map(tuple),
)


@given(samples)
def test_encoding_equals_the_reference_package(sample: Sample) -> None:
    fields = [sample.number, sample.data, sample.text, list(sample.items)]
    assert encode(sample) == msgpack.packb(fields, use_bin_type=True)


@given(samples)
def test_decode_gives_back_what_was_encoded(sample: Sample) -> None:
    assert decode(encode(sample), Sample, max_bytes=4096) == sample


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_decode_error(data: bytes) -> None:
    try:
        value = decode(data, Sample, max_bytes=4096)
    except DecodeError:
        return
    assert encode(value) == data


GOOD = encode(Sample(1, b"x", "y", (2,)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("long integer form", b"\x94\xcc\x01\xc4\x01x\xa1y\x91\x02"),
        ("float for an integer", b"\x94\xcb" + bytes.fromhex("3ff0000000000000") + b"\xc4\x01x\xa1y\x91\x02"),
        ("text for bytes", b"\x94\x01\xa1x\xa1y\x91\x02"),
        ("long array header", b"\xdc\x00\x04\x01\xc4\x01x\xa1y\x91\x02"),
        ("long text header", b"\x94\x01\xc4\x01x\xd9\x01y\x91\x02"),
        ("map for an array", b"\x84" + GOOD[1:]),
        ("one field more", b"\x95" + GOOD[1:] + b"\x01"),
        ("one field less", b"\x93\x01\xc4\x01x\xa1y"),
        ("trailing byte", GOOD + b"\x00"),
        ("truncated", GOOD[:-1]),
        ("boolean for an integer", b"\x94\xc3\xc4\x01x\xa1y\x91\x02"),
        ("broken UTF-8", b"\x94\x01\xc4\x01x\xa1\xff\x91\x02"),
        ("a list claiming 2^32 - 1 items", b"\x94\x01\xc4\x01x\xa1y\xdd\xff\xff\xff\xff"),
        ("deep nesting", b"\x91" * 100_000),
        ("nothing", b""),
    ],
)
def test_other_spellings_are_refused(name: str, data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data, Sample, max_bytes=200_000)


def test_oversized_bytes_are_refused_before_they_are_read() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(GOOD, Sample, max_bytes=len(GOOD) - 1)
    assert caught.value.code == "DECODE_TOO_LARGE"
