"""RAM: profiles set what nothing else sets, too much is refused, and pages are locked whole or not at all."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from drexnode.config import ConfigError, NodeConfig, load_config
from drexnode.profiles import PROFILES
from drexnode.ram import PROGRAM_BYTES, _may_lock_all, available_bytes, check_ram, configured_bytes
from tests.drexnode.homes import done, make_home, refused

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path)


def test_a_profile_sets_what_nothing_else_sets(home: Path) -> None:
    flags = {"node.profile": "throughput", "storage.cache_bytes": "2_000_000"}
    config = load_config(home, flags, {"DREX_POOL_BATCH_WAIT_MS": "7"})
    assert config.storage.hot_set_bytes == PROFILES["throughput"]["storage.hot_set_bytes"]
    assert (config.storage.cache_bytes, config.pool.batch_wait_ms) == (2_000_000, 7)
    names = ("storage.hot_set_bytes", "storage.cache_bytes", "pool.batch_wait_ms", "node.profile")
    assert [config.origins[name] for name in names] == ["profile", "flag", "environment", "flag"]


def test_the_nearest_source_chooses_the_profile(home: Path) -> None:
    config = load_config(home, {"node.profile": "balanced"}, {"DREX_NODE_PROFILE": "latency"})
    assert config.pool.batch_wait_ms == 50
    assert config.origins["pool.batch_wait_ms"] == "default"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_shown_by_its_keys(
    home: Path, profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREX_NODE_PROFILE", profile)
    keys = done("config", "show", "--home", home)["keys"]
    shown = {name: entry["value"] for name, entry in keys.items() if entry["origin"] == "profile"}
    assert shown == PROFILES[profile]


def test_more_ram_than_there_is_is_refused_with_the_figure(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(home, environment={})
    check_ram(config, configured_bytes(config))
    with pytest.raises(ConfigError, match="has 100 MiB") as caught:
        check_ram(config, 100 * MIB)
    assert caught.value.code == "CONFIG_TOO_MUCH_RAM"
    assert caught.value.data["available_bytes"] == 100 * MIB
    monkeypatch.setenv("DREX_STORAGE_HOT_SET_BYTES", str(1 << 40))
    assert refused("config", "check", "--home", home) == (3, "CONFIG_TOO_MUCH_RAM")


@pytest.mark.parametrize("key", ["storage.hot_set_bytes", "storage.tree_bytes", "pool.max_bytes"])
def test_who_asks_for_too_much_learns_which_key_to_lower_and_how_far(home: Path, key: str) -> None:
    config = load_config(home, {key: str(8 << 30)}, {})
    with pytest.raises(ConfigError) as caught:
        check_ram(config, 4 << 30)
    name, room = str(caught.value.data["next"]).removeprefix("lower ").removesuffix(" or less").split(", to ")
    assert name == key
    check_ram(load_config(home, {key: room}, {}), 4 << 30)


def test_a_control_groups_limit_counts_and_so_do_those_above_it(tmp_path: Path) -> None:
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text("ascii").splitlines()]
    for _, controllers, path in own:
        if controllers and "memory" not in controllers.split(","):
            continue
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        top = tmp_path / "memory" if controllers else tmp_path
        (top / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (top / path.lstrip("/") / name).write_text("max\n")
        (top / name).write_text(f"{50 * MIB}\n")
        assert available_bytes(tmp_path) == 50 * MIB
        return
    pytest.skip("this system has no control group of memory")


LOCK = """
import ctypes, resource, sys
from pathlib import Path
from drexnode import ram
from drexnode.config import ConfigError, NodeConfig, StorageSection
may_lock_all, limit = sys.argv[1] == "all", int(sys.argv[2])
if not may_lock_all:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
    ram._may_lock_all = lambda: False
config = NodeConfig(Path("."), storage=StorageSection(hot_set_bytes=1 << 20))
try:
    ram.lock_ram(config)
except ConfigError as error:
    print(error.code, error.message)
else:
    status = Path("/proc/self/status").read_text().split("VmLck:")[1].split()[0]
    print("locked", int(status) > 0)
"""


def lock_in_a_process(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", LOCK, *arguments], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout


def test_a_limit_that_is_too_low_is_named() -> None:
    said = lock_in_a_process("limited", str(8 * MIB))
    assert said.startswith("RAM_LOCK_REFUSED")
    assert f"{8 * MIB:,} bytes" in said


def test_pages_are_locked_where_the_limit_allows_it() -> None:
    wanted = configured_bytes(NodeConfig(Path("."))) + PROGRAM_BYTES
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if not _may_lock_all() and hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"RLIMIT_MEMLOCK is {hard} bytes here")
    assert lock_in_a_process("all", "0") == "locked True\n"
