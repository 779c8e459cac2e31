"""Pictures of `drexnode top` and `drexnode status` at 80 and 140 columns, taken of a running devnet.

.venv/bin/drexnode devnet up --demo --detach
.venv/bin/python -m scripts.pictures --dir devnet
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
WIDTHS = (80, 140)


def _drexnode(*arguments: str) -> str:
    command = [sys.executable, "-m", "drexnode", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _picture(text: str, width: int, title: str) -> str:
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text))
    return console.export_svg(title=title)


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=PICTURES, show_default=True)
def main(folder: Path, out: Path) -> None:
    """Take all four pictures, in place of those that are there."""
    out.mkdir(parents=True, exist_ok=True)
    status = _drexnode("status", "--dir", str(folder))
    for width in WIDTHS:
        top = out / f"top-{width}.svg"
        top.unlink(missing_ok=True)
        _drexnode("top", "--once", "--width", str(width), "--svg", str(top), "--dir", str(folder))
        picture = _picture(status, width, f"drexnode status ({width} columns)")
        (out / f"status-{width}.svg").write_text(picture, "utf-8")
    click.echo(", ".join(path.name for path in sorted(out.glob("*.svg"))))


if __name__ == "__main__":
    main()
