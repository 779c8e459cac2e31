"""Small mutations of bytes, weighted towards what MessagePack decoders trip over."""

from __future__ import annotations

from random import Random

MAX_BYTES = 1 << 16
HEADS = bytes.fromhex(
    "00 7f 80 8f 90 9f a0 bf c0 c1 c2 c4 c5 c6 c7 ca cb cc cd ce cf d0 d3 d9 db dc dd de df e0 ff"
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
