"""Each configuration and each command in the documents is one that the programs take."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from documents import (
    DOCUMENTS,
    FENCES,
    FILES,
    PROGRAMS,
    ROOT,
    Fence,
    kind,
    of,
    parts,
    whole,
    with_files,
    words,
)

from bridge.cli import main
from bridge.telemetry import Metrics
from bridge.web.files import Files
from bridge.web.settings import read_settings

TALK = {"text", "json", "http", "mermaid", "diff", "swift", "xml"}
"""Languages that nothing here runs: figures, what programs print, what an app would say."""

HASH = "$2b$04$aF6YqzCqFNwiGZx7zIAJTeyzMSMhY5sfA4iIVKHVK2pFcvIw36vnG"


def place(thing: Fence | tuple[Fence, str]) -> str:
    return thing.place if isinstance(thing, Fence) else f"{thing[0].place} {thing[1]}"


def ids(found: list[tuple[Fence, Any]]) -> list[str]:
    return [fence.place for fence, _ in found]


def program(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- nothing is passed over ---------------------------------------------------------------------


@pytest.mark.parametrize("fence", FENCES, ids=place)
def test_every_fence_is_one_that_is_checked_or_says_that_it_is_not(fence: Fence) -> None:
    if fence.excused or fence.words in TALK:
        return
    assert fence.words in {"", "yaml"}, f"say what it is: {fence.place} has the language {fence.words!r}"
    if fence.words == "yaml":
        for part in yaml.safe_load_all(fence.text):
            assert kind(part), f"{fence.place}: which program is this for? {sorted(part)}"
    else:
        strange = {words(line)[0] for line in fence.commands} - PROGRAMS
        assert not strange, (
            f"{fence.place} is no commands: ```text if it is a figure, or add to PROGRAMS: {strange}"
        )


# --- configurations -----------------------------------------------------------------------------

BRIDGES = parts("bridge")


@pytest.mark.parametrize(("fence", "part"), BRIDGES, ids=ids(BRIDGES))
def test_the_bridge_takes_the_configurations_in_the_documents(
    fence: Fence, part: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name in re.findall(r"=(\w+\.pem)", fence.text):
        shutil.copy(FILES / "client.pem", tmp_path / name)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(with_files(whole(part), tmp_path)))
    result = CliRunner().invoke(main, ["check-config", str(file)])
    assert result.exit_code == 0, f"{fence.place}\n{result.output}"


WEBS = parts("web")


@pytest.mark.parametrize(("fence", "part"), WEBS, ids=ids(WEBS))
def test_the_listener_takes_the_web_configurations(
    fence: Fence, part: dict[str, Any], tmp_path: Path
) -> None:
    for user in part.get("basic_auth_users") or {}:
        part["basic_auth_users"][user] = HASH
    file = tmp_path / "web.yaml"
    file.write_text(yaml.safe_dump(with_files(part, tmp_path)))
    assert read_settings(file, Files()), fence.place


CASES = parts("cases")


@pytest.mark.parametrize(("fence", "part"), CASES, ids=ids(CASES))
def test_the_cases_come_out_as_the_document_says(fence: Fence, part: dict[str, Any], tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config.example.yaml").read_text())
    config["people"].append({"name": "carol"})
    file = tmp_path / str(part.get("config_file", "config.yaml"))
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    file.write_text(yaml.safe_dump(config))
    (tmp_path / "cases.yaml").write_text(fence.text)
    result = CliRunner().invoke(
        main, ["test", "rules", str(tmp_path / "cases.yaml"), f"--config.file={file}"]
    )
    assert result.exit_code == 0, f"{fence.place}\n{result.output}"


ALERTMANAGERS = parts("alertmanager")


@pytest.mark.real
@pytest.mark.parametrize(("fence", "part"), ALERTMANAGERS, ids=ids(ALERTMANAGERS))
def test_amtool_takes_the_alertmanager_configurations(
    fence: Fence, part: dict[str, Any], tmp_path: Path
) -> None:
    named = [one["name"] for one in part.get("receivers", [])]
    full = {"route": {"receiver": named[0] if named else ""}, **with_files(part, tmp_path)}
    asked = set(re.findall(r"'receiver': '([^']+)'", str(full["route"])))
    missing = [{"name": name} for name in sorted(asked - set(named))]
    full["receivers"] = [*full.get("receivers", []), *missing]
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(full))
    assert "SUCCESS" in program("amtool", "check-config", file), fence.place


PROMETHEUSES = parts("rules", "prometheus")


@pytest.mark.real
@pytest.mark.parametrize(("fence", "part"), PROMETHEUSES, ids=ids(PROMETHEUSES))
def test_promtool_takes_the_rules_and_the_configurations_of_prometheus(
    fence: Fence, part: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(with_files(part, tmp_path)))
    what = "rules" if kind(part) == "rules" else "config"
    assert "SUCCESS" in program("promtool", "check", what, file), fence.place


# --- commands -----------------------------------------------------------------------------------


def find(given: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words name, and the arguments that follow."""
    command: click.Command = main
    while isinstance(command, click.Group):
        assert given, "no command is named"
        inner = command.get_command(click.Context(command), given[0])
        if inner is None and given[0].startswith("-"):
            break
        assert inner is not None, f"there is no command {given[0]}"
        command, given = inner, given[1:]
    return command, given


