"""`drexnode logs`: which lines it shows, how, and that it changes a running node's level."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import trio

from drexnode import telemetry
from drexnode.cli import main, output
from drexnode.cli.logs import _coming
from scripts.reference import log_calls
from tests.drexnode.homes import command, make_home
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import COOKIE, serving

LINES = [
    {"event": "node.started", "level": "info", "timestamp": "2026-11-24T11:23:11.560646Z", "node": "a"},
    {"event": "block.final", "height": 5, "level": "info", "timestamp": "2026-11-24T11:23:12.560646Z"},
    {"event": "peer.disconnected", "peer": "12D3", "level": "warning", "timestamp": "2026-11-24T11:23:13Z"},
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = make_home(tmp_path)
    text = "\n".join(
        [json.dumps(LINES[0]), "Traceback (most recent call last):", *map(json.dumps, LINES[1:])]
    )
    (home / "node.log").write_text(text + "\n")
    return home


def shown(home: Path, *options: str) -> list[str]:
    out = io.StringIO()
    with redirect_stdout(out):
        assert main.run(["logs", "--home", str(home), *options]) == output.OK
    return out.getvalue().splitlines()


def test_lines_are_shown_readably_and_a_traceback_as_it_is(home: Path) -> None:
    lines = shown(home)
    assert lines[0] == "11:23:11.560 info    node.started"
    assert lines[1].startswith("Traceback")
    assert lines[2] == "11:23:12.560 info    block.final  height=5"


def test_level_event_and_number_choose_and_json_is_what_was_written(home: Path) -> None:
    assert len(shown(home, "--lines", "2")) == 2
    assert [line.split()[2] for line in shown(home, "--event", "block.")] == ["block.final"]
    assert json.loads(shown(home, "--least", "warning", "-o", "json")[-1]) == LINES[2]
    assert shown(home, "--lines", "0") == []


def test_lines_that_come_later_are_followed_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("first\nsec")
    with path.open() as file:
        lines = _coming(file)
        assert next(lines) == "first\n"
        with path.open("a") as writer:
            writer.write("ond\n")
        assert next(lines) == "second\n"


def test_a_home_without_a_log_is_told_where_else_to_look(tmp_path: Path) -> None:
    code, error = command("logs", "--home", make_home(tmp_path))
    assert (code, error["code"]) == (output.FAILURE, "LOG_MISSING")
    assert "journalctl" in error["next"]


async def test_the_level_of_a_running_node_is_changed_by_whoever_has_its_credential(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    before = telemetry._level
    try:
        async with serving(MemoryChain()) as url:
            text = (home / "drexnode.toml").read_text()
            (home / "drexnode.toml").write_text(
                text.replace("# port = 26650", f"port = {url.rsplit(':', 1)[1]}")
            )
            code, _ = await trio.to_thread.run_sync(
                lambda: command("logs", "--home", home, "--set-level", "error")
            )
            assert (code, telemetry._level) == (output.FAILURE, before)
            (home / "data" / "admin.cookie").write_text(COOKIE)
            code, document = await trio.to_thread.run_sync(
                lambda: command("logs", "--home", home, "--set-level", "error")
            )
            assert (code, document["level"]) == (output.OK, "error")
            assert telemetry._level == telemetry.LEVELS["error"]
    finally:
        telemetry._level = before


def test_event_ids_are_words_without_values_in_them() -> None:
    found = {event for event, *_ in log_calls()}
    assert "block.final" in found
    assert len(found) > 40
    assert all(re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", event) for event in found), found
