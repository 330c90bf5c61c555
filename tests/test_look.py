"""What pages are made with is what its authors published, and nothing in it comes from elsewhere."""

import re
from hashlib import sha256

import pytest

from bridge.look import asset

PUBLISHED = {
    "htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    "htmx-ext-sse.min.js": "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136",
}
"""htmx 2.0.11 and htmx-ext-sse 2.2.4, as they are in the npm packages of those names, under dist/."""


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_script_of_others_is_as_it_was_published(name: str) -> None:
    assert sha256(asset(name).content).hexdigest() == PUBLISHED[name]


def test_the_licence_of_every_script_of_others_comes_with_it() -> None:
    licences = asset("LICENSES.txt").content.decode()
    assert all(name in licences for name in PUBLISHED)


def test_the_stylesheet_loads_nothing() -> None:
    assert not re.search(rb"url\(|@import|//[a-z]", asset("style.css").content)


def test_a_file_s_tag_changes_with_what_is_in_it() -> None:
    tags = {asset(name).tag for name in (*PUBLISHED, "style.css")}
    assert len(tags) == 3
    assert all(re.fullmatch("[0-9a-f]{12}", tag) for tag in tags)
