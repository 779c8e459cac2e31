"""The documentation builds without a dead link; its recording and pictures are what their scripts make."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from scripts.recording import COLUMNS, Recording, commands

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_handbook_builds_strictly_every_page_has_its_place_and_no_link_is_dead(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "site" / "handbook.html").is_file()


@pytest.mark.parametrize(
    "name", ["top-80.svg", "top-140.svg", "status-80.svg", "status-140.svg", "start.svg"]
)
def test_a_picture_is_well_formed_and_shows_a_terminal(name: str) -> None:
    text = (DOCS / "pictures" / name).read_text("utf-8")
    assert ET.fromstring(text).tag.endswith("svg")
    assert "validator-0" in text


def test_the_recording_shows_the_commands_of_the_five_minute_start_in_order() -> None:
    head, *events = (DOCS / "recordings" / "start.cast").read_text("utf-8").splitlines()
    assert json.loads(head)["version"] == 2
    read = [json.loads(line) for line in events]
    assert all(kind == "o" for _, kind, _ in read)
    times = [at for at, _, _ in read]
    assert times == sorted(times)
    text = "".join(shown for _, _, shown in read)
    places = [text.find(f"{line}\r\n") for line in commands(DOCS / "start.md")]
    assert len(places) >= 6
    assert -1 not in places
    assert places == sorted(places)


def test_in_the_recording_the_transfer_is_final_within_a_minute() -> None:
    _, *events = (DOCS / "recordings" / "start.cast").read_text("utf-8").splitlines()
    text = ""
    for line in events:
        at, _, shown = json.loads(line)
        text += shown
        if re.search(r"status +FINAL", text):
            assert at < 60
            return
    raise AssertionError("no transfer became final")


def test_what_is_recorded_can_be_played_and_drawn() -> None:
    recording = Recording()
    recording.type("drexnode version")
    recording.add("\x1b[1mdrexnode\x1b[0m  0.1.0\r\n")
    head, *events = map(json.loads, recording.cast().splitlines())
    assert head["width"] == COLUMNS
    assert "".join(text for _, _, text in events) == recording.text
    assert "0.1.0" in recording.picture()
