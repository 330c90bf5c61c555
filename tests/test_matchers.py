"""Matchers: both of Alertmanager's grammars, anchored RE2, and messages for people."""

from __future__ import annotations

import pickle

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.matchers import LONGEST_REGEX, Matcher, MatcherError, parse_matchers, quoted

M = Matcher


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Read alike by both grammars.
        ("", ()),
        ("{}", ()),
        ("foo=bar", (M("foo", "=", "bar"),)),
        ('foo="bar"', (M("foo", "=", "bar"),)),
        ("foo!=bar", (M("foo", "!=", "bar"),)),
        ("foo=~[a-z]+", (M("foo", "=~", "[a-z]+"),)),
        ('foo!~"bar.*"', (M("foo", "!~", "bar.*"),)),
        ("{foo=bar}", (M("foo", "=", "bar"),)),
        ("{foo=bar,}", (M("foo", "=", "bar"),)),
        ("foo=bar, ", (M("foo", "=", "bar"),)),
        ('{foo = "bar", dings != "bums", }', (M("foo", "=", "bar"), M("dings", "!=", "bums"))),
        ('foo="bar,quux",job="job1"', (M("foo", "=", "bar,quux"), M("job", "=", "job1"))),
        (r'quote="She said: \"Hi, ladies!\""', (M("quote", "=", 'She said: "Hi, ladies!"'),)),
        (r'a="line\nline"', (M("a", "=", "line\nline"),)),
        (r'a="back\\slash"', (M("a", "=", "back\\slash"),)),
        ('ns:rule_1="x"', (M("ns:rule_1", "=", "x"),)),
        ("a=b,a!=c", (M("a", "=", "b"), M("a", "!=", "c"))),
        ('a="ä€🙂"', (M("a", "=", "ä€🙂"),)),
        # Read by the classic grammar alone.
        ("foo=", (M("foo", "=", ""),)),
        ("foo=two words", (M("foo", "=", "two words"),)),
        ("foo=b'a`r", (M("foo", "=", "b'a`r"),)),
        ("{", ()),
        ("}", ()),
        ("{foo=bar", (M("foo", "=", "bar"),)),
        ("foo=bar}", (M("foo", "=", "bar"),)),
        ("{foo=bar}}", (M("foo", "=", "bar}"),)),
        ("{foo=,bar=}}", (M("foo", "=", ""), M("bar", "=", "}"))),
        ("tricky=~~~", (M("tricky", "=~", "~~"),)),
        (r"trickier==\\=\=\"", (M("trickier", "=", r"=\=\=" + '"'),)),
        (r"foo=bar\t", (M("foo", "=", r"bar\t"),)),
        (r'foo="\d"', (M("foo", "=", r"\d"),)),
        ("foo=bar\\", (M("foo", "=", "bar\\"),)),
        ('foo="two\nlines"', (M("foo", "=", "two\nlines"),)),
        (r'foo="x\," ', (M("foo", "=", r"x\,"),)),
        # Read by the UTF-8 grammar alone.
        ("name-with-dashes=x", (M("name-with-dashes", "=", "x"),)),
        (' {a="b"}', (M("a", "=", "b"),)),
        ('"a b"="c"', (M("a b", "=", "c"),)),
        ('{"foo"=~"[a-z]+", "bär"!="x",}', (M("foo", "=~", "[a-z]+"), M("bär", "!=", "x"))),
        ("Σ=🙂bar", (M("Σ", "=", "🙂bar"),)),
        (r'"foo"="\xf0\x9f\x99\x82"', (M("foo", "=", "🙂"),)),
        (r'"foo"="\U0001f642\u00e9\303\251"', (M("foo", "=", "🙂éé"),)),
        (r'"foo"="\a\b\f\n\r\t\v\\\""', (M("foo", "=", "\a\b\f\n\r\t\v\\" + '"'),)),
        (r'"foo"=~"\\d+"', (M("foo", "=~", r"\d+"),)),
        ('""="x"', (M("", "=", "x"),)),
        ("1\u00a0=\u20032", (M("1", "=", "2"),)),
    ],
)
def test_a_text_is_read_as_alertmanager_reads_it(text: str, expected: tuple[Matcher, ...]) -> None:
    assert parse_matchers(text) == expected


