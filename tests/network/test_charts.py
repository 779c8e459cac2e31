"""Slopes are exact on lines, and a chart is a well-formed picture of every point."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.charts import Series, slope_an_hour, write_svg


def test_a_line_has_its_slope_and_what_stands_still_has_none() -> None:
    assert slope_an_hour([(second, 7 + 2 * second) for second in range(60)]) == pytest.approx(7200)
    assert slope_an_hour([(second, 5.0) for second in range(60)]) == pytest.approx(0)
    assert slope_an_hour([(3, 5)]) == 0
    assert slope_an_hour([(3, 5), (3, 9)]) == 0


def test_a_chart_shows_every_point_of_every_line(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    lines = [Series("a < b", [(0, 1), (1, 2), (2, 0)]), Series("c", [(0, 0), (2, 0)])]
    write_svg(path, "title & more", "minutes", lines)
    drawn = ElementTree.parse(path).findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in drawn] == [3, 2]
