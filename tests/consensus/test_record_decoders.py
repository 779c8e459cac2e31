"""The decoders of all consensus records live through garbage collections.

msgspec 0.22.0 crashes the process when a decoder's type has a bounded scalar and a tuple of fixed length in
one union; `Evidence` had one, and the first evidence that was read ended the process a little later."""

from __future__ import annotations

import subprocess
import sys

import pytest

from consensus.evidence import Evidence, decode_evidence
from primitives.codec import encode
from primitives.errors import DecodeError

PROGRAM = """
import gc, msgspec
from consensus import effects, evidence, inputs, journal, messages
from primitives import block, certificate

def records(base):
    for kind in base.__subclasses__():
        yield kind
        yield from records(kind)

for kind in list(records(msgspec.Struct)):
    if kind.__module__.split(".")[0] in ("consensus", "primitives"):
        msgspec.msgpack.Decoder(kind)
gc.collect()
young = [(b"", number) for number in range(20000)]
gc.collect()
print("alive")
"""


def test_decoders_of_all_records_survive_a_collection() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "alive\n"), run.stderr


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_block_id_in_evidence_has_32_bytes(length: int) -> None:
    evidence = Evidence(bytes(32), bytes(32), 2, 1, 0, bytes(length), bytes(64), bytes(32), bytes(64))
    with pytest.raises(DecodeError):
        decode_evidence(encode(evidence))