OURS = [(fence, line) for fence in of("") for line in fence.commands if words(line)[0] == "pushkit-bridge"]


@pytest.mark.parametrize(("fence", "line"), OURS, ids=[place(one) for one in OURS])
def test_the_program_takes_the_commands_in_the_documents(
    fence: Fence, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every flag, argument and value; whatever file a line names is there."""
    monkeypatch.chdir(tmp_path)
    example = (ROOT / "config.example.yaml").read_text()
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "there").write_text(example)
    given = words(line.partition(" > ")[0].partition(" | ")[0])[1:]
    for word in given:
        name = Path(word.rpartition("=")[2])
        if name.suffix in {".json", ".pem", ".token", ".yaml", ".yml"} and not name.is_absolute():
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_text(example)
    command, arguments = find([word for word in given if word != "&"])
    arguments = [re.sub(r"^(--[a-z.-]+=)?/\S+$", rf"\1{tmp_path / 'there'}", word) for word in arguments]
    try:
        command.make_context(command.name or "", arguments).close()
    except click.exceptions.Exit:
        pass  # --help
    except click.ClickException as error:
        pytest.fail(f"{fence.place}: {line}: {error.format_message()}")


INLINE = re.compile(r"`pushkit-bridge ([^`\n]+)`")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_command_named_in_a_sentence_has_the_flags_that_stand_beside_it(path: Path) -> None:
    for text in INLINE.findall(path.read_text()):
        command, arguments = find(text.replace("...", "").split())
        known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)} | {"--help"}
        used = {word.partition("=")[0] for word in arguments if word.startswith("-")}
        assert used <= known, f"{path.name}: pushkit-bridge {text}"


OTHERS = [
    (fence, line)
    for fence in of("")
    for line in fence.commands
    if words(line)[0] in {"amtool", "promtool"} and "--help" not in line
]


@pytest.mark.real
@pytest.mark.parametrize(("fence", "line"), OTHERS, ids=[place(one) for one in OTHERS])
def test_amtool_and_promtool_know_the_flags_that_the_documents_give_them(fence: Fence, line: str) -> None:
    """Nobody is asked: no Alertmanager listens at the port that each line gets."""
    given = [re.sub(r"(alertmanager\.url=)\S+", r"\1http://127.0.0.1:9", word) for word in words(line)]
    done = subprocess.run(given, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert not re.search(r"unknown|unexpected|required|expected command", done.stderr), (
        f"{fence.place}: {done.stderr}"
    )


# --- metrics ------------------------------------------------------------------------------------


def test_every_metric_that_the_documents_name_is_there() -> None:
    kinds = {
        "counter": ("_total",),
        "histogram": ("_bucket", "_count", "_sum"),
        "gauge": ("",),
        "info": ("_info",),
    }
    known = {
        one.name + end for one in Metrics().registry.collect() for end in ("", *kinds.get(one.type, ("",)))
    }
    for path in DOCUMENTS:
        named = set(re.findall(r"pushkit_bridge_[a-z0-9_]*[a-z0-9]", path.read_text()))
        assert named <= known, f"{path.name}: {sorted(named - known)}"
