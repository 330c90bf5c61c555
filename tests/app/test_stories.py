"""What happens at night, told on the running bridge with phones that have enrolled; a restart changes none of it."""

from told import Told, told_twice

HOUR = 3600
SERIES = [0, 45, 90, 135]
"""When a phone rings for one step that nobody answers."""


@told_twice
async def test_nobody_answers_so_the_next_person_rings_and_when_they_answer_every_ring_ends(
    told: Told,
) -> None:
    """Page, no answer, 5 minutes on, the next person, answer, everybody's ring ends, resolve (rule 4)."""
    told.policy(told.step("platform"), told.step("platform", "second"))
    await told.begin("alice", "bob")
    await told.webhook(told.alert())
    await told.pass_(310)
    assert (told.rings("alice"), told.rings("bob")) == ([*SERIES, 300], [300])
    ringing = told.alice.calls.items[-1]
    assert ringing.state == "ringing"
    told.bob.answer()
    await told.settled()
    assert (ringing.state, ringing.why) == ("ended", "acknowledged: answered by bob")
    assert told.alice.pushes.items[-1].payload["aps"]["alert"]["title"] == "bob has DiskFull"
    (listed,) = (await told.alice.enrolled.ask("GET", "/api/v1/incidents"))["incidents"]
    assert (listed["state"], listed["acknowledged_by"]) == ("acknowledged", "bob")
    await told.pass_(HOUR)
    assert (told.rings("alice"), told.rings("bob")) == ([*SERIES, 300], [300])
    await told.resolve()
    assert [phone.pushes.items[-1].payload["kind"] for phone in (told.alice, told.bob)] == ["resolved"] * 2
    assert (await told.incident())["state"] == "resolved"


@told_twice
async def test_a_resolve_ends_the_ring_on_every_phone(told: Told) -> None:
    told.group("platform", "alice", "bob")
    await told.begin("alice", "bob")
    await told.webhook(told.alert())
    await told.pass_(5)
    await told.resolve()
    calls = [phone.calls.items[0] for phone in (told.alice, told.bob)]
    assert [(call.state, call.why) for call in calls] == [("ended", "resolved: resolved")] * 2


# --- receipts decide --------------------------------------------------------------------------


async def lone_iphone(told: Told) -> None:
    """The first step rings alice's iPhone alone; she has an iPad too."""
    await told.begin("alice", "alice-ipad", "bob")
    told.config["devices"] = [told.device("alice")]
    told.config["device_groups"][0] = {"name": "platform", "devices": ["alice-iphone"]}
    assert (await told.reload()).status == 200


def pushes(told: Told, name: str) -> list[tuple[float, str]]:
    """When a phone was pushed to, and how: seconds since the story began."""
    found = told.sim.phone(name).pushes.items
    return [((push.at - found[0].at).total_seconds(), push.notification.push_type) for push in found]


@told_twice
async def test_in_flight_mode_a_notification_stands_in_then_the_owners_other_devices_ring(told: Told) -> None:
    """No receipt within receipt_timeout, by default 10 s (rules 4 and 6)."""
    await lone_iphone(told)
    told.alice.profile.behaviour = "cut-off"
    await told.webhook(told.alert())
    await told.pass_(30)
    assert pushes(told, "alice") == [(0, "voip"), (10, "alert")]
    assert told.rings("alice-ipad") == [20]
    told.sim.phone("alice-ipad").answer()
    await told.pass_(HOUR)
    assert (await told.incident())["acknowledged_by"] == "alice"
    assert told.rings("bob") == []


@told_twice
async def test_with_all_devices_in_flight_mode_the_next_step_begins_at_once(told: Told) -> None:
    """Rule 4: a step ends early when all its targets cannot be reached."""
    await lone_iphone(told)
    for name in ("alice", "alice-ipad"):
        told.sim.phone(name).profile.behaviour = "cut-off"
    await told.webhook(told.alert())
    await told.pass_(60)
    assert pushes(told, "alice-ipad") == [(0, "voip"), (10, "alert")]
    assert told.rings("bob") == [40]
    assert told.rings("alice") == []


