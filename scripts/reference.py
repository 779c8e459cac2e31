"""Writes the parts of docs/cli.md, docs/rpc.md and docs/logs.md that follow from the code: commands, keys,
methods, metrics, log events.

    .venv/bin/python -m scripts.reference          writes them
    .venv/bin/python -m scripts.reference --check  ends with 1 when a page is behind the code

A part stands between `<!-- name: made by scripts/reference.py -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

import drexnode.rpc.methods  # noqa: F401 - importing it registers every method
from drexnode.cli.main import SECTIONS, root
from drexnode.cli.options import ExampleCommand
from drexnode.config import KEYS
from drexnode.metrics import Metrics
from drexnode.rpc.describe import REST_ROOT
from drexnode.rpc.examples import WORDS
from drexnode.rpc.registry import METHODS, Method

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("cli.md", "rpc.md", "logs.md")
ROOMS = ("consensus", "drexnode", "ledger", "p2p", "storage")
LOG_LEVELS = ("debug", "info", "warning", "error")
_PART = re.compile(r"(<!-- (\w+): made by scripts/reference.py -->\n).*?(<!-- end -->)", re.S)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from _leaves(below, f"{path} {name}")


def commands() -> str:
    """Every command by section: what it does, and an example."""
    rows = []
    context = click.Context(root)
    for section, names in SECTIONS.items():
        for name in names:
            command = root.get_command(context, name)
            assert command is not None
            for path, leaf in _leaves(command, name):
                assert isinstance(leaf, ExampleCommand)
                what = (leaf.help or "").split("\n")[0]
                example = leaf.example.splitlines()[0]
                rows.append((section, f"`{path}`", what, f"`{example}`"))
    return _table(("", "command", "does", "example"), rows)


def keys() -> str:
    """Every configuration key."""
    rows = []
    for spec in KEYS.values():
        default = ", ".join(spec.default) if isinstance(spec.default, tuple) else str(spec.default)
        rows.append((f"`{spec.name}`", spec.kind, f"`{default}`" if default else "", spec.help))
    return _table(("key", "type", "default", "what"), rows)


def methods() -> str:
    """Every RPC method."""
    rows = []
    for entry in sorted(METHODS.values(), key=lambda item: item.name):
        params = ", ".join(item.name if item.required else f"[{item.name}]" for item in entry.params)
        notes = "; needs the admin credential" if entry.admin else ""
        summary = entry.summary.rstrip(".") + notes
        rest = "" if entry.rest is None else f"`{entry.rest.verb} {REST_ROOT}{entry.rest.path}`"
        rows.append((f"`{entry.name}`", params, entry.result, rest, summary))
    return _table(("method", "parameters", "result", "REST", "what"), rows)


def examples() -> str:
    """An example of every method: by JSON-RPC, and by REST."""
    rows = []
    for entry in sorted(METHODS.values(), key=lambda item: item.name):
        params = json.dumps(list(entry.example), ensure_ascii=False)
        rows.append((f"`{entry.name}`", f"`{params}`", f"`{example_request(entry)}`" if entry.rest else ""))
    return _table(("method", "params", "REST"), rows)


def example_request(entry: Method) -> str:
    """The example as a REST request: verb, path with query, and body where there is one."""
    assert entry.rest is not None
    given = {param.name: value for param, value in zip(entry.params, entry.example, strict=False)}
    shown = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    path = REST_ROOT + entry.rest.path.format(**shown)
    rest = {name: value for name, value in given.items() if f"{{{name}}}" not in entry.rest.path}
    if entry.rest.verb in ("POST", "PUT"):
        return f"{entry.rest.verb} {path} {json.dumps(rest)}" if rest else f"{entry.rest.verb} {path}"
    query = "&".join(f"{name}={shown[name]}" for name, value in rest.items() if value is not None)
    return f"{entry.rest.verb} {path}{'?' if query else ''}{query}"


def words() -> str:
    """What stands in examples for what each network has of its own."""
    return _table(("word", "stands for"), [(f"`{word}`", what) for word, what in WORDS.items()])


def metrics() -> str:
    """Every metric."""
    rows = []
    for family in Metrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append((f"`{name}`", family.type, family.documentation))
    return _table(("metric", "type", "what"), rows)


def log_calls() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """(event, level, fields, file) of every call of a logger in the rooms' source."""
    root_folder = DOCS.parent
    for path in sorted(file for room in ROOMS for file in (root_folder / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            logger, event = node.func.value, node.args[0]
            if isinstance(logger, ast.Call):  # get_logger("room").info(...)
                logger = logger.func
            if not (isinstance(logger, ast.Name) and logger.id in ("log", "_log", "get_logger")):
                continue
            if node.func.attr in LOG_LEVELS and isinstance(event, ast.Constant):
                fields = tuple(item.arg for item in node.keywords if item.arg and item.arg != "exc_info")
                yield str(event.value), node.func.attr, fields, path.relative_to(root_folder).as_posix()


def events() -> str:
    """Every event of the logs."""
    rows = [
        (f"`{event}`", level, ", ".join(f"`{field}`" for field in fields), f"`{file}`")
        for event, level, fields, file in sorted(set(log_calls()))
    ]
    return _table(("event", "level", "fields", "from"), rows)


_MAKERS = {
    "events": events,
    "commands": commands,
    "keys": keys,
    "methods": methods,
    "metrics": metrics,
    "examples": examples,
    "words": words,
}


def written(text: str) -> str:
    """A page with its parts made anew."""
    return _PART.sub(lambda found: found[1] + _MAKERS[found[2]]() + found[3], text)


def main() -> int:
    """Write the pages, or check them; the exit code."""
    behind = []
    for page in PAGES:
        path = DOCS / page
        before = path.read_text("utf-8")
        after = written(before)
        if after != before:
            behind.append(page)
            if "--check" not in sys.argv:
                path.write_text(after, "utf-8")
    print(f"{'behind' if '--check' in sys.argv else 'written'}: {', '.join(behind) or 'none'}")
    return 1 if behind and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
