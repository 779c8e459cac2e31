"""The shipped alerts and dashboards ask for metrics that exist, and Prometheus's own tool accepts them.

`promtool` comes with Debian's package `prometheus`; `make promtool` unpacks it into build/promtool, and
PROMTOOL names another place. Where there is none those tests say so and are skipped; with CI set they fail.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drexnode.metrics import Metrics
from scripts import dashboards

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
UNPACKED = Path(__file__).parents[2] / "build" / "promtool" / "usr" / "bin" / "promtool"
PROMTOOL = (
    os.environ.get("PROMTOOL") or shutil.which("promtool") or (str(UNPACKED) if UNPACKED.is_file() else None)
)
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None and not os.environ.get("DREX_REQUIRE_PROMTOOL"),
    reason="NOT CHECKED: there is no promtool; make promtool",
)
NAME = re.compile(r"\bdrex_[a-z0-9_]+\b")


def samples() -> set[str]:
    """Every name that a query may use, with the suffixes of histograms."""
    found = set()
    for family in Metrics().registry.collect():
        if family.type == "histogram":
            found |= {f"{family.name}_{end}" for end in ("bucket", "sum", "count")}
        else:
            found.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return found


def promtool(*arguments: str | Path, given: bytes | None = None) -> str:
    assert PROMTOOL is not None, "with CI set nothing is left out: make promtool"
    command = [PROMTOOL, *map(str, arguments)]
    result = subprocess.run(command, input=given, capture_output=True, timeout=60)
    text = (result.stdout + result.stderr).decode()
    assert result.returncode == 0, text
    return text


def queries(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from queries(value)
    elif isinstance(document, list):
        for value in document:
            yield from queries(value)


def test_there_are_four_dashboards_and_each_file_is_what_its_description_makes() -> None:
    assert len(dashboards.DASHBOARDS) == 4
    for name in dashboards.DASHBOARDS:
        path = dashboards.FOLDER / f"{name}.json"
        assert path.read_text("utf-8") == dashboards.text(name), "run: .venv/bin/python -m scripts.dashboards"
    assert {path.stem for path in dashboards.FOLDER.glob("*.json")} == set(dashboards.DASHBOARDS)


@pytest.mark.parametrize("name", dashboards.DASHBOARDS)
def test_a_dashboard_asks_for_metrics_that_exist_and_lays_its_panels_side_by_side(name: str) -> None:
    document = json.loads((dashboards.FOLDER / f"{name}.json").read_text("utf-8"))
    asked = set(NAME.findall(" ".join(queries(document))))
    assert asked <= samples(), asked - samples()
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in document["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in document["panels"]}) == len(places)


def test_every_metric_is_on_a_dashboard() -> None:
    text = "".join(dashboards.text(name) for name in dashboards.DASHBOARDS)
    shown = set(NAME.findall(text))
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
    }
    missing = {name for name in families if not any(one.startswith(name) for one in shown)}
    assert not missing


def test_alerts_ask_for_metrics_that_exist_and_say_what_to_do() -> None:
    text = (MONITORING / "alerts.yml").read_text("utf-8")
    asked = set(NAME.findall(text))
    assert asked <= samples(), asked - samples()
    assert text.count("- alert:") == text.count("action:") == text.count("severity:")


@pytest.mark.parametrize(
    "cause",
    ["NoBlock", "RoundHigh", "QuorumMarginZero", "SignaturesMissed", "DoubleSigning", "LoopLag", "DiskLow",
     "ClockOff", "SupplyMismatch"],
)  # fmt: skip
def test_each_danger_has_an_alert_that_is_tested(cause: str) -> None:
    assert f"alert: Drex{cause}\n" in (MONITORING / "alerts.yml").read_text("utf-8")
    assert (MONITORING / "alerts_test.yml").read_text("utf-8").count(f"Drex{cause}") >= 2


@needs_promtool
def test_promtool_accepts_the_alerts_and_the_scrape_configuration() -> None:
    assert "SUCCESS" in promtool("check", "rules", MONITORING / "alerts.yml")
    assert "SUCCESS" in promtool("check", "config", MONITORING / "prometheus.yml")


@needs_promtool
def test_promtool_sees_each_alert_fire_when_it_should_and_none_when_all_is_well() -> None:
    assert "SUCCESS" in promtool("test", "rules", MONITORING / "alerts_test.yml")


@needs_promtool
def test_promtool_finds_nothing_wrong_with_the_metrics() -> None:
    metrics = Metrics()
    metrics.peers.labels("full", "inbound").set(1)
    metrics.tx_rejected_total.labels("TX_DOUBLE_SPEND").inc()
    assert promtool("check", "metrics", given=metrics.render()) == ""


@needs_promtool
@pytest.mark.parametrize("name", dashboards.DASHBOARDS)
def test_promtool_can_read_every_query_of_a_dashboard(name: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"drex:{name}:{number}", "expr": query.replace("$instance", ".*")}
        for number, query in enumerate(
            query for query in queries(dashboards.dashboard(name)["panels"]) if query.strip()
        )
    ]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": name, "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)
