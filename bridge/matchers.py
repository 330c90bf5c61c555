"""Alertmanager's matchers: how they are written, and what they match. Pure.

Semantics are those of Alertmanager's pkg/labels and matcher/parse. Its default mode tries two
grammars, and so does `parse_matchers`: the classic one (tolerant: a value runs up to the comma) and
the UTF-8 one of 0.27 (any label name, Go's string escapes). Where both can read a text the classic
reading counts, hence a text that 0.25 takes means here what it means there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

import re2

Op: TypeAlias = Literal["=", "!=", "=~", "!~"]

# One regex may hold this many bytes of RE2's program and its state cache, so that a hostile pattern
# fails to compile instead of eating the memory. A list of some thousand host names fits.
REGEX_MEMORY: Final = 4 << 20
LONGEST_REGEX: Final = 100_000  # characters

OPS: Final[tuple[Op, ...]] = ("=", "!=", "=~", "!~")
# Go's unicode.IsSpace; str.isspace also takes U+001C to U+001F.
_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_RESERVED: Final = re.compile(rf"""[{_SPACE}{{}}!=~,\\"'`]""")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
# RE2 has \C (any byte), Go has not: half a character must not match.
_ANY_BYTE: Final = re.compile(r"\\Q.*?(?:\\E|\Z)|\\(.)", re.DOTALL)

# -- the classic grammar, pkg/labels/parse.go --
_GO_REGEX_SPACE: Final = "\t\n\f\r "
_CLASSIC: Final = re.compile(r"[\t\n\f\r ]*([a-zA-Z_:][a-zA-Z0-9_:]*)[\t\n\f\r ]*(=~|=|!=|!~)[\t\n\f\r ]*")
_CLASSIC_QUOTED: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_CLASSIC_BARE: Final = re.compile(r'([^"\\]*(?:\\.[^"\\]*)*\\?)', re.DOTALL)
_CLASSIC_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_CLASSIC_ESCAPES: Final = {"n": "\n", '"': '"', "\\": "\\"}

# -- the UTF-8 grammar, matcher/parse/lexer.go --
_TOKEN: Final = re.compile(
    rf"""[{_SPACE}]*(?:(?P<mark>[{{}},])|(?P<op>=~|=|!=|!~)|(?P<quoted>"[^"\\]*(?:\\.[^"\\]*)*")"""
    rf"""|(?P<bare>[^{_SPACE}{{}}!=~,\\"'`]+)|(?P<end>\Z))""",
    re.DOTALL,
)
_SPACES: Final = re.compile(rf"[{_SPACE}]*")
_GO_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|)"
)
_GO_LETTERS: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"',
}  # fmt: skip
_GO_SHORT: Final = {char: "\\" + letter for letter, char in _GO_LETTERS.items()}


