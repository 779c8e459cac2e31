"""How much RAM a node may take, and keeping it there (`storage.ram_lock`).

Promises: a configuration that asks for more than the machine, or its control group, has is refused with both
figures before anything is opened; `ram_lock` either holds for every page, also those that come later, or the
node does not start and says which limit stands in the way: never half of it.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from drexnode.config import ConfigError, NodeConfig

PROGRAM_BYTES = 256 << 20  # interpreter, libraries, the tree's digests and peers, beside what is configured
_CGROUP = Path("/sys/fs/cgroup")
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # mlockall(2)
_CAP_IPC_LOCK = 14  # capabilities(7): locks without limit
_MIB = 1 << 20


def configured_bytes(config: NodeConfig) -> int:
    """RAM that the configuration lets hot set, tree pages, block cache and pool take."""
    return sum(_parts(config).values())


def largest_part(config: NodeConfig) -> str:
    """The key that asks for most of them."""
    parts = _parts(config)
    return max(parts, key=parts.__getitem__)


def _parts(config: NodeConfig) -> dict[str, int]:
    storage = config.storage
    return {
        "storage.hot_set_bytes": storage.hot_set_bytes,
        "storage.tree_bytes": storage.tree_bytes,
        "storage.cache_bytes": storage.cache_bytes,
        "pool.max_bytes": config.pool.max_bytes,
    }


def available_bytes(cgroup: Path = _CGROUP) -> int:
    """RAM of this machine, or of the control group (version 2 or 1) that this process lives in if less."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([installed, *_group_limits(cgroup)])


def _group_limits(root: Path) -> Iterator[int]:
    """The limits of this process's group and of all above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text("ascii").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        place = Path(path.lstrip("/"))
        if controllers == "":
            files = [root / part / "memory.max" for part in (place, *place.parents)]
        elif "memory" in controllers.split(","):
            names = [place, *place.parents]
            files = [root / "memory" / part / "memory.limit_in_bytes" for part in names]
        else:
            continue
        for file in files:
            try:
                text = file.read_text("ascii").strip()
            except OSError:
                continue  # this group has no limit of its own
            if text.isdigit():
                yield int(text)


def check_ram(config: NodeConfig, available: int | None = None) -> None:
    """Refuse to ask for more RAM than there is. Raises `ConfigError` CONFIG_TOO_MUCH_RAM."""
    there = available_bytes() if available is None else available
    wanted = configured_bytes(config)
    if wanted <= there:
        return
    largest = largest_part(config)
    room = max(0, there - PROGRAM_BYTES - wanted + _parts(config)[largest])
    message = (
        f"hot set, tree, cache and pool may take {wanted // _MIB:,} MiB, this machine (or its control group)"
        f" has {there // _MIB:,} MiB"
    )
    raise ConfigError(
        "CONFIG_TOO_MUCH_RAM",
        message,
        hot_set_bytes=config.storage.hot_set_bytes,
        tree_bytes=config.storage.tree_bytes,
        cache_bytes=config.storage.cache_bytes,
        pool_bytes=config.pool.max_bytes,
        available_bytes=there,
        next=f"lower {largest}, to {room} or less",
    )


def lock_ram(config: NodeConfig) -> None:
    """Keep every page of this process in RAM, now and later. Raises `ConfigError` RAM_LOCK_REFUSED."""
    wanted = configured_bytes(config) + PROGRAM_BYTES
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if not _may_lock_all():
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise _refused(f"the limit RLIMIT_MEMLOCK is {hard:,} bytes, {wanted:,} are wanted", wanted)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        raise _refused(f"the system refuses: {os.strerror(ctypes.get_errno())}", wanted)


def _may_lock_all() -> bool:
    """Whether this process is above RLIMIT_MEMLOCK."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False


def _refused(why: str, wanted: int) -> ConfigError:
    hint = (
        f"ulimit -l {-(-wanted // 1024)}, or LimitMEMLOCK=infinity in the unit; or storage.ram_lock = false"
    )
    return ConfigError("RAM_LOCK_REFUSED", f"storage.ram_lock: {why}", wanted_bytes=wanted, next=hint)
