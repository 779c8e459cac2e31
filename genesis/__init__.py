"""Genesis documents of named networks as JSON views, and the schema every view follows.

The view is for people; the document is the canonical array that `ledger/genesis_json.py` reads from it.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from ledger.genesis_json import document_from_json
from ledger.genesis_records import GenesisDocument


def named_networks() -> list[str]:
    """The names that `named_genesis` knows."""
    names = (entry.name for entry in files(__name__).iterdir())
    return sorted(
        name.removesuffix(".json") for name in names if name.endswith(".json") and name != "schema.json"
    )


def named_genesis(name: str) -> GenesisDocument:
    """Read and check the document of a named network. Raises `KeyError` for an unknown name."""
    if name not in named_networks():
        raise KeyError(name)
    return document_from_json(json.loads((files(__name__) / f"{name}.json").read_text("utf-8")))


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a genesis document's view."""
    value: dict[str, Any] = json.loads((files(__name__) / "schema.json").read_text("utf-8"))
    return value
