"""Tests mirror the rooms; simulator, scenarios, vectors, fuzz, crash and network stand beside them."""
