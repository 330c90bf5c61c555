"""Routing, matchers and time intervals against others that know them: amlint, amtool, Alertmanager itself."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from amlint.routing import Router
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import matchers
from bridge.matchers import Matcher, parse_matchers
from bridge.routing import RouteSpec, explain, render_tree, resolve
from bridge.timeintervals import parse_time_interval

NOW = datetime(2026, 11, 25, tzinfo=UTC)
NAMES = ["a", "b", "env", "team_1"]
VALUES = ["", "x", "y", "xy", "db", "x y", 'q"', "back\\slash", "two\nlines"]
REGEXES = ["", "x|y", "x.*", ".+", "[a-d]+", "(x|db)y?", "x?y?", "d.", "^x$", "(?i)XY", "[^x]*"]


def rule(name: str, op: str, value: str) -> str:
    return str(Matcher(name, op, value))  # type: ignore[arg-type]


RULES = st.one_of(
    st.builds(rule, st.sampled_from(NAMES), st.sampled_from(["=", "!="]), st.sampled_from(VALUES)),
    st.builds(rule, st.sampled_from(NAMES), st.sampled_from(["=~", "!~"]), st.sampled_from(REGEXES)),
)


@st.composite
def routes(draw: st.DrawFn, depth: int = 4) -> dict[str, Any]:
    """Draw a route and its children as Alertmanager's file writes them."""
    node: dict[str, Any] = {"matchers": draw(st.lists(RULES, max_size=2))}
    if draw(st.booleans()):
        node["receiver"] = draw(st.sampled_from(["r1", "r2", "r3"]))
    if draw(st.integers(0, 2)) == 0:
        node["continue"] = True
    if draw(st.integers(0, 3)) == 0:
        node["group_by"] = draw(st.sampled_from([[], ["..."], ["a"], ["env", "b"]]))
    if depth:
        node["routes"] = draw(st.lists(routes(depth - 1), max_size=3))
    return node


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    children = draw(st.lists(routes(), min_size=1, max_size=4))
    return {"receiver": "top", "group_by": ["alertname"], "routes": children}


LABELS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([*VALUES[1:], "zz"]))


def spec(node: dict[str, Any]) -> RouteSpec:
    return RouteSpec(
        receiver=node.get("receiver"),
        matchers=tuple(matcher for text in node.get("matchers", ()) for matcher in parse_matchers(text)),
        group_by=tuple(node["group_by"]) if "group_by" in node else None,
        continue_=node.get("continue", False),
        routes=tuple(map(spec, node.get("routes", ()))),
    )


@settings(max_examples=100, deadline=None, database=None)
@given(trees(), st.integers(0, 1 << 30))
def test_forty_alerts_through_each_of_a_hundred_trees_go_where_amlint_sends_them(
    tree: dict[str, Any], seed: int
) -> None:
    chance = random.Random(seed)
    alerts = [
        {name: chance.choice([*VALUES[1:], "zz"]) for name in NAMES if chance.random() < 0.6}
        for _ in range(40)
    ]
    root, router = resolve(spec(tree)), Router(tree)
    for labels in alerts:
        ours = [(m.route.path, m.receiver, m.route.group_by) for m in explain(root, labels, NOW, {}).matches]
        theirs = [(m.path[-1], m.receiver, m.opts.group_by) for m in router.match(labels)]
        assert ours == theirs


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["amtool", *arguments], capture_output=True, text=True, check=False, timeout=30, env={"HOME": "/"}
    )


def write(path: Path, route: dict[str, Any], **more: Any) -> str:
    """Write a file for Alertmanager; JSON is YAML."""
    receivers = [{"name": name} for name in ("top", "r1", "r2", "r3")]
    path.write_text(json.dumps({"route": route, "receivers": receivers, **more}))
    return f"--config.file={path}"


@pytest.mark.real
@settings(max_examples=60, deadline=None, database=None)
@given(tree=trees(), alerts=st.lists(LABELS, min_size=4, max_size=4))
def test_alerts_go_where_amtool_sends_them_and_the_tree_is_drawn_as_amtool_draws_it(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any], alerts: list[dict[str, str]]
) -> None:
    file = write(tmp_path_factory.getbasetemp() / "alertmanager.yml", tree)
    root = resolve(spec(tree))
    shown = amtool("config", "routes", "show", file)
    assert shown.stdout == render_tree(root) + "\n", shown.stderr
    for labels in alerts:
        pairs = [rule(name, "=", value) for name, value in labels.items()]
        tested = amtool("config", "routes", "test", file, "--", *pairs)
        ours = ",".join(match.receiver for match in explain(root, labels, NOW, {}).matches)
        assert tested.stdout == ours + "\n", tested.stderr


def classic(text: str) -> tuple[Matcher, ...] | None:
    """Read a text by the classic grammar alone: Alertmanager 0.25 knows no other."""
    try:
        return matchers._build(tuple(matchers._classic(text)))
    except ValueError:
        return None


