"""Records the five-minute start as it happens: a terminal recording and a picture, for the documentation.

    .venv/bin/python -m scripts.recording --dir /tmp/devnet

Runs the commands of docs/start.md in a pseudo-terminal in a new folder, and writes
docs/recordings/start.cast (asciicast v2, played by `asciinema play`) and docs/pictures/start.svg. Nothing in
them is made up: times, heights and ids are those of the run. Ends with 1 when a command fails, or no transfer
was final within `--within` seconds.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import shlex
import struct
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parents[1] / "docs"
COLUMNS, ROWS = 110, 32
KEY_S = 0.02
"""A key is typed so fast in the recording; what commands take is their own."""
PROMPT = "\x1b[1;32m$\x1b[0m "
_BLOCK = re.compile(r"```sh\n(.*?)```", re.S)


@dataclass
class Recording:
    """Events of an asciicast, and the whole text."""

    began: float = field(default_factory=time.monotonic)
    events: list[tuple[float, str]] = field(default_factory=list)
    typing_s: float = 0.0

    def add(self, text: str) -> None:
        self.events.append((time.monotonic() - self.began + self.typing_s, text))

    def type(self, line: str) -> None:
        """The prompt, and a command as a person types it."""
        self.add(PROMPT)
        for key in line:
            self.typing_s += KEY_S
            self.add(key)
        self.add("\r\n")

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.events)

    def cast(self) -> str:
        """The asciicast v2 file."""
        head = {
            "version": 2,
            "width": COLUMNS,
            "height": ROWS,
            "title": "drexnode: from nothing to final money",
        }
        lines = [head, *([round(at, 3), "o", text] for at, text in self.events)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def picture(self) -> str:
        """The terminal as SVG."""
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
        console.print(Text.from_ansi(self.text.replace("\r\n", "\n")))
        return console.export_svg(title="drexnode")


def commands(page: Path) -> Iterator[str]:
    """The commands of a page's shell blocks that call the installed program."""
    for block in _BLOCK.findall(page.read_text("utf-8")):
        yield from (line for line in block.splitlines() if line.startswith(".venv/bin/drexnode "))


def run(line: str, folder: Path, recording: Recording) -> int:
    """One command in a pseudo-terminal; its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:  # the child becomes the command
        os.chdir(folder)
        words = [sys.executable, "-m", "drexnode", *shlex.split(line)[1:]]
        os.execvpe(words[0], words, {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)})
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    while True:
        select.select([terminal], [], [])
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # Linux: the other side was closed
            break
        if not data:
            break
        recording.add(data.decode("utf-8", "replace"))
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--within", type=float, default=60.0, show_default=True, help="Seconds to the final transfer.")
@click.option("--base-port", type=int, default=26600, show_default=True, help="Where 26600 is taken.")
@click.option("--out", type=click.Path(path_type=Path), default=DOCS, show_default=True)
def main(folder: Path, within: float, base_port: int, out: Path) -> None:
    """Record the five-minute start."""
    folder.mkdir(parents=True)
    recording, final_s = Recording(), None
    lines = list(commands(DOCS / "start.md"))
    try:
        for line in lines:
            recording.type(line)
            moved = f"{line} --base-port {base_port}" if " devnet up" in line else line
            code = run(moved, folder, recording)
            if code != 0:
                raise click.ClickException(f"{line}: exit code {code}\n{recording.text[-2000:]}")
            if final_s is None and " tx transfer " in line:
                final_s = time.monotonic() - recording.began
    finally:
        run(".venv/bin/drexnode devnet down", folder, Recording())
    if final_s is None or final_s > within:
        raise click.ClickException(f"the transfer was final after {final_s} s, more than {within} s")
    for name, text in (
        ("recordings/start.cast", recording.cast()),
        ("pictures/start.svg", recording.picture()),
    ):
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    click.echo(f"{len(lines)} commands; the first transfer was final after {final_s:.1f} s")


if __name__ == "__main__":
    main()
