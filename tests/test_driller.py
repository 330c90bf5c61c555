"""The loop that lets drills ring: when it looks again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from builders import NOW, at
from desks import make_settings, office
from sqlalchemy import event
from structlog.testing import capture_logs

from bridge.driller import Driller
from bridge.drills import Drill, Hours
from bridge.store import drills as ledger
from bridge.timeintervals import TimeInterval


async def test_an_hour_that_begins_while_a_look_is_committed_is_looked_at_next(tmp_path: Path) -> None:
    """The look has not seen it, and the next one may be a week away."""
    hour = (NOW + timedelta(minutes=1)).time()
    hours = Hours(hour, TimeInterval(zone=ZoneInfo("UTC")))
    weekly = Drill("weekly", hours, "platform", device_groups=("platform",))
    settings = make_settings(drills={"weekly": weekly})
    async with office(tmp_path, settings) as room:
        driller = Driller(room.store, lambda: settings, room.clock, room.desk.metrics)
        room.clock.move(59)
        event.listen(room.store._writer._engine.sync_engine, "commit", lambda _: room.clock.move(2))
        assert await driller.look() == at(60)


async def test_a_bridge_that_does_not_have_a_drill_lets_another_bridge_ring_it_and_says_so_once(
    tmp_path: Path,
) -> None:
    """Two replicas, of which one was not reloaded. The reload that takes it out has it forgotten at once."""
    hours = Hours((NOW + timedelta(minutes=1)).time(), TimeInterval(zone=ZoneInfo("UTC")))
    weekly = Drill("weekly", hours, "platform", device_groups=("platform",))
    has, has_not = make_settings(drills={"weekly": weekly}), make_settings()
    async with office(tmp_path, has) as room:
        settings = [has, has_not]
        one, other = (
            Driller(room.store, lambda n=n: settings[n], room.clock, room.desk.metrics) for n in (0, 1)
        )
        await one.look()
        with capture_logs() as logs:
            await other.look()
            await other.look()
        assert [entry["drills"] for entry in logs] == [("weekly",)]
        room.clock.move(60)
        assert (await other.look(), await room.store.read(ledger.going_on)) == (at(60 + 86_400), ())
        await one.look()
        (run,) = await room.store.read(ledger.going_on)
        assert run.due_at == at(60)
        settings[0] = has_not
        await one.look()
        assert await room.store.read(ledger.marks) == {}
