"""Files with secrets that everybody on the machine can read: told at check-config and at start, never refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge import config
from bridge.config import check_config
from bridge.config.exposure import readable_by_all
from bridge.web import WebConfig

TOP = Path(__file__).parent.parent
HOOK = "receivers[0].escalation[1].webhooks[0].url_file"


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that everybody can come to, as pytest's own are not."""
    folder = Path("/var/tmp") / f"pushkit-bridge-test-{os.getpid()}-{tmp_path.name}"
    folder.mkdir()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def copy(folder: Path, mode: int) -> Path:
    shutil.copytree(TOP / "examples", folder / "examples")
    shutil.copy(TOP / "config.example.yaml", folder)
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else mode)
    return folder / "config.example.yaml"


def told(file: Path) -> list[str]:
    return [f"{one.path}: {one.message}" for one in config.load(file).exposed]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o400])
def test_what_the_bridge_and_its_group_alone_can_read_is_no_problem(open_folder: Path, mode: int) -> None:
    assert told(copy(open_folder, mode)) == []


def test_a_key_that_everybody_can_read_is_told_with_its_place_and_still_used(open_folder: Path) -> None:
    file = copy(open_folder, 0o644)
    assert told(file) == [
        "apns.key_file: everybody on this machine can read this file: chmod o-rw it",
        "sources[0].credentials_file: everybody on this machine can read this file: chmod o-rw it",
        f"{HOOK}: everybody on this machine can read this file: chmod o-rw it",
    ]
    good, text = check_config(file)
    assert good
    assert "warning: apns.key_file: everybody" in text


def test_a_file_that_everybody_can_change_is_worse(open_folder: Path) -> None:
    file = copy(open_folder, 0o666)
    assert told(file) == [
        ": everybody on this machine can change this file: chmod o-w it",
        "apns.key_file: everybody on this machine can change this file: chmod o-rw it",
        "sources[0].credentials_file: everybody on this machine can change this file: chmod o-rw it",
        f"{HOOK}: everybody on this machine can change this file: chmod o-rw it",
    ]


def test_a_secret_in_the_configuration_itself_counts_too(open_folder: Path) -> None:
    file = copy(open_folder, 0o600)
    text = file.read_text().replace("credentials_file: examples/eu-prod.token", "credentials: a-secret")
    file.write_text(text)
    assert told(file) == []
    file.chmod(0o644)
    assert told(file) == [
        "sources[0].credentials: everybody on this machine can read this secret: chmod o-r this file"
    ]
    assert "a-secret" not in str(told(file))


def test_behind_a_closed_folder_nobody_can_read_it(open_folder: Path) -> None:
    file = copy(open_folder, 0o644)
    open_folder.chmod(0o750)
    assert told(file) == []


def test_a_secret_as_kubernetes_mounts_it_is_as_it_should_be(open_folder: Path) -> None:
    """0644 behind ..data: whatever its mode, only the pod sees the volume."""
    (open_folder / "..2026_11_25").mkdir()
    (open_folder / "..2026_11_25/key.p8").write_text("x")
    (open_folder / "..data").symlink_to("..2026_11_25")
    (open_folder / "key.p8").symlink_to("..data/key.p8")
    (open_folder / "other.p8").write_text("x")
    assert not readable_by_all(open_folder / "key.p8")
    assert readable_by_all(open_folder / "other.p8")
    assert not readable_by_all(open_folder / "none.p8")


def test_the_web_configurations_secrets_count_too(open_folder: Path) -> None:
    web = open_folder / "web.yaml"
    token = open_folder / "token"
    token.write_text("a-secret-token")
    for text, keys in (
        ("authorization: {credentials_file: token}", ["authorization.credentials_file"]),
        ("authorization: {credentials: a-secret-token}", [""]),
    ):
        web.write_text(text)
        for mode, found in ((0o644, keys), (0o600, [])):
            web.chmod(mode)
            token.chmod(mode)
            with capture_logs() as logs:
                WebConfig.load(web)
            assert [one["key"] for one in logs] == found
            assert "a-secret" not in str(logs)
