"""Carries the frames of delayed links: each is passed on, unchanged and in order, after a fixed time.

    ip netns exec relay python -m tests.netns.relay --delay-ms 40

Works on every pair of interfaces rA.B and rB.A of its namespace. Frames come and go with their virtio header,
so that what the kernel left to the network card (checksums, cutting of large segments) stays left to it:
veth ends hand over segments of up to 64 KiB. While this process is stopped, links stall.
"""

from __future__ import annotations

import re
import selectors
import socket
import struct
import time
from collections import deque

import click

SOL_PACKET = 263
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
LARGEST_FRAME = 70_000
BUFFER_BYTES = 8 << 20
FRAMES_A_TURN = 64


def open_end(interface: str) -> socket.socket:
    """A raw socket on an interface that sees what comes in, with virtio headers."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, struct.pack("i", BUFFER_BYTES))
    end.bind((interface, ETH_P_ALL))
    end.setblocking(False)
    return end


def pass_on(end: socket.socket, frame: bytes) -> None:
    """Send a frame; a line that is down or full loses it, as lines do."""
    try:
        end.send(frame)
    except OSError:
        return


def relay(ends: dict[str, socket.socket], delay_s: float) -> None:
    """Carry frames between `rA.B` and `rB.A` until killed."""
    selector = selectors.DefaultSelector()
    for name, end in ends.items():
        near, far = name[1:].split(".")
        selector.register(end, selectors.EVENT_READ, (end, ends[f"r{far}.{near}"]))
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for key, _ in selector.select(pause):
            end, other = key.data
            due = time.monotonic() + delay_s
            for _ in range(FRAMES_A_TURN):
                try:
                    waiting.append((due, other, end.recv(LARGEST_FRAME)))
                except OSError:  # no more, or the line went down
                    break
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, out, frame = waiting.popleft()
            pass_on(out, frame)


@click.command()
@click.option("--delay-ms", default=40, show_default=True)
def main(delay_ms: int) -> None:
    """Delay each frame on the links of this namespace."""
    names = [name for _, name in socket.if_nameindex() if re.fullmatch(r"r\d+\.\d+", name)]
    relay({name: open_end(name) for name in names}, delay_ms / 1000)


if __name__ == "__main__":
    main()
