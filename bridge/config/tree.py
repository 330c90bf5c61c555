"""YAML as plain values that remember where they stand: dicts, lists, and every scalar as its text.

Scalars are not interpreted here, so that `22:00` and `no` stay what they say; the model's field
types read them. A key without a value (nothing, `~` or `null`, unquoted) counts as absent.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from bridge.config.problems import ConfigError, Path, Problem, render

# Far more than any real file has; aliases of aliases reach it before they reach the memory's end.
MAX_VALUES: Final = 100_000
# Room for routes 100 deep, which are two levels each.
MAX_DEPTH: Final = 240
MAX_BYTES: Final = 16 << 20

_PLAIN_TAGS: Final = {
    yaml.ScalarNode: "tag:yaml.org,2002:str",
    yaml.SequenceNode: "tag:yaml.org,2002:seq",
    yaml.MappingNode: "tag:yaml.org,2002:map",
}
_NULL: Final = {"", "~", "null", "Null", "NULL"}


@dataclass(slots=True)
class Tree:
    """One configuration file: its values, the place of each, and what was found wrong so far.

    `values` and `keys` give (line, column), from 1, of each value and of each mapping key by path.
    """

    file: str
    root: Any = None
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    # Keys without a value: they count as absent, and must be known ones all the same.
    blank: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """Make a problem for the value at `path` or, where there is none, for what should hold it."""
        place = self.keys.get(path) if at_key or path not in self.values else None
        near = path
        while place is None and near not in self.values and near:
            near = near[:-1]
        line, column = place or self.values.get(near, (1, 1))
        return Problem(self.file, line, column, render(path), " ".join(message.split()))

    def note(self, path: Path, message: str, *, at_key: bool = False) -> None:
        """Add a problem."""
        self.problems.append(self.problem(path, message, at_key=at_key))

    def get(self, path: Path) -> Any:
        """Give the value at `path`, None where there is none."""
        value = self.root
        for part in path:
            known: Any = value if isinstance(value, dict) else ()
            known = range(len(value)) if isinstance(value, list) else known
            if part not in known:
                return None
            value = value[part]
        return value

    def find(self, pattern: str) -> list[Path]:
        """List the paths that fit a pattern such as `devices.*.owner`; `*` is any index."""
        found: list[Path] = [()]
        for part in pattern.split("."):
            if part == "*":
                lists = [(path, self.get(path)) for path in found]
                found = [(*p, i) for p, value in lists if isinstance(value, list) for i in range(len(value))]
            else:
                found = [(*p, part) for p in found if isinstance(m := self.get(p), dict) and part in m]
        return found


def read(path: pathlib.Path) -> Tree:
    """Read a YAML file; raises ConfigError when there is no mapping in it to look at."""
    tree = Tree(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(tree.file, 1, 1, "", f"cannot be read: {error.strerror}")]) from None
    except ValueError:  # a NUL in the name
        raise ConfigError([Problem(tree.file, 1, 1, "", "cannot be read: not a file name")]) from None
    if len(data) > MAX_BYTES:
        raise ConfigError([Problem(tree.file, 1, 1, "", f"is larger than {MAX_BYTES >> 20} MiB")])
    node = _compose(tree.file, data)
    if node is None or _is_null(node):
        raise ConfigError(
            [Problem(tree.file, 1, 1, "", "is empty; config.example.yaml shows what it may say")]
        )
    if not isinstance(node, yaml.MappingNode):
        line, column = _place(node.start_mark)
        raise ConfigError([Problem(tree.file, line, column, "", "must be a mapping (key: value)")])
    _Planter(tree).plant(node)
    return tree


def _place(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _place_of_byte(data: bytes, offset: int) -> tuple[int, int]:
    before = data[:offset]
    line_start = before.rfind(b"\n") + 1
    return before.count(b"\n") + 1, len(before[line_start:].decode("utf-8", "replace")) + 1


def _compose(file: str, data: bytes) -> yaml.Node | None:
    """Parse, or raise ConfigError. The parser's words are kept, its quotes of the file are not."""
    try:
        return yaml.CBaseLoader(data.decode("utf-8-sig")).get_single_node()
    except UnicodeDecodeError as error:
        message, place = "is not UTF-8 text", _place_of_byte(data, error.start)
    except yaml.MarkedYAMLError as error:
        context = f" {error.context}" if error.context else ""
        message = f"not YAML:{context}: {error.problem}" if context else f"not YAML: {error.problem}"
        place = _place(error.problem_mark or error.context_mark)
    except yaml.reader.ReaderError as error:
        message = f"not YAML: {error.reason}"
        place = _place_of_byte(data.removeprefix(b"\xef\xbb\xbf"), error.position)
    raise ConfigError([Problem(file, *place, "", message)])


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NULL


