"""The JSON Schema for editors: it marks nothing that the configuration takes; and the reference made from it."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from bridge import config
from bridge.cli import main
from bridge.config.meanings import MEANINGS, SECTIONS
from bridge.config.model import Model
from bridge.config.reference import reference
from bridge.config.schema import schema
from bridge.config.shape import keys_of

TOP = Path(__file__).parent.parent
FOLDER = Path(__file__).parent / "config"
EXAMPLE = TOP / "config.example.yaml"
SCHEMA = schema()
CHECKER = jsonschema.Draft202012Validator(SCHEMA)


class Editor(yaml.SafeLoader):
    """Reads YAML as editors do: plain scalars by YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own form


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text.startswith(("0x", "0o")) else int(text)


for tag, pattern in {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
    "merge": r"<<",
}.items():
    Editor.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), None)
Editor.add_constructor("tag:yaml.org,2002:int", _number)
Editor.add_constructor(
    "tag:yaml.org,2002:float", lambda loader, node: float(str(loader.construct_scalar(node)))
)


def problems(text: str) -> list[str]:
    """What an editor would mark."""
    return [f"{error.json_path}: {error.message}" for error in CHECKER.iter_errors(yaml.load(text, Editor))]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "path", [EXAMPLE, *sorted((FOLDER / "good").glob("*.yaml"))], ids=lambda path: path.stem
)
def test_what_the_configuration_takes_the_schema_takes(path: Path) -> None:
    assert problems(path.read_text()) == []


def test_the_example_with_all_that_is_commented_out_is_taken_too() -> None:
    """Section by section: what stands in comments must be known to the schema by its key."""
    text = EXAMPLE.read_text()
    for section in ("alertmanager", "console", "drills", "heartbeats", "templates"):
        found = re.search(rf"^# {section}:\n(?:#.*\n)+", text, re.MULTILINE)
        assert found is not None, section
        lines = [line[2:] for line in found[0].splitlines()]
        wrong = [error for error in problems("\n".join(lines)) if "is a required property" not in error]
        assert wrong == [], section


def snippets() -> Iterator[tuple[str, str]]:
    """Give the parts of a configuration that the documents show: of other files the keys are others."""
    for path in [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]:
        for text in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            keys = re.findall(r"^([a-z_]+):", text, re.MULTILINE)
            others = re.search("webhook_configs|group_interval", text)  # Alertmanager's own file
            if keys and set(keys) <= set(keys_of(Model)) and not others:
                yield f"{path.relative_to(TOP)}: {keys[0]}", text


def test_what_the_documents_show_of_a_configuration_is_taken() -> None:
    shown = list(snippets())
    assert len(shown) >= 4
    for where, text in shown:
        wrong = [error for error in problems(text) if "is a required property" not in error]
        assert wrong == [], where


def test_the_schema_refuses_what_an_editor_should_mark() -> None:
    marked = {
        "quiet_gap: soon": "quiet_gap",
        "quiet_gapp: 5s": "quiet_gapp",
        "receivers: [{name: x, escalation: [{push: call}]}]": "push",
        "route: {receiver: x, routes: [{matcher: [a=b]}]}": "matcher",
        "devices: [{name: x, owner: y, voip_token: xyz}]": "voip_token",
        "people: [alice]": "people",
        "schedules: [{name: x, layers: [{members: [a], start: 5 January, every: 1w}]}]": "start",
        "storage: {url: mysql://x}": "url",
        "sources: [{name: a b}]": "name",
        "max_body_size: huge": "max_body_size",
        "route: {continue: maybe}": "continue",
    }
    for text, key in marked.items():
        assert [one for one in problems(text) if key in one], text
    assert [one for one in problems("{}") if "'apns' is a required property" in one]


SCALARS = ["", "~", "0", "5", "-1", "1.5", "1e3", "0x1F", "007", "true", "no", "5s", "1h30m", "voip", "UTC",
           "alice", "2026-01-05", "09:00", "24:00", "16MiB", "1:7", "'a=\"b\"'", "https://h/p", "sqlite:///x.db",
           "a.b", "storage", "platform", "nights", "'0'", "[x]", "[alice]", "{a: b}", "[]", "{}", "[1, null]",
           "monday", "12", "december"]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in _places(inner, (*path, key)))]


def _mutated(root: Any, chance: random.Random) -> str:
    """Take the example, and change one to three places of it to something else."""
    root = copy.deepcopy(root)
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(_places(root)[1:])
        holder = root
        for step in path[:-1]:
            holder = holder[step]
        what = chance.random()
        if what < 0.15:
            del holder[path[-1]]
        elif what < 0.25 and isinstance(holder, dict):
            holder[chance.choice(["name", "url", "every", "receiver", "groups", "password"])] = "MARK"
        else:
            holder[path[-1]] = f"MARK{chance.randrange(len(SCALARS))}"
    text = yaml.safe_dump(root, sort_keys=False)
    return re.sub(r"MARK(\d*)", lambda mark: SCALARS[int(mark[1] or 0)], text)


def test_what_the_schema_refuses_check_config_refuses_too(tmp_path: Path) -> None:
    """A hundred and fifty times the example with a few places changed at random."""
    chance = random.Random(20261125)
    text = EXAMPLE.read_text().replace("examples/", f"{TOP}/examples/")
    root = yaml.load(text, yaml.BaseLoader)
    file = tmp_path / "bridge.yaml"
    refused = 0
    for _ in range(150):
        mutated = _mutated(root, chance)
        try:
            marked = problems(mutated)
        except yaml.YAMLError:
            continue
        if not marked:
            continue
        refused += 1
        file.write_text(mutated)
        good, said = config.check_config(file)
        assert not good, (marked, said, mutated)
    assert refused > 50


def test_every_key_has_a_meaning_and_no_meaning_is_left_over() -> None:
    parts, seen = [Model], {}
    while parts:
        part = parts.pop()
        if part.__name__ not in seen:
            keys = keys_of(part)
            seen[part.__name__] = set(keys) - {"match", "match_re"}
            parts += [inner for inner in keys.values() if inner is not None]
    assert {name: set(keys) for name, keys in MEANINGS.items()} == seen
    assert set(SECTIONS) == set(seen)


def test_every_key_of_one_value_has_an_example_that_is_one() -> None:
    for name, meanings in MEANINGS.items():
        part = SCHEMA if name == "Model" else SCHEMA["$defs"][name]
        for key, meaning in meanings.items():
            value = part["properties"][key]
            nested = "$ref" in json.dumps(value)
            assert nested == (meaning.example is None), f"{name}.{key}"
            if not nested:
                jsonschema.Draft202012Validator(value).validate(meaning.example)


def test_the_reference_is_current() -> None:
    assert (TOP / "docs/configuration.md").read_text() == reference(), "run `make reference`"


def test_the_reference_has_every_key_with_type_default_and_meaning() -> None:
    text = reference()
    assert "| `times` | number | `4` | How many rings, 1 to 1000. | `4` |" in text
    assert "| `retention` | duration | `30d` | How long what has ended is kept. | `30d` |" in text
    assert "| `ring` | [receivers / escalation / ring](#receivers--escalation--ring) |" in text
    rows = re.findall(r"^\| `\w+` \|(.*)\|(.*)\|(.*)\|(.*)\|$", text.replace(r"\|", ""), re.MULTILINE)
    assert len(rows) == sum(map(len, MEANINGS.values()))
    assert all(type_.strip() and meaning.strip() for type_, _, meaning, _ in rows)


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(main, ["config", "schema"])
    assert json.loads(result.stdout) == SCHEMA