@told_twice
async def test_do_not_disturb_sends_the_critical_notification_at_once(told: Told) -> None:
    """A failed receipt with code 3: the fallback belongs to the same ring and moves no timer (rule 4)."""
    told.policy(told.step("platform", interruption_level="critical"), told.step("second"))
    await told.begin("alice", "bob")
    told.alice.profile.behaviour = "do-not-disturb"
    await told.webhook(told.alert())
    assert told.fates() == ["filtered", "notified"]
    assert told.elapsed == 0
    await told.pass_(50)
    assert told.fates() == ["filtered", "notified"] * 2
    name = (await told.incident())["id"]
    await told.alice.enrolled.act(name, "acknowledge")
    await told.pass_(HOUR)
    assert len(told.fates()) == 4
    assert (await told.incident())["acknowledged_by"] == "alice"


@told_twice
async def test_do_not_disturb_without_an_alert_token_begins_the_next_step_at_once(told: Told) -> None:
    await told.begin("alice", "bob")
    await told.alice.invalidate("alert")
    told.alice.profile.behaviour = "do-not-disturb"
    await told.webhook(told.alert())
    assert (told.fates(), told.rings("bob"), told.elapsed) == (["filtered"], [0], 0)


@told_twice
async def test_declined_by_all_the_next_step_begins_at_once(told: Told) -> None:
    """Rule 4."""
    told.group("platform", "alice", "bob")
    told.group("second", "carol")
    await told.begin("alice", "bob", "carol")
    await told.webhook(told.alert())
    await told.pass_(5)
    told.alice.decline()
    await told.pass_(4)
    assert told.rings("carol") == []
    told.bob.decline()
    await told.settled()
    assert (told.rings("alice"), told.rings("bob"), told.rings("carol")) == ([0], [0], [9])


@told_twice
async def test_two_who_answer_at_the_same_instant_are_both_done(told: Told) -> None:
    told.alike = False
    told.group("platform", "alice", "bob")
    await told.begin("alice", "bob")
    await told.webhook(told.alert())
    for phone in (told.alice, told.bob):
        phone.answer()
    await told.pass_(HOUR)
    incident = await told.incident()
    has_it = incident["acknowledged_by"]
    assert has_it in {"alice", "bob"}
    for phone in (told.alice, told.bob):
        assert [(one.kind, one.status) for one in phone.receipts.items[:2]] == [
            ("received", 200),
            ("answered", 200),
        ]
        (listed,) = (await phone.enrolled.ask("GET", "/api/v1/incidents"))["incidents"]
        assert (listed["state"], listed["acknowledged_by"]) == ("acknowledged", has_it)
    assert (told.rings("alice"), told.rings("bob")) == ([0], [0])
    assert [line["kind"] for line in incident["timeline"]].count("acknowledged") == 2


# --- one call at a time -----------------------------------------------------------------------


@told_twice
async def test_a_phone_in_two_groups_rings_once(told: Told) -> None:
    told.group("second", "alice", "bob")
    told.policy(told.step("platform", "second"))
    await told.begin("alice", "bob")
    await told.webhook(told.alert())
    assert (told.rings("alice"), told.rings("bob")) == ([0], [0])
    assert len((await told.incident())["pages"]) == 2


@told_twice
async def test_an_alert_for_two_receivers_rings_their_common_phone_once_and_is_answered_once(
    told: Told,
) -> None:
    """Rule 5: the pages travel in one call, and the answer acknowledges what it carried."""
    told.config["receivers"].append({"name": "databases", "escalation": [told.step("platform")]})
    told.config["route"]["routes"] = [{"receiver": "databases", "continue": True}, {"receiver": "platform"}]
    await told.begin("alice", "bob")
    await told.webhook(told.alert())
    assert told.rings() == [0]
    assert told.alice.calls.items[0].payload["counts"]["incidents"] == 2
    told.alice.answer()
    await told.pass_(HOUR)
    assert {one["state"] for one in await told.incidents()} == {"acknowledged"}
    assert told.rings() == [0]


# --- tokens -----------------------------------------------------------------------------------


