"""Where namespaces can't be made, programs that need them say why and skip; nothing is run half."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns import sandbox


def test_without_the_tools_the_reason_names_their_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "util-linux" in (sandbox.why_not() or "")
    (tmp_path / "unshare").write_text("#!/bin/sh\n")
    (tmp_path / "unshare").chmod(0o755)
    assert "iproute2" in (sandbox.why_not() or "")


def test_a_program_that_may_not_make_namespaces_says_so_and_is_skipped(tmp_path: Path) -> None:
    for tool in ("unshare", "ip"):
        (tmp_path / tool).write_text("#!/bin/sh\necho 'unshare: Operation not permitted' >&2\nexit 1\n")
        (tmp_path / tool).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.netns.partition"], capture_output=True, text=True, env=environment
    )
    assert ended.returncode == sandbox.SKIPPED
    why = "network namespaces are not permitted here: unshare: Operation not permitted"
    assert ended.stdout == f"skipped: {why}\n"
