from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import page

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [1280, 375])
def test_the_page_shows_all_images_without_errors_requests_or_overflow(finished: Path, width: int) -> None:
    with page() as tab:
        tab.open(finished / "report.html", width=width)
        everything = "Promise.all([...document.images].map(i => {i.loading = 'eager'; return i.decode()}))"
        assert tab.evaluate(f"{everything}.then(() => [...document.images].every(i => i.naturalWidth > 50))") is True
        assert tab.evaluate("document.images.length") == 48
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth") is True
        assert tab.evaluate("window.hacked === undefined") is True
        assert tab.problems() == []


def test_headings_and_alternative_texts_are_in_place(finished: Path) -> None:
    with page() as tab:
        tab.open(finished / "report.html", width=1280)
        assert tab.evaluate("document.querySelectorAll('h1').length") == 1
        assert tab.evaluate("[...document.images].every(i => i.alt.startsWith('X-ray of study'))") is True
        assert tab.evaluate("document.documentElement.lang") == "en"
        assert tab.evaluate("document.title").startswith("hostile on demo")
