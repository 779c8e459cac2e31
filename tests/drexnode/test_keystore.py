"""Keys in files: never exposed, never overwritten, never half-written, opened by their passphrase alone."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drexnode.cli.secrets import validator_key
from drexnode.config import KeysSection, NodeConfig
from drexnode.keystore import (
    KeyFailure,
    Keystore,
    public_key_in,
    read_plain_key,
    write_encrypted_key,
    write_plain_key,
    write_secret,
)
from primitives.keys import SigningKey

SEED = bytes(range(32))


def code_of(action, *arguments) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(KeyFailure) as failure:
        action(*arguments)
    return failure.value.code


def test_a_plain_key_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "peer.key"
    write_plain_key(path, SEED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_plain_key(path).seed == SEED
    assert code_of(write_plain_key, path, SEED) == "KEY_EXISTS"


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    write_plain_key(path, SEED)
    path.chmod(0o640)
    assert code_of(read_plain_key, path) == "KEY_EXPOSED"


@pytest.mark.parametrize("content", [b"", b"zz" * 32, b"00" * 31, b"00" * 5000, b"\xff" * 64])
def test_a_file_that_is_no_seed_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "peer.key"
    path.write_bytes(content)
    path.chmod(0o600)
    assert code_of(read_plain_key, path) == "KEY_MALFORMED"
    assert code_of(read_plain_key, tmp_path / "none.key") == "KEY_MISSING"


def test_an_encrypted_key_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    store = Keystore(tmp_path)
    made = store.add("alice", SEED, b"correct horse", sensitive=False)
    assert SEED.hex() not in made.path.read_text()
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert store.unlock("alice", b"correct horse").seed == SEED
    assert code_of(store.unlock, "alice", b"correct horsf") == "KEY_WRONG_PASSPHRASE"
    assert store.names() == ["alice"]
    assert store.show("alice").public_key == read_public(made.path)


def read_public(path: Path) -> bytes:
    return bytes.fromhex(json.loads(path.read_text())["public_key"])


def test_names_that_leave_the_folder_and_second_keys_of_one_name_are_refused(tmp_path: Path) -> None:
    store = Keystore(tmp_path)
    for name in ("../x", "", "a/b", ".hidden", "x" * 65, "a\n"):
        assert code_of(store.add, name, SEED, b"p") == "KEY_NAME_INVALID"
        assert code_of(store.show, name) == "KEY_MISSING"
    store.add("a", SEED, b"p", sensitive=False)
    with pytest.raises(KeyFailure, match="KEY_EXISTS"):
        store.add("a", SEED, b"p", sensitive=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_in_a_keystore_file_never_gives_another_key(
    tmp_path: Path, place: int, byte: int
) -> None:
    folder = tmp_path / f"{place}-{byte}"
    path = Keystore(folder).add("k", SEED, b"p", sensitive=False).path
    data = bytearray(path.read_bytes())
    data[place % len(data)] = byte
    path.write_bytes(data)
    found: str | bytes
    try:
        found = Keystore(folder).unlock("k", b"p").seed
    except KeyFailure as failure:
        found = failure.code
    path.unlink()
    assert found in (SEED, "KEY_MALFORMED", "KEY_WRONG_PASSPHRASE")


def test_a_node_key_is_opened_by_the_option_before_the_configured_file(tmp_path: Path) -> None:
    path, right, wrong = tmp_path / "v.key.json", tmp_path / "right", tmp_path / "wrong"
    write_encrypted_key(path, "v", SEED, b"open", sensitive=False)
    write_secret(right, b"open\n")
    write_secret(wrong, b"other\n")
    keys = KeysSection(validator="v.key.json", passphrase_file="right")
    assert validator_key(NodeConfig(tmp_path, keys=keys), None, None).seed == SEED
    assert code_of(validator_key, NodeConfig(tmp_path, keys=keys), wrong, None) == "KEY_WRONG_PASSPHRASE"
    unnamed = NodeConfig(tmp_path, keys=KeysSection(validator="v.key.json"))
    assert validator_key(unnamed, right, None).seed == SEED
    assert public_key_in(path) == SigningKey(SEED).public_key
    assert code_of(read_plain_key, path) == "KEY_ENCRYPTED"


def test_a_plain_node_key_asks_for_no_passphrase(tmp_path: Path) -> None:
    write_plain_key(tmp_path / "v.key", SEED)
    config = NodeConfig(tmp_path, keys=KeysSection(validator="v.key"))
    assert validator_key(config, None, None).seed == SEED
    assert public_key_in(tmp_path / "v.key") == SigningKey(SEED).public_key


@pytest.mark.parametrize("links", [True, False])
def test_a_secret_is_there_whole_or_not_at_all_and_never_overwritten(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dark(*_: object) -> None:
        raise PermissionError("dark")

    if not links:
        monkeypatch.setattr(os, "link", dark)
    with monkeypatch.context() as cut:
        cut.setattr(os, "fsync", dark)
        with pytest.raises(PermissionError):
            write_secret(tmp_path / "key", b"first")
    assert list(tmp_path.iterdir()) == []
    write_secret(tmp_path / "key", b"second")
    assert code_of(write_secret, tmp_path / "key", b"third") == "KEY_EXISTS"
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"second"]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
