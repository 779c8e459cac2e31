"""Small mutations: of bytes, weighted towards what MessagePack decoders trip over, and of the value they say.

Most changed bytes are no longer canonical and end at the decoder's door. `mutate_value` changes one part of a
decoded array and encodes it again, so what comes out reaches the checks behind.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

MAX_BYTES = 1 << 16
HEADS = bytes.fromhex(
    "00 7f 80 8f 90 9f a0 bf c0 c1 c2 c4 c5 c6 c7 ca cb cc cd ce cf d0 d3 d9 db dc dd de df e0 ff"
)
_VALUES: tuple[Any, ...] = (
    *(None, True, 0, 1, 2, 3, 7, 255, 256, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, -1),
    *([], [[]], b"", bytes(32), bytes(31), bytes(64), "", "BRL", "A" * 300),
)


def mutate(data: bytes, other: bytes, random: Random) -> bytes:
    """One to four changes: bits, heads, lengths, cuts, repeats, and pieces of another input."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(changed) + 1)
        match random.randrange(7):
            case 0 if changed:
                changed[place % len(changed)] ^= 1 << random.randrange(8)
            case 1 if changed:
                changed[place % len(changed)] = random.choice(HEADS)
            case 2:
                changed[place:place] = random.randbytes(random.randint(1, 9))
            case 3:
                del changed[place : place + random.randint(1, 40)]
            case 4:
                start = random.randrange(len(other) + 1)
                changed[place:place] = other[start : start + random.randint(1, 80)]
            case 5:
                changed[place:place] = bytes([random.choice(HEADS)]) * random.randint(1, 2000)
            case _:
                del changed[place:]
                changed += other[place:]
    return bytes(changed[:MAX_BYTES])


def mutate_value(data: bytes, random: Random) -> bytes:
    """`data` with one part replaced, dropped, doubled or nudged; unchanged if it has no parts."""
    try:
        value = msgspec.msgpack.decode(data)
        parts = list(_parts(value))
        if parts:
            array, place = random.choice(parts)
            _change(array, place, random)
        return bytes(msgspec.msgpack.encode(value))[:MAX_BYTES]
    except (msgspec.MsgspecError, ValueError, OverflowError, TypeError, RecursionError):
        return data


def _parts(value: Any) -> list[tuple[list[Any], int]]:
    found, waiting = [], [value]
    while waiting:
        array = waiting.pop()
        if isinstance(array, list):
            found += [(array, place) for place in range(len(array))]
            waiting += array
    return found


def _change(array: list[Any], place: int, random: Random) -> None:
    value = array[place]
    match random.randrange(6):
        case 0:
            del array[place]
        case 1:
            array.insert(random.randrange(len(array) + 1), value)
        case 2 if isinstance(value, int) and not isinstance(value, bool):
            array[place] = value + random.choice((-1, 1, 256, -256))
        case 2 | 3 if isinstance(value, bytes) and value:
            changed = bytearray(value)
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
            array[place] = bytes(changed)
        case 4:
            array[place] = random.choice(array)
        case _:
            array[place] = random.choice(_VALUES)
