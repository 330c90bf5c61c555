"""Where the ledger lies: `storage.url`, with its password apart from it."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from bridge.config.problems import suggest
from bridge.config.values import Secret

DEFAULT: Final = "sqlite:///bridge.db"

_FORM: Final = "postgresql://user@host:5432/database?sslmode=verify-full"
_SQLITE: Final = "sqlite:///FILE (a relative FILE starts at this configuration file's folder)"
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_OPTIONS: Final = (
    "sslmode",
    *_FILES,
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "target_session_attrs",
)
_PLACE: Final = re.compile(
    r"(?:(?P<who>[^@/?#]*)@)?(?P<hosts>[^@/?#]+)/(?P<name>[^@/?#]+)(?:\?(?P<query>[^#]*))?"
)
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Ledger:
    """A URL that may be shown, and the password that was in it."""

    url: str
    password: Secret | None = None

    @property
    def file(self) -> Path | None:
        """Give the file of a SQLite ledger."""
        scheme, _, file = self.url.partition(":///")
        return Path(file) if scheme == "sqlite" else None


def ledger(text: str, folder: Path) -> Ledger:
    """Check where the ledger lies. Relative paths start at `folder`. No message holds the text."""
    scheme, colon, rest = text.partition("://")
    if scheme in {"postgresql", "postgres"} and colon:
        return _postgresql(rest, folder)
    if scheme.partition("+")[0] in {"postgresql", "postgres"}:
        raise ValueError(f"must begin with postgresql://, as in {_FORM}")
    if scheme != "sqlite" or not colon:
        raise ValueError(f"must be {_SQLITE}, or {_FORM}")
    return Ledger(_sqlite(rest, folder))


def _sqlite(rest: str, folder: Path) -> str:
    if not rest.startswith("/") or "?" in rest or "#" in rest:
        raise ValueError("must be sqlite:///FILE, three slashes before the file and nothing after it")
    file = rest[1:]
    if file in {"", ":memory:"}:
        raise ValueError("must name a file: a database in memory forgets every open page at a restart")
    place = (folder / file).absolute()
    if place.is_dir():
        raise ValueError("names a folder; write the file too")
    return f"sqlite:///{place}"


def _postgresql(rest: str, folder: Path) -> Ledger:
    found = _PLACE.fullmatch(rest)
    if found is None or not re.fullmatch(r"[!-~]+", rest):
        raise ValueError(f"must be {_FORM}")
    if importlib.util.find_spec("asyncpg") is None:
        raise ValueError("PostgreSQL needs the extra `postgres`: pip install 'pushkit-bridge[postgres]'")
    for host in found["hosts"].split(","):
        parts = _HOST.fullmatch(host)
        if parts is None or not 0 < int(parts[1] or 5432) < 65536:
            raise ValueError(f"must be {_FORM}; a host's port is a number")
    user, _, password = (found["who"] or "").partition(":")
    who = f"{user}@" if user else ""
    options = _options(found["query"] or "", folder)
    url = f"postgresql://{who}{found['hosts']}/{found['name']}{options}"
    return Ledger(url, Secret(unquote(password)) if password else None)


def _options(query: str, folder: Path) -> str:
    """Check what stands after the question mark, in libpq's words; its files become absolute."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if name == "password":
            raise ValueError("give the password as storage.password_file, not as an option of the URL")
        if name not in _OPTIONS:
            raise ValueError(f"has an option that is not known here{suggest(name, _OPTIONS)}")
        if name == "sslmode" and value not in _SSL_MODES:
            raise ValueError(f"its sslmode must be one of {', '.join(_SSL_MODES)}")
        if name in _FILES:
            file = (folder / value).absolute()
            if not file.is_file():
                raise ValueError(f"its {name} is not there, or is no file")
            options[name] = str(file)
    return "?" + urlencode(options, quote_via=quote) if options else ""
