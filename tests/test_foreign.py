"""`config import`: routes proposed from an Alertmanager configuration lead the same labels to the same receivers."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from test_routing_oracles import LABELS, amtool, rule, trees

from bridge import config
from bridge.cli import main
from bridge.config import ConfigError, Settings
from bridge.config.foreign import proposal
from bridge.matchers import parse_matchers
from bridge.routing import explain

TOP = Path(__file__).parent.parent
NOW = datetime(2026, 11, 25, tzinfo=UTC)
REAL = [
    path
    for path in (
        Path("/etc/prometheus/alertmanager.yml"),
        Path("/usr/share/doc/prometheus-alertmanager/examples/simple.yml"),
        Path("/usr/share/doc/prometheus-alertmanager/examples/ha/alertmanager.yml"),
    )
    if path.exists()
]
"""What Debian's package of Alertmanager brings with it, some of it where documentation is installed."""


def filled(text: str) -> str:
    """Fill in a proposal, as its reader does."""
    key = f"{TOP}/examples/AuthKey_DEM0KEY001.p8"
    for field, value in (("team_id", "DEM0TEAM01"), ("key_id", "DEM0KEY001"), ("key_file", key)):
        text = text.replace(f"  {field}: FILL_IN", f"  {field}: {value}")
    return text.replace("  topic: FILL_IN", "  topic: com.example.oncall").replace("FILL_IN", "alice")


def taken(folder: Path, source: Path) -> Settings:
    file = folder / "bridge.yaml"
    file.write_text(filled(proposal(source)))
    return config.load(file)


def written(folder: Path, route: dict[str, Any], **more: Any) -> Path:
    """Write Alertmanager's file; JSON is YAML."""
    path = folder / "alertmanager.yml"
    receivers = more.pop("receivers", [{"name": name} for name in ("top", "r1", "r2", "r3")])
    path.write_text(json.dumps({"route": route, "receivers": receivers, **more}))
    return path


