"""Whatever the routes: what a silence hides would have joined the very incident that it was made for."""

from __future__ import annotations

from typing import Any

from builders import NOW
from hypothesis import given, settings
from ledgers import episode, incident
from test_routing_oracles import LABELS, spec, trees

from bridge import silences
from bridge.incidents import Slot
from bridge.routing import explain, resolve
from bridge.silences import TooWide


@settings(max_examples=100, deadline=None, database=None)
@given(trees(), LABELS, LABELS)
def test_an_alert_that_a_silence_hides_takes_the_same_way_as_the_one_it_was_made_for(
    tree: dict[str, Any], labels: dict[str, str], other: dict[str, str]
) -> None:
    root = resolve(spec(tree))
    for match in explain(root, labels, NOW, {}).matches:
        place = Slot("default", match.receiver, match.group)
        made_for = incident("any", episode(labels=labels), at_slot=place)
        try:
            (matchers,) = silences.exactly(made_for, root)
        except TooWide:
            continue
        assert all(labels.get(name, "") == value for name, value in matchers.items()), "it hides the alert"
        hidden = {name: value for name, value in (other | matchers).items() if value}
        ways = [(one.route.path, one.receiver) for one in explain(root, hidden, NOW, {}).matches]
        assert ways == [(one.route.path, one.receiver) for one in explain(root, labels, NOW, {}).matches]
        if "..." not in match.route.group_by:
            groups = [one.group for one in explain(root, hidden, NOW, {}).matches if one.route is match.route]
            assert groups == [match.group]
