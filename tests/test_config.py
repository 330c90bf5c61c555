"""The configuration file: what it says when it is wrong, what it gives when it is right."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge import config
from bridge.config import values
from bridge.config.model import Model
from bridge.config.part import Part
from bridge.config.shape import keys_of
from bridge.oncall import Phone, Roster

TOP = Path(__file__).parent.parent
FOLDER = Path(__file__).parent / "config"
EXAMPLE = TOP / "config.example.yaml"
BAD = sorted((FOLDER / "bad").glob("*.yaml"))
GOOD = sorted((FOLDER / "good").glob("*.yaml"))
# Each secret of the files under tests/config has one of these in it.
SECRETS = re.compile(r"hunter2|a11ce0{5}|b0b0{5}|MIGHAgEA|that-everybody-knows")

# When the files under tests/config/good are looked at; tests/config/rewrite.py says the same.
NOW = datetime(2026, 11, 25, 2, tzinfo=UTC)

Walk = Iterator[tuple[str, Any]]


@pytest.fixture
def bad_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in the folder, so that messages name files as the expected output does."""
    monkeypatch.chdir(FOLDER / "bad")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example and of what it names."""
    shutil.copytree(TOP / "examples", tmp_path / "examples")
    shutil.copy(EXAMPLE, tmp_path)
    return tmp_path


def written(folder: Path, text: str) -> config.Settings:
    file = folder / "test.yaml"
    file.write_text(text)
    return config.load(file)


def changed(folder: Path, old: str, new: str) -> config.Settings:
    text = EXAMPLE.read_text()
    assert text.count(old) == 1, old
    return written(folder, text.replace(old, new))


def problems(path: Path) -> str:
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    return str(caught.value)


# -- what is wrong --


def test_there_are_enough_bad_files() -> None:
    assert len(BAD) >= 100


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
@pytest.mark.usefixtures("bad_folder")
def test_each_bad_file_gives_its_expected_problems(file: Path) -> None:
    assert problems(Path(file.name)) + "\n" == file.with_suffix(".txt").read_text()


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_no_secret_stands_in_an_error(file: Path) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.load(file)
    shown = f"{caught.value} {caught.value!r} {caught.value.problems!r} {caught.value.__cause__!r}"
    assert not SECRETS.search(shown)


def test_every_problem_has_its_place_and_one_line() -> None:
    for file in BAD:
        with pytest.raises(config.ConfigError) as caught:
            config.load(file)
        assert list(caught.value.problems) == sorted(caught.value.problems)
        for problem, line in zip(caught.value.problems, str(caught.value).splitlines(), strict=True):
            assert line.startswith(f"{file}:{problem.line}:{problem.column}: ")
            assert problem.line >= 1
            assert problem.column >= 1


def test_a_missing_file_a_folder_and_a_strange_name_are_problems_too(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml").endswith(
        "none.yaml:1:1: cannot be read: No such file or directory"
    )
    assert problems(tmp_path).endswith(":1:1: cannot be read: Is a directory")
    assert problems(Path("a\0b")).endswith(":1:1: cannot be read: not a file name")


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "huge.yaml"
    file.write_bytes(b"#" * ((16 << 20) + 1))
    assert problems(file).endswith("is larger than 16 MiB")


def test_an_unreadable_secret_file_is_a_problem_at_its_key(folder: Path) -> None:
    large = folder / "examples" / "eu-prod.token"
    large.write_bytes(b"a" * ((1 << 20) + 1))
    assert "sources[0].credentials_file: the file is larger than 1 MiB" in problems(folder / EXAMPLE.name)


def test_a_named_pipe_as_a_secret_file_does_not_hang(folder: Path) -> None:
    import os

    pipe = folder / "examples" / "eu-prod.token"
    pipe.unlink()
    os.mkfifo(pipe)
    assert "credentials_file: the file cannot be read: not a regular file" in problems(folder / EXAMPLE.name)


# -- what is right --


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_each_good_file_loads_with_its_expected_warnings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    expected = file.with_suffix(".txt")
    loaded = config.load(Path(file.name), NOW)
    assert "".join(f"{warning}\n" for warning in loaded.warnings) == expected.read_text()


def test_the_example_loads_as_it_stands_and_without_a_warning() -> None:
    loaded = config.load(EXAMPLE)
    assert loaded.warnings == ()
    assert loaded.path == EXAMPLE


def test_no_secret_stands_in_the_repr_of_settings() -> None:
    for file in [EXAMPLE, *GOOD]:
        assert not SECRETS.search(repr(config.load(file)))


def keys(part: type[Part], around: tuple[type[Part], ...] = ()) -> Iterator[str]:
    for key, inner in keys_of(part).items():
        yield key
        if inner and inner not in around:
            yield from keys(inner, (*around, part))


def test_the_example_documents_every_key() -> None:
    text = EXAMPLE.read_text()
    old = {"match", "match_re"}  # only there to be refused with advice
    missing = {
        key for key in set(keys(Model)) - old if not re.search(rf"(^|[ {{#-]){key}:", text, re.MULTILINE)
    }
    assert missing == set()


def test_the_example_says_the_defaults_that_it_claims(folder: Path) -> None:
    text = EXAMPLE.read_text()
    for line in ("alert_ttl: 25h", "refire_quiet: 5m", "quiet_gap: 30s", "max_body_size: 16MiB"):
        assert f"\n{line}\n" in text
        text = text.replace(f"\n{line}\n", "\n")
    text = re.sub(r"\nstorage:\n(?:  .*\n)+", "\n", text)
    bare, full = written(folder, text), config.load(folder / EXAMPLE.name)
    for key in ("alert_ttl", "refire_quiet", "quiet_gap", "max_body_size", "storage"):
        assert getattr(bare, key) == getattr(full, key)


def test_settings_of_the_example_say_what_the_file_says() -> None:
    loaded = config.load(EXAMPLE)
    assert loaded.apns.topic == "com.example.oncall"
    assert loaded.apns.key is not None
    assert loaded.apns.key.reveal() == (TOP / "examples/AuthKey_DEM0KEY001.p8").read_text().strip()
    assert loaded.apns.ca_file == TOP / "examples/simulator-ca.pem"
    assert loaded.storage == config.StorageSettings(f"sqlite:///{TOP}/bridge.db", timedelta(days=30))
    assert loaded.max_body_size == 16 * 1024 * 1024
    assert loaded.sources["eu-prod"].credentials == config.Secret("example-token-that-everybody-knows")
    assert loaded.people == ("alice", "bob")
    assert loaded.devices["alice-iphone"].voip_token == config.Secret("a11ce" + "0" * 58 + "1")
    assert loaded.devices["bob-iphone"].alert_token is None
    assert loaded.groups["storage"].devices == ("alice-iphone",)
    assert loaded.webhooks == {"last-resort": config.Secret("http://127.0.0.1:2199/last-resort")}


def test_a_receiver_becomes_a_policy() -> None:
    loaded = config.load(EXAMPLE)
    platform = loaded.receiver("platform")
    assert (platform.notify_resolved, platform.repeat) == (True, 1)
    first, second = platform.steps
    assert first.device_groups == ("platform",)
    assert first.then_after == timedelta(minutes=5)
    assert second.webhooks == ("last-resort",)
    assert second.then_after == timedelta(seconds=45) * 4, "default: every times times"


def test_a_receiver_that_is_gone_falls_to_the_roots() -> None:
    loaded = config.load(EXAMPLE)
    assert loaded.receiver("of yesterday") == loaded.receivers["platform"]


def test_on_call_reaches_the_phones_of_a_group() -> None:
    loaded = config.load(EXAMPLE)
    phones = [Phone("alice-iphone", "alice"), Phone("bob-iphone", "bob"), Phone("carol-iphone", "carol")]
    found = loaded.on_call(Roster(tuple(phones)))
    assert [phone.name for phone in found(["storage"], NOW)] == ["bob-iphone", "alice-iphone"]
    assert [phone.name for phone in found(["platform"], NOW)] == ["alice-iphone", "bob-iphone"], "asked twice"


def test_schedules_say_who_is_on_call_by_local_time() -> None:
    primary = config.load(EXAMPLE).schedules["primary"]

    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin"))

    assert primary.who(at("2026-11-23T08:59")) == ("bob",)
    assert primary.who(at("2026-11-23T09:00")) == ("alice",)
    assert primary.who(at("2026-11-24T22:00")) == ("bob",), "the second layer, by night"
    assert primary.who(at("2026-12-27T06:00")) == ("alice",), "the override"
    assert primary.who(at("2026-12-28T06:00")) == ("bob",)


def test_an_override_may_have_an_offset_and_local_times_of_the_night_of_the_change_are_never_short(
    folder: Path,
) -> None:
    loaded = changed(
        folder,
        "from: 2026-12-24 18:00, to: 2026-12-27 09:00",
        "from: 2026-10-25 02:30, to: 2026-10-25 03:00}\n"
        "      - {person: bob, from: 2026-12-24T18:00Z, to: 2026-12-27T09:00:00+02:00",
    )
    first, second = loaded.schedules["primary"].overrides
    assert (first.start, first.end) == (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 2, tzinfo=UTC),
    )
    assert (second.start, second.end) == (
        datetime(2026, 12, 24, 18, tzinfo=UTC),
        datetime(2026, 12, 27, 7, tzinfo=UTC),
    )


def test_a_calendar_in_a_file_is_read_and_one_at_a_url_is_left_to_the_running_bridge() -> None:
    loaded = config.load(FOLDER / "good" / "schedules_by_calendar.yaml", NOW)
    assert loaded.schedules["primary"].who(NOW) == ("bob",)
    assert loaded.schedules["primary"].who(NOW + timedelta(weeks=1)) == ("alice",)
    assert loaded.schedules["broken"].who(NOW) == ()
    assert loaded.feeds["primary"] == config.Feed(timedelta(minutes=15), FOLDER / "good/../files/shifts.ics")
    url = config.Secret("https://calendar.example/hunter2")
    assert loaded.feeds["elsewhere"] == config.Feed(timedelta(hours=1), None, url)
    assert list(loaded.feeds) == ["primary", "broken", "elsewhere", "hidden"]


def test_a_group_and_a_receiver_name_their_schedules_and_what_stands_in_for_a_gap() -> None:
    loaded = config.load(EXAMPLE)
    assert loaded.groups["on-call"].schedules == ("primary",)
    assert loaded.receivers["storage"].otherwise == ("storage",)
    assert (
        loaded.receivers_of("alice", NOW)
        == loaded.receivers_of("bob", NOW)
        == {"platform", "storage", "by-daylight"}
    )
    assert loaded.receivers_of("carol", NOW) == set()


def test_alertmanagers_are_those_of_the_file_and_serve_their_sources() -> None:
    loaded = config.load(FOLDER / "good" / "alertmanagers.yaml", NOW)
    own, lab, common = (loaded.alertmanagers[name] for name in ("eu", "lab", config.DEFAULT))
    assert common.urls == ("http://127.0.0.1:9093/am",), "no slash at the end"
    assert (common.scheme, common.credentials) == ("Bearer", config.Secret("hunter2hunter2"))
    assert (common.reconcile_every, common.reconcile_grace) == (timedelta(minutes=1), timedelta(minutes=5))
    assert own.urls == ("https://one.example.com", "https://other.example.com:9093")
    assert (own.user, own.password) == ("bridge", config.Secret("hunter2 äöü"))
    assert own.server_name == "alertmanager.internal"
    assert lab.insecure
    assert not own.insecure
    named = {name: loaded.alertmanager_of(name) for name in ("eu", "us", "default", "anything")}
    assert named == {"eu": "eu", "us": "default", "default": "default", "anything": "default"}
    assert loaded.alertmanager_of("pushkit-bridge") is None, "its own alarms are in none"
    assert loaded.alertmanager_of("pushkit-bridge-drill") is None
    assert config.load(EXAMPLE).alertmanager_of("default") is None
    assert loaded.receivers["platform"].ack_creates_silence == timedelta(hours=2)


def test_a_topic_may_end_in_voip(folder: Path) -> None:
    assert changed(folder, "topic: com.example.oncall\n", "topic: com.example.oncall.voip\n").apns.topic == (
        "com.example.oncall"
    )


def test_a_webhook_without_a_name_is_called_by_its_place(folder: Path) -> None:
    named = re.search(r"- name: last-resort.*\n +url_file", EXAMPLE.read_text())
    assert named is not None
    loaded = changed(folder, named[0], "- url_file")
    assert list(loaded.webhooks) == ["platform/2/1"]
    assert loaded.receivers["platform"].steps[1].webhooks == ("platform/2/1",)


def test_anchors_aliases_and_merge_keys_mean_what_they_copy() -> None:
    loaded = config.load(FOLDER / "good" / "anchors.yaml")
    assert loaded.groups["storage"].devices == loaded.groups["platform"].devices == ("pager",)
    second = loaded.devices["second"]
    assert (second.environment, second.topic) == ("production", "com.example.other"), "the first merged wins"
    assert second.voip_token is None, "an own key without a value hides a merged one"
    assert loaded.receivers["platform"].steps == loaded.receivers["storage"].steps
    ring = loaded.receivers["storage"].steps[1].ring
    assert (ring.every, ring.times) == (timedelta(minutes=1), 3), "own keys win"
    assert loaded.route.routes[0].routes[0].matchers == loaded.route.routes[0].matchers


def test_a_route_inherits_its_receiver_and_labels() -> None:
    route = config.load(EXAMPLE).route.routes[2]
    assert (route.receiver, route.group_by, route.path) == ("platform", ("alertname",), "route.routes[2]")
    assert route.active_time_intervals == ("holidays",)


def test_time_intervals_are_those_of_the_file() -> None:
    from bridge.timeintervals import end_of

    intervals = config.load(EXAMPLE).time_intervals
    noon = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert end_of(intervals["nights"], noon) is None
    midnight_in_berlin = datetime(2026, 11, 25, 23, tzinfo=UTC)
    assert end_of(intervals["nights"], midnight_in_berlin) == datetime(2026, 11, 26, 6, tzinfo=UTC)
    assert end_of(intervals["holidays"], datetime(2026, 12, 24, 12, tzinfo=UTC)) is not None


def test_a_template_is_not_computed_while_it_is_checked(folder: Path) -> None:
    text = "{{ 9*9*9*9*9*9*9*9*9*9*9*9*9*9*9*9*9*9*9*9*9 }}"
    loaded = written(folder, EXAMPLE.read_text() + f'templates: {{caller_name: "{text}"}}\n')
    assert loaded.templates.caller_name == text


def test_a_template_nested_too_deep_is_a_problem(folder: Path) -> None:
    deep = "(" * 1500 + "1" + ")" * 1500
    with pytest.raises(config.ConfigError, match=r"templates\.reason: is not a template: nested too deep"):
        written(folder, EXAMPLE.read_text() + f'templates: {{reason: "{{{{ {deep} }}}}"}}\n')


def test_the_database_cannot_be_a_folder(folder: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"storage\.url: names a folder"):
        changed(folder, "sqlite:///bridge.db", "sqlite:///examples")


def test_the_examples_certificate_holds_for_a_connection_to_this_machine() -> None:
    import ssl

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(TOP / "examples/simulator.pem", TOP / "examples/simulator-key.pem")
    server = server_context.wrap_bio(incoming, outgoing, server_side=True)
    context = ssl.create_default_context(cafile=str(TOP / "examples/simulator-ca.pem"))
    client = context.wrap_bio(outgoing, incoming, server_hostname="127.0.0.1")
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.getpeercert()


def test_the_heartbeats_of_the_example_and_of_the_documents_can_be_used_as_they_stand(folder: Path) -> None:
    commented = re.search(r"^# heartbeats:\n(?:# .*\n)+", EXAMPLE.read_text(), re.MULTILINE)
    told = re.search(r"```yaml\n(heartbeats:\n.*?)```", (TOP / "docs/heartbeats.md").read_text(), re.DOTALL)
    assert commented is not None
    assert told is not None
    example = written(folder, EXAMPLE.read_text() + re.sub("^# ", "", commented[0], flags=re.MULTILINE))
    document = written(folder, EXAMPLE.read_text() + told[1])
    assert (example.warnings, document.warnings) == ((), ())
    assert (example.heartbeats["prometheus"].receiver, example.heartbeats["prometheus"].source) == (
        "storage",
        "eu-prod",
    )
    bare = written(
        folder, EXAMPLE.read_text() + "heartbeats: [{name: a, matchers: alertname=Watchdog, every: 3m}]\n"
    )
    assert bare.heartbeats["a"].grace == example.heartbeats["prometheus"].grace == timedelta(minutes=2)
    assert bare.heartbeats["a"].receiver == bare.route.receiver


def test_the_drills_of_the_example_and_of_the_documents_can_be_used_as_they_stand(folder: Path) -> None:
    commented = re.search(r"^# drills:\n(?:# .*\n)+", EXAMPLE.read_text(), re.MULTILINE)
    told = re.search(r"```yaml\n(drills:\n.*?)```", (TOP / "docs/drills.md").read_text(), re.DOTALL)
    assert commented is not None
    assert told is not None
    example = written(folder, EXAMPLE.read_text() + re.sub("^# ", "", commented[0], flags=re.MULTILINE))
    document = written(folder, EXAMPLE.read_text() + told[1])
    assert (example.warnings, document.warnings) == ((), ())
    assert example.drills == document.drills, "what the example shows beside it are the defaults"
    coming = example.drills["weekly"].hours.coming(datetime(2026, 11, 25, tzinfo=UTC))
    assert coming == datetime(2026, 12, 1, 9, tzinfo=UTC)


# -- check-config --


def test_check_config_says_success_and_what_it_found() -> None:
    good, text = config.check_config(EXAMPLE)
    assert good
    assert f"Checking '{EXAMPLE}'  SUCCESS\nFound:\n - 2 devices of 2 people, in 3 device groups\n" in text
    assert " - 4 routes, 2 time intervals" in text


def test_check_config_tells_warnings_and_still_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER / "good")
    good, text = config.check_config(Path("minimal.yaml"))
    assert good
    assert text.startswith("minimal.yaml:15:24: warning: receivers[0].escalation[0].device_groups: none of")


def test_check_config_says_failed_and_lists_every_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER / "bad")
    good, text = config.check_config(Path("key_unknown.yaml"))
    assert not good
    assert text.splitlines()[0].startswith("key_unknown.yaml:5:3: apns.enviroment: unknown key, did you mean")
    assert text.endswith("Checking 'key_unknown.yaml'  FAILED: 2 problems")


def test_scalars_stay_what_they_say(folder: Path) -> None:
    text = EXAMPLE.read_text().replace(
        "- name: bob\n", "- name: bob\n  - name: no\n  - name: 22:00\n  - name: 0x1F\n"
    )
    assert written(folder, text).people == ("alice", "bob", "no", "22:00", "0x1F")


def test_an_absolute_path_of_storage_stays(folder: Path) -> None:
    assert (
        changed(folder, "sqlite:///bridge.db", "sqlite:////var/lib/x.db").storage.url
        == "sqlite:////var/lib/x.db"
    )


def test_a_secret_shows_itself_only_when_asked() -> None:
    import dataclasses

    secret = config.Secret("hunter2")
    assert "hunter2" not in repr(dataclasses.asdict(config.Source("a", secret)))
    assert secret != "hunter2"
    assert len({secret, config.Secret("hunter2"), config.Secret("other")}) == 2
    assert f"{secret} {secret!r}" == "Secret(…) Secret(…)"
    assert secret.reveal() == "hunter2"


# -- values --

LENGTHS = {
    "0": 0,
    "0s": 0,
    "250ms": 0.25,
    "45s": 45,
    "5m": 300,
    "1h30m": 5400,
    "25h": 90000,
    "30d": 30 * 86400,
    "1w": 7 * 86400,
    "1y2w3d4h5m6s7ms": 365 * 86400 + 14 * 86400 + 3 * 86400 + 4 * 3600 + 306.007,
}


@pytest.mark.parametrize(("text", "seconds"), LENGTHS.items())
def test_a_duration_is_read_as_prometheus_writes_it(text: str, seconds: float) -> None:
    assert values.duration(text) == timedelta(seconds=seconds)


@given(st.integers(0, 200 * 365 * 86_400_000))
def test_a_spelt_duration_reads_back_as_itself(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert values.duration(values.spell(length)) == length


@pytest.mark.parametrize(
    "text", ["", " ", "s", "5", "1h 30m", "1m1h", "1s1s", "-1s", "1.5h", "٣s", "5S", "1" * 5000 + "s"]
)
def test_what_prometheus_would_not_read_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|is too long"):
        values.duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", 1024),
        ("16MiB", 16 << 20),
        ("16 MiB", 16 << 20),
        ("1GB", 10**9),
        ("500kB", 500_000),
        ("2048B", 2048),
    ],
)
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert values.size(text) == size


# -- nothing else than Settings or ConfigError --

LINES = EXAMPLE.read_text().splitlines(keepends=True)
ODD = st.sampled_from(
    [
        "",
        "~",
        "[]",
        "{}",
        "[[]]",
        "{a: b}",
        "-1",
        "no",
        "22:00",
        "*x",
        "&x y",
        "!!int 3",
        "<<: 1",
        '"\\0"',
        "'",
        "é",
        "\ud800",
    ]
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["drop", "double", "value", "item", "cut", "indent", "swap", "bytes"]))
        line = lines[at]
        if kind == "drop":
            lines[at] = ""
        elif kind == "double":
            lines[at] = line * 2
        elif kind == "value":
            lines[at] = re.sub(r"(: ?).*", lambda found: found[1] + draw(ODD), line, count=1)
        elif kind == "item":
            lines[at] = re.sub(r"(- ).*", lambda found: found[1] + draw(ODD), line, count=1)
        elif kind == "cut":
            lines[at] = line[: draw(st.integers(0, len(line)))] + "\n"
        elif kind == "indent":
            lines[at] = " " * draw(st.integers(1, 4)) + line
        elif kind == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], line
        else:
            lines[at] = draw(st.text(max_size=12)) + line
    return "".join(lines).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations")
    shutil.copytree(TOP / "examples", folder / "examples")
    return folder


@settings(max_examples=300, deadline=None)
@given(content=mutations())
@example(content=b"")
@example(content=b"\0")
@example(content=b"\xff")
@example(content=b"? {a: b}\n: c")
@example(content=b"apns: &a\n  <<: *a\n")
@example(content=b"route: &r\n  routes: [*r]\n")
@example(content=b"route: 1\nreceivers: [1, [2], {name: [3]}]\ndevices: {a: b}\npeople: [{name: {}}]\n")
def test_no_file_gives_anything_but_settings_or_problems(shared_folder: Path, content: bytes) -> None:
    file = shared_folder / "mutated.yaml"
    file.write_bytes(content)
    try:
        shown = repr(config.load(file))
    except config.ConfigError as error:
        shown = str(error)
    assert shown
    assert not re.search(r"a11ce0{20}|b0b0{20}|that-everybody-knows", shown)


KEYS = sorted(set(keys(Model)))
VALUES = st.recursive(
    st.sampled_from(["platform", "alice", "0", "-1", "45s", "...", "true", "", "a=b", "sqlite:///x", "\0"])
    | st.none()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Give every (container, key) of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_shape_of_a_file_gives_anything_but_settings_or_problems(
    shared_folder: Path, data: st.DataObject
) -> None:
    document = yaml.load(EXAMPLE.read_text(), yaml.CBaseLoader)
    for _ in range(data.draw(st.integers(1, 4))):
        spots = list(places(document))
        container, key = spots[data.draw(st.integers(0, len(spots) - 1))]
        container[key] = data.draw(VALUES)
    file = shared_folder / "reshaped.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), "utf-8")
    try:
        shown = repr(config.load(file))
    except config.ConfigError as error:
        shown = str(error)
    assert not re.search(r"a11ce0{20}|b0b0{20}|that-everybody-knows", shown)
