"""docs/security.md, held to its word: each test that it names is there. And what no other test shows."""

from __future__ import annotations

import ast
import hmac
import re
import tomllib
from pathlib import Path

import pytest

from bridge.matchers import parse_matchers
from bridge.web import WebConfig, WebConfigError
from bridge.web import credentials as web_credentials

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs/security.md"


def defined() -> set[str]:
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found |= set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    return found


def test_every_test_that_the_threat_model_names_is_there() -> None:
    named = re.findall(r"`(test_\w+)`", DOCUMENT.read_text())
    assert len(named) > 60
    assert set(named) - defined() == set()


def test_each_threat_has_an_answer_and_names_a_test() -> None:
    text = DOCUMENT.read_text()
    table = text[text.index("## Threats") : text.index("## Decided")]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row[0].strip() not in {"threat", "---"}]
    assert len(rows) > 40
    for threat, answer, shown in rows:
        assert threat.strip(), shown
        assert answer.strip(), threat
        assert "`test_" in shown, threat


@pytest.mark.parametrize("sent", ["", "x", "secret", "secreT", "secret" * 1000, "\udcff"])
def test_secrets_are_compared_in_constant_time(sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is sent, two digests of one length go through compare_digest, and nothing decides before."""
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def noted(one: bytes, two: bytes) -> bool:
        compared.append((len(one), len(two)))
        return compare(one, two)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    assert web_credentials.same_secret(sent, "secret") is (sent == "secret")
    assert compared == [(32, 32)]


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "([a-z]+)*[0-9]"])
def test_no_regular_expression_runs_long_on_a_hostile_label(pattern: str) -> None:
    """RE2: Python's own would not come back from these."""
    (matcher,) = parse_matchers(f'label=~"{pattern}"')
    assert not matcher.matches({"label": "a" * 100_000 + "!"})


def test_an_alias_bomb_in_the_web_configuration_is_refused_in_words(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    for name, text in (
        ("bomb", "\n".join([*lines, "basic_auth_users: *a11"])),
        ("deep", "basic_auth_users: " + "[" * 500 + "]" * 500),
        ("itself", "basic_auth_users: &a {x: *a}"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(WebConfigError) as error:
            WebConfig.load(tmp_path / name)
        assert len(str(error.value)) < 5000


def test_every_package_is_pinned_with_its_hash_and_the_image_asks_for_them() -> None:
    for lock in sorted(ROOT.glob("requirements*.lock")):
        text = re.sub(r"\\\n", " ", lock.read_text())
        packages = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert packages
        for line in packages:
            assert re.match(r"[A-Za-z0-9_.\[\]-]+==\S+ ", line), (lock.name, line[:60])
            assert "--hash=sha256:" in line, (lock.name, line[:60])
    dockerfile = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
    installs = re.findall(r"pip(?: --python \S+)? install[^&\n]*", dockerfile)
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or install.rstrip().endswith("--no-deps /wheels/*.whl"), install
        assert "--no-deps" in install, install


def test_every_dependency_is_used() -> None:
    """What is shipped and not needed is only there to be attacked."""
    names = {"pyyaml": "yaml", "google-re2": "re2", "prometheus-client": "prometheus_client", "tzdata": ""}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [re.split(r"[=>\[ ;]", one)[0] for one in project["dependencies"]]
    imported = set()
    for path in (ROOT / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    modules = {name: names.get(name, name.replace("-", "_")) for name in asked}
    # aiosqlite is loaded by SQLAlchemy, by its name in the URL; tzdata by zoneinfo.
    loaded_by_others = {"aiosqlite", "tzdata"}
    assert {name for name, module in modules.items() if module not in imported} <= loaded_by_others
