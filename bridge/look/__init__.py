"""What pages are made with: the one stylesheet, and htmx with its extension for server-sent events.

LICENSES.txt says whose the scripts are. They are as their authors publish them; a test holds their hashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final

_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "txt": "text/plain"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of a page. `tag` is a digest of its content: in a URL it lets browsers keep it for ever."""

    name: str
    content: bytes
    content_type: str
    tag: str


@cache
def asset(name: str, package: str = "bridge.look") -> Asset:
    """Load a file that comes with a package. Raises FileNotFoundError."""
    content = files(package).joinpath(name).read_bytes()
    return Asset(name, content, _TYPES[name.rpartition(".")[2]], sha256(content).hexdigest()[:12])
