"""`drexnode doctor`: what it finds in good and bad homes, and that its archive holds no secret."""

from __future__ import annotations

import base64
import json
import socket
import tarfile
from pathlib import Path
from typing import Any

import pytest

from drexnode import doctor, doctor_bundle
from drexnode.cli import output
from drexnode.config import load_config
from drexnode.doctor import Finding
from drexnode.doctor_bundle import WIPED, Redactor
from drexnode.keystore import read_plain_key
from tests.drexnode.homes import command, make_home


@pytest.fixture
def ports() -> tuple[int, int]:
    """Two ports that are free now."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture
def home(tmp_path: Path, ports: tuple[int, int]) -> Path:
    home = make_home(tmp_path, "validator-0", "validator")
    p2p, rpc = ports
    text = (home / "drexnode.toml").read_text()
    text = text.replace('# listen = ["/ip4/0.0.0.0/tcp/26600"]', f'listen = ["/ip4/127.0.0.1/tcp/{p2p}"]')
    text = text.replace("# port = 26650", f"port = {rpc}")
    (home / "drexnode.toml").write_text(text)
    return home


def findings(home: Path, *more: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    code, document = command("doctor", "--home", home, *more)
    by_check: dict[str, list[dict[str, Any]]] = {}
    for item in document["findings"]:
        by_check.setdefault(item["check"], []).append(item)
    return code, by_check


def test_a_good_home_of_a_stopped_node_has_nothing_bad(home: Path) -> None:
    code, found = findings(home)
    assert code == output.OK, found
    assert {"keys", "clock", "disk", "disk syncs", "open files", "memory", "ports", "peers", "node"} <= set(
        found
    )
    assert [item["verdict"] for item in found["ports"]] == ["ok", "ok"]
    assert found["validator key"][0]["verdict"] == "warning"
    assert all(item["next"] for items in found.values() for item in items if item["verdict"] != "ok")


def test_a_port_that_another_program_holds_is_named(home: Path, ports: tuple[int, int]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[0]))
        taken.listen()
        code, found = findings(home)
    assert code == output.FAILURE
    [bad] = [item for item in found["ports"] if item["verdict"] == "bad"]
    assert str(ports[0]) in bad["message"]
    assert "p2p.listen" in bad["next"]


def test_an_exposed_key_a_missing_watermark_and_a_writable_home_are_bad(home: Path) -> None:
    home.chmod(0o777)
    (home / "keys" / "validator.key").chmod(0o644)
    code, found = findings(home)
    assert code == output.FAILURE
    assert "KEY_EXPOSED" in found["keys"][0]["message"]
    assert found["home"][0]["verdict"] == "bad"
    (home / "keys" / "validator.key").chmod(0o600)
    (home / "signer" / "watermark").rename(home / "signer" / "elsewhere")
    assert "HOME_NO_WATERMARK" in findings(home)[1]["keys"][0]["message"]


def test_little_room_slow_syncs_few_descriptors_and_small_memory_are_found(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_free_bytes", lambda path: 1 << 20)
    monkeypatch.setattr(doctor, "SLOW_SYNC_S", 0.0)
    monkeypatch.setattr(doctor, "_open_files_allowed", lambda: 256)
    monkeypatch.setattr(doctor, "available_bytes", lambda: 1 << 20)
    monkeypatch.setenv("DREX_STORAGE_FREE_FLOOR_BYTES", str(1 << 30))
    code, found = findings(home)
    assert code == output.FAILURE
    verdicts = {check: items[0]["verdict"] for check, items in found.items()}
    assert verdicts["disk"] == verdicts["open files"] == "bad"
    assert verdicts["disk syncs"] == verdicts["memory"] == "warning"


def test_a_missing_data_folder_is_bad_and_nothing_is_left_behind(home: Path) -> None:
    findings(home)
    assert not list((home / "data").glob(".doctor*"))
    (home / "data").rename(home / "gone")
    assert findings(home)[1]["disk"][0]["verdict"] == "bad"


def info(**changes: Any) -> dict[str, Any]:
    return {"tip": {"timestamp_ms": 0, "height": 5}, "node": {"version": "1"}, "peers": 1, "ready": True,
            "reasons": [], **changes}  # fmt: skip


@pytest.mark.parametrize(("kept", "verdict"), [(True, "ok"), (False, "warning"), (None, "warning")])
def test_the_clock_is_judged_by_the_time_service(
    kept: bool | None, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_kept_in_time", lambda: kept)
    [found] = doctor._check_clock(info())
    assert found.verdict == verdict


def test_a_clock_behind_the_last_block_is_bad_whatever_the_time_service_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_kept_in_time", lambda: True)
    tip = {"timestamp_ms": doctor._now_ms() + 60_000, "height": 5}
    [found] = doctor._check_clock(info(tip=tip))
    assert found.verdict == "bad"
    assert "behind" in found.message


def test_a_running_node_that_is_not_ready_and_ports_that_do_not_answer_are_bad(home: Path) -> None:
    config = load_config(home)
    reason = {"code": "NO_PEERS", "message": "no peer is connected"}
    found = list(doctor._check_node(config, info(ready=False, reasons=[reason])))
    assert found == [Finding("node", "bad", "NO_PEERS: no peer is connected", "drexnode explain-stall")]
    assert {item.verdict for item in doctor._check_ports(config, info())} == {"bad"}


def test_a_peer_that_takes_no_connection_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREX_P2P_PEERS", "/ip4/127.0.0.1/tcp/1")
    _, found = findings(home)
    assert [item["verdict"] for item in found["peers"]] == ["warning", "bad"]


# --- the archive


def spellings(secret: bytes) -> list[bytes]:
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
    ]


def test_the_archive_holds_no_secret_even_if_the_log_does(home: Path, tmp_path: Path) -> None:
    seeds = [read_plain_key(home / "keys" / name).seed for name in ("validator.key", "peer.key")]
    cookie = b"5c" * 32
    (home / "data" / "admin.cookie").write_bytes(cookie)
    wallet = bytes(range(32))
    (home.parent / "wallets.json").write_text(json.dumps({"alice": {"seed": wallet.hex(), "address": "x"}}))
    hidden = [*seeds, wallet, cookie]
    lines = [text.decode("latin-1") for secret in hidden for text in spellings(secret)]
    lines += ['{"authorization": "Bearer abcdefgh"}', "passphrase = correct-horse", "Bearer xyzxyzxyz"]
    lines += ["sent to drexdev14a488cw6rd62m682wctagc53cma3dyrye2cshehe0uenxw0jjjqq8w0tmh", "kept line"]
    (home / "node.log").write_text("\n".join(lines), "utf-8")
    target = tmp_path / "help.tar.gz"
    code, document = command("doctor", "--home", home, "--bundle", target)
    assert code == output.OK, document
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as archive:
        contents = {item.name: archive.extractfile(item).read() for item in archive}  # type: ignore[union-attr]
    assert {Path(name).name for name in contents} == set(document["bundle"]["files"])
    whole = b"\n".join(contents.values())
    for secret in hidden:
        for spelling in spellings(secret)[1:]:
            assert spelling not in whole
    for word in (b"abcdefgh", b"correct-horse", b"xyzxyzxyz", b"14a488cw6"):
        assert word not in whole
    assert b"kept line" in whole
    json.loads(contents["drexnode-doctor/config.json"])
    json.loads(contents["drexnode-doctor/findings.json"])


def test_an_archive_that_exists_is_kept(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "help.tar.gz"
    target.write_text("mine")
    code, document = command("doctor", "--home", home, "--bundle", target)
    assert (code, document["code"]) == (output.UNSAFE, "FILE_EXISTS")
    assert target.read_text() == "mine"


def test_only_the_end_of_a_long_log_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_bundle, "LOG_BYTES", 10)
    (home / "node.log").write_text("x" * 100 + "0123456789")
    assert doctor_bundle._log_end(home / "node.log") == "0123456789"


def test_what_is_no_secret_stays_readable() -> None:
    redactor = Redactor([b"ab" * 32])
    text = '{"event": "block.final", "id": "ee9036d4e6920c6d", "height": 54}'
    assert redactor.text(text) == text
    assert redactor.text("key " + "ab" * 32) == f"key {WIPED}"
