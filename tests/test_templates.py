"""Templates are bounded: by what they may be made of, by steps, and by length, whatever labels say."""

from __future__ import annotations

import contextlib
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import SecurityError

from bridge.templates import BUDGET, LONGEST, Bounded, TooMuchError

VALUES: dict[str, Any] = {
    "summary": "Disk full",
    "labels": {"job": "node", "instance": "i1"},
    "incidents": [{"title": "DiskFull", "alerts": 2}, {"title": "NodeDown", "alerts": 1}],
    "counts": {"alerts": 3},
    "many": [{"title": "x" * 500, "labels": {str(n): "y" * 1024 for n in range(64)}}] * 100,
    "long": "a" * LONGEST,
}


def render(text: str) -> str:
    jinja = Bounded()
    return jinja.rendered(jinja.compiled(text), VALUES)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{ summary | upper }}: {{ counts.alerts }}", "DISK FULL: 3"),
        ("{% if counts.alerts > 2 and 'full' in summary %}{{ 'a' ~ counts.alerts ~ 'b' }}{% endif %}", "a3b"),
        ("{% for i in incidents %}{{ i.title }}{{ ', ' if not loop.last }}{% endfor %}", "DiskFull, NodeDown"),
        ("{% for i in incidents if i.alerts > 1 %}{{ i.title }}{% endfor %}", "DiskFull"),
        ("{% for name, value in labels | dictsort %}{{ name }}={{ value }} {% endfor %}", "instance=i1 job=node "),
        ("{{ incidents | map(attribute='title') | join(', ') }}", "DiskFull, NodeDown"),
        ("{{ incidents | selectattr('alerts', 'gt', 1) | map(attribute='title') | first }}", "DiskFull"),
        ("{% set who = labels.team | default('nobody') %}{{ who }}", "nobody"),
        ("{{ 'x' if labels.job in ['node', 'db'] else 'y' }}", "x"),
        ("{{ summary[:4] + '!' }}", "Disk!"),
        ("{{ counts.alerts * 2 + 1 - 3 // 2 }} {{ -counts.alerts % 2 }} {{ 3 / 2 }}", "6 1 1.5"),
        ("{{ labels }}", "{'job': 'node', 'instance': 'i1'}"),
        ("{{ labels | length }} {{ labels | items | list | length }}", "2 2"),
    ],
)  # fmt: skip
def test_what_an_operator_needs_works(text: str, result: str) -> None:
    assert render(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(99999) %}x{% endfor %}",
        "{% for i in incidents recursive %}{{ loop(incidents) }}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set x %}{{ summary }}{% endset %}",
        "{% filter upper %}x{% endfilter %}",
        "{% filter nothing %}x{% endfilter %}",
        "{% include 'x' %}",
        "{% import 'x' as x %}",
        "{% extends 'x' %}",
        "{% block a %}{% endblock %}",
        "{% call labels.x() %}{% endcall %}",
        "{% with a = 1 %}{% endwith %}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ summary.ljust(1000000000) }}",
        "{{ lipsum(n=100000) }}",
        "{{ namespace(x=1) }}",
        "{{ {'a': 1} }}",
        "{{ [labels, labels] }}",
        "{% set x = (labels, labels) %}",
        "{{ summary | center(1000000000) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ summary | attr('__class__') }}",
        "{{ labels | batch(1) }}",
        "{{ incidents | sum(start=[]) }}",
        "{{ 1 | round(1000000000, 'ceil') }}",
        "x" * (LONGEST + 1),
    ],
)
def test_what_could_grow_without_end_is_refused_when_it_is_compiled(text: str) -> None:
    with pytest.raises(jinja2.TemplateSyntaxError):
        Bounded().compiled(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in many %}{% for b in many %}{% for c in many %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in many %}{% for b in many if b.title == a.title %}{{ '' }}{% endfor %}{% endfor %}",
        "{% for a in many %}{% for b in long %}{% set c = b | upper | trim %}{% endfor %}{% endfor %}",
        "{% for a in many %}{% set x = long | replace('a', long) %}{% endfor %}",
        "{% for a in many %}{% for b in many %}{% set x = a.labels | dictsort | length %}{% endfor %}{% endfor %}",
        "{% for a in many %}{% set x = a.labels | string | length %}{% endfor %}",
        "{% for a in many %}{% set x = " + " ~ ".join(["long"] * 300) + " %}{% endfor %}",
    ],
)
def test_what_would_run_long_is_ended_after_so_many_steps(text: str) -> None:
    with pytest.raises(TooMuchError):
        render(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ counts.alerts * summary }}",
        "{{ '%1000000000d' % counts.alerts }}",
        "{{ summary + incidents }}",
        "{{ incidents + incidents }}",
        "{{ 9007199254740993 * 2 }}",
        "{{ 5 // labels }}",
    ],
)
def test_calculations_are_for_small_numbers(text: str) -> None:
    with pytest.raises(SecurityError):
        render(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ long }}{{ long }}",
        "{% set a = long ~ long %}{% set b = a ~ a %}{{ b }}{{ b }}",
        "{% set a = long + long %}{{ a }}{{ a }}",
        "{{ long | replace('a', 'bb') }}",
        "{{ long | list | join('--') }}{{ long }}",
        "{% for a in many %}{{ a }}{% endfor %}",
    ],
)
def test_no_text_grows_beyond_its_limit(text: str) -> None:
    assert len(render(text)) == LONGEST


