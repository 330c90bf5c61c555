"""Templates to HTML: everything that is put into them is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from bridge.look import asset

ASSETS: Final = {
    "style.css": "bridge.look",
    "mark.svg": "bridge.look",
    "htmx.min.js": "bridge.look",
    "htmx-ext-sse.min.js": "bridge.look",
    "console.js": "bridge.console",
    "LICENSES.txt": "bridge.look",
}
"""The files of the pages, and the package that each comes with."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bridge.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["asset"] = lambda name: f"{asset(name, ASSETS[name]).tag}/{name}"
    return environment


def render(template: str, context: Mapping[str, Any]) -> str:
    """Make the HTML."""
    return _environment().get_template(template).render(context)
