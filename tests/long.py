"""The mark of tests that take minutes: `DREX_LONG_TESTS=1` runs them, the normal suite leaves them out."""

from __future__ import annotations

import os

import pytest

_WANTED = os.environ.pop("DREX_LONG_TESTS", None) is not None  # nodes refuse unknown variables
LONG = pytest.mark.skipif(not _WANTED, reason="minutes long: DREX_LONG_TESTS=1")