def test_where_both_grammars_read_a_text_differently_the_classic_one_counts() -> None:
    # The UTF-8 grammar alone would read a tab; 0.25 reads a backslash and a t.
    assert parse_matchers(r'foo="a\tb"')[0].value == r"a\tb"
    assert parse_matchers(r'"foo"="a\tb"')[0].value == "a\tb"
    # A regex that only the second reading makes valid is taken in that reading.
    assert parse_matchers(r'foo=~"\u0061"')[0].value == "a"


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("foo", 4, "expected an operator (= != =~ !~), not the end"),
        ("foo bar", 5, 'expected an operator (= != =~ !~), not "bar"'),
        ("=x", 1, 'expected a label name, not "="'),
        (",", 1, 'expected a label name, not ","'),
        ("{,}", 2, 'expected a label name, not ","'),
        ("a=b,,c=d", 5, 'expected a label name, not ","'),
        ("a-b=", 5, "expected a value, not the end"),
        ("a-b==", 5, 'expected a value, not "="'),
        ("a-b=c d=e", 7, 'expected a comma, not "d"'),
        ("{a-b=c", 7, "expected a closing brace, not the end"),
        ("a-b=c}", 6, "there is no opening brace for this closing one"),
        ("{a-b=c} d", 9, 'expected the end, not "d"'),
        ("a-b=c, d!e", 9, "expected != or !~ after the exclamation mark"),
        ("a-b='c'", 5, """unexpected "'"; such a value must be in double quotes"""),
        ('a="b', 3, "the closing double quote is missing"),
        ('a=b"', 4, "the closing double quote is missing"),
        (r'"a"="\w"', 6, "not an escape that Go knows"),
        (r'"a"="\ud800"', 6, "not an escape that Go knows"),
        (r'"a"="\U00110000"', 6, "not an escape that Go knows"),
        (r'"a"="\777"', 6, "not an escape that Go knows"),
        (r'"a"="\xf0\x9f"', 5, "the escaped bytes are not UTF-8"),
        ('"a"="b\nc"', 7, r"a line break inside quotes must be written \n"),
        ('a="b",c=~"("', 10, "bad regex: missing ): ("),
        ("ä=~(", 4, "bad regex: missing ): ("),
        (r'a=~"\x{zz}"', 4, r"bad regex: invalid escape sequence: \x{z"),
        ("a=~b**", 4, "bad regex: bad repetition operator: **"),
        (r"a=~\C", 4, r"bad regex: \C is not supported"),
        ("a=\ud800", 3, "half a surrogate pair is not a character"),
    ],
)
def test_an_error_says_what_is_wrong_and_at_which_column(text: str, column: int, problem: str) -> None:
    with pytest.raises(MatcherError) as raised:
        parse_matchers(text)
    assert (raised.value.column, raised.value.problem) == (column, problem)
    assert str(raised.value) == f"column {column}: {problem}"


@pytest.mark.parametrize(
    ("op", "value", "matching", "other"),
    [
        ("=", "a", ["a"], ["", "b", "aa", "A"]),
        ("!=", "a", ["", "b", "aa"], ["a"]),
        ("=~", "a|b", ["a", "b"], ["", "ab", "xa", "a\n"]),
        ("!~", "a|b", ["", "ab", "xa"], ["a", "b"]),
        ("=~", "", [""], ["a"]),
        ("=~", ".*", ["", "a", "ä€🙂"], ["a\nb"]),
        ("=~", "(?s).*", ["a\nb"], []),
        ("=~", "(?i)ÄB", ["äb", "Äb"], ["a"]),
        ("=~", "a.c", ["a🙂c"], ["a🙂🙂c"]),
        # The pattern is put into ^(?:…)$ as text; what that makes of a stray parenthesis counts.
        ("=~", "a)|(?:b", ["ax", "xb", "a", "b"], ["xa", "bx"]),
        ("=~", r"\Q\C\E", [r"\C"], ["C"]),
    ],
)
def test_an_operator_matches_the_whole_value(
    op: str, value: str, matching: list[str], other: list[str]
) -> None:
    matcher = Matcher("x", op, value)  # type: ignore[arg-type]
    assert [text for text in matching + other if matcher.matches({"x": text})] == matching


@pytest.mark.parametrize(("op", "value"), [("=", ""), ("!=", "a"), ("=~", "a?"), ("!~", "a+")])
def test_a_missing_label_matches_as_the_empty_string(op: str, value: str) -> None:
    matcher = Matcher("x", op, value)  # type: ignore[arg-type]
    assert matcher.matches({})
    assert matcher.matches({"x": ""})


