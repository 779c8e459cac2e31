"""`drexnode signer` on homes: what retires a key, and what must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from drexnode.cli import main, output
from drexnode.config import load_config
from drexnode.home import create_home
from ledger.genesis import chain_id_of
from p2p.identity import peer_id_from_seed
from storage.signing_state import open_signing_state
from tests.drexnode.chain import genesis_document, key

DOCUMENT = genesis_document()


def run(*arguments: str | Path) -> int:
    return main.run([str(argument) for argument in arguments])


def test_a_home_is_not_its_own_heir_and_signs_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, file = tmp_path / "home", tmp_path / "move.bin"
    create_home(home, DOCUMENT, "validator", key("peer-0").seed, key("validator-0").seed, {})
    own = peer_id_from_seed(key("peer-0").seed)
    assert run("signer", "export-state", file, "--home", home, "--heir", own) == output.USAGE
    assert "this home itself" in capsys.readouterr().err
    assert not file.exists()
    config, public_key = load_config(home), key("validator-0").public_key
    open_signing_state(config.votes_path, config.watermark_path, chain_id_of(DOCUMENT), public_key).close()
    other = peer_id_from_seed(key("peer-1").seed)
    assert run("signer", "export-state", file, "--home", home, "--heir", other) == output.OK
    assert (
        run("signer", "export-state", tmp_path / "again.bin", "--home", home, "--heir", own) == output.USAGE
    )
    assert run("signer", "run", "--home", home) == output.UNSAFE
