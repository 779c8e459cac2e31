"""Hostile peers and strangers against a validator of a real network: what they cost it (docs/network.md)."""
