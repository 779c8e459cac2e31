"""The mark of tests that take minutes: `DREX_LONG_TESTS=1` runs them, the normal suite leaves them out."""

from __future__ import annotations

import os

import pytest

LONG = pytest.mark.skipif("DREX_LONG_TESTS" not in os.environ, reason="minutes long: DREX_LONG_TESTS=1")
