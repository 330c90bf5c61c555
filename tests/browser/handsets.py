"""A virtual phone on the page, as a person sees and touches it."""

from __future__ import annotations

from playwright.async_api import Locator, Page, expect

PATIENCE = 30_000
"""Milliseconds that one thing may take to be seen."""


class OnPage:
    """One phone of a page."""

    def __init__(self, page: Page, name: str) -> None:
        self.root = page.get_by_role("article", name=name, exact=True)
        self.call = self.root.get_by_role("region", name=f"Call of {name}", exact=True)
        self.cards = self.root.get_by_role("region", name=f"Locked screen of {name}", exact=True).locator(
            ".cards"
        )

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    async def rings(self, title: str) -> None:
        """It shows a call of this title, which can be answered."""
        await expect(self.call.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=PATIENCE)
        await expect(self.button("Answer")).to_be_visible(timeout=PATIENCE)

    async def shows(self, text: str) -> None:
        await expect(self.root.get_by_text(text).filter(visible=True).first).to_be_visible(timeout=PATIENCE)

    async def shows_no_call(self) -> None:
        await expect(self.call).to_be_hidden(timeout=PATIENCE)

    async def enrol(self, code: str, url: str = "") -> None:
        """Type a code and an address, or paste a link."""
        await self.button("Open the app").click()
        await self.root.get_by_label("Link or code").fill(code)
        if url:
            await self.root.get_by_label("address for phones").fill(url)
        await self.button("Enrol").click()
