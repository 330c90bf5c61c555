"""The configuration as JSON Schema, made from the model: for editors, and for docs/configuration.md."""

from __future__ import annotations

from datetime import time, timedelta, tzinfo
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from bridge.config.meanings import MEANINGS, SECTIONS
from bridge.config.model import Model

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_MIB: Final = 1 << 20
_UNITS: Final = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_REQUIRED: Final = {"Model": ["receivers"], "ReceiverPart": ["escalation"]}
"""What the checks of the whole file ask for, though the model has a default."""


class _Schema(GenerateJsonSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = self.generate_inner(schema["schema"])
        default = _written(schema.get("default"))
        return found if default is None else {**found, "default": default}


def _written(default: Any) -> Any:
    """Write a default as the file does; None where there is nothing to write."""
    if isinstance(default, timedelta):
        return _span(default)
    if isinstance(default, time | tzinfo):
        return default.isoformat("minutes") if isinstance(default, time) else "UTC"
    if isinstance(default, int) and default > _MIB:
        return f"{default // _MIB}MiB"
    return (
        list(default) if isinstance(default, tuple) else default if isinstance(default, int | str) else None
    )


def _span(span: timedelta) -> str:
    """Write a duration in the largest unit that it is a whole number of."""
    found = (f"{span // unit}{name}" for name, unit in _UNITS.items() if span % unit == timedelta())
    return next(found, "")


def schema() -> dict[str, Any]:
    """Make the schema. What it refuses, `check-config` refuses too; not the other way round."""
    found = Model.model_json_schema(schema_generator=_Schema)
    parts = {"Model": found} | found["$defs"]
    for name, part in parts.items():
        _finish(name, part)
    return {"$schema": DIALECT, "title": "pushkit-bridge", "description": SECTIONS["Model"]} | found


def _finish(name: str, part: dict[str, Any]) -> None:
    part.pop("title", None)
    part["description"] = SECTIONS[name]
    part["required"] = [*part.get("required", []), *_REQUIRED.get(name, [])]
    if not part["required"]:
        del part["required"]
    properties = part["properties"]
    for key in [*MEANINGS[name], *(properties.keys() - MEANINGS[name].keys())]:
        written = properties.pop(key)  # and to the end: so they stand in the order of their meanings
        value = _bare(written, key)
        if key not in part.get("required", []):
            value = _or_nothing(value)
        meaning = MEANINGS[name].get(key)
        if meaning is not None:
            value["description"] = meaning.text
            value |= {} if meaning.example is None else {"examples": [meaning.example]}
        properties[key] = value


def _bare(value: dict[str, Any], key: str) -> dict[str, Any]:
    """Take off what pydantic adds: a title made from the key, and the null of an Optional."""
    rest = dict(value)
    if rest.get("title") == key.replace("_", " ").title():
        del rest["title"]
    branches = rest.get("anyOf", [])
    if {"type": "null"} in branches:
        (other,) = [branch for branch in branches if branch != {"type": "null"}]
        del rest["anyOf"]
        rest = {**other, **rest}
    return rest


def _or_nothing(value: dict[str, Any]) -> dict[str, Any]:
    """Take a key without a value too: it counts as absent."""
    if "enum" in value:
        return {**value, "enum": [*value["enum"], None]}
    if "anyOf" in value:
        return {**value, "anyOf": [*value["anyOf"], {"type": "null"}]}
    if "$ref" in value:
        rest = {name: found for name, found in value.items() if name != "$ref"}
        return {"anyOf": [{"$ref": value["$ref"]}, {"type": "null"}], **rest}
    types = value["type"] if isinstance(value["type"], list) else [value["type"]]
    return value if "null" in types else {**value, "type": [*types, "null"]}
