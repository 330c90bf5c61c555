"""Cases kept beside a configuration: `test rules` fails where the way is another one, and says how."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridge.cli import main

TOP = Path(__file__).parent.parent
EXAMPLE = TOP / "config.example.yaml"
CASES = TOP / "examples/routing.test.yaml"

HEAD = f"config_file: {EXAMPLE}\ntests:\n"
CASE = """\
  - name: '{name}'
    labels: {{severity: critical, team: db}}
    at: 2026-01-31T02:00:00Z
    expect: {expect}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["test", "rules", *map(str, arguments)])


def file(folder: Path, *expected: str, name: str = "cases.yaml", head: str = HEAD) -> Path:
    path = folder / name
    path.write_text(head + "".join(CASE.format(name=f"case {one}", expect=one) for one in expected))
    return path


def test_the_example_s_cases_hold() -> None:
    result = run(str(CASES))
    assert (result.exit_code, result.stdout) == (0, f"Testing '{CASES}'\n  SUCCESS: 3 of 3 passed\n")


@pytest.mark.parametrize(
    "expect",
    [
        "{receivers: [storage]}",
        "{people: [alice, bob]}",
        "{people: [bob, alice], phones: [alice-iphone, bob-iphone]}",
        "{push: voip, webhooks: [], muted: no}",
        "{steps: [{people: [bob, alice]}, {people: [bob], phones: [bob-iphone], push: voip}]}",
        "{heartbeats: [], group: {}}",
    ],
)
def test_what_is_so_passes_whatever_the_order_of_names(tmp_path: Path, expect: str) -> None:
    result = run(str(file(tmp_path, expect)))
    assert result.exit_code == 0, result.stdout


@pytest.mark.parametrize(
    ("expect", "lines"),
    [
        ("{receivers: [platform]}", ["  receivers:", "    - platform", "    + storage"]),
        ("{receivers: []}", ["  receivers:", "    - (none)", "    + storage"]),
        ("{people: [bob, carol]}", ["  step 1 people:", "      bob", "    - carol", "    + alice"]),
        ("{phones: [bob-iphone]}", ["  step 1 phones:", "      bob-iphone", "    + alice-iphone"]),
        ("{push: alert}", ["  step 1 push:", "    - alert", "    + voip"]),
        ("{muted: true}", ["  muted:", "    - true", "    + false"]),
        ("{muted_until: 2026-01-31 06:00}", ["  muted_until:", "    - 2026-01-31T06:00:00Z", "    + (none)"]),
        ("{steps: [{}, {people: [alice]}]}", ["  step 2 people:", "    - alice", "    + bob"]),
        ("{steps: [{}, {}, {push: voip}]}", ["  step 3 push:", "    - voip", "    + (none)"]),
        ("{webhooks: [x]}", ["  step 1 webhooks:", "    - x", "    + (none)"]),
        ("{group: {alertname: X}}", ["  group:", "    - alertname=X", "    + (none)"]),
        ("{heartbeats: [x]}", ["  heartbeats:", "    - x", "    + (none)"]),
    ],
)
def test_what_is_not_so_fails_with_a_difference_and_the_way(
    tmp_path: Path, expect: str, lines: list[str]
) -> None:
    path = file(tmp_path, "{push: voip}", expect)
    result = run(str(path))
    said = result.stdout.splitlines()
    assert result.exit_code == 1
    at = said.index(f"{path}:7:5: FAILED: case {expect}")
    assert said[at + 1 : at + 1 + len(lines)] == lines
    assert said[at + 1 + len(lines)] == "  as it is (- expected, + got):"
    assert '{severity="critical",team=~"db|storage"}  receiver: storage' in result.stdout
    assert said[-1] == "  FAILED: 1 of 2 passed"


def test_receivers_have_an_order(tmp_path: Path) -> None:
    config = tmp_path / "bridge.yaml"
    text = EXAMPLE.read_text().replace("examples/", f"{TOP}/examples/")
    config.write_text(text.replace("      continue: false", "      continue: true", 1))
    two = "  - {name: x, labels: {severity: critical, team: batch}, at: 2026-01-31 02:00, expect: %s}\n"
    path = tmp_path / "cases.yaml"
    text = (
        config.read_text()
        .replace('"db|storage"', '"db|batch"')
        .replace('team=~"db|storage', 'team=~"db|batch')
    )
    config.write_text(text)
    path.write_text("tests:\n" + two % "{receivers: [storage, platform]}")
    assert run(f"--config.file={config}", str(path)).exit_code == 0
    path.write_text("tests:\n" + two % "{receivers: [platform, storage]}")
    result = run(f"--config.file={config}", str(path))
    assert "    - platform, storage\n    + storage, platform\n" in result.stdout


