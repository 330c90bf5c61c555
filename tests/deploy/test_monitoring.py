"""What Prometheus and Grafana get from us: the rules hold, speak of metrics that exist, and each has its page."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.children import find_program
from bridge.telemetry import Metrics

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/monitoring"
RULES = MONITORING / "pushkit-bridge.rules.yml"
DASHBOARD = MONITORING / "pushkit-bridge.dashboard.json"


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]


@pytest.mark.real
@pytest.mark.parametrize(
    "command",
    [("check", "rules", RULES.name), ("test", "rules", "pushkit-bridge.rules.test.yml")],
    ids=" ".join,
)
def test_promtool_is_content_with_the_rules(command: tuple[str, ...]) -> None:
    promtool = find_program("promtool", package="prometheus")
    done = subprocess.run(
        [promtool, *command], cwd=MONITORING, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_by_a_case_that_raises_it() -> None:
    cases = yaml.safe_load((MONITORING / "pushkit-bridge.rules.test.yml").read_text())["tests"]
    raised = {
        one["alertname"] for case in cases for one in case.get("alert_rule_test", []) if one["exp_alerts"]
    }
    assert raised == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_has_a_page_that_says_what_to_do(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_no_page_is_about_an_alert_that_is_gone() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    assert [one for one in headings if one != "Traces"] == [rule["alert"] for rule in ALERTS]


def known() -> set[str]:
    """Every name under which a metric of ours is scraped, or recorded by the rules."""
    names = {rule["record"] for rule in rules() if "record" in rule}
    for family in Metrics().registry.collect():
        names |= {family.name + end for end in _ENDS[family.type]}
    return names


_ENDS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=lambda file: file.name)
def test_they_ask_for_metrics_that_exist(file: Path) -> None:
    asked = set(re.findall(r"\bpushkit_bridge[_:][a-z0-9_:]+", file.read_text()))
    assert len(asked) > 10
    assert asked <= known()


def test_no_two_panels_of_the_dashboard_overlap_and_each_has_a_question() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"])
    assert max(x for x, _ in taken) == 23


@pytest.mark.real
def test_prometheus_can_parse_every_question_of_the_dashboard(tmp_path: Path) -> None:
    promtool = find_program("promtool", package="prometheus")
    asked = [
        target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*")
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    made = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(asked)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