def agree(path: Path, texts: Iterable[str], refused_at_most: int) -> None:
    """Compare what is read and what is refused. Those read share a file, each refused one has its own."""
    read = {text: found for text in texts if (found := classic(text)) is not None}
    routes = [{"matchers": [text]} for text in read]
    root = resolve(RouteSpec("top", routes=tuple(RouteSpec(matchers=found) for found in read.values())))
    shown = amtool("config", "routes", "show", write(path, {"receiver": "top", "routes": routes}))
    assert shown.stdout == render_tree(root) + "\n", shown.stderr
    for text in [text for text in texts if text not in read][:refused_at_most]:
        file = write(path, {"receiver": "top", "routes": [{"matchers": [text]}]})
        assert amtool("config", "routes", "show", file).returncode != 0, text


def scraps(seed: int, pieces: list[str], count: int, longest: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices(pieces, k=chance.randint(1, longest))) for _ in range(count)]


@pytest.mark.real
def test_odd_matchers_are_read_or_refused_as_amtool_does(tmp_path: Path) -> None:
    pieces = ["a", "foo", "=", "!=", "=~", "!~", '"', '"', ",", " ", "{", "}", "\\", "\\n", '\\"', "x y"]
    pieces += ["~", "!", "\n", "'", "`", "1", ":", "_", 'a="b"', "c=d", ",", "é"]
    agree(tmp_path / "am.yml", scraps(random.randrange(1 << 30), pieces, 3000, 9), 120)


@pytest.mark.real
def test_odd_regexes_are_compiled_or_refused_as_amtool_does(tmp_path: Path) -> None:
    pieces = ["a", "b", "(", "|", ")", "*", "+", "?", "[", "]", "^", "$", ".", "\\\\", "d", "w", "Q", "E"]
    pieces += [
        "pL",
        "{",
        "}",
        "1",
        "2",
        ",",
        ":",
        "i",
        "-",
        "C",
        "x",
        "z",
        "A",
        "[:alpha:]",
        "s",
        "m",
        "U",
        "\\\\b",
    ]
    texts = [f'a=~"{scrap}"' for scrap in scraps(random.randrange(1 << 30), pieces, 1500, 8)]
    agree(tmp_path / "am.yml", texts, 120)


@pytest.mark.real
def test_odd_regexes_match_what_amtool_says_they_match(tmp_path: Path) -> None:
    pieces = [
        "a",
        "b",
        "(",
        "|",
        ")",
        "*",
        "?",
        "[",
        "]",
        "^",
        "$",
        ".",
        "ab",
        "(?i)",
        "A",
        "é",
        "[^",
        "\\\\n",
        "{2}",
    ]
    texts = [f'x=~"{scrap}"' for scrap in scraps(random.randrange(1 << 30), pieces, 1500, 7)]
    read = [(text, found[0]) for text in texts if (found := classic(text))]
    assert len(read) > 300
    routes = [{"receiver": "r1", "matchers": [text], "continue": True} for text, _ in read]
    routes += [
        {"receiver": "r2", "matchers": [text.replace("=~", "!~")], "continue": True} for text, _ in read
    ]
    file = write(tmp_path / "am.yml", {"receiver": "top", "routes": routes})
    for value in ["a", "b", "ab", "aab", "A", "é", "ba", "a\nb", "()", "aaaa"]:
        tested = amtool("config", "routes", "test", file, "--", rule("x", "=", value)).stdout.strip()
        hits = [matcher.matches({"x": value}) for _, matcher in read]
        assert tested == ",".join(["r1"] * sum(hits) + ["r2"] * (len(hits) - sum(hits)))


INTERVAL_TEXTS: list[tuple[str, Any]] = [
    *(("weekdays", text) for text in (
        "monday", "Monday:FRIDAY", "sunday:saturday", "friday:monday", "mon", "1", "monday :friday", "",
        "monday:", "monday:tuesday:friday", "saturday:sunday",
    )),
    *(("days_of_month", text) for text in (
        "1", "31", "32", "0", "-1", "-31", "-32", "1:5", "5:1", "-1:5", "1:-1", "1:-27", "1:-28", "27:-1",
        "28:-1", "-5:-1", "-1:-5", "+3", "x", "1.5", "1_0", "0x1", " 1", "1:2:3", "-31:-1",
    )),
    *(("months", text) for text in (
        "january", "MAY:august", "1", "1:3", "may:3", "3:may", "may:january", "jan", "", "12", "1:x",
    )),
    *(("years", text) for text in ("2026", "2026:2030", "2030:2026", "x", "-5", "2026:", "0")),
    *(("location", text) for text in (
        "UTC", "", "Local", "Europe/Berlin", "Europe/Berln", "europe/berlin", "America", "../UTC", "/etc/UTC",
        "EST5EDT", "Etc/GMT+3", "utc",
    )),
    *(("times", dict(zip(("start_time", "end_time"), pair, strict=False))) for pair in (
        ("00:00", "24:00"), ("22:00", "06:00"), ("9:00", "10:00"), ("09:00", "09:00"), ("24:00", "24:00"),
        ("00:00", "24:01"), ("00:60", "01:00"), ("00:00",), (), ("00:00", ""), ("00:00", "00:01 "),
    )),
    ("times", {"start_time": "00:00", "end_time": "01:00", "extra": "x"}),
]  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize(("key", "value"), INTERVAL_TEXTS)
def test_a_time_interval_is_read_or_refused_as_amtool_does(tmp_path: Path, key: str, value: Any) -> None:
    raw = {key: value if key == "location" else [value]}
    intervals = [{"name": "x", "time_intervals": [raw]}]
    write(tmp_path / "am.yml", {"receiver": "top"}, time_intervals=intervals)
    accepted = amtool("check-config", str(tmp_path / "am.yml")).returncode == 0
    try:
        parse_time_interval(raw)
    except ValueError:
        assert not accepted
    else:
        assert accepted


