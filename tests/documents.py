"""What the documents show: their fences, and what the program says to a configuration or a command in one.

A fence that is neither a known configuration nor commands says so by its language (```text), or stands below
`<!-- not checked: why -->`.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bridge.config.model import Model

ROOT = Path(__file__).parents[1]
FILES = ROOT / "tests/config/files"
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "deploy").rglob("*.md")),
    ROOT / "examples/README.md",
]

_EXCUSE = re.compile(r"<!-- not checked: \S.* -->")
_PROMPT = re.compile(r"^\$ ", re.MULTILINE)
PROGRAMS = {
    "amtool",
    "apt-get",
    "cd",
    "chmod",
    "chown",
    "cp",
    "curl",
    "docker",
    "dump",
    "echo",
    "exit",
    "export",
    "git",
    "helm",
    "htpasswd",
    "install",
    "journalctl",
    "kubectl",
    "make",
    "mkdir",
    "mv",
    "nginx",
    "openssl",
    "pg",
    "pg_dump",
    "pg_restore",
    "pip",
    "podman",
    "prometheus-alertmanager",
    "promtool",
    "psql",
    "pushkit-bridge",
    "python3",
    "qrencode",
    "rm",
    "sqlite3",
    "sudo",
    "systemctl",
    "systemd-analyze",
    "systemd-sysusers",
    "tar",
    "test",
    "touch",
}
"""Whose command lines may stand in a fence without a language."""


@dataclass(frozen=True, slots=True)
class Fence:
    """One fenced block: `words` is its language and whatever follows, `excused` whether it is not to be checked."""

    path: Path
    line: int
    words: str
    text: str
    excused: bool

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its command lines, put together where they are continued; of a session those behind a `$`."""
        whole = self.text.replace("\\\n", " ")
        lines = [line[2:] for line in whole.splitlines() if line.startswith("$ ")]
        if not _PROMPT.search(whole):
            lines = whole.splitlines()
        return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def fences(path: Path) -> Iterator[Fence]:
    """All fences of a document, those in lists too."""
    lines = path.read_text().splitlines()
    before, number = "", 0
    while number < len(lines):
        opened = re.fullmatch(r"( *)```(.*)", lines[number])
        if opened:
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
            text = "\n".join(line.removeprefix(opened[1]) for line in lines[number + 1 : end]) + "\n"
            yield Fence(path, number + 1, opened[2], text, bool(_EXCUSE.fullmatch(before)))
            number = end
        before = lines[number].strip() or before
        number += 1


FENCES = [fence for path in DOCUMENTS for fence in fences(path)]


def of(language: str) -> list[Fence]:
    """The fences in one language that are to be checked."""
    return [fence for fence in FENCES if fence.words == language and not fence.excused]


def words(line: str) -> list[str]:
    """A command's words, without its comment; a program's path is left away. A line of a figure is one word."""
    try:
        split = shlex.split(line, comments=True)
    except ValueError:
        return [line]
    while split and re.fullmatch(r"[A-Z_]+=.*|sudo", split[0]):
        split = split[1:]
    return [split[0].rpartition("/")[2], *split[1:]] if split else [line]


KEYS = {
    "kubernetes": {"apiVersion"},
    "rules": {"groups"},
    "prometheus": {"alerting", "scrape_configs", "rule_files", "global"},
    "web": {"tls_server_config", "http_server_config", "basic_auth_users", "authorization"},
    "cases": {"tests", "config_file"},
    "compose": {"services"},
    "chart": {
        "shape",
        "config",
        "image",
        "phone",
        "secrets",
        "serviceMonitor",
        "ingress",
        "web",
        "heartbeat",
    },
}
"""What a file of each kind has one of at its top."""

_ALERTMANAGERS = {"group_wait", "group_interval", "repeat_interval", "webhook_configs", "url", "http_config"}


def kind(document: Any) -> str:
    """Which program a YAML document is for; "" where that cannot be told."""
    if document is None:
        return "comments"
    top = set(document) if isinstance(document, dict) else set()
    named = {key for key in ("route", "receivers") if key in top}
    if named and set(_keys([document[key] for key in named])) & _ALERTMANAGERS - {"url"}:
        return "alertmanager"
    for name, keys in KEYS.items():
        if top & keys:
            return name
    return "bridge" if top and top <= set(Model.model_fields) else ""


_LOADERS = (yaml.SafeLoader, yaml.BaseLoader)


def parts(*kinds: str) -> list[tuple[Fence, Any]]:
    """The YAML documents of these kinds in all fences."""
    found = []
    for fence in of("yaml"):
        for part, text in zip(*(yaml.load_all(fence.text, one) for one in _LOADERS), strict=True):
            # The bridge reads each scalar as text; the other programs are given what YAML makes of it.
            found += [(fence, text if "bridge" in kinds else part)] if kind(part) in kinds else []
    return found


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "webhooks":
                yield key
                yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def whole(part: dict[str, Any]) -> dict[str, Any]:
    """A configuration of the bridge that has what a document shows, and the rest of config.example.yaml.

    A list of named things is joined by name: who shows one key of a receiver need not show its steps.
    """
    base = yaml.safe_load((ROOT / "config.example.yaml").read_text())
    shown = dict(part)
    if "apns" in shown:
        del base["apns"]
    if "storage" in shown:
        del base["storage"]
    if {"device_groups", "receivers", "people", "route"} <= shown.keys():
        base = {}  # a whole configuration: it must stand alone
    for name in ("web", "carol", "dave"):
        if base and name in str(part):
            _lend(base, name)
    return _joined(base, shown)


def _lend(base: dict[str, Any], name: str) -> None:
    if name == "web":
        base["receivers"].append({"name": "web", "escalation": [{"device_groups": ["platform"]}]})
    else:
        base["people"].append({"name": name})


def _joined(base: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    joined = dict(base)
    for key, value in part.items():
        there = joined.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            joined[key] = _joined(there, value) if key != "route" else value
        elif isinstance(value, list) and isinstance(there, list) and key in {"people", "receivers"}:
            mine = {one["name"]: one for one in there} | {
                one["name"]: {**next((old for old in there if old["name"] == one["name"]), {}), **one}
                for one in value
            }
            joined[key] = list(mine.values())
        else:
            joined[key] = value
    return joined


def with_files(value: Any, folder: Path, key: str = "") -> Any:
    """The same, with a stand-in in the folder for each file that it names; absolute paths move there."""
    if isinstance(value, dict):
        return {name: with_files(inner, folder, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_files(inner, folder, key) for inner in value]
    if not key.endswith("_file") or not isinstance(value, str) or key == "config_file":
        return value
    target = folder / Path(value).name
    shutil.copy(FILES / _stand_in(value, key), target)
    target.chmod(0o600)
    return target.name


def _stand_in(name: str, key: str) -> str:
    if name.endswith(".p8"):
        return "key.p8"
    if key == "ical_file":
        return "shifts.ics"
    if key in {"certificate_file", "cert_file", "ca_file", "client_ca_file"}:
        return "client.pem"
    if key in {"certificate_key_file", "key_file"}:
        return "client-key.pem"
    return "url.txt" if "url" in key else "credentials.txt"
