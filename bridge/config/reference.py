"""docs/configuration.md: every key, its type, default, meaning and an example, made from the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from bridge.config.schema import schema

_HEAD: Final = """\
# Configuration

Every key, made from the configuration's own model by `make reference`.
[config.example.yaml](../config.example.yaml) has all of them in their places, with more words;
`pushkit-bridge check-config FILE` names every mistake of a file by line and column.

- A duration is written as Prometheus writes it: 45s, 5m, 1h30m, 25h, 30d, 1w. A size: 16MiB, 500kB, or bytes.
- Relative paths start at the file's folder. A secret can stand in a file instead: each has a twin with
  `_file` at its end.
- Unknown keys, and keys given twice, are errors. A key without a value counts as absent.

An editor that knows YAML completes and checks keys as you type, by the file's JSON Schema:

```
pushkit-bridge config schema > config.schema.json
```

and as the first line of the configuration, for yaml-language-server (VS Code, Neovim, Emacs and others):

```yaml
# yaml-language-server: $schema=config.schema.json
```

What the schema refuses, `check-config` refuses too. That names exist, that numbers go together, that files
can be read: only `check-config` knows.
"""


def reference() -> str:
    """Write the document."""
    found = schema()
    sections = dict(_sections(found, "", "Model", found["$defs"] | {"Model": found}))
    places = {name: path for path, name in reversed(sections.items())}
    parts = found["$defs"] | {"Model": found}
    return _HEAD + "".join(_section(path, parts[name], places) for path, name in sections.items())


def _sections(
    part: dict[str, Any], path: str, name: str, parts: dict[str, Any], seen: list[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Give each mapping once, at the first place where it stands, in the file's order."""
    seen = [] if seen is None else seen
    seen.append(name)
    yield path or "the whole file", name
    for key, value in part["properties"].items():
        inner = _inner(value)
        if inner is not None and inner not in seen:
            yield from _sections(parts[inner], f"{path} / {key}".removeprefix(" / "), inner, parts, seen)


def _inner(value: dict[str, Any]) -> str | None:
    """Name the mapping, or the list's mapping, that a key holds."""
    branches = [value, value.get("items", {}), *value.get("anyOf", [])]
    found = [branch["$ref"] for branch in branches if "$ref" in branch]
    return found[0].rpartition("/")[2] if found else None


def _section(path: str, part: dict[str, Any], places: dict[str, str]) -> str:
    required = part.get("required", [])
    rows = [
        _row(key, value, key in required, places)
        for key, value in part["properties"].items()
        if not value.get("deprecated")
    ]
    table = "\n".join(
        ["| key | type | default | meaning | example |", "| --- | --- | --- | --- | --- |", *rows]
    )
    return f"\n## {path}\n\n{part['description']}\n\n{table}\n"


def _row(key: str, value: dict[str, Any], required: bool, places: dict[str, str]) -> str:
    default = "required" if required else _code(value["default"]) if value.get("default", []) != [] else ""
    example = _code(value["examples"][0]) if "examples" in value else ""
    cells = (f"`{key}`", _type(value, places), default, value["description"], example)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(value: dict[str, Any], places: dict[str, str]) -> str:
    inner = _inner(value)
    kind = value.get("title", "")
    if inner is not None:
        path = places[inner]
        kind = f"[{path}](#{path.replace(' / ', '--').replace(' ', '-')})"
    if value.get("enum"):
        return " or ".join(_code(word) for word in value["enum"] if word is not None)
    return f"list of {kind or value['items']['title']}" if "items" in value else kind


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201 - `make reference` keeps it
