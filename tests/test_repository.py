"""The repository keeps its promises: the floors, the locks, and documents that are true."""

import ast
import configparser
import gc
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import click
import pytest
from documents import DOCUMENTS
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bridge.cli import main

ROOT = Path(__file__).parent.parent
BRIDGE = ROOT / "bridge"

# --- the floors -------------------------------------------------------------------------------

PURE = frozenset(
    {
        "alerts",
        "bundles",
        "calendars",
        "digest",
        "drills",
        "escalation",
        "handovers",
        "incidents",
        "lifecycle",
        "matchers",
        "oncall",
        "payloads",
        "people",
        "policy",
        "presence",
        "pushes",
        "replay",
        "routetree",
        "routing",
        "schedules",
        "sealing",
        "silences",
        "templates",
        "texts",
        "timeintervals",
        "views",
        "watchdogs",
        "zones",
    }
)
EDGES = frozenset(
    {
        "alertmanager",
        "apns",
        "clock",
        "config",
        "look",
        "outgoing",
        "pulse",
        "store",
        "systemd",
        "telemetry",
        "tracing",
        "web",
    }
)
LOOPS = frozenset(
    {
        "alarms",
        "api",
        "console",
        "desk",
        "driller",
        "escalator",
        "feeds",
        "heartbeat",
        "housekeeper",
        "outlook",
        "reconciler",
        "replayer",
        "sender",
        "senders",
        "settlement",
        "silencer",
        "unanswered",
        "watcher",
    }
)
TOP = frozenset(
    {
        "auditor",
        "blueprint",
        "children",
        "cli",
        "client",
        "demo",
        "hints",
        "keys",
        "listings",
        "manage",
        "mover",
        "onduty",
        "onfile",
        "preview",
        "proving",
        "rig",
        "standin",
        "trials",
    }
)
COMPOSITION = frozenset({"app", "daemon", "front", "keeper", "status", "upstream", "vitals", "wiring"})
FLOORS = (PURE, EDGES, LOOPS, COMPOSITION, TOP)
"""From the ground up: a module imports from its own floor and from those below it."""

NEIGHBOURS = {("web", "config")}
"""Edges know nothing of each other, but the web configuration reports its problems as the configuration does."""

SIMULATOR_MAY_IMPORT = {"simulator", "pushes", "look"}
"""The simulator stands for Apple and for phones: were it built from the bridge, it would share its mistakes."""

NOT_PURE = frozenset(
    [
        "aiohttp",
        "aiosqlite",
        "asyncio",
        "http",
        "io",
        "logging",
        "os",
        "pathlib",
        "random",
        "secrets",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlalchemy",
        "ssl",
        "structlog",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib3",
    ]
)
CLOCKS = frozenset({"now", "utcnow", "today", "time", "monotonic", "perf_counter", "uuid1", "uuid4"})

LONGER_THAN_350_LINES: dict[str, str] = {}
"""Files under bridge/ that may be longer, each with the reason."""


