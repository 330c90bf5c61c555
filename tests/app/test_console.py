"""The console's pages as a browser gets them: what they show, who may see them, what they forbid."""

from appworld import World


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
