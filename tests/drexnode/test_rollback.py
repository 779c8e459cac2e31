"""`drexnode rollback`: nothing is dropped that nobody else has, and nothing of what a key signed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from drexnode import rollback
from drexnode.config import load_config
from drexnode.rollback import RollbackRefused, roll_back
from drexnode.stopped import open_stopped
from drexnode.wire import HeadAnnouncement, HeadersResponse
from p2p.transport import PeerId
from tests.drexnode.homes import done, files_of, grow, make_home, refused

ROOT = Path(__file__).parents[2]


def quiet(what: str, count: int, total: int) -> None:
    """No progress."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = make_home(tmp_path, "validator-0", "validator")
    grow(made, 6)
    (made / "data" / "votes").mkdir()
    (made / "data" / "votes" / "votes.journal").write_bytes(b"what was signed")
    return made


@pytest.fixture
def a_peer_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(*_: object) -> PeerId:
        return PeerId("the peer that serves")

    monkeypatch.setattr(rollback, "_find_server", found)


@pytest.mark.usefixtures("a_peer_serves")
def test_blocks_above_the_height_are_put_aside_and_votes_stay(home: Path) -> None:
    memory = {**files_of(home / "signer"), **files_of(home / "data" / "votes")}
    found = roll_back(load_config(home), 2, quiet)
    assert (found.height, found.dropped) == (2, 4)
    assert done("inspect", "summary", "--home", home)["height"] == 2
    assert done("verify", "--home", home)["ok"]
    assert {**files_of(home / "signer"), **files_of(home / "data" / "votes")} == memory
    assert (found.aside / "CURRENT").is_file()
    assert sorted(path.name for path in (home / "data").iterdir()) == [
        "chain",
        "chain.acknowledged",
        found.aside.name,
        "votes",
    ]


@pytest.mark.usefixtures("a_peer_serves")
def test_to_the_genesis_and_not_above_the_tip(home: Path) -> None:
    for height in (6, 7):
        with pytest.raises(RollbackRefused) as caught:
            roll_back(load_config(home), height, quiet)
        assert caught.value.code == "ROLLBACK_HEIGHT"
    roll_back(load_config(home), 0, quiet)
    assert done("inspect", "summary", "--home", home)["height"] == 0


@pytest.mark.usefixtures("a_peer_serves")
def test_a_node_without_its_first_blocks_cannot_be_rolled_back(home: Path, tmp_path: Path) -> None:
    done("snapshot", "create", tmp_path / "state", "--home", home)
    other = make_home(tmp_path, "observer-1")
    done("snapshot", "restore", tmp_path / "state", "--home", other)
    assert refused("rollback", "--to", 3, "--home", other) == (8, "ROLLBACK_PRUNED")


def test_without_a_peer_nothing_is_dropped(home: Path) -> None:
    before = files_of(home)
    assert refused("rollback", "--to", 3, "--patience", 1, "--home", home) == (8, "ROLLBACK_NO_PEER")
    assert files_of(home) == before


def test_only_a_certified_block_that_follows_ours_counts(home: Path) -> None:
    with open_stopped(load_config(home)) as chain:
        header, certificate = chain.queries.header(4), chain.queries.certificate(4)
        assert header is not None
        assert certificate is not None
        seals = ((certificate.seals[0][0], bytes(64)), *certificate.seals[1:])
        good = HeadAnnouncement(header, certificate)
        other = structs.replace(header, parent_id=bytes(32))
        for answer, expected in (
            ((good,), True),
            ((), False),
            ((structs.replace(good, certificate=None),), False),
            ((structs.replace(good, header=other),), False),
            ((structs.replace(good, certificate=structs.replace(certificate, seals=seals)),), False),
        ):
            assert rollback._is_certified(chain, HeadersResponse(answer), 4) is expected
        assert not rollback._is_certified(chain, HeadersResponse((good,)), 5)


TOOL = """
import sys
from pathlib import Path
from drexnode import rollback
from drexnode.config import load_config
async def found(*_): return "a peer"
rollback._find_server = found
rollback.roll_back(load_config(Path(sys.argv[1])), 2, lambda *_: None)
"""


@pytest.mark.parametrize("point", ["commit.after_write:2", "rollback.before_swap"])
def test_a_kill_before_the_end_leaves_the_chain_as_it_was(home: Path, point: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", TOOL, str(home)],
        cwd=ROOT,
        env={**os.environ, "DREX_FAILPOINT": point},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert done("inspect", "summary", "--home", home)["height"] == 6
    subprocess.run([sys.executable, "-c", TOOL, str(home)], cwd=ROOT, check=True, capture_output=True)
    assert done("inspect", "summary", "--home", home)["height"] == 2
