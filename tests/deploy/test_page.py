"""docs/deploy.md: each command in it is run, or held against what is there; none is passed over."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from charts import CHART, ROOT, TOOLS, resources, run
from test_chart import known_to_the_operator

from bench import pgserver
from bridge.cli import main

PAGE = (ROOT / "docs/deploy.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line
    for kind, text in BLOCKS
    if not kind
    for line in text.replace("\\\n", " ").splitlines()
    if line.strip()
]
TABLE = re.findall(r"`((?:kubectl|helm) [^`]*)`", PAGE)


def bridge(words: list[str]) -> None:
    """The bridge has this command, with these flags and arguments."""
    assert words[0] == "pushkit-bridge"
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, words
        command, rest = found, rest[1:]
    command.make_context("x", [*rest])


def kubectl(line: str, folder: Path) -> None:
    """kubectl takes the flags; where it need not ask a cluster, it does the work."""
    words = shlex.split(line)
    local = words[1:2] == ["create"] or "create" in words[3:4]
    if "--" in words:
        inside = words[words.index("--") + 1 :]
        if inside[0] == "pushkit-bridge":
            bridge(inside)
    named(words)
    if "apply" in words:
        (manifest,) = (ROOT / word for word in words if word.startswith("deploy/"))
        words[words.index("-f") + 1] = str(manifest)
    nowhere = ("--kubeconfig=/dev/null", "--server=http://127.0.0.1:1", "--request-timeout=5s")
    more = ("--dry-run=client", "-o", "name") if local else ()
    command = [
        str(TOOLS / "kubectl"),
        *nowhere,
        *words[1 : words.index("--") if "--" in words else None],
        *more,
    ]
    if "--" in words:
        command += words[words.index("--") :]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=60)
    if local:
        assert (done.returncode, done.stderr) == (0, ""), line
    else:
        assert "refused" in done.stderr, f"{line}\n{done.stderr}"


def named(words: list[str]) -> None:
    """The pods, and what makes them, are those of a shape."""
    (state,) = (one["metadata"]["name"] for one in resources("single") if one["kind"] == "StatefulSet")
    (alertmanager,) = (
        one["metadata"]["name"] for one in resources("sidecar") if one["kind"] == "Alertmanager"
    )
    # As Kubernetes and the Operator name the pods of each.
    there = {f"{state}-0", *(f"alertmanager-{alertmanager}-{number}" for number in range(2))}
    for word in words:
        pod = word.partition(":")[0]
        if re.fullmatch(r"[a-z-]+-\d", pod):
            assert pod in there, word
        if word.startswith("statefulset/"):
            assert word == f"statefulset/{state}"


def helm(line: str) -> None:
    words = shlex.split(line)
    if words[1] == "install":
        done = run(TOOLS / "helm", *words[1:], "--dry-run=client")
        assert done.returncode == 0, done.stderr
    else:
        flags = run(TOOLS / "helm", words[1], "--help").stdout
        assert all(word.partition("=")[0] in flags for word in words if word.startswith("-")), line


def files_of_ours(line: str) -> None:
    for word in shlex.split(line):
        if word.startswith("deploy/"):
            assert (ROOT / word).exists(), line


HOLDERS = {
    "helm": lambda line, _: helm(line),
    "kubectl": kubectl,
    "pushkit-bridge": lambda line, _: bridge(shlex.split(line)),
}
AS_WRITTEN = {"chown", "docker", "echo", "install", "mv", "rm", "systemctl", "systemd-sysusers"}
"""Of these, only that the files in the clone are there: Debian's own programs, and Docker, which is not at hand."""
ELSEWHERE = {"pg_dump", "pg_restore"}
"""Run by a test of their own, below."""


@pytest.mark.parametrize("line", [*COMMANDS, *TABLE])
def test_a_command_of_the_page_works(line: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/AuthKey_DEM0KEY001.p8", tmp_path / "AuthKey_ABC123DEFG.p8")
    line = re.sub(r"^[A-Z_]+=\S+ ", "", line)
    files_of_ours(line)
    first = line.split()[0]
    if first in HOLDERS:
        HOLDERS[first](line, tmp_path)  # type: ignore[operator]
    else:
        assert first in AS_WRITTEN | ELSEWHERE, f"nobody looks at {line}"


def test_the_operator_knows_the_alertmanager_of_the_page() -> None:
    found = [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"]
    assert [one["kind"] for one in found] == ["Alertmanager"]
    known_to_the_operator(found[0])
    labels: dict[str, Any] = found[0]["spec"]["alertmanagerConfigSelector"]["matchLabels"]
    (config,) = (one for one in resources("replicas") if one["kind"] == "AlertmanagerConfig")
    assert labels.items() <= config["metadata"]["labels"].items()


@pytest.mark.real
def test_a_postgresql_comes_back_from_the_dump_of_the_page(tmp_path: Path) -> None:
    dump, restore = (shlex.split(line) for line in COMMANDS if line.split()[0] in ELSEWHERE)
    server = pgserver.shared()
    with server.ledger() as url:
        name = url.rpartition("/")[2]
        (there,) = {word.removeprefix("--dbname=") for word in (*dump, *restore) if "postgresql://" in word}
        server.execute("INSERT INTO meta VALUES ('kept', 'before')", database=name)
        programs_run(dump, there, url, tmp_path)
        server.execute("UPDATE meta SET value = 'after' WHERE name = 'kept'", database=name)
        server.execute("INSERT INTO meta VALUES ('late', 'x')", database=name)
        programs_run(restore, there, url, tmp_path)
        rows = "SELECT count(*) = 1 AND max(value) = 'before' FROM meta WHERE name IN ('kept', 'late')"
        server.execute(f"DO $$ BEGIN ASSERT ({rows}); END $$", database=name)


def programs_run(words: list[str], there: str, url: str, folder: Path) -> None:
    program = pgserver._program(words[0])
    done = subprocess.run(
        [program, *(word.replace(there, url) for word in words[1:])],
        capture_output=True, text=True, check=False, cwd=folder, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_page_names_every_file_of_deploy() -> None:
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and CHART not in path.parents]
    of_others = {"manifests", "monitoring"}
    missing = [path.name for path in files if path.name not in PAGE and path.parent.name not in of_others]
    assert missing == []
