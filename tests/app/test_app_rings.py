from appworld import World


async def test_a_firing_alert_rings_until_its_step_is_over_then_the_next_person(world: World) -> None:
    await world.webhook(world.alert())
    await world.pass_(600)
    assert world.rings("alice") == [0, 45, 90, 135]
    assert world.rings("bob") == [300, 345, 390, 435]
    assert (await world.timeline())[-1] == "unanswered"