class MatcherError(ValueError):
    """A text that is no list of matchers; `column` counts characters from 1."""

    def __init__(self, problem: str, column: int) -> None:
        super().__init__(f"column {column}: {problem}")
        self.problem = problem
        self.column = column


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label.

    A label that is missing has the value "". Regexes are RE2's (linear time) and must match the
    whole value: as Alertmanager does it, the pattern is put into `^(?:…)$`. Raises ValueError when
    the pattern is bad, or takes more than `REGEX_MEMORY` bytes.
    """

    name: str
    op: Op
    value: str
    _regex: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise ValueError(f"{quoted(self.op)} is not one of = != =~ !~")
        regex = _compile(self.value) if self.op in {"=~", "!~"} else None
        object.__setattr__(self, "_regex", regex)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether these labels fulfil the condition."""
        actual = labels.get(self.name, "")
        if self._regex is None:
            return (actual == self.value) is (self.op == "=")
        # A lone surrogate cannot come from JSON that was decoded well; it must not raise here.
        found = self._regex.search(actual.encode("utf-8", "surrogatepass"))
        return (found is not None) is (self.op == "=~")

    def __str__(self) -> str:
        """Write it so that `parse_matchers` reads the same; as Alertmanager does, where it is printable."""
        plain = bool(self.name) and not _RESERVED.search(self.name) and self.name.isprintable()
        if plain and self.value.replace("\n", "").isprintable():
            value = self.value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
            return f'{self.name}{self.op}"{value}"'
        return f"{quoted(self.name)}{self.op}{quoted(self.value)}"


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read a list of matchers: `a="b"`, `a=b, c=~"d|e"`, `{"a b"!="c",}`; nothing at all is an empty list.

    Raises MatcherError, which says what is wrong and at which column.
    Source: FallbackMatchersParser in Alertmanager's matcher/compat/parse.go.
    """
    if surrogate := _SURROGATE.search(text):
        raise MatcherError("half a surrogate pair is not a character", surrogate.start() + 1)
    try:
        drafts = tuple(_classic(text))
    except MatcherError:
        return _build(_utf8(text))
    try:
        return _build(drafts)
    except MatcherError as bad_regex:
        try:
            return _build(_utf8(text))
        except MatcherError:
            raise bad_regex from None


def quoted(text: str) -> str:
    """Quote a text on one line with every unprintable character escaped, as Go's strconv.Quote does."""
    return '"' + "".join(_go_escape(char) for char in text) + '"'


_Draft: TypeAlias = tuple[str, str, str, int]  # name, operator, value, column of the value


def _build(drafts: Iterator[_Draft] | tuple[_Draft, ...]) -> tuple[Matcher, ...]:
    return tuple(_matcher(*draft) for draft in drafts)


def _matcher(name: str, op: str, value: str, column: int) -> Matcher:
    try:
        return Matcher(name, cast("Op", op), value)
    except ValueError as error:
        raise MatcherError(str(error), column) from None


def _compile(pattern: str) -> Any:
    if len(pattern) > LONGEST_REGEX:
        raise ValueError(f"the regex is longer than {LONGEST_REGEX} characters")
    if any(found[1] == "C" for found in _ANY_BYTE.finditer(pattern)):
        raise ValueError(r"bad regex: \C is not supported")
    options = re2.Options()
    options.max_mem = REGEX_MEMORY
    options.log_errors = False  # RE2 would write to standard error by itself
    options.never_capture = True  # only whether it matches is asked
    try:
        return re2.compile(f"^(?:{pattern})$".encode(), options)
    except re2.error as error:
        raise ValueError(f"bad regex: {_why(pattern, options, error)}") from None
    except UnicodeEncodeError:
        raise ValueError("bad regex: half a surrogate pair is not a character") from None


def _why(pattern: str, options: Any, error: Exception) -> str:
    """Prefer RE2's words about the pattern as it was written, without the anchors."""
    try:
        re2.compile(pattern.encode(), options)
    except re2.error as plain:
        error = plain
    return str(error.args[0].decode("utf-8", "replace"))


def _classic(text: str) -> Iterator[_Draft]:
    for start, token in _classic_tokens(text):
        head = _CLASSIC.match(token)
        if head is None:
            raise MatcherError("expected name, operator and value", start + 1)
        raw = token[head.end() :].rstrip(_GO_REGEX_SPACE)
        body = (_CLASSIC_QUOTED if raw.startswith('"') else _CLASSIC_BARE).fullmatch(raw)
        if body is None:
            raise MatcherError("the value has a double quote without a backslash", start + head.end() + 1)
        value = _CLASSIC_ESCAPE.sub(lambda found: _CLASSIC_ESCAPES.get(found[1], found[0]), body[1])
        yield head[1], head[2], value, start + head.end() + 1


