"""An operator's templates read and do not compute: bounded in time and size whatever a label says. Pure.

Alerts come from anywhere, and a template that ran long would hold up every page. So what a template may be
made of is listed here, each loop and filter spends from one budget, and every text stays short. Jinja2's
sandbox keeps it from reaching anything but the variables.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

LONGEST: Final = 4096
"""Characters of a template, of any text in it, and of what it gives."""
BUDGET: Final = 50_000
"""Steps of one rendering: about one for each part of a loop's body each time round."""

_LARGEST: Final = 2**53
_LETTERS: Final = 64
"""Characters that cost as much as one step."""
_ENTRY: Final = 4
"""Steps that an entry of a list costs in a filter."""

_ALLOWED: Final = frozenset(
    {
        *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign),
        *(nodes.Const, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.List, nodes.Tuple),
        *(nodes.Filter, nodes.Test, nodes.Keyword, nodes.CondExpr, nodes.Compare, nodes.Operand),
        *(nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos, nodes.Concat),
        *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
    }
)
_FILTERS: Final = (
    *("capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "join", "last"),
    *("length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "select"),
    *("selectattr", "sort", "string", "title", "trim", "truncate", "unique", "upper", "wordcount"),
)
_EACH: Final = "a loop"
_SHORT: Final = "a short text"


class TooMuchError(Exception):
    """The template would run too long."""


class Bounded(ImmutableSandboxedEnvironment):
    """Compiles templates, and counts what the one that is rendered now has spent."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

    def __init__(self) -> None:
        # Unoptimized: the optimizer would compute while it compiles.
        super().__init__(autoescape=False, optimized=False)
        self.left = 0
        self.globals = {}
        self.filters = {name: self._metered(self.filters[name]) for name in _FILTERS}
        self.filters |= {_EACH: self._each, _SHORT: self._kept}

    def compiled(self, text: str) -> jinja2.Template:
        """Compile; raises jinja2.TemplateSyntaxError for what is no template, or may not be in one."""
        if len(text) > LONGEST:
            raise jinja2.TemplateSyntaxError(f"it is longer than {LONGEST} characters", 1)
        tree = self.parse(text)
        _check(tree)
        return self.from_string(_Metering().visit(tree))

    def rendered(self, template: jinja2.Template, variables: Mapping[str, Any]) -> str:
        """Render, cut to LONGEST; raises what the template raises, and TooMuchError."""
        self.left, length, parts = BUDGET, 0, []
        for part in template.generate(variables):
            parts.append(part[:LONGEST])
            length += len(part)
            if length >= LONGEST:
                break
        return "".join(parts)[:LONGEST]

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate with numbers that stay small, and put texts together."""
        if isinstance(left, str) and isinstance(right, str) and operator == "+":
            return self._kept(left + right)
        for operand in (left, right):
            if isinstance(operand, (list, tuple, str, dict)) or _huge(operand):
                raise SecurityError(f"{operator} is for small numbers alone")
        return super().call_binop(context, operator, left, right)

    def _spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooMuchError("it runs too long")

    def _each(self, items: Any, weight: int) -> Iterator[Any]:
        for item in items:
            self._spend(weight)
            yield item

    def _kept(self, value: Any) -> Any:
        """Charge for a value by its size; give a text cut short, and what is read only once as a list."""
        if isinstance(value, str):
            self._spend(1 + len(value) // _LETTERS)
            return value[:LONGEST]
        if isinstance(value, Iterator):
            value = list(self._each(value, _ENTRY))
        self._spend(1 + (_ENTRY * len(value) if isinstance(value, (list, tuple, dict)) else 0))
        return value

    def _metered(self, function: Callable[..., Any]) -> Callable[..., Any]:
        place = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def metered(*args: Any, **options: Any) -> Any:
            before, value, rest = args[:place], args[place], args[place + 1 :]
            return self._kept(function(*before, self._kept(value), *rest, **options))

        return metered


def _huge(value: Any) -> bool:
    return isinstance(value, int) and abs(value) > _LARGEST


def _check(tree: nodes.Template) -> None:
    for node in tree.find_all(nodes.Node):
        name = type(node).__name__.lower()
        if type(node) not in _ALLOWED or getattr(node, "recursive", False):
            raise jinja2.TemplateSyntaxError(f"a template here can have no {name}", node.lineno)
        if isinstance(node, nodes.Filter) and (node.node is None or node.name not in _FILTERS):
            raise jinja2.TemplateSyntaxError(f"there is no filter {node.name!r}", node.lineno)
        if isinstance(node, (nodes.List, nodes.Tuple)) and not _plain(node):
            raise jinja2.TemplateSyntaxError(f"a {name} here can hold only what is written out", node.lineno)


def _plain(node: nodes.List | nodes.Tuple) -> bool:
    """Tell a list of constants, or the names of a loop: lists of lists of lists could grow without end."""
    stored = getattr(node, "ctx", "load") == "store"
    return all(isinstance(item, nodes.Name if stored else nodes.Const) for item in node.items)


class _Metering(NodeTransformer):
    """Puts a meter on each loop, and on each text that is put together."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's own spelling
        weight = 1 + sum(1 for part in node.body for _ in part.find_all(nodes.Node))
        weight += 0 if node.test is None else 1 + sum(1 for _ in node.test.find_all(nodes.Node))
        self.generic_visit(node)
        arguments: list[nodes.Expr] = [nodes.Const(weight)]
        node.iter = nodes.Filter(node.iter, _EACH, arguments, [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the visitor's own spelling
        self.generic_visit(node)
        return nodes.Filter(node, _SHORT, [], [], None, None, lineno=node.lineno)