def sources() -> list[Path]:
    return sorted(BRIDGE.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    # Seen: CPython 3.11's parser raising SystemError ("AST constructor recursion depth mismatch"), where a
    # collection inside it called Python code; hypothesis listens to collections.
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.enable()


def room(path: Path) -> str:
    """The module or package directly under bridge/ that a file belongs to."""
    return path.relative_to(BRIDGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            # Both: what is imported may be a module of the package, or a name in the module.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    """The rooms of ours that a file imports; bridge itself, which only holds the version, is none."""
    parts = [name.split(".") for name in imports(path)]
    found = {words[1] for words in parts if words[0] == "bridge" and len(words) > 1}
    return {name for name in found if (BRIDGE / name).is_dir() or (BRIDGE / f"{name}.py").exists()}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_its_own_floor_and_below(path: Path) -> None:
    here = room(path)
    if here in {"__init__", "__main__"}:
        return
    if here == "simulator":
        assert rooms_imported(path) <= SIMULATOR_MAY_IMPORT
        return
    height = next((number for number, floor in enumerate(FLOORS) if here in floor), None)
    assert height is not None, (
        f"bridge/{here} stands on no floor: give it one in FLOORS, here and in docs/architecture.md"
    )
    above = rooms_imported(path) - set().union(*FLOORS[: height + 1])
    if FLOORS[height] is FLOORS[-1]:
        above.discard("simulator")
    assert not above, f"{here} must not import {above}"


@pytest.mark.parametrize("name", sorted(EDGES))
def test_an_edge_does_not_know_its_neighbours(name: str) -> None:
    for path in (path for path in sources() if room(path) == name):
        neighbours = (rooms_imported(path) & EDGES) - {name}
        assert {(name, other) for other in neighbours} <= NEIGHBOURS, path


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_does_no_input_or_output_and_reads_no_clock(name: str) -> None:
    for path in (path for path in sources() if room(path) == name):
        assert not {imported.split(".")[0] for imported in imports(path)} & NOT_PURE
        calls_nothing_impure(path)


def calls_nothing_impure(path: Path) -> None:
    name = path.relative_to(BRIDGE)
    for node in ast.walk(parsed(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), f"{name}:{node.lineno} is asynchronous"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in {"open", "print", "input"}, f"{name}:{node.lineno} calls {called}"
        of_an_object, _, last = called.rpartition(".")
        assert not (of_an_object and last in CLOCKS), f"{name}:{node.lineno} reads a clock: {called}"


def test_the_coverage_gate_names_every_pure_module() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "tests/pure.coveragerc")
    packages = {name for name in PURE if (BRIDGE / name).is_dir()}
    assert parser["report"]["include"].split() == [
        f"bridge/{name}/*.py" if name in packages else f"bridge/{name}.py" for name in sorted(PURE)
    ]


def test_no_file_has_outgrown_its_room() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    long = {name for name, lines in lengths.items() if lines > 350}
    assert long == set(LONGER_THAN_350_LINES), "split a room that outgrows 350 lines, or give the reason"


def test_a_bridge_does_not_load_at_its_start_what_few_of_them_need() -> None:
    """Alembic where the tables change, calendars where there are some, the simulator never: 10 MiB."""
    heavy = {"alembic", "icalendar", "recurring_ical_events", "bridge.simulator", "bridge.rig"}
    code = f"import sys, bridge.cli, bridge.daemon; print(*({heavy!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_a_migration_s_file_begins_with_its_number() -> None:
    """By the names of the files a start knows, without alembic, whether the tables are the newest."""
    for path in (BRIDGE / "store/migrations/versions").glob("*.py"):
        (revision,) = re.findall(r'^revision(?:: \w+)? = "(.*)"$', path.read_text(), re.MULTILINE)
        assert path.name.startswith(f"{revision}_"), path.name


# --- the locks --------------------------------------------------------------------------------


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(name: str) -> dict[str, str]:
    """Package and version, of each line of a lock file that begins a package."""
    text = (ROOT / name).read_text()
    assert "://" not in text, f"{name} says where to fetch from: that is for each machine to know"
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries), f"{name}: a package without a hash"
    return dict(re.match(r"([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", entry).groups() for entry in entries)


def missing(wanted: list[str], lock: dict[str, str]) -> list[str]:
    requirements = [Requirement(text) for text in wanted]
    return [
        str(requirement)
        for requirement in requirements
        if lock.get(canonicalize_name(requirement.name), "") not in requirement.specifier
        or canonicalize_name(requirement.name) not in lock
    ]


def test_the_locks_cover_what_pyproject_asks_for() -> None:
    asked = project()
    optional = asked["project"]["optional-dependencies"]
    trying = optional.pop("contract")  # no bridge needs it, so the image has it not
    runtime = [*asked["project"]["dependencies"], *chain.from_iterable(optional.values())]
    groups = asked["dependency-groups"]
    development = [text for text in groups["dev"] if isinstance(text, str)]
    hint = "run `make lock`"
    assert missing([*runtime, *trying, *development, *groups["build"]], locked("requirements.lock")) == [], (
        hint
    )
    assert missing(runtime, locked("requirements-runtime.lock")) == [], hint
    assert missing(groups["bench"], locked("requirements-bench.lock")) == [], hint
    assert missing(groups["deploy"], locked("requirements-deploy.lock")) == [], hint
    assert (
        missing([*groups["build"], *asked["build-system"]["requires"]], locked("requirements-build.lock"))
        == []
    ), hint


@pytest.mark.parametrize("part", ["requirements-runtime.lock", "requirements-build.lock"])
def test_what_is_shipped_is_what_is_tested(part: str) -> None:
    assert locked(part).items() <= locked("requirements.lock").items()


def test_the_benchmark_changes_no_version_of_what_it_measures() -> None:
    ours, extra = locked("requirements.lock"), locked("requirements-bench.lock")
    assert {name: ours[name] for name in extra.keys() & ours} == {
        name: extra[name] for name in extra.keys() & ours
    }


# --- the documents ----------------------------------------------------------------------------

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```", re.DOTALL)
FLAGS_OF_OTHERS = {"--help", "--require-hashes", "--strict"}
PENDING = {} if "demo" in main.list_commands(click.Context(main)) else {"demo": click.Command("demo")}
PLANNED = re.compile(r"^## Not yet.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_in_the_documents_leads_somewhere(path: Path) -> None:
    for target in LINK.findall(CODE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        assert file.exists(), f"{path.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_the_documents_name_is_there(path: Path) -> None:
    text = PLANNED.sub("", path.read_text())
    for name in re.findall(r"`((?:bridge|tests|docs|scripts|examples|\.ci)/[\w./-]*\w/?)`", text):
        assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_every_make_target_that_the_documents_name_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in DOCUMENTS:
        asked = set(re.findall(r"(?:`|^)make ([a-z]+)", path.read_text(), re.MULTILINE))
        assert asked <= targets, path


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_flag_and_command_that_the_documents_name_is_there(path: Path) -> None:
    known = dict(commands(main)) | PENDING
    flags = {flag for command in known.values() for parameter in command.params for flag in parameter.opts}
    text = path.read_text()
    used = re.findall(r"(?:`|pushkit-bridge [a-z].*? )(--[a-z.-]+)", text)
    assert set(used) <= flags | FLAGS_OF_OTHERS, path.name
    for line in re.findall(r"[`/]pushkit-bridge ((?:[a-z][a-z-]* ?)+)", text):
        words = line.split()
        depth = next((n for n in (1, 2, 3) if not isinstance(known.get(" ".join(words[:n])), click.Group)), 1)
        assert " ".join(words[:depth]) in known, f"{path.name}: {line}"


def test_the_readme_names_every_flag_of_serve() -> None:
    serve = dict(commands(main))["serve"]
    readme = (ROOT / "README.md").read_text()
    assert [flag for parameter in serve.params for flag in parameter.opts if f"`{flag}`" not in readme] == []


def test_no_file_names_a_package_registry() -> None:
    hosts = [
        ".".join(words)
        for words in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))
    ]
    for path in tracked():
        text = path.read_bytes().decode(errors="replace")
        assert not [host for host in hosts if host in text], path


def rules_named() -> dict[int, list[str]]:
    """The tests whose name or docstring names a rule of the design ("rule 5"), by its number."""
    found: dict[int, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                text = f"{node.name} {ast.get_docstring(node) or ''}"
                for number in re.findall(r"rule[ _](\d+)", text, re.IGNORECASE):
                    found.setdefault(int(number), []).append(node.name)
    return found


def test_each_rule_of_the_design_is_named_by_a_test() -> None:
    assert sorted(rules_named()) == list(range(1, 13))