def test_doubling_gains_nothing() -> None:
    assert len(render("{% set x = long %}" + "{% set x = x ~ x %}" * 100 + "{{ x }}")) == LONGEST


def test_each_rendering_has_the_whole_budget() -> None:
    jinja = Bounded()
    template = jinja.compiled("{% for a in many %}{{ a.title | upper }}{% endfor %}")
    once = jinja.rendered(template, VALUES | {"many": VALUES["many"][:4]})
    spent = BUDGET - jinja.left
    for _ in range(BUDGET // spent + 1):
        assert jinja.rendered(template, VALUES | {"many": VALUES["many"][:4]}) == once


# -- whatever a template and the labels are --

NAMES = st.sampled_from(
    ["summary", "labels", "incidents", "counts.alerts", "many", "long", "i", "i.title", "i.labels", "nothing"]
)
FILTERS = st.sampled_from(
    ["upper", "list", "sort", "join(summary)", "replace('a', long)", "map('upper')", "unique", "dictsort", "string",
     "length", "reverse", "truncate(9)", "default(long)", "items", "int", "first", "map(attribute='title')", "title"]
)  # fmt: skip
EXPRESSIONS = st.recursive(
    st.builds(" | ".join, st.lists(NAMES, min_size=1, max_size=1) | st.tuples(NAMES, FILTERS).map(list))
    | st.builds(lambda *parts: " | ".join(parts), NAMES, FILTERS, FILTERS),
    lambda inner: st.builds(
        "({} {} {})".format, inner, st.sampled_from(["~", "+", "*", "%", "and", "==", "in", "<"]), inner
    ),
    max_leaves=6,
)
STATEMENTS = st.recursive(
    st.builds("{{{{ {} }}}}".format, EXPRESSIONS) | st.builds("{{% set x = {} %}}".format, EXPRESSIONS) | st.text(max_size=5),
    lambda inner: st.builds("{{% for i in {} %}}{}{{% endfor %}}".format, EXPRESSIONS, inner)
    | st.builds("{{% if {} %}}{}{{% endif %}}".format, EXPRESSIONS, inner)
    | st.builds("".join, st.lists(inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip


ORDINARY = (
    *(TooMuchError, jinja2.TemplateError),
    *(TypeError, ValueError, OverflowError, ArithmeticError, AttributeError),
)


@settings(deadline=None)
@given(STATEMENTS | st.text(max_size=60))
def test_any_template_is_refused_or_ends_within_its_limits(text: str) -> None:
    jinja = Bounded()
    try:
        template = jinja.compiled(text)
    except jinja2.TemplateSyntaxError:
        return
    with contextlib.suppress(*ORDINARY):
        assert len(jinja.rendered(template, VALUES)) <= LONGEST
