"""The console's pages as a browser gets them: what they show, what they forbid, and that no text gets out of hand."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from appworld import World
from consoles import PAGES, Visitor

EVIL = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>{{7*7}}"


async def test_the_first_page_says_that_nothing_rings(world: World) -> None:
    page = await world.get("/")
    assert page.status == 200
    assert "Nothing is ringing" in page.text


async def test_the_first_page_shows_an_incident_with_its_next_ring_and_why(world: World) -> None:
    await world.webhook(world.alert("DiskFull", team="db"))
    page = (await world.get("/")).text
    assert "1 incident ringing" in page
    assert "DiskFull" in page
    assert "rings alice again" in page
    assert "step 1, ring 2 of 4" in page


async def test_an_incident_s_page_tells_each_hand_over_and_what_can_be_done(home: World) -> None:
    await home.webhook(home.alert("DiskFull", team="db"))
    await home.pass_(5)
    home.alice.answer()
    await home.settled()
    page = (await home.get(f"/incidents/{(await home.incident())['id']}")).text
    for words in (
        "alice-iphone is to ring",
        "call made",
        "Apple took it",
        "phone has it",
        "answered",
        "alice has it",
    ):
        assert words in page
    assert "Give it back" in page
    assert "team=db" in page


async def test_what_is_over_is_in_the_history(world: World) -> None:
    await world.webhook(world.alert("DiskFull"))
    assert "Nothing has happened yet" in (await world.get("/incidents")).text
    await world.webhook(world.alert("DiskFull", resolved=True))
    assert "DiskFull" in (await world.get("/incidents")).text


async def test_the_phones_page_says_who_would_ring_tonight(home: World) -> None:
    page = (await home.get("/phones")).text
    assert "2 would ring" in page
    assert "alice-iphone" in page


async def test_explain_shows_the_way_with_what_did_not_match(stage: World) -> None:
    stage.config["route"]["routes"] = [{"matchers": ['team="db"'], "receiver": "platform"}]
    await stage.start()
    page = (await stage.get("/explain", params={"labels": "team=web", "at": "2026-11-25T02:00"})).text
    assert "because team=&#34;db&#34;: team is &#34;web&#34;" in page
    assert "Receiver platform" in page


@pytest.mark.parametrize(
    ("query", "words"),
    [({"labels": "what is this"}, "is not NAME=VALUE"), ({"labels": "a=b", "at": "soon"}, "is not a time")],
)
async def test_explain_says_what_it_does_not_understand(
    world: World, query: dict[str, str], words: str
) -> None:
    page = await world.get("/explain", params=query)
    assert page.status == 200
    assert words in page.text


async def test_a_past_alert_can_be_explained(world: World) -> None:
    await world.webhook(world.alert("DiskFull", team="db"))
    page = (await world.get("/explain")).text
    picked = re.search(r'<option value="([^"]+)">DiskFull', page)
    assert picked is not None
    found = (await world.get("/explain", params={"alert": picked[1]})).text
    assert "team=db" in found
    assert "Receiver platform" in found


async def test_on_call_shows_now_then_and_each_step(stage: World) -> None:
    layer = {"members": ["alice", "bob"], "start": "2026-11-23", "every": "1w"}
    stage.config["schedules"] = [{"name": "primary", "layers": [layer]}]
    stage.config["device_groups"].append({"name": "on-call", "schedules": ["primary"]})
    await stage.start()
    page = (await stage.get("/oncall")).text
    assert "primary" in page
    assert "The next two weeks: alice, " in page


@pytest.mark.parametrize("path", ["/incidents/none", "/nothing-here"])
async def test_what_is_not_there_is_a_404(world: World, path: str) -> None:
    assert (await world.get(path)).status == 404


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_forbids_what_is_not_its_own(world: World, path: str) -> None:
    page = await world.get(path)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["Cache-Control"] == "no-store"
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! src=)", page.text), "inline script or style"
    assert not re.search(r'(?:src|href)="(?!/|#)', page.text), "something from elsewhere"


async def test_the_files_of_a_page_are_there_and_kept_for_ever(world: World) -> None:
    page = (await world.get("/")).text
    files = set(re.findall(r'"(/assets/[^"]+)"', page))
    assert len(files) == 5
    for path in files:
        found = await world.get(path)
        assert found.status == 200
        assert "immutable" in found.headers["Cache-Control"]
    assert (await world.get("/assets/0/style.css")).headers["Cache-Control"] == "no-store"
    assert (await world.get("/assets/0/../rooms.py")).status == 404


class Seen(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: set[str] = set()
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers |= {name for name, _ in attrs if name.startswith("on")}
        self.targets |= {value or "" for name, value in attrs if name in {"href", "src", "action"}}


async def evil(world: World) -> None:
    """Put a script into every text that comes from outside, or from the configuration."""
    people = [{"name": "alice"}, {"name": "bob"}, {"name": EVIL[:60]}]
    world.config["people"] = people
    world.config["devices"] = [world.device("bob") | {"name": EVIL, "owner": EVIL[:60]}]
    world.config["device_groups"].append({"name": EVIL, "owners": [EVIL[:60]], "schedules": [EVIL]})
    layer = {"members": [EVIL[:60]], "start": "2026-01-05", "every": "1d"}
    world.config["schedules"] = [{"name": EVIL, "layers": [layer]}]
    world.config["receivers"].append({"name": EVIL, "escalation": [world.step(EVIL)]})
    never = {"matchers": ["x=" + EVIL.translate({ord(char): None for char in "\"'{}"})], "receiver": EVIL}
    world.config["route"] = {"receiver": EVIL, "group_by": ["..."], "routes": [never]}
    await world.start()
    alert: dict[str, Any] = world.alert(EVIL, severity=EVIL, evil=EVIL)
    alert["annotations"] = {EVIL: EVIL, "summary": EVIL, "runbook_url": "javascript:alert(3)"}
    alert["generatorURL"] = "javascript:alert(4)"
    await world.webhook(alert, externalURL="javascript:alert(5)", groupKey=EVIL)


async def test_no_label_annotation_receiver_or_name_becomes_markup(stage: World) -> None:
    await evil(stage)
    (one,) = await stage.incidents()
    visitor = Visitor(stage)
    await visitor.act(f"/incidents/{one['id']}", f"/incidents/{one['id']}/note", text=EVIL)
    explained = f"/explain?alert={one['id']}/x&labels=alertname%3D%22%3Cscript%3Ealert(9)%3C/script%3E%22"
    for path in (*PAGES, f"/incidents/{one['id']}", explained, "/?page=%3Cscript%3E"):
        page = await stage.get(path)
        assert page.status == 200
        seen = Seen()
        seen.feed(page.text)
        assert "img" not in seen.tags
        assert not seen.handlers
        assert not [target for target in seen.targets if target.lower().startswith("javascript")]
        assert "<script>" not in page.text
