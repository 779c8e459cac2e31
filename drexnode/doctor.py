"""What is wrong with a node's machine and home: one finding a check, each with the next step.

Guarantees: nothing is changed but a small file that the disk check makes in the data directory and removes;
no secret is read but to see that it can be; every wait is bounded (`TIMEOUT_S` each). Works for a running and
for a stopped node. A check that can't be carried out here is a warning that says so, never silently "ok".
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from drexnode import client as rpc
from drexnode.config import NodeConfig
from drexnode.home import check_home
from drexnode.keystore import is_encrypted
from drexnode.ram import available_bytes, configured_bytes, largest_part
from p2p.addresses import Address, parse_address
from primitives.errors import DrexError
from primitives.limits import DISK_LOW_BYTES

TIMEOUT_S = 3.0
SLOW_SYNC_S = 0.05
SYNCS = 5
LEAST_OPEN_FILES = 4096
MAX_PEERS_TRIED = 32
FUTURE_TIP_MS = 2_000
"""A final block's time may lie so far after this machine's clock before the clock is called slow."""
Verdict = Literal["ok", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome. `next` is what to do about it, None when nothing is to be done."""

    check: str
    verdict: Verdict
    message: str
    next: str | None = None


def examine(config: NodeConfig, client: rpc.Client) -> list[Finding]:
    """All findings, in the order in which an operator reads them. Never raises for what it finds."""
    info = _ask(client)
    findings = [*_check_home(config)]
    findings += _check_clock(info)
    findings += _check_disk(config)
    findings += _check_limits(config)
    findings += _check_ports(config, info)
    findings += _check_peers(config, info)
    findings += _check_node(config, info)
    findings += _check_protocol(client if info is not None else None)
    return findings


def _ask(client: rpc.Client) -> dict[str, Any] | None:
    try:
        return dict(client.run(rpc.network_info()))
    except (rpc.NodeUnreachable, rpc.RpcRefused):
        return None


def _check_home(config: NodeConfig) -> Iterator[Finding]:
    """Configuration, genesis, keys: what a start would refuse, and what it would not but should be seen."""
    try:
        facts = check_home(config)
    except DrexError as error:
        hint = error.data.get("next") or f"drexnode config check --home {config.home}"
        yield Finding("keys", "bad", f"{error.code}: {error.message}", str(hint))
    else:
        yield Finding("keys", "ok", f"{facts['role']} of {facts['network']}, peer id {facts['peer_id']}")
        yield from _check_validator_key(config)
    mode = stat.S_IMODE(config.home.stat().st_mode)
    if mode & 0o022:
        hint = f"chmod go-w {config.home}"
        yield Finding("home", "bad", f"others may write into {config.home} (mode {mode:o})", hint)


def _check_validator_key(config: NodeConfig) -> Iterator[Finding]:
    if config.node.role != "validator" or config.signer_socket is not None:
        return
    if is_encrypted(config.validator_key_path):
        yield Finding("validator key", "ok", "encrypted")
    else:
        hint = "drexnode keys import NAME --seed-file FILE makes an encrypted one"
        yield Finding("validator key", "warning", "its file is not encrypted: right for a devnet alone", hint)


