"""The frames that docs/network.md shows byte by byte are those that nodes write."""

from __future__ import annotations

import re
from pathlib import Path

from drexnode.wire import WIRE_VERSION, Role, Status, encode_message
from p2p.framing import frame

PAGE = (Path(__file__).parents[2] / "docs" / "network.md").read_text()


def shown(name: str) -> bytes:
    """The bytes of an example; words behind two spaces explain them."""
    found = re.search(rf"<!-- frame: {name} -->\n```\n(.*?)```", PAGE, re.S)
    assert found is not None
    return bytes.fromhex("".join(re.split(r" {2,}", line)[0] for line in found[1].splitlines()))


def status(height: int, role: Role, name: str) -> bytes:
    return encode_message(Status(WIRE_VERSION, b"\x11" * 32, height, b"\x22" * 32, 1, role, name))


def test_the_frames_of_a_status_are_as_documented() -> None:
    asked = b"\x00\x00\x00\x00\x01\x06status" + status(7, "observer", "js")
    assert shown("status request") == frame(asked)
    answered = b"\x02\x00\x00\x00\x01\x01" + status(300, "validator", "v0")
    assert shown("status answer") == frame(answered)


def test_the_names_of_protocols_are_as_documented() -> None:
    for text in re.findall(r"^> ([0-9a-f]{2} [0-9a-f]+)", PAGE, re.M):
        data = bytes.fromhex(text)
        assert data[0] == len(data) - 1
        assert data.endswith(b"\n")