def old_forms(node: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Write some of the matchers as `match` and `match_re`, as old files do."""
    node = dict(node, routes=[old_forms(child, chance) for child in node.get("routes", [])])
    left = []
    for text in node.get("matchers", []):
        (matcher,) = parse_matchers(text)
        key = {"=": "match", "=~": "match_re"}.get(matcher.op)
        if key is None or matcher.name in node.get(key, {}) or chance.random() < 0.5:
            left.append(text)
        else:
            node.setdefault(key, {})[matcher.name] = matcher.value
    return node | ({"matchers": left} if left else {})


def ways(root: Settings, labels: dict[str, str]) -> str:
    found = explain(root.route, labels, NOW, root.time_intervals).matches
    return ",".join(match.receiver for match in found)


@pytest.mark.real
@settings(max_examples=25, deadline=None, database=None)
@given(trees(), st.lists(LABELS, min_size=3, max_size=3), st.integers(0, 1 << 30))
def test_labels_go_to_the_receivers_that_amtool_names_for_the_imported_file(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], alerts: list[dict[str, str]], seed: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    source = written(folder, old_forms(tree, random.Random(seed)))
    root = taken(folder, source)
    for labels in alerts:
        pairs = [rule(name, "=", value) for name, value in labels.items()]
        tested = amtool("config", "routes", "test", f"--config.file={source}", "--", *pairs)
        assert tested.stdout == ways(root, labels) + "\n", tested.stderr


@pytest.mark.real
@pytest.mark.parametrize("source", REAL, ids=str)
def test_a_real_configuration_is_taken_over_and_passes_check_config_once_filled_in(
    tmp_path: Path, source: Path
) -> None:
    root = taken(tmp_path, source)
    good, text = config.check_config(tmp_path / "bridge.yaml")
    assert good, text
    whole = yaml.safe_load(source.read_text())
    values = _values(whole["route"])
    chance = random.Random(1)
    for _ in range(25):
        labels = {name: chance.choice(sorted(some)) for name, some in values.items() if chance.random() < 0.7}
        pairs = [rule(name, "=", value) for name, value in labels.items()]
        tested = amtool("config", "routes", "test", f"--config.file={source}", "--", *pairs)
        assert tested.stdout == ways(root, labels) + "\n", tested.stderr


def _values(route: dict[str, Any]) -> dict[str, set[str]]:
    """Collect labels of a tree with values that match, and one that does not."""
    found: dict[str, set[str]] = {}
    for key in ("match", "match_re"):
        for name, value in route.get(key, {}).items():
            found.setdefault(name, {"other"}).update(str(value).strip("^$()").split("|"))
    for text in route.get("matchers", []):
        for matcher in parse_matchers(text):
            found.setdefault(matcher.name, {"other"}).update(matcher.value.strip("^$()").split("|"))
    for child in route.get("routes", []):
        for name, some in _values(child).items():
            found.setdefault(name, set()).update(some)
    return found


def test_there_is_a_real_configuration() -> None:
    assert REAL


def test_what_is_not_filled_in_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bridge.yaml"
    file.write_text(proposal(written(tmp_path, {"receiver": "top"})))
    good, text = config.check_config(file)
    assert not good
    assert "apns.team_id" in text


def test_what_could_not_be_taken_over_is_named_with_its_lines(tmp_path: Path) -> None:
    source = tmp_path / "am.yml"
    source.write_text("""\
global: {resolve_timeout: 5m}
route:
  receiver: top
  group_wait: 30s
  routes:
    - {matchers: [a=b], repeat_interval: 4h, continu: true}
    - {receiver: pager, matchers: ['a=~"("']}
receivers:
  - {name: top, slack_configs: [{channel: x}]}
  - {name: pager, pagerduty_configs: [{}], email_configs: [{}]}
  - {name: unused}
inhibit_rules: []
""")
    text = proposal(source)
    head = text.partition("\n\n")[0]
    assert "# - group_wait, repeat_interval (lines 4, 6): Alertmanager has waited already; " in head
    assert "# - global (line 1): how Alertmanager sends is its own business" in head
    assert "# - inhibit_rules (line 12): Alertmanager inhibits before it sends" in head
    assert "# - continu (line 6): is not known here" in head
    assert '(line 11): no route leads to receiver "unused"' in head
    assert "# - matchers (line 7): cannot be read: " in head
    assert "# slack_configs in Alertmanager: a notification; `push: voip` would ring." in text
    assert "# email_configs, pagerduty_configs in Alertmanager: a call." in text
    file = tmp_path / "bridge.yaml"
    file.write_text(filled(text))
    good, said = config.check_config(file)
    assert not good, "a matcher that cannot be read must not let its route take everything"
    assert "route.routes[1].matchers[0]" in said


def test_mutes_groups_and_receivers_that_tell_nobody_are_taken_over(tmp_path: Path) -> None:
    span = {"times": [{"start_time": "22:00", "end_time": "24:00"}], "weekdays": ["monday:friday"],
            "location": "Europe/Berlin"}  # fmt: skip
    source = written(
        tmp_path,
        {
            "receiver": "null",
            "routes": [
                {
                    "matchers": ["a=b"],
                    "group_by": ["..."],
                    "mute_time_intervals": ["no"],
                    "active_time_intervals": ["office hours"],
                    "continue": True,
                },
                {"routes": [{"match": {'say "it\'s"': "x"}}]},
                {},
            ],
        },
        receivers=[{"name": "null"}],
        time_intervals=[{"name": "no", "time_intervals": [span]}],
        mute_time_intervals=[{"name": "office hours", "time_intervals": [{"days_of_month": ["-1"]}]}],
    )
    root = taken(tmp_path, source)
    (step,) = root.receivers["null"].steps
    assert (step.push, step.interruption_level) == ("alert", "passive")
    first = root.route.routes[0]
    assert (first.group_by, first.continue_) == (("...",), True)
    assert (first.mute_time_intervals, first.active_time_intervals) == (("no",), ("office hours",))
    assert root.route.group_by == ()
    assert set(root.time_intervals) == {"no", "office hours"}
    assert str(root.time_intervals["no"][0].zone) == "Europe/Berlin"
    assert root.route.routes[1].routes[0].matchers[0].name == 'say "it\'s"'


def test_a_name_that_is_none_here_gets_another(tmp_path: Path) -> None:
    source = written(tmp_path, {"receiver": " a\u200b\nb "}, receivers=[{"name": " a\u200b\nb "}])
    root = taken(tmp_path, source)
    assert root.route.receiver == "a b 1"
    assert 'is no name here: it is "a b 1"' in proposal(source)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}\n", ":1:1: route.receiver: is missing: this is no Alertmanager configuration"),
        ("route: []\n", ":1:8: route.receiver: is missing"),
        ("route: {receiver: x, receiver: y}\n", "this key is given twice"),
        ("route: [\n", ":2:1: not YAML"),
    ],
)
def test_what_is_no_alertmanager_file_is_named_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    source = tmp_path / "am.yml"
    source.write_text(text)
    with pytest.raises(ConfigError) as caught:
        proposal(source)
    assert says in str(caught.value)
    result = CliRunner().invoke(main, ["config", "import", str(source)])
    assert (result.exit_code, says in result.stderr) == (1, True)


def test_the_command_prints_the_proposal_alone(tmp_path: Path) -> None:
    source = written(tmp_path, {"receiver": "top"})
    result = CliRunner().invoke(main, ["config", "import", str(source)])
    assert (result.exit_code, result.stdout) == (0, proposal(source))


@pytest.mark.parametrize("routes", ["x", ["x"], [["y"]], [{"match": ["z"]}], [{"matchers": "a=b"}], [{"matchers": [["q"]]}], [{"match": {"a": ["b"]}}], [{"continue": "maybe"}]])  # fmt: skip
def test_whatever_stands_in_the_tree_comes_to_a_proposal(tmp_path: Path, routes: Any) -> None:
    text = proposal(written(tmp_path, {"receiver": "top", "routes": routes}))
    assert yaml.safe_load(text)["route"]["receiver"] == "top"
