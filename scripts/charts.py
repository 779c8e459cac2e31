"""Slopes by least squares, and small line charts as SVG, for soak and measurements. Pure but for the file.

A chart is panels below each other, each with its own lines; all panels share what is along the x axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, PANEL, LEFT, GAP = 760, 110, 70, 34
COLOURS = ("#06c", "#c60", "#093", "#906", "#666", "#b00")
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """A line: points ascending in x. Its name may hold the unit."""

    name: str
    points: list[Point]


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines that share a y axis from zero up."""

    name: str
    lines: tuple[Series, ...]


def slope_an_hour(points: Sequence[Point]) -> float:
    """The least-squares slope of (seconds, value) as value an hour; 0 for fewer than two moments."""
    count = len(points)
    if count < 2:
        return 0.0
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def write_svg(path: Path, title: str, x_name: str, series: Sequence[Series]) -> None:
    """Write one panel a series, each from zero up."""
    write_panels(path, title, x_name, [Panel(line.name, (line,)) for line in series])


def write_panels(
    path: Path, title: str, x_name: str, panels: Sequence[Panel], *, logarithmic: bool = False
) -> None:
    """Write panels below each other; `logarithmic`: the x axis, whose values are above zero."""
    height = 40 + len(panels) * (PANEL + GAP)
    places = sorted({x for panel in panels for line in panel.lines for x, _ in line.points})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for place, panel in enumerate(panels):
        parts += _panel(panel, 36 + place * (PANEL + GAP), places, logarithmic)
    parts.append(f'<text x="{WIDTH - 20}" y="{height - 6}" text-anchor="end">{escape(x_name)}</text></svg>')
    path.write_text("\n".join(parts) + "\n")


def _panel(panel: Panel, top: float, places: Sequence[float], logarithmic: bool) -> list[str]:
    highest = max(y for line in panel.lines for _, y in line.points) * 1.1 or 1.0
    right, bottom = WIDTH - 20, top + PANEL
    parts = [
        f'<path d="M{LEFT} {top} V{bottom} H{right}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{highest:.4g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{LEFT + 6}" y="{top + 10}" fill="#555">{escape(panel.name)}</text>',
        f'<text x="{right}" y="{bottom + 14}" text-anchor="end">{places[-1]:.7g}</text>',
    ]
    for number, line in enumerate(panel.lines):
        colour = COLOURS[number % len(COLOURS)]
        at = [(_across(x, places, logarithmic), top + PANEL * (1 - y / highest)) for x, y in line.points]
        dots = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline points="{dots}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if len(panel.lines) > 1:
            x = LEFT + 6 + 130 * number
            parts.append(f'<text x="{x}" y="{top + 24}" fill="{colour}">{escape(line.name)}</text>')
    return parts


def _across(x: float, places: Sequence[float], logarithmic: bool) -> float:
    width = WIDTH - LEFT - 20
    if logarithmic:
        low, high = math.log(places[0]), math.log(places[-1])
        return LEFT + width * (math.log(x) - low) / ((high - low) or 1.0)
    return LEFT + width * x / (places[-1] or 1.0)
