"""Bytes and numbers shared by every room: hashes, keys, the canonical codec, bounds and common records.

Nothing here does I/O, reads a clock or draws randomness.
"""