def _classic_tokens(text: str) -> Iterator[tuple[int, str]]:
    """Split at the commas outside of quotes, each piece with its offset; a last blank piece is none."""
    start = 1 if text.startswith("{") else 0
    end = len(text) - 1 if len(text) > start and text.endswith("}") else len(text)
    inside = escaped = False
    for at in range(start, end):
        char = text[at]
        if char == "," and not inside:
            yield start, text[start:at]
            start = at + 1
        elif char == '"' and not escaped:
            inside = not inside
        if char != ",":  # a backslash stays in force over a comma, as in Alertmanager
            escaped = char == "\\" and not escaped
    last = text[start:end]
    skipped = _SPACES.match(last).end()  # type: ignore[union-attr]  # matches also nothing
    if skipped < len(last):
        yield start + skipped, re.sub(rf"[{_SPACE}]+\Z", "", last[skipped:])


class _Tokens:
    """The tokens of the UTF-8 grammar, one ahead. Columns count characters from 1."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.kind = self.text = ""
        self.column = 1
        self.advance()

    def advance(self) -> None:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise self._unknown()
        group = str(found.lastgroup)
        self.text = found[group]
        self.kind = self.text if group == "mark" else group
        self.column = found.start(group) + 1
        self._at = found.end()

    def take(self, wanted: str, *kinds: str) -> str:
        if self.kind not in kinds:
            instead = f"not {quoted(self.text)}" if self.text else "not the end"
            raise MatcherError(f"expected {wanted}, {instead}", self.column)
        taken = self.text
        if self.kind != "end":
            self.advance()
        return taken

    def string(self, wanted: str) -> str:
        kind, column = self.kind, self.column
        text = self.take(wanted, "quoted", "bare")
        return _unquote(text, column) if kind == "quoted" else text

    def _unknown(self) -> MatcherError:
        at = _SPACES.match(self._text, self._at).end()  # type: ignore[union-attr]  # matches also nothing
        char = self._text[at]
        if char == '"':
            return MatcherError("the closing double quote is missing", at + 1)
        if char == "!":
            return MatcherError("expected != or !~ after the exclamation mark", at + 1)
        return MatcherError(f"unexpected {quoted(char)}; such a value must be in double quotes", at + 1)


def _utf8(text: str) -> Iterator[_Draft]:
    tokens = _Tokens(text)
    opened = tokens.kind == "{"
    if opened:
        tokens.advance()
    while tokens.kind not in {"}", "end"}:
        name = tokens.string("a label name")
        op = tokens.take("an operator (= != =~ !~)", "op")
        column = tokens.column
        yield name, op, tokens.string("a value"), column
        if tokens.kind not in {"}", "end"}:
            tokens.take("a comma", ",")
    if opened:
        tokens.take("a closing brace", "}")
    elif tokens.kind == "}":
        raise MatcherError("there is no opening brace for this closing one", tokens.column)
    tokens.take("the end", "end")


def _unquote(text: str, column: int) -> str:
    """Read a Go string in double quotes (strconv.Unquote); escaped bytes must form UTF-8."""
    if "\n" in text:
        raise MatcherError(r"a line break inside quotes must be written \n", column + text.index("\n"))

    def byte_or_char(found: re.Match[str]) -> bytes:
        letter, *numbers = found.groups()
        if letter is not None:
            return _GO_LETTERS[letter].encode()
        if found[2] or found[3]:
            return bytes([int(found[2], 16) if found[2] else int(found[3], 8)])
        return chr(int(next(filter(None, numbers)), 16)).encode()

    whole, at = b"", 1
    for found in _GO_ESCAPE.finditer(text, 1, len(text) - 1):
        try:
            escape = byte_or_char(found)
        except (ValueError, OverflowError, StopIteration):
            raise MatcherError("not an escape that Go knows", column + found.start()) from None
        whole += text[at : found.start()].encode() + escape
        at = found.end()
    try:
        return (whole + text[at:-1].encode()).decode()
    except UnicodeDecodeError:
        raise MatcherError("the escaped bytes are not UTF-8", column) from None


def _go_escape(char: str) -> str:
    if char in _GO_SHORT:
        return _GO_SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