@told_twice
async def test_a_token_that_changes_in_the_middle_of_a_ring_costs_no_ring(told: Told) -> None:
    await told.begin("alice", "bob")
    await told.webhook(told.alert())
    await told.pass_(20)
    await told.alice.rotate_tokens()
    await told.pass_(79)
    assert (told.rings("alice"), told.rings("bob")) == ([0, 45, 90], [])
    assert {one.answer.status for one in told.sim.service.answered} == {200}


# --- news, and what is none -------------------------------------------------------------------


@told_twice
async def test_news_on_an_acknowledged_incident_rings_again(told: Told) -> None:
    """Rule 2."""
    await told.begin("alice", "bob")
    await told.webhook(told.alert(instance="i1"))
    told.alice.answer()
    await told.pass_(600)
    await told.webhook(told.alert(instance="i1"), told.alert(instance="i2"))
    assert told.rings() == [0, 600]
    assert (await told.incident())["state"] == "triggered"
    told.alice.answer()
    await told.pass_(HOUR)
    assert told.rings() == [0, 600]


@told_twice
async def test_a_flapping_alert_rings_once(told: Told) -> None:
    """Rule 2: within refire_quiet of its end it joins again without ringing."""
    await told.begin("alice", "bob")
    await told.webhook(told.alert(instance="i1"), told.alert(instance="i2"))
    told.alice.answer()
    for _ in range(3):
        await told.pass_(60)
        await told.webhook(told.alert(instance="i2", resolved=True))
        await told.pass_(60)
        await told.webhook(told.alert(instance="i2"))
    await told.pass_(600)
    assert told.rings() == [0]
    assert (await told.incident())["state"] == "acknowledged"


# --- what people do ---------------------------------------------------------------------------


@told_twice
async def test_an_acknowledgement_that_times_out_rings_again(told: Told) -> None:
    told.policy(told.step("platform"), told.step("second"), ack_timeout="30m")
    await told.begin("alice", "bob")
    await told.webhook(told.alert())
    told.alice.answer()
    await told.pass_(1799)
    assert told.rings() == [0]
    await told.pass_(1)
    assert told.rings() == [0, 1800]
    assert [one["state"] for one in await told.incidents()] == ["triggered"]


@told_twice
async def test_what_is_handed_on_rings_the_next_and_ends_the_ring_of_who_did(told: Told) -> None:
    await told.begin("alice", "bob")
    await told.webhook(told.alert())
    await told.pass_(10)
    await told.alice.enrolled.act((await told.incident())["id"], "hand-on")
    await told.settled()
    (call,) = told.alice.calls.items
    assert (call.state, call.why) == ("ended", "withdrawn: handed on, or silenced")
    assert told.rings("bob") == [10]
    await told.pass_(100)
    assert told.rings("alice") == [0]


@told_twice
async def test_what_is_silenced_rings_nobody_before_its_time_news_included(told: Told) -> None:
    await told.begin("alice", "bob")
    await told.webhook(told.alert(instance="i1"))
    await told.alice.enrolled.act((await told.incident())["id"], "silence", seconds=600)
    await told.pass_(100)
    await told.webhook(told.alert(instance="i2"))
    await told.pass_(499)
    assert told.rings() == [0]
    await told.pass_(1)
    assert told.rings() == [0, 600]


@told_twice
async def test_an_incident_that_nobody_answers_raises_an_alarm_once(told: Told) -> None:
    """Every phone rang and said so, and nobody came."""
    once = {"ring": {"every": "45s", "times": 1, "for": "30s"}, "then_after": "1m"}
    told.policy(told.step("platform", **once), told.step("second", **once))
    await told.begin("alice", "bob")
    await told.webhook(told.alert())
    await told.pass_(500)
    incident, alarm = await told.incidents()
    assert (incident["title"], incident["unanswered_at"]) == ("DiskFull", "2026-11-25T02:02:00+00:00")
    assert alarm["title"] == "PushkitBridgeIncidentUnanswered"
    assert (told.rings("alice"), told.rings("bob")) == ([0, 120], [60, 180])
    await told.alice.enrolled.act(incident["id"], "acknowledge")
    assert (await told.incident())["unanswered_at"] is None
