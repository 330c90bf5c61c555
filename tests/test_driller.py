"""The loop that lets drills ring: when it looks again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from builders import NOW, at
from desks import make_settings, office
from sqlalchemy import event

from bridge.driller import Driller
from bridge.drills import Drill, Hours
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