def test_a_hostile_regex_is_linear_because_re2_runs_it() -> None:
    matcher = Matcher("x", "=~", "(a+)+$")
    assert not matcher.matches({"x": "a" * 200_000 + "!"})
    assert isinstance(matcher._regex, type(re2.compile("a")))
    assert Matcher("x", "=~", "(.*a){20}").matches({"x": "ba" * 2000})


@pytest.mark.parametrize(
    "pattern",
    [r"\pL{1000}", r"(\pL{30}){30}", "|".join(f"(?i){n:x}.{{500}}" for n in range(1000, 1200))],
    ids=["class", "nested", "alternatives"],
)
def test_a_regex_that_would_eat_memory_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="bad regex: pattern too large"):
        Matcher("x", "=~", pattern)


def test_a_regex_of_thousands_of_host_names_is_fine() -> None:
    hosts = [f"host-{n:04}.rack-{n % 17}" for n in range(4000)]
    assert Matcher("x", "=~", "|".join(hosts)).matches({"x": hosts[-1]})


def test_a_regex_longer_than_the_limit_is_refused_before_it_is_compiled() -> None:
    with pytest.raises(ValueError, match="the regex is longer than 100000 characters"):
        Matcher("x", "=~", "a" * (LONGEST_REGEX + 1))


def test_text_that_is_not_unicode_neither_compiles_nor_breaks_matching() -> None:
    with pytest.raises(ValueError, match="half a surrogate pair"):
        Matcher("x", "=~", "\ud800")
    assert not Matcher("x", "=~", "a.*").matches({"x": "\ud800"})


def test_an_operator_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match='"==" is not one of'):
        Matcher("x", "==", "a")  # type: ignore[arg-type]


def test_matchers_are_values() -> None:
    matcher = Matcher("x", "=~", "a+")
    assert matcher == Matcher("x", "=~", "a+") != Matcher("x", "!~", "a+")
    assert len({matcher, Matcher("x", "=~", "a+")}) == 1
    assert pickle.loads(pickle.dumps(matcher)).matches({"x": "aa"})
    assert repr(matcher) == "Matcher(name='x', op='=~', value='a+')"


@pytest.mark.parametrize(
    ("matcher", "text"),
    [
        (M("a", "=", 'b"\\\n'), r'a="b\"\\\n"'),
        (M("bär", "!=", "x y"), 'bär!="x y"'),
        (M("a b", "=~", "c"), '"a b"=~"c"'),
        (M("", "!~", "c"), '""!~"c"'),
        (M('q"', "=", "é\x00\x7f\u00a0\U000e0001"), r'"q\""="é\x00\x7f\u00a0\U000e0001"'),
        (M("a", "=", "\x1b[31m"), r'"a"="\x1b[31m"'),
    ],
)
def test_a_matcher_is_written_as_alertmanager_writes_it_but_never_unprintable(
    matcher: Matcher, text: str
) -> None:
    assert str(matcher) == text
    assert parse_matchers(text) == (matcher,)


names = st.one_of(st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]*", fullmatch=True), st.text(max_size=6))
plain = st.builds(Matcher, names, st.sampled_from(["=", "!="]), st.text(max_size=12))
regexes = st.builds(Matcher, names, st.sampled_from(["=~", "!~"]), st.text(max_size=8).map(re2.escape))


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.one_of(plain, regexes), max_size=4), st.booleans())
def test_what_is_written_is_read_back_the_same(matchers: list[Matcher], braces: bool) -> None:
    text = ",".join(map(str, matchers))
    assert parse_matchers(f"{{{text}}}" if braces else text) == tuple(matchers)


odd = st.text(st.sampled_from("ab=!~\",{}\\ \nnx0é'`"), max_size=12)


@settings(max_examples=400, deadline=None, database=None)
@given(odd)
def test_any_text_is_either_read_or_refused_with_a_column_inside_it(text: str) -> None:
    try:
        matchers = parse_matchers(text)
    except MatcherError as error:
        column, matchers = error.column, ()
    else:
        column = 1
    assert 1 <= column <= len(text) + 1
    assert parse_matchers(",".join(map(str, matchers))) == matchers


@given(st.text(max_size=20))
@settings(deadline=None, database=None)
def test_quoting_is_printable_and_reversible(text: str) -> None:
    assert quoted(text).isprintable()
    assert parse_matchers(f'"x"={quoted(text)}')[0].value == text
