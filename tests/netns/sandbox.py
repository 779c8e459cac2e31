"""A place apart for networks of namespaces: own network, mounts and process ids, gone when its program ends.

A program calls `enter` first: it is executed again inside and finds itself root of an empty machine, so that
no name it gives can clash and no process, mount or link it makes outlives it. Root is not needed where the
kernel permits user namespaces. Linux only; needs `unshare` (util-linux) and `ip` (iproute2).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

SKIPPED = 77
"""Exit code of a program that can't run here; the one by which automake knows a skipped test."""
_INSIDE = "NETNS_SANDBOX"
_PREPARE = "mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up"
_PROBE = "ip netns add probe && ip netns exec probe ip link add one type veth peer name two"


def _unshare(script: str, arguments: Sequence[str] = ()) -> list[str]:
    who = [] if os.geteuid() == 0 else ["--map-root-user"]
    flags = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *who, *flags, "sh", "-c", script, "sh", *arguments]


def why_not() -> str | None:
    """Why networks of namespaces can't be made here, or None when they can."""
    for tool, package in (("unshare", "util-linux"), ("ip", "iproute2")):
        if shutil.which(tool) is None:
            return f"there is no `{tool}`; it is in the package {package}"
    tried = subprocess.run(_unshare(f"{_PREPARE} && {_PROBE}"), capture_output=True, text=True, timeout=30)
    if tried.returncode == 0:
        return None
    said = tried.stderr.strip().splitlines() or ["no reason was given"]
    return f"network namespaces are not permitted here: {said[-1]}"


def enter(module: str) -> None:
    """Go on inside a sandbox: `python -m module` is executed again there with the same arguments.

    Ends the program with `SKIPPED`, and says why, where that can't be."""
    if os.environ.get(_INSIDE) == "1":
        return
    if (reason := why_not()) is not None:
        print(f"skipped: {reason}", flush=True)
        raise SystemExit(SKIPPED)
    program = [sys.executable, "-m", module, *sys.argv[1:]]
    command = _unshare(f'{_PREPARE} && exec "$@"', program)
    sys.stdout.flush()
    os.execvpe(command[0], command, os.environ | {_INSIDE: "1"})
