"""YAML with its places: read a document and collect every problem with file, line and column.

Nothing here raises for what a person wrote: a reader answers None and notes a `Problem`, so that one
run shows all of them. Scalars are read as text, and their values are never repeated in a message,
since they may be secrets; names of keys are.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml
from yaml.constructor import SafeConstructor

from bridge.config.problems import Problem, suggest

Node: TypeAlias = yaml.Node
_NULL: Final = "tag:yaml.org,2002:null"
_KEY: Final = re.compile(r"[\w.:@-]{1,40}")
_FEW: Final = 6
_QUOTED: Final = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")


@dataclass(slots=True)
class Document:
    """One file being read. `problems` grows; it is empty at the end when all is well."""

    file: str
    problems: list[Problem] = field(default_factory=list)

    def note(self, node: Node | None, path: str, message: str) -> None:
        """Note a problem at the start of `node` (None: the start of the file)."""
        mark = node.start_mark if node is not None else None
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        self.problems.append(Problem(self.file, line, column, path, message))

    def parse(self, data: bytes) -> Node | None:
        """Give the root node; None when the document is empty or (noted) not YAML."""
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            column = error.start - data.rfind(b"\n", 0, error.start)
            self.problems.append(Problem(self.file, line, column, "", "this is not UTF-8 text"))
            return None
        try:
            return yaml.CSafeLoader(text).get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            # The parser may quote what it tripped over, and that may be half a password.
            message = _QUOTED.sub("'…'", error.problem or "this cannot be read")
            self.problems.append(Problem(self.file, line, column, "", f"not YAML: {message}"))
        except yaml.YAMLError:
            self.problems.append(
                Problem(self.file, 1, 1, "", "not YAML: a character that YAML does not allow")
            )
        return None

    def mapping(self, node: Node | None, path: str, known: Collection[str] | None) -> dict[str, Node]:
        """Give the values by key; unknown keys (`known` None: all are known) and repeated ones are noted."""
        if node is None or is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.note(node, path, "must be a mapping (key: value)")
            return {}
        found: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.note(key_node, path, "a key must be plain text")
                continue
            key = str(key_node.value)
            # Where a colon is misplaced, a secret becomes a key: what does not look like one is not shown.
            shown = key if _KEY.fullmatch(key) else "…"
            at = f"{path}.{shown}" if path else shown
            if key in lines:
                self.note(key_node, at, f"this key stands here twice, first on line {lines[key]}")
            elif known is not None and key not in known:
                self.note(key_node, at, f"unknown key{suggest(key, known)}")
            else:
                found[key] = value
            lines.setdefault(key, key_node.start_mark.line + 1)
        return found

    def text(self, node: Node | None, path: str, *, blank: bool = False) -> str | None:
        """Give a scalar as it is written; an empty one is a problem unless `blank`."""
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode):
            self.note(node, path, "must be text")
            return None
        value = "" if is_null(node) else str(node.value)
        if not value.strip() and not blank:
            self.note(node, path, "is empty")
            return None
        return value

    def boolean(self, node: Node | None, path: str) -> bool | None:
        """Give true or false."""
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:bool":
            return SafeConstructor.bool_values[str(node.value).lower()]
        self.note(node, path, "must be true or false")
        return None

    def choice(self, node: Node | None, path: str, known: Collection[str]) -> str | None:
        """Give a text that is one of `known`."""
        value = self.text(node, path)
        if value is None or value in known:
            return value
        must = f"must be one of {', '.join(known)}" if len(known) <= _FEW else "is not a name known here"
        self.note(node, path, must + suggest(value, known))
        return None

    def items(self, node: Node | None, path: str) -> list[tuple[Node, str, str]]:
        """Give a list of texts as (node, path, text); what is not text is noted and left out."""
        if node is None or is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.note(node, path, "must be a list")
            return []
        places = [(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        texts = [(item, at, self.text(item, at)) for item, at in places]
        return [(item, at, text) for item, at, text in texts if text is not None]


def is_null(node: Node) -> bool:
    """Tell a value that was left out (`key:`) from one that is there."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL
