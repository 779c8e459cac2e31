"""Tests of the primitives room."""
