"""Scenes for the test of the mesh: run inside a sandbox, each prints a word for every step that held."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.netns.mesh import Mesh
from tests.netns.sandbox import enter

NAMES = ["a", "b", "c"]
DELAY_MS = 40
MANY_BYTES = 4 << 20
_PORT = "4000"
_ECHO = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=16)
print("up", flush=True)
while True:
    with server.accept()[0] as peer:
        while data := peer.recv(65536):
            peer.sendall(data)
"""
_ASK = """
import socket, sys, threading, time
host, port, size, timeout_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
peer = socket.create_connection((host, port), timeout=timeout_s)
sent, got = (bytes(range(256)) * (size // 256 + 1))[:size], bytearray()
begin = time.monotonic()
threading.Thread(target=peer.sendall, args=(sent,)).start()
while len(got) < size:
    got += peer.recv(1 << 20)
assert got == sent
print(time.monotonic() - begin)
"""


def ask(mesh: Mesh, near: str, far: str, size: int = 1, timeout_s: float = 10) -> float | None:
    """Send bytes from a namespace to another and back; the seconds it took, None when nobody answered."""
    host = mesh.hosts()[NAMES.index(far)][0]
    program = [sys.executable, "-c", _ASK, host, _PORT, str(size), str(timeout_s)]
    ended = subprocess.run([*mesh.prefix(near), *program], capture_output=True, text=True)
    return float(ended.stdout) if ended.returncode == 0 else None


@contextmanager
def meshed(delay_ms: int) -> Iterator[Mesh]:
    """Three namespaces that echo."""
    mesh, echoes = Mesh(NAMES, delay_ms), []
    mesh.build()
    try:
        for name, (host, _) in zip(NAMES, mesh.hosts(), strict=True):
            program = [*mesh.prefix(name), sys.executable, "-c", _ECHO, host, _PORT]
            echoes.append(subprocess.Popen(program, stdout=subprocess.PIPE))
        for echo in echoes:
            assert echo.stdout is not None
            assert echo.stdout.readline() == b"up\n"
        yield mesh
    finally:
        for echo in echoes:
            echo.kill()
        mesh.close()


def cut() -> None:
    """Links are cut and mended one by one."""
    with meshed(0) as mesh:
        assert ask(mesh, "a", "b") is not None
        print("joined")
        mesh.split(["a"], ["b"])
        assert not mesh.joined("b", "a")
        assert ask(mesh, "a", "b", timeout_s=1) is None
        assert ask(mesh, "b", "a", timeout_s=1) is None
        print("cut")
        assert mesh.joined("a", "c")
        assert ask(mesh, "a", "c") is not None
        assert ask(mesh, "c", "b") is not None
        print("others-joined")
        mesh.heal()
        assert ask(mesh, "a", "b") is not None
        assert ask(mesh, "b", "a") is not None
        print("mended")


def delay() -> None:
    """The relay delays, carries much, stalls and goes on."""
    with meshed(DELAY_MS) as mesh:
        taken_s = ask(mesh, "a", "b")
        assert taken_s is not None
        assert taken_s >= 2 * DELAY_MS / 1000, taken_s
        print("delayed")
        assert ask(mesh, "c", "a", MANY_BYTES, timeout_s=60) is not None
        print("whole")
        with mesh.stalled():
            assert ask(mesh, "a", "b", timeout_s=1) is None
        print("stalled")
        assert ask(mesh, "a", "b") is not None
        print("released")


SCENES: dict[str, Callable[[], None]] = {"cut": cut, "delay": delay}


if __name__ == "__main__":
    enter("tests.netns.mesh_scenes")
    SCENES[sys.argv[1]]()
