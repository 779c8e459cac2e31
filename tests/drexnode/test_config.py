"""One configuration from four sources, and nothing ignored silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from drexnode.config import KEYS, ConfigError, load_config, render_file


def home(folder: Path, text: str = "") -> Path:
    (folder / "drexnode.toml").write_text(text)
    return folder


def refusal(folder: Path, **sources: dict[str, str]) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        load_config(folder, sources.get("flags"), sources.get("environment", {}))
    return refused.value


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    home(tmp_path, '[rpc]\nport = 1001\nhost = "127.0.0.2"\nmax_batch = 7\n')
    environment = {"DREX_RPC_PORT": "1002", "DREX_RPC_HOST": "127.0.0.3", "PATH": "x", "DREX_HOME": "y"}
    config = load_config(tmp_path, {"rpc.port": "1003"}, environment)
    assert (config.rpc.port, config.rpc.host, config.rpc.max_batch) == (1003, "127.0.0.3", 7)
    origins = [config.origins[key] for key in ("rpc.port", "rpc.host", "rpc.max_batch", "rpc.max_range")]
    assert origins == ["flag", "environment", "file", "default"]


def test_there_are_at_most_fifty_keys_and_each_says_what_it_is() -> None:
    assert len(KEYS) <= 50
    assert all(spec.help.endswith(".") for spec in KEYS.values())


def test_an_unknown_key_is_an_error_with_a_suggestion_wherever_it_stands(tmp_path: Path) -> None:
    home(tmp_path, "[rpc]\nprot = 1\n")
    assert "did you mean rpc.port?" in refusal(tmp_path).message
    home(tmp_path, "[prc]\nport = 1\n")
    assert "did you mean rpc?" in refusal(tmp_path).message
    home(tmp_path)
    environment = refusal(tmp_path, environment={"DREX_RPC_PROT": "1"})
    assert (environment.code, "DREX_RPC_PORT" in environment.message) == ("CONFIG_UNKNOWN_KEY", True)
    assert "rpc.port" in refusal(tmp_path, flags={"rpc.prot": "1"}).message


@pytest.mark.parametrize(
    "text",
    [
        "[rpc]\nport = '80'\n",
        "[rpc]\nport = true\n",
        "[rpc]\nport = 70000\n",
        "[rpc]\nport = 1.5\n",
        "[node]\nrole = 'king'\n",
        "[p2p]\nlisten = [1]\n",
        "[p2p]\nlisten = '/ip4/0.0.0.0/tcp/1'\n",
        "[log]\nlevel = 'loud'\n",
    ],
)
def test_a_value_of_another_type_or_out_of_range_is_refused(tmp_path: Path, text: str) -> None:
    error = refusal(home(tmp_path, text))
    assert error.code == "CONFIG_BAD_VALUE"
    assert error.data["key"] in error.message


def test_what_is_no_toml_and_a_folder_that_is_no_home_are_refused(tmp_path: Path) -> None:
    missing = refusal(tmp_path)
    assert (missing.code, "drexnode init" in missing.message) == ("CONFIG_NO_HOME", True)
    assert refusal(home(tmp_path, "port = = 1")).code == "CONFIG_UNREADABLE"
    (tmp_path / "drexnode.toml").write_bytes(b"\xff\xfe")
    assert refusal(tmp_path).code == "CONFIG_UNREADABLE"


def test_the_rendered_file_reads_back_and_shows_every_other_key_as_a_comment(tmp_path: Path) -> None:
    chosen = {"node.name": 'a "quoted" \\ name', "p2p.listen": ("/ip4/1.2.3.4/tcp/5", "x"), "rpc.port": 7}
    text = render_file(chosen)  # type: ignore[arg-type]
    config = load_config(home(tmp_path, text), environment={})
    assert (config.node.name, config.p2p.listen, config.rpc.port) == tuple(chosen.values())
    assert all(f"{spec.key} = " in text for spec in KEYS.values())


def test_paths_are_absolute_and_start_at_the_home(tmp_path: Path) -> None:
    home(tmp_path, f"[node]\ndata_dir = '{tmp_path}/elsewhere'\n")
    config = load_config(tmp_path, environment={})
    assert config.data_path == tmp_path / "elsewhere"
    assert config.watermark_path == tmp_path / "signer" / "watermark"
    assert config.genesis_path.is_absolute()


def test_lists_and_flags_of_the_environment_are_read(tmp_path: Path) -> None:
    config = load_config(
        home(tmp_path), environment={"DREX_P2P_ALLOW": "a, b,", "DREX_POOL_MAX_BYTES": "65_536"}
    )
    assert config.p2p.allow == ("a", "b")
    assert config.pool.max_bytes == 65536
