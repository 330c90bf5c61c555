"""Whatever happens in whatever order: what must hold of an incident after every decision."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from builders import make_alert, phone, receiver, step
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from story import Decision, Story

from bridge import escalation, lifecycle, people
from bridge.incidents import QUIET, Change, Incident, Page, State
from bridge.lifecycle import Times
from bridge.policy import Receiver, Step

NAMES = ["DiskFull", "NodeDown", "Latency"]
DEVICES = ["alice-iphone", "alice-ipad", "bob-iphone"]
TIMES = Times(timedelta(hours=2), timedelta(minutes=5))

STEPS = st.builds(
    step,
    st.sampled_from(["platform", "iphone", "second", "both", "gone"]),
    every=st.sampled_from([0, 1, 45]),
    times=st.integers(1, 4),
    then_after=st.sampled_from([0, 1, 60, 300]),
    push=st.sampled_from(["voip", "alert"]),
    webhooks=st.sampled_from([(), (), ("hook",)]),
)
POLICIES = st.builds(
    lambda steps, repeat, notify, hold: receiver(
        *steps, repeat=repeat, notify_resolved=notify, ack_timeout=hold and timedelta(seconds=hold)
    ),
    st.lists(STEPS, min_size=1, max_size=3),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([None, 30, 600]),
)
PHONES = st.lists(st.sampled_from(DEVICES), unique=True).flatmap(
    lambda names: st.tuples(
        *(
            st.builds(phone, st.just(n), voip=st.booleans(), alert=st.booleans(), enrolled=st.booleans())
            for n in names
        )
    )
)
VERBS = ["unacknowledge", "hand_on"]
LONGEST_STEP = timedelta(seconds=300)
"""The longest then_after of STEPS, and longer than its rings and than the pause between rounds."""


class Watched(Story):
    """A story in which every decision is made twice and every change is looked at.

    `verb` is what is being done, `silent_until` what a person said last. A ring that was due is rung
    also where a reload has taken it away: `times_before` is the most that any policy wanted.
    """

    verb = ""
    times_before = 0
    silent_until: datetime | None = None

    def decide(self, verb: Callable[[], Decision]) -> Decision:
        decision = verb()
        assert verb() == decision
        return decision

    def apply(self, change: Change) -> Change:
        before = self.incidents.get(change.incident.slot)
        if before is not None and before.id == change.incident.id:
            self._compare(before, change)
        if not change.incident.open:
            assert {page.kind for page in change.pages} <= {"resolved", "acknowledged"}
        for page in change.pages:
            self._look_at(page, change.incident, before)
        return super().apply(change)

    def _compare(self, before: Incident, change: Change) -> None:
        after = change.incident
        assert after.revision >= before.revision
        assert after.series >= before.series
        if after.state is State.ACKNOWLEDGED:
            assert {page.kind for page in change.pages} <= {"acknowledged"}
        wanted = after.revision > before.revision or self.verb in {"unacknowledge", "hand_on", "silence"}
        if before.state is State.ACKNOWLEDGED and after.state is State.TRIGGERED:
            timed_out = before.acknowledged_until is not None and before.acknowledged_until <= self.now
            assert wanted or timed_out
        if before.state is State.RESOLVED:
            assert (after.state, change.pages) == (State.RESOLVED, ())
        rounds = self.policy.repeat + 1
        if before.series == after.series and before.round <= rounds < after.round:
            assert any(event.kind == "nobody reached" for event in change.events)
            assert not after.reached
        if not wanted and before.unanswered_at is not None and after.open:
            assert {page.kind for page in change.pages} <= QUIET

    def _look_at(self, page: Page, incident: Incident, before: Incident | None) -> None:
        assert page.incident_id == incident.id
        # A stand-in that is asked for twice is the same page: the ledger takes it once.
        again = page.kind == "fallback" or page.target in incident.stand_ins
        assert again or page.id not in {known.id for known in self.pages}
        assert page.expires_at >= page.due_at == self.now
        if page.kind in QUIET:
            assert page.target in incident.told
            return
        assert incident.state is State.TRIGGERED
        assert self.silent_until is None or self.silent_until <= self.now
        place = (page.series, page.round, page.step)
        asked: Step = self.policy.steps[page.step - 1]
        assert 1 <= page.ring <= max(asked.ring.times, self.times_before)
        if page.kind == "webhook":
            assert (page.ring, page.target) == (1, "hook")
            return
        for known in (before, incident):
            if known is not None and place == (known.series, known.round, known.step):
                assert page.target not in known.out
        (device,) = [found for found in self.phones if found.name == page.target]
        assert device.alert if page.push == "alert" else device.voip


class Incidents(RuleBasedStateMachine):
    """One slot, three alerts, and everything that can happen to them."""

    @initialize(policy=POLICIES, phones=PHONES)
    def begin(self, policy: Receiver, phones: tuple[object, ...]) -> None:
        self.story = Watched(policy, phones, TIMES)
        self.open: dict[str, datetime] = {}
        self.muted_until = self.story.now

    @rule(
        firing=st.lists(st.sampled_from(NAMES), unique=True, max_size=3),
        ended=st.lists(st.sampled_from(NAMES), unique=True, max_size=3),
        muted=st.none() | st.sampled_from([1, 100, 5000]),
    )
    def receive(self, firing: list[str], ended: list[str], muted: float | None) -> None:
        story = self.story
        story.now += timedelta.resolution  # each has an instant of its own, as in the ledger
        before = next(iter(story.incidents.values()), None)
        alerts = [make_alert(name, starts_at=story.now) for name in firing]
        over = [make_alert(name, firing=False, ends_at=story.now) for name in ended if name not in firing]
        changes = story.receive(*alerts, *over, muted=muted)
        self.open |= dict.fromkeys(firing, story.now + TIMES.alert_ttl)
        self.muted_until = max(self.muted_until, story.now + timedelta(seconds=muted or 0))
        for alert in over:
            self.open.pop(alert.labels["alertname"], None)
        for change in changes:
            self.news(before, change, muted)
        self.forget()

    def news(self, before: Incident | None, change: Change, muted: float | None) -> None:
        """Mutes only delay: news rings now, or when the mute ends, or goes along with what has begun."""
        after, now = change.incident, self.story.now
        if after.state is State.RESOLVED or (before is not None and after.revision == before.revision):
            return
        assert after.state is State.TRIGGERED
        assert after.due_at is not None
        assert after.acknowledged_by is None
        begun = before is not None and before.due_at is not None and (before.ring, before.round) != (0, 1)
        if self.story.silent_until is not None and self.story.silent_until > now:
            assert after.due_at >= self.story.silent_until
        elif muted is None:
            assert after.series == (before.series if before else 0) + 1
            assert after.ring or after.due_at <= now + timedelta(minutes=1)
        elif not begun:
            assert change.pages == ()
            assert after.due_at <= now + timedelta(seconds=muted)

    @rule(seconds=st.sampled_from([0, 1, 44, 45, 60, 299, 600, 7200]))
    def sleep(self, seconds: float) -> None:
        """The clock was late: it wakes once, long after."""
        self.story.now += timedelta(seconds=seconds)
        self.story.advance()
        self.forget()

    @rule(seconds=st.sampled_from([1, 45, 300, 3600]), accept=st.booleans())
    def wait(self, seconds: float, accept: bool) -> None:
        self.story.wait(seconds, accept=accept)
        self.forget()

    def forget(self) -> None:
        self.open = {name: until for name, until in self.open.items() if until > self.story.now}
        if not self.open:
            self.story.silent_until = None  # what begins then is another incident

    @precondition(lambda self: self.story.incidents)
    @rule(back=st.none() | st.integers(0, 2))
    def acknowledge(self, back: int | None) -> None:
        known = self.story.incident.revision
        after = self.story.acknowledge(revision=None if back is None else known - back).incident
        was_current = not back
        assert not was_current or after.state is State.ACKNOWLEDGED

    @precondition(lambda self: self.story.incidents)
    @rule(seconds=st.none() | st.sampled_from([1, 100, 5000]), verb=st.sampled_from(VERBS))
    def act(self, seconds: float | None, verb: str) -> None:
        """A person gives it back, hands it on, or wants no ring for a while."""
        story = self.story
        before = story.incident
        story.verb = verb if seconds is None else "silence"
        if seconds is not None:
            story.silent_until = story.now + timedelta(seconds=seconds)
            after = story.act(people.silence(story.silent_until, "alice")).incident
            assert after.due_at == story.silent_until
        elif verb == "hand_on" or before.state is State.ACKNOWLEDGED:
            story.silent_until = None
            after = story.act(getattr(people, verb)("alice")).incident
            assert after.series == before.series + 1
            assert after.state is State.TRIGGERED
        else:
            assert story.act(people.unacknowledge("alice")).incident == before
        story.verb = ""

    @precondition(lambda self: self.story.incidents and self.story.pages)
    @rule(data=st.data(), how=st.sampled_from(["drop_out", "fail_over", "reached", "answer"]))
    def hear(self, data: st.DataObject, how: str) -> None:
        """A phone says what became of a page, or APNs does, or nobody in time."""
        story = self.story
        mine = [page for page in story.pages if page.incident_id == story.incident.id]
        if not mine:
            return
        page = data.draw(st.sampled_from(mine[-6:]))
        if how == "reached":
            story.open_pages.pop(page.id, None)
            story.apply(escalation.reached(Change(story.incident), page))
        elif how == "answer":
            after = story.acknowledge(page.target.partition("-")[0], page.revision).incident
            assert after.state is State.ACKNOWLEDGED or page.revision < after.revision
        else:
            getattr(story, how)(page)

    @precondition(lambda self: self.story.incidents)
    @rule()
    def accepted(self) -> None:
        self.story.accept()

    @rule(phones=PHONES)
    def other_phones(self, phones: tuple[object, ...]) -> None:
        self.story.phones = list(phones)

    @rule(policy=POLICIES)
    def reload(self, policy: Receiver) -> None:
        before = max(step.ring.times for step in self.story.policy.steps)
        self.story.times_before = max(self.story.times_before, before)
        self.story.policy = policy

    @invariant()
    def every_open_alert_has_an_incident_that_answers_for_it(self) -> None:
        incidents = self.story.incidents.values()
        firing = [e.labels["alertname"] for incident in incidents for e in incident.firing]
        assert sorted(firing) == sorted(self.open)
        for incident in incidents:
            assert incident.firing
            if incident.state is State.ACKNOWLEDGED:
                assert (incident.due_at, incident.unanswered_at) == (None, None)
            else:
                assert (incident.due_at is None) == (incident.unanswered_at is not None)
                assert incident.unanswered_at is None or incident.reached
            if incident.due_at is not None:
                later = max(self.story.now, self.muted_until, self.story.silent_until or self.story.now)
                assert incident.due_at <= later + LONGEST_STEP

    @invariant()
    def what_waits_to_wake_somebody_is_still_wanted(self) -> None:
        """No page is left without an outcome: what nobody wants any more was withdrawn."""
        for page in self.story.open_pages.values():
            if page.kind not in QUIET:
                (incident,) = self.story.incidents.values()
                assert incident.id == page.incident_id
                assert (incident.state, incident.series) == (State.TRIGGERED, page.series)

    @invariant()
    def the_clock_has_nothing_left_to_do_at_this_instant(self) -> None:
        for incident in self.story.incidents.values():
            assert incident.wake_at is not None
            assert incident.wake_at > self.story.now
            again = lifecycle.advance(Change(incident), self.story.policy, self.story.on_call, self.story.now)
            assert again == Change(incident)


TestIncidents = Incidents.TestCase
TestIncidents.settings = settings(
    max_examples=150,
    stateful_step_count=25,
    deadline=None,
    # A failure is told in seconds, not in minutes.
    phases=set(Phase) - {Phase.explain},
    report_multiple_bugs=False,
)
