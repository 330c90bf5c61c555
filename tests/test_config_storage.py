"""Where the ledger lies: a PostgreSQL's URL, and its password apart from it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from bridge import config

FOLDER = Path(__file__).parent / "config"
MINIMAL = (FOLDER / "good/minimal.yaml").read_text().replace("../files", str(FOLDER / "files"))
PLAIN = "postgresql://bridge@db:5432/bridge"


def storage(folder: Path, text: str) -> config.StorageSettings:
    file = folder / "bridge.yaml"
    file.write_text(f"{MINIMAL}\nstorage: {{{text}}}\n")
    return config.load(file).storage


@pytest.mark.parametrize(
    "text",
    [
        'url: "postgresql://bridge:hunter2@db:5432/bridge"',
        'url: "postgres://bridge:hunter%32@db:5432/bridge"',
        f'url: "{PLAIN}", password: hunter2',
        f'url: "{PLAIN}", password_file: {FOLDER}/files/ledger.password',
    ],
)
def test_a_password_is_taken_from_wherever_it_stands_and_kept_apart_from_the_url(
    tmp_path: Path, text: str
) -> None:
    assert storage(tmp_path, text) == config.StorageSettings(PLAIN, password=config.Secret("hunter2"))


def test_a_url_may_be_in_a_file_with_hosts_options_and_an_escaped_password(tmp_path: Path) -> None:
    found = storage(tmp_path, f"url_file: {FOLDER}/files/ledger.url")
    options = "sslmode=verify-full&target_session_attrs=read-write"
    assert found.url == f"postgresql://bridge@db1:5432,db2:5433/bridge?{options}"
    assert found.password == config.Secret("hunter2@")
    assert "hunter2" not in repr(found)


def test_without_a_password_it_is_for_the_surroundings_to_give_one(tmp_path: Path) -> None:
    """PGPASSWORD, or a file for libpq."""
    assert storage(tmp_path, f'url: "{PLAIN}"').password is None


def test_a_certificate_that_is_named_relatively_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "root.pem").touch()
    found = storage(tmp_path, f'url: "{PLAIN}?sslmode=verify-full&sslrootcert=root.pem"')
    assert (
        found.url == f"{PLAIN}?sslmode=verify-full&sslrootcert={str(tmp_path).replace('/', '%2F')}%2Froot.pem"
    )


def test_without_the_extra_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == "asyncpg" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(config.ConfigError, match=r"pip install 'pushkit-bridge\[postgres\]'"):
        storage(tmp_path, f'url: "{PLAIN}"')
