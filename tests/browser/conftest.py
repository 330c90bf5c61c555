"""A real Chromium, and pages of it that are judged while they are looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeAlias

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

from bridge.children import find_program

NARROW = {"width": 360, "height": 780}
WIDE = {"width": 1280, "height": 900}

Open: TypeAlias = Callable[..., Coroutine[Any, Any, Page]]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        found = find_program("chromium", "google-chrome", package="chromium")
        # Chromium's own sandbox does not work for root; what it opens here is ours alone.
        browser = await driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[Open]:
    """Give what opens a page, in a profile of its own; at the end, none may have complained.

    What a page says to its console counts as a complaint: scripts that fail, and whatever its content
    security policy forbids. `more` goes to the profile. `page.complaints` is a list that a test may clear where it causes some.
    """
    opened: list[Page] = []

    async def open_(url: str, size: dict[str, int] = WIDE, scheme: str = "light", **more: Any) -> Page:
        context = await browser.new_context(
            viewport=size, color_scheme=scheme, reduced_motion="reduce", **more
        )
        context.set_default_timeout(30_000)
        page = await context.new_page()
        complaints: list[str] = []
        page.complaints = complaints
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        opened.append(page)
        await page.goto(url)
        return page

    yield open_
    assert [page.complaints for page in opened if page.complaints] == []


async def assert_accessible(page: Page) -> None:
    """Let axe-core look at what is on the page now; it must find nothing."""
    results = await Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


async def assert_nothing_scrolls_sideways(page: Page) -> None:
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"the page is {wide} px too wide"
