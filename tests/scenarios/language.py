"""The language of the dialogues: reads a scenario file into settings and steps.

A file has a title, `Key: value` settings, and the dialogue. `> …` is something that happens to the engine,
`< …` an effect it must then ask for, in this order and nothing else (timers are hidden unless the file says
`Show: timers`), `= …` something that must hold, `# …` a remark.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Step:
    """One input line with the effects it must cause, or one check (no effects)."""

    line: int
    kind: str  # ">" or "="
    text: str
    effects: list[str] = field(default_factory=list)


@dataclass
class Scenario:
    """A parsed file."""

    path: Path
    number: int
    title: str
    rule: str
    settings: dict[str, str]
    blocks: dict[str, str]
    steps: list[Step]


def read_scenario(path: Path) -> Scenario:
    """Read one file. Raises `ValueError` with the line that is not understood."""
    settings: dict[str, str] = {}
    blocks: dict[str, str] = {}
    steps: list[Step] = []
    title = ""
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        mark, text = line[0], line[1:].strip()
        if mark in ">=":
            steps.append(Step(number, mark, text))
        elif mark == "<":
            if not steps or steps[-1].kind != ">":
                raise ValueError(f"{path.name}:{number}: an effect without an input")
            steps[-1].effects.append(text)
        elif not title:
            title = line
        elif ":" in line:
            key, value = (part.strip() for part in line.split(":", 1))
            if key.startswith("Block "):
                blocks[key.removeprefix("Block ")] = value
            else:
                settings[key.lower()] = value
        else:
            raise ValueError(f"{path.name}:{number}: not understood: {raw}")
    if "rule" not in settings:
        raise ValueError(f"{path.name}: names no rule")
    scenario_number, _, name = title.partition("·")
    return Scenario(path, int(scenario_number), name.strip(), settings.pop("rule"), settings, blocks, steps)