def around(now: datetime, chance: random.Random) -> dict[str, Any]:
    """Make an interval that may hold now or not, by all the kinds of conditions."""
    raw: dict[str, Any] = {}
    zones = [
        "UTC",
        "Europe/Berlin",
        "Asia/Kathmandu",
        "America/New_York",
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
    ]
    if chance.random() < 0.8:
        raw["location"] = chance.choice(zones)
    if chance.random() < 0.5:
        start, end = sorted(chance.sample(range(1441), 2))
        raw["times"] = [
            {"start_time": f"{start // 60:02}:{start % 60:02}", "end_time": f"{end // 60:02}:{end % 60:02}"}
        ]
    if chance.random() < 0.4:
        raw["weekdays"] = chance.sample(
            ["sunday", "monday:tuesday", "tuesday:friday", "thursday", "saturday"], 3
        )
    if chance.random() < 0.4:
        day = now.day + chance.randint(-2, 2)
        back = max(1, min(27, 31 - day))
        raw["days_of_month"] = [f"{max(1, min(28, day))}:31", f"-{back}"][chance.randrange(2) :]
    if chance.random() < 0.3:
        raw["months"] = chance.sample([f"{now.month}", "january:june", "july:december", "2"], 2)
    if chance.random() < 0.3:
        raw["years"] = [chance.choice([f"{now.year}", f"{now.year + 1}:2099", f"2000:{now.year}"])]
    if chance.random() < 0.05:
        raw[chance.choice(["times", "weekdays", "months"])] = []
    return raw


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def half_muted(raws: list[dict[str, Any]], hook: str) -> dict[str, Any]:
    """Make a file with two routes for each interval: one muted by it, and one active in it."""
    both = [(kind, n) for n in range(len(raws)) for kind in ("mute", "active")]
    return {
        "route": {
            "receiver": "top",
            "group_wait": "0s",
            "routes": [
                {"receiver": f"{kind}-{n}", "continue": True, f"{kind}_time_intervals": [f"i{n}"]}
                for kind, n in both
            ],
        },
        "receivers": [
            {"name": "top"},
            *(
                {"name": f"{kind}-{n}", "webhook_configs": [{"url": f"{hook}/{kind}/{n}"}]}
                for kind, n in both
            ),
        ],
        "time_intervals": [{"name": f"i{n}", "time_intervals": [raw]} for n, raw in enumerate(raws)],
    }


async def post_alert(url: str) -> None:
    """Give Alertmanager an alert as soon as it takes one."""
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            with suppress(aiohttp.ClientError):
                async with session.post(
                    f"{url}/api/v2/alerts", json=[{"labels": {"alertname": "x"}}]
                ) as answer:
                    assert answer.status == 200
                    return
            await asyncio.sleep(0.05)
    raise AssertionError("Alertmanager did not come up")


@pytest.mark.real
async def test_rule_3_a_real_alertmanager_mutes_by_the_same_intervals(tmp_path: Path) -> None:
    begin = datetime.now(UTC)
    chance = random.Random()
    raws = [around(begin, chance) for _ in range(120)]
    called: set[tuple[str, int]] = set()
    complete = asyncio.Event()

    async def hook(request: web.Request) -> web.Response:
        called.add((request.match_info["kind"], int(request.match_info["n"])))
        if len({n for _, n in called}) == len(raws):
            complete.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/{kind}/{n}", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    hook_port, port = free_port(), free_port()
    await web.TCPSite(runner, "127.0.0.1", hook_port).start()
    file = tmp_path / "am.yml"
    file.write_text(json.dumps(half_muted(raws, f"http://127.0.0.1:{hook_port}")))
    process = await asyncio.create_subprocess_exec(
        "prometheus-alertmanager", f"--config.file={file}", f"--storage.path={tmp_path}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await post_alert(f"http://127.0.0.1:{port}")
        async with asyncio.timeout(20):
            await complete.wait()
    finally:
        process.kill()
        await process.wait()
        await runner.cleanup()
    for n, raw in enumerate(raws):
        interval = parse_time_interval(raw)
        holds = {interval.contains(begin), interval.contains(datetime.now(UTC) + timedelta(seconds=1))}
        if len(holds) == 1:  # else it began or ended just now
            assert ("mute", n) not in called or not holds.pop(), raw
            assert ("active", n) not in called or interval.contains(begin), raw
