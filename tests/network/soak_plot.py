"""Slopes by least squares, and small line charts as SVG, one panel a series. Pure but for the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, PANEL, LEFT, GAP = 760, 110, 70, 34
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """A line: points ascending in x."""

    name: str
    points: list[Point]


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
    height = 40 + len(series) * (PANEL + GAP)
    last_x = max(x for line in series for x, _ in line.points) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for place, line in enumerate(series):
        parts += _panel(line, 36 + place * (PANEL + GAP), last_x)
    parts.append(f'<text x="{WIDTH - 60}" y="{height - 6}">{escape(x_name)}</text></svg>')
    path.write_text("\n".join(parts) + "\n")


def _panel(line: Series, top: float, last_x: float) -> list[str]:
    highest = max(y for _, y in line.points) * 1.1 or 1.0
    width = WIDTH - LEFT - 20
    places = [(LEFT + width * x / last_x, top + PANEL * (1 - y / highest)) for x, y in line.points]
    dots = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    bottom = top + PANEL
    return [
        f'<path d="M{LEFT} {top} V{bottom} H{WIDTH - 20}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{highest:.4g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{LEFT + 6}" y="{top + 10}" fill="#555">{escape(line.name)}</text>',
        f'<text x="{WIDTH - 20}" y="{bottom + 14}" text-anchor="end">{last_x:.4g}</text>',
        f'<polyline points="{dots}" fill="none" stroke="#06c" stroke-width="1.5"/>',
    ]