def test_a_phone_that_only_the_bridge_knows_can_be_named(tmp_path: Path) -> None:
    config = tmp_path / "bridge.yaml"
    text = EXAMPLE.read_text().replace("examples/", f"{TOP}/examples/")
    config.write_text(
        text.replace("  - name: bob\n", "  - name: bob\n  - name: carol\n").replace(
            "owners: [bob]", "owners: [carol]"
        )
    )
    head = "config_file: bridge.yaml\nphones: [{name: carol-x, owner: carol}]\ntests:\n"
    path = file(tmp_path, "{people: [carol, alice], phones: [carol-x, alice-iphone]}", head=head)
    assert run(str(path)).exit_code == 0, run(str(path)).stdout


def test_several_files_and_globs_are_run_and_each_counts(tmp_path: Path) -> None:
    good = file(tmp_path, "{push: voip}", name="good.test.yaml")
    bad = file(tmp_path, "{push: alert}", name="bad.test.yaml")
    result = run(str(tmp_path / "*.test.yaml"), "-o", "json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert [(one["file"], one["passed"]) for one in said["files"]] == [(str(bad), False), (str(good), True)]
    (difference,) = said["files"][0]["tests"][0]["differences"]
    assert difference == {"what": "step 1 push", "expected": "alert", "got": "voip"}
    assert run(str(good), str(tmp_path / "g*.yaml")).exit_code == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tests: []\n", ":1:8: tests: holds no test"),
        ("{}\n", ":1:1: tests: is missing"),
        ("tests:\n  - {name: x, labels: {}, at: 2026-01-31 02:00}\n", ":2:5: tests[0].expect: is missing"),
        (
            "tests:\n  - {name: x, labels: {}, at: 2026-01-31 02:00, expect: {}}\n",
            ":2:57: tests[0].expect: expects nothing: give receivers, people, phones or another of its keys",
        ),
        (
            "tests:\n  - {name: x, labels: {}, at: soon, expect: {people: []}}\n",
            ':2:31: tests[0].at: "soon" is not a date with a time; write for instance 2026-01-31 18:00',
        ),
        ("test:\n  - x\n", ':1:1: test: unknown key, did you mean "tests"?'),
        (
            "tests:\n  - {name: x, labels: {}, at: 2026-01-31 02:00, expect: {peopel: [x]}}\n",
            ':2:58: tests[0].expect.peopel: unknown key, did you mean "people"?',
        ),
        ("tests:\n  - {name: x, labels: [a], at: 2026-01-31 02:00, expect: {muted: no}}\n", "tests[0].labels"),
        (
            "tests:\n  - {name: x, labels: {}, at: 2026-01-31 02:00, expect: {muted: no}}\n",
            ":1:1: config_file: is missing: give it here, or --config.file",
        ),
        ("config_file: none.yaml\ntests:\n  - {name: x, labels: {}, at: 2026-01-31 02:00, expect: {muted: no}}\n",
         "none.yaml:1:1: cannot be read"),
        ("a: [\n", ":2:1: not YAML"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_line_and_column(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text(text)
    result = run(str(path))
    assert result.exit_code == 1
    assert says in result.stdout
    assert str(tmp_path) in result.stdout
    assert result.stdout.endswith("  FAILED: 0 of 0 passed\n")


def test_a_file_that_is_not_there_fails(tmp_path: Path) -> None:
    result = run(str(tmp_path / "no*.yaml"))
    assert (result.exit_code, "no*.yaml:1:1: cannot be read" in result.stdout) == (1, True)


def test_a_bad_configuration_is_its_problems(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("recievers: []\n")
    result = run(f"--config.file={tmp_path / 'bad.yaml'}", str(CASES))
    assert result.exit_code == 1
    assert f"{tmp_path / 'bad.yaml'}:1:1: recievers: unknown key" in result.stdout
