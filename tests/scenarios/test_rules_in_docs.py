"""docs/consensus.md and the dialogues name each other."""

from __future__ import annotations

import re
from pathlib import Path

from tests.scenarios.language import read_scenario

PAGE = (Path(__file__).parents[2] / "docs" / "consensus.md").read_text(encoding="utf-8")
SCENARIOS = [read_scenario(path) for path in sorted(Path(__file__).parent.glob("*.txt"))]
CITATION = re.compile(r"\[((?:\d+,\s)*\d+)\](?!\()")


def test_every_dialogue_is_cited_where_its_rule_stands_and_every_citation_is_a_dialogue() -> None:
    cited = {int(number) for group in CITATION.findall(PAGE) for number in group.split(",")}
    assert cited == {scenario.number for scenario in SCENARIOS}


def test_every_rule_stands_under_a_heading_of_the_page() -> None:
    headings = set(re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE))
    for scenario in SCENARIOS:
        place = re.search(r'\(docs/consensus\.md, "(.+)"\)$', scenario.rule)
        assert place is not None, f"{scenario.path.name}: {scenario.rule}"
        assert place[1] in headings, f"{scenario.path.name}: no section {place[1]}"


def test_the_page_counts_the_dialogues() -> None:
    assert f"{len(SCENARIOS)} dialogues" in PAGE
