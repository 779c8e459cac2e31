"""`make interop`: js-libp2p, permitted, verifies heads and certificates; unpermitted, it is refused.

    python -m scripts.interop.run [--heads 5] [--dir DIR]

A devnet of real processes, the observer of `observer.mjs` beside it, blocks made by transfers. Ends with 0
when all four scenes went as they should, 77 when Node.js or the packages (`npm ci` here) are not there.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drexnode.devnet import Devnet

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "drexnode"]
FALSE_HEAD, NOT_ADMITTED, MISSING = 1, 3, 77
SCENE_TIMEOUT_S = 180
TRANSFER_S = 1.0


def drexnode(*arguments: str | Path) -> dict[str, Any]:
    """The JSON of a command that must succeed."""
    done = subprocess.run([*COMMAND, *map(str, arguments), "-o", "json"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def is_installed() -> bool:
    """Whether Node.js and the packages are there."""
    return shutil.which("node") is not None and (HERE / "node_modules" / "libp2p").is_dir()


def observe(bundle: Path, *options: str, folder: Path | None = None) -> tuple[int, list[dict[str, Any]]]:
    """Run the observer to its end while transfers in `folder`'s devnet make blocks. Exit code and events."""
    node = subprocess.Popen(
        ["node", "observer.mjs", str(bundle), *options], cwd=HERE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + SCENE_TIMEOUT_S
    while node.poll() is None and time.monotonic() < deadline:
        if folder is None:
            time.sleep(0.1)
        else:
            drexnode("tx", "transfer", "alice", "bob", "1.00", "--dir", folder)
            time.sleep(TRANSFER_S)
    if node.poll() is None:
        node.kill()
    said, _ = node.communicate()
    return node.returncode, [json.loads(line) for line in said.splitlines()]


def scenes(folder: Path, heads: int) -> bool:
    """Play all scenes against a running devnet; True when each went as it should."""
    bundle = folder / "js-observer.json"
    invited = drexnode(
        "registry",
        "invite",
        "observer",
        "99990001",
        "--by",
        "bcb-registry",
        "--bundle",
        bundle,
        "--dir",
        folder,
    )
    code, events = observe(bundle, "--heads", str(heads), folder=folder)
    seen = [event for event in events if event["event"] == "head"]
    known = next((event["height"] for event in events if event["event"] == "admitted"), -1)
    followed = [event for event in seen if event["height"] > known]
    agree = all(
        drexnode("query", "block", str(event["height"]), "--dir", folder)["block_id"] == event["block_id"]
        for event in seen[-3:]
    )
    went_well = code == 0 and len(followed) >= heads and agree
    print(f"permitted: {len(seen)} heads verified, {len(followed)} of them as they came: {_word(went_well)}")
    flipped, events = observe(bundle, "--flip-bit")
    is_refused = flipped == FALSE_HEAD and "is false" in events[-1]["reason"]
    print(f"a flipped bit in a seal: {events[-1].get('reason')}: {_word(is_refused)}")
    stranger, events = observe(bundle, "--stranger")
    is_out = stranger == NOT_ADMITTED and not any(event["event"] == "head" for event in events)
    print(f"unpermitted: {events[-1].get('reason')}: {_word(is_out)}")
    drexnode(
        "registry", "node", "remove", invited["peer_id"], "--by", "bcb-registry", "--wait", "--dir", folder
    )
    removed, events = observe(bundle)
    is_gone = removed == NOT_ADMITTED
    print(f"removed: {events[-1].get('reason')}: {_word(is_gone)}")
    return went_well and is_refused and is_out and is_gone


def _word(ok: bool) -> str:
    return "ok" if ok else "FAILED"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--heads", type=int, default=5, help="new heads to follow")
    parser.add_argument("--dir", type=Path, help="a devnet that runs already")
    given = parser.parse_args(arguments)
    if not is_installed():
        print("Node.js 20 and `npm ci` in scripts/interop are needed: make interop", file=sys.stderr)
        return MISSING
    if given.dir is not None:
        return 0 if scenes(given.dir, given.heads) else 1
    with tempfile.TemporaryDirectory(prefix="drex-interop-") as temporary:
        folder, base = Path(temporary) / "net", random.randrange(10_000, 32_000)
        try:
            up = ["devnet", "up", "--detach", "--dir", str(folder), "--base-port", str(base)]
            subprocess.run([*COMMAND, *up], check=True, stdout=subprocess.DEVNULL)
            return 0 if scenes(folder, given.heads) else 1
        finally:
            if Devnet.exists(folder):
                Devnet(folder).stop()


if __name__ == "__main__":
    sys.exit(main())