def _check_clock(info: dict[str, Any] | None) -> Iterator[Finding]:
    """Kept by the system, and not behind the network's own time."""
    hint = "run a time service: systemctl enable --now systemd-timesyncd, or chrony"
    if info is not None and (tip_ms := info["tip"]["timestamp_ms"]) > _now_ms() + FUTURE_TIP_MS:
        behind = (tip_ms - _now_ms()) / 1000
        message = f"this clock is {behind:.1f} s behind the last final block's time"
        yield Finding("clock", "bad", message, hint)
        return
    kept = _kept_in_time()
    if kept is None:
        message = "can't tell whether a time service keeps it (timedatectl does not say); compare it by hand"
        yield Finding("clock", "warning", message, hint)
    elif not kept:
        yield Finding("clock", "warning", "no time service keeps it", hint)
    else:
        yield Finding("clock", "ok", "kept by the system's time service")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _kept_in_time() -> bool | None:
    tool = shutil.which("timedatectl")
    if tool is None:
        return None
    try:
        shown = subprocess.run(
            [tool, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(shown.stdout.strip())


def _check_disk(config: NodeConfig) -> Iterator[Finding]:
    path = config.data_path
    if not path.is_dir():
        yield Finding("disk", "bad", f"{path} is missing", f"drexnode config check --home {config.home}")
        return
    free, floor = _free_bytes(path), config.storage.free_floor_bytes
    text = f"{free >> 20:,} MiB free; the node halts below {floor >> 20:,} MiB"
    if free < floor:
        yield Finding("disk", "bad", text, "make room, then start the node again; see docs/handbook.md")
    elif free < max(DISK_LOW_BYTES, floor * 2):
        yield Finding("disk", "warning", text, f"drexnode prune --keep 10000 --home {config.home}")
    else:
        yield Finding("disk", "ok", text)
    yield _check_syncs(path)


def _check_syncs(path: Path) -> Finding:
    """How long the disk takes to make a small write durable: each vote waits for it."""
    probe = path / f".doctor-{os.getpid()}"
    try:
        with probe.open("xb") as file:
            times = []
            for _ in range(SYNCS):
                begin = time.monotonic()
                file.write(b"drexnode doctor\n")
                file.flush()
                os.fsync(file.fileno())
                times.append(time.monotonic() - begin)
    except OSError as error:
        return Finding("disk syncs", "bad", f"can't write into {path}: {error.strerror}", f"ls -ld {path}")
    finally:
        probe.unlink(missing_ok=True)
    middle = sorted(times)[SYNCS // 2]
    text = f"{middle * 1000:.1f} ms for a durable write (median of {SYNCS})"
    if middle > SLOW_SYNC_S:
        return Finding("disk syncs", "warning", text, "put node.data_dir on a local SSD")
    return Finding("disk syncs", "ok", text)


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def _open_files_allowed() -> int | None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _check_limits(config: NodeConfig) -> Iterator[Finding]:
    hard = _open_files_allowed()
    wanted = max(LEAST_OPEN_FILES, config.rpc.max_connections + config.p2p.max_peers + 1024)
    shown = "no limit" if hard is None else f"{hard:,}"
    if hard is not None and hard < wanted:
        hint = f"ulimit -Hn {wanted}, or LimitNOFILE= in the unit (drexnode render systemd)"
        yield Finding("open files", "bad", f"{shown} allowed, {wanted:,} wanted", hint)
    else:
        yield Finding("open files", "ok", f"{shown} allowed, {wanted:,} wanted")
    memory, held = available_bytes(), configured_bytes(config)
    text = f"{memory >> 20:,} MiB; hot set, tree, cache and pool may take {held >> 20:,} MiB"
    if held * 2 > memory:
        yield Finding("memory", "warning", text, f"lower {largest_part(config)}")
    else:
        yield Finding("memory", "ok", text)


def _check_ports(config: NodeConfig, info: dict[str, Any] | None) -> Iterator[Finding]:
    """Of a running node: they answer. Of a stopped one: nothing else holds them."""
    places = [("rpc.port", config.rpc.host, config.rpc.port)]
    for text in config.p2p.listen:
        try:
            address = parse_address(text)
        except DrexError as error:
            yield Finding("ports", "bad", f"p2p.listen: {error.message}", "drexnode config show --origin")
            continue
        places.append(("p2p.listen", address.host, address.port))
    for key, host, port in places:
        if port == 0:
            yield Finding("ports", "ok", f"{key}: any free port")
            continue
        taken = _answers(_reachable_host(host), port)
        if taken and info is None:
            hint = f"find it: ss -tlnp sport = :{port}; or choose another with {key}"
            yield Finding("ports", "bad", f"{key} {host}:{port} is held by another program", hint)
        elif not taken and info is not None:
            hint = f"drexnode config show --home {config.home} --origin; restart after a change"
            yield Finding("ports", "bad", f"{key} {host}:{port} does not answer though the node does", hint)
        else:
            yield Finding("ports", "ok", f"{key} {host}:{port} {'answers' if taken else 'is free'}")


def _reachable_host(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), TIMEOUT_S):
            return True
    except OSError:
        return False


def _check_peers(config: NodeConfig, info: dict[str, Any] | None) -> Iterator[Finding]:
    addresses: list[Address] = []
    for text in config.p2p.peers[:MAX_PEERS_TRIED]:
        try:
            addresses.append(parse_address(text))
        except DrexError as error:
            yield Finding("peers", "bad", f"p2p.peers: {error.message}", "drexnode config show --origin")
    if not addresses and (info is None or not info["peers"]):
        yield Finding(
            "peers", "warning", "p2p.peers names none", "name one: drexnode start --set p2p.peers=…"
        )
        return
    with ThreadPoolExecutor(8) as pool:
        reached = list(pool.map(lambda item: _answers(item.host, item.port), addresses))
    for address, good in zip(addresses, reached, strict=True):
        if not good:
            hint = "ask its operator, or open the firewall for it"
            yield Finding("peers", "warning", f"{address} does not take a connection", hint)
    connected = "" if info is None else f"; the node has {info['peers']} connected"
    verdict: Verdict = "ok" if any(reached) or (info is not None and info["peers"]) else "bad"
    what_to_do = None if verdict == "ok" else "check this machine's network and firewall"
    message = f"{sum(reached)} of {len(addresses)} configured peers take a connection{connected}"
    yield Finding("peers", verdict, message, what_to_do)


def _check_protocol(client: rpc.Client | None) -> Iterator[Finding]:
    """Whether this program has the rules of the block that a coming version begins with."""
    if client is None:
        return
    try:
        found = client.run(rpc.protocol())
    except (rpc.NodeUnreachable, rpc.RpcRefused) as error:
        yield Finding("protocol", "warning", f"{error.code}: {error.message}", "drexnode status")
        return
    known, wanted = found["supported"], found["next_version"]
    if wanted is not None and wanted > known:
        message = f"version {wanted} holds from block {found['next_height']} on; this program knows {known}"
        yield Finding("protocol", "bad", message, "install a newer drexnode; drexnode upgrade status")
    else:
        yield Finding("protocol", "ok", f"version {found['version']} in force, up to {known} known")


def _check_node(config: NodeConfig, info: dict[str, Any] | None) -> Iterator[Finding]:
    if info is None:
        hint = f"drexnode start --home {config.home}"
        yield Finding("node", "warning", f"it does not answer at {config.rpc.host}:{config.rpc.port}", hint)
        return
    if info["ready"]:
        yield Finding("node", "ok", f"ready at height {info['tip']['height']}, {info['node']['version']}")
    for reason in info["reasons"]:
        yield Finding("node", "bad", f"{reason['code']}: {reason['message']}", "drexnode explain-stall")
