"""The command `test rules`: cases kept beside the configuration, held against the one account of the way."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from bridge import onfile
from bridge.blueprint import OUTPUT
from bridge.config import ConfigError, Settings
from bridge.config import cases as beside
from bridge.config.cases import Case, Cases
from bridge.config.problems import Problem
from bridge.listings import text
from bridge.manage import say
from bridge.views import account

_IN_ORDER: Final = {"receivers"}
_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.group()
def test() -> None:
    """Test what a configuration does, without a bridge."""


@test.command()
@click.option("--config.file", "config_file", type=_FILE, help="Instead of the files' own config_file.")
@OUTPUT
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def rules(config_file: Path | None, output: str, files: Sequence[str]) -> None:
    """Run the cases of FILES (globs too): exit 1 if one of them is not as expected.

    docs/routing.md tells how they are written.
    """
    judge = _Judge(config_file)
    found = [judge.file(path) for path in _paths(files)]
    passed = all(one["passed"] for one in found)
    say({"passed": passed, "files": found}, output, _lines)
    sys.exit(0 if passed else 1)


def _paths(files: Sequence[str]) -> Iterator[Path]:
    for name in files:
        # Path.glob takes no absolute pattern.
        matching = [name] if Path(name).exists() else sorted(glob.glob(name, recursive=True))  # noqa: PTH207
        # One that is not there is read all the same: then it is said that it cannot be.
        yield from map(Path, dict.fromkeys(matching or [name]))


@dataclass(frozen=True, slots=True)
class Difference:
    """What came out otherwise."""

    what: str
    expected: Any
    got: Any


class _Judge:
    """Runs files of cases. Each configuration is read once."""

    def __init__(self, config_file: Path | None) -> None:
        self._config_file = config_file
        self._read: dict[Path, Settings] = {}

    def file(self, path: Path) -> dict[str, Any]:
        """Run one file; gives what came of it, as docs/json.md describes it."""
        try:
            cases = beside.load(path)
            settings = self._settings(cases)
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems]
            return {"file": str(path), "passed": False, "problems": problems, "tests": []}
        found = [self._case(case, cases, settings) for case in cases.cases]
        passed = all(one["passed"] for one in found)
        return {"file": str(path), "passed": passed, "problems": [], "tests": found}

    def _settings(self, cases: Cases) -> Settings:
        path = self._config_file or cases.config_file
        if path is None:
            words = "is missing: give it here, or --config.file"
            raise ConfigError([Problem(str(cases.file), 1, 1, "config_file", words)])
        if path not in self._read:
            self._read[path] = onfile.read(path)
        return self._read[path]

    def _case(self, case: Case, cases: Cases, settings: Settings) -> dict[str, Any]:
        told = onfile.explained(settings, case.labels, case.source, case.at, cases.phones)
        differences = list(compare(case.expected, told))
        line, column = case.place
        return {
            "name": case.name,
            "line": line,
            "column": column,
            "passed": not differences,
            "differences": [
                {"what": one.what, "expected": one.expected, "got": one.got} for one in differences
            ],
            "explanation": told,
        }


def compare(expected: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[Difference]:
    """Give what is expected otherwise than an account tells it. Only receivers have an order."""
    for what, value in expected.items():
        wanted, got = _plain(value), _got(what, told)
        if _sorted(what, wanted) != _sorted(what, got):
            yield Difference(what, wanted, got)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return value


def _sorted(what: str, value: Any) -> Any:
    return sorted(value) if isinstance(value, list) and what not in _IN_ORDER else value


def _got(what: str, told: Mapping[str, Any]) -> Any:
    opening = [match for match in told["matches"] if match["opens_incident"]]
    muted = [match["muted_until"] for match in opening if match["muted_until"] is not None]
    match what:
        case "receivers":
            return [match["receiver"] for match in opening]
        case "heartbeats":
            return told["heartbeats"]
        case "group":
            return [f"{name}={value}" for match in opening[:1] for name, value in match["group"].items()]
        case "muted":
            return bool(muted)
        case "muted_until":
            return min(muted, default=None)
        case _:
            _, number, key = what.split()
            return _of_step(int(number), key, opening)


def _of_step(number: int, key: str, opening: Sequence[Mapping[str, Any]]) -> Any:
    """Take the steps of this number of all receivers together."""
    steps = [step for match in opening for step in match["steps"] if step["step"] == number]
    if key == "push":
        return " and ".join(dict.fromkeys(step["push"] for step in steps)) or None
    if key == "phones":
        rung = (one["phone"] for step in steps for one in step["phones"] if one["push"] is not None)
        return list(dict.fromkeys(rung))
    return list(dict.fromkeys(name for step in steps for name in step[key]))


# --- for people -------------------------------------------------------------------------------


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for one in found["files"]:
        yield f"Testing '{text(one['file'])}'"
        yield from one["problems"]
        bad = [case for case in one["tests"] if not case["passed"]]
        for case in bad:
            yield f"{text(one['file'])}:{case['line']}:{case['column']}: FAILED: {text(case['name'])}"
            yield from (f"  {line}" for line in _differences(case))
        good = f"{len(one['tests']) - len(bad)} of {len(one['tests'])} passed"
        yield f"  SUCCESS: {good}" if one["passed"] else f"  FAILED: {good}"


def _differences(case: Mapping[str, Any]) -> Iterator[str]:
    for one in case["differences"]:
        yield f"{one['what']}:"
        expected, got = (_listed(one[key]) for key in ("expected", "got"))
        if one["what"] in _IN_ORDER and sorted(expected) == sorted(got):
            yield f"  - {', '.join(expected)}"
            yield f"  + {', '.join(got)}"
            continue
        yield from (f"    {text(name)}" for name in expected if name in got)
        yield from (f"  - {text(name)}" for name in expected if name not in got)
        yield from (f"  + {text(name)}" for name in got if name not in expected)
    yield "as it is (- expected, + got):"
    yield from (f"  {line}" for line in account.lines(case["explanation"]))


def _listed(value: Any) -> list[str]:
    if isinstance(value, list):
        return value or ["(none)"]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return ["(none)" if value is None else str(value)]