class _TooMuch(Exception):
    """Stop reading: the document would not end."""


@dataclass(slots=True)
class _Planter:
    """Turns nodes into plain values, and writes down where each stands."""

    tree: Tree
    count: int = 0
    # The nodes around the present one: an alias to one of them would never end.
    around: set[int] = field(default_factory=set)

    def plant(self, root: yaml.Node) -> None:
        try:
            self.tree.root = self.value(root, ())
        except _TooMuch:
            raise ConfigError(self.tree.problems) from None

    def note(self, node: yaml.Node, path: Path, message: str) -> None:
        self.tree.problems.append(Problem(self.tree.file, *_place(node.start_mark), render(path), message))

    def enter(self, node: yaml.Node, path: Path) -> None:
        """Keep out what would not end, or not soon."""
        if id(node) in self.around:
            message = "contains itself, through an alias"
        elif self.count > MAX_VALUES:
            message = f"aliases make this more than {MAX_VALUES} values"
        elif len(path) > MAX_DEPTH:
            message, path = f"is nested more than {MAX_DEPTH} levels deep", path[:3]
        else:
            self.around.add(id(node))
            return
        self.note(node, path, message)
        raise _TooMuch

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.count += 1
        self.tree.values[path] = _place(node.start_mark)
        if node.tag not in {_PLAIN_TAGS[type(node)], "!"}:
            self.note(node, path, "has a YAML tag (!); write the value without it")
        if isinstance(node, yaml.ScalarNode):
            return node.value
        self.enter(node, path)
        try:
            return self.mapping(node, path) if isinstance(node, yaml.MappingNode) else self.items(node, path)
        finally:
            self.around.remove(id(node))

    def items(self, node: yaml.Node, path: Path) -> list[Any]:
        for index, item in enumerate(node.value):
            if _is_null(item):
                self.note(item, (*path, index), "this entry of the list is empty")
        return [None if _is_null(item) else self.value(item, (*path, i)) for i, item in enumerate(node.value)]

    def mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, (key, value) in self.pairs(node, path).items():
            self.tree.keys[*path, name] = _place(key.start_mark)
            if _is_null(value):
                self.tree.blank.append((*path, name))
            else:
                found[name] = self.value(value, (*path, name))
        return found

    def pairs(self, node: yaml.Node, path: Path) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Give each key once; what `<<` brings stands behind the mapping's own keys."""
        self.count += 1
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merges: list[yaml.Node] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.note(key, path, "a key must be plain text")
            elif key.value == "<<" and not key.style:
                merges += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif key.value in found:
                first = found[key.value][0].start_mark.line + 1
                self.note(key, (*path, key.value), f"this key is given twice, first in line {first}")
            else:
                found[key.value] = (key, value)
        for merge in merges:
            for name, pair in self.merged(merge, path).items():
                found.setdefault(name, pair)
        return found

    def merged(self, node: yaml.Node, path: Path) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self.note(node, path, "<< must name a mapping, or a list of mappings")
            return {}
        self.enter(node, path)
        try:
            return self.pairs(node, path)
        finally:
            self.around.remove(id(node))
