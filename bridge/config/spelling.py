"""How each kind of value is written, as JSON Schema: for editors, and for the reference.

A schema here may take more than the reader of the kind does, never less: what an editor marks is wrong.
An editor reads plain scalars by YAML's core schema, the configuration as their text; so a name may be a
number, and `0` a duration.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import WithJsonSchema

_SCALAR: Final = ["string", "number", "boolean"]
_UNITS: Final = "".join(f"([0-9]+{unit})?" for unit in ("y", "w", "d", "h", "m", "s", "ms"))


def _kind(title: str, types: str | list[str] = "string", **schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"title": title, "type": types, **schema})


def _duration(title: str) -> WithJsonSchema:
    text = {"type": "string", "pattern": f"^(0|(?=[0-9]){_UNITS})$"}
    return WithJsonSchema({"title": title, "anyOf": [text, {"const": 0}]})


def one_of(*words: str) -> WithJsonSchema:
    """Make the schema of a word out of several."""
    return WithJsonSchema({"title": "one of", "enum": list(words)})


def one_or_list(title: str, item: dict[str, Any], **more: Any) -> WithJsonSchema:
    """Make the schema of a value, or a list of them."""
    return WithJsonSchema({"title": title, "anyOf": [item, {"type": "array", "items": item, **more}]})


def integer(title: str, low: int, high: int) -> WithJsonSchema:
    """Make the schema of a whole number."""
    return _kind(title, ["integer", "string"], minimum=low, maximum=high, pattern="^[0-9]{1,9}$")


NAME: Final = _kind("name", _SCALAR, minLength=1)
WORD: Final = _kind("name of letters, digits, _ . -", _SCALAR, pattern="^[A-Za-z0-9_.-]+$")
TEXT: Final = _kind("text", _SCALAR)
TEMPLATE: Final = _kind("Jinja2 template", _SCALAR)
FILE: Final = _kind("file", _SCALAR, minLength=1)
SECRET: Final = _kind("secret text", _SCALAR, minLength=1)
_YES_OR_NO: Final = "|".join(
    "".join(f"[{letter.upper()}{letter}]" for letter in word)
    for word in ("true", "false", "yes", "no", "on", "off")
)
BOOL: Final = _kind("true or false", ["boolean", "string"], pattern=f"^({_YES_OR_NO})$")
DURATION: Final = _duration("duration")
SIZE: Final = _kind("size", ["integer", "string"], pattern=r"^[0-9]{1,15}\s*(|B|[kK]B|[kK]iB|MB|MiB|GB|GiB)$")
TEN: Final = _kind("10 capital letters and digits", ["string", "number"], pattern="^[A-Z0-9]{10}$")
BUNDLE_ID: Final = _kind("bundle id", ["string", "number"], pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")
PUSH_TOKEN: Final = _kind("hex digits", ["string", "number"], pattern="^[0-9A-Fa-f\\s]{64,202}$")
HTTPS: Final = _kind("https://host[:port]", pattern="^[Hh][Tt][Tt][Pp][Ss]://")
URL: Final = _kind("URL", pattern="^[Hh][Tt][Tt][Pp][Ss]?://")
LEDGER: Final = _kind("sqlite:// or postgresql:// URL", pattern="^(sqlite|postgres(ql)?)://")
HOST: Final = _kind("host name", _SCALAR, minLength=1)
NETWORK: Final = _kind("address or network", minLength=1)
URLS: Final = one_or_list(
    "URL, or a list of them", {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"}, minItems=1
)
NAMES: Final = one_or_list("name, or a list of them", {"type": _SCALAR, "minLength": 1})
DAY: Final = _kind("day", pattern="^20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]$")
TIME: Final = _kind("time of day", pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")
MOMENT: Final = _kind("day and time", pattern="^20[0-9][0-9]-[0-9][0-9]-[0-9][0-9][T ][0-9][0-9]:[0-9][0-9]")
MATCHER: Final = {"type": "string", "minLength": 1}
MATCHERS: Final = one_or_list("matchers", MATCHER)
SOME_MATCHERS: Final = one_or_list("matchers", MATCHER, minItems=1)
OLD: Final = WithJsonSchema({"type": "null", "deprecated": True})
LABEL: Final = _kind("label", _SCALAR, minLength=1)
SPAN: Final = _kind("value or first:last", ["string", "integer"])
ZONE: Final = _kind("time zone")
