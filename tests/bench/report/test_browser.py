from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Page, page

pytestmark = pytest.mark.browser
SHOWN = "[...document.querySelectorAll('#report_generation-list > .sample:not([hidden])')]"
FORM = "document.querySelector('form[data-list=report_generation-list]')"


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    with page() as opened:
        yield opened


def choose(tab: Page, field: str, value: str) -> None:
    tab.evaluate(
        f"{FORM}.elements.namedItem('{field}').value = {value!r};"
        f"{FORM}.dispatchEvent(new Event('input', {{bubbles: true}}))"
    )


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_have_no_errors_requests_or_overflow(tab: Page, pages: dict[str, Path], width: int, dark: bool) -> None:
    for path in pages.values():
        tab.open(path, width=width, dark=dark)
        tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth") is True, path
        assert tab.evaluate("window.innerWidth") == width
        assert tab.evaluate("window.hacked === undefined") is True
        assert tab.evaluate("document.querySelectorAll('h1').length") == 1
        assert tab.evaluate("document.documentElement.lang") == "en"
        broken = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.querySelector(a.hash))"
        assert tab.evaluate(f"{broken}.length") == 0
        twice = "[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, n, all) => all.indexOf(id) !== n)"
        assert tab.evaluate(f"{twice}.join()") == ""
        assert tab.problems() == []


def test_every_image_is_drawn_and_named(tab: Page, finished: Path) -> None:
    tab.open(finished / "report.html", width=1280)
    tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    images = "[...document.querySelectorAll('svg.xray')]"
    assert tab.evaluate(f"{images}.length") == 24 * 6
    assert tab.evaluate(f"{images}.every(i => i.getBoundingClientRect().height > 50)") is True
    assert tab.evaluate(f"{images}.every(i => i.ariaLabel.startsWith('X-ray of study'))") is True
    decoded = "Promise.all([...document.querySelectorAll('defs image')].map(i => i.decode ? i.decode() : true))"
    assert tab.evaluate(f"{decoded}.then(all => all.length)") == 24


def test_filters_sort_and_count(tab: Page, finished: Path) -> None:
    tab.open(finished / "report.html", width=1280)
    assert tab.evaluate(f"{SHOWN}.length") == 24
    assert tab.evaluate(f"{FORM}.hidden") is False
    choose(tab, "show", "failed")
    assert tab.evaluate(f"{SHOWN}.map(s => s.dataset.id).join()") == (
        "report_generation/nih-00029696_000/nih-00029696_000"
    )
    assert tab.evaluate(f"{FORM}.querySelector('output').textContent") == "1 of 24 shown"
    choose(tab, "show", "all")
    choose(tab, "sort", "id")
    ids = tab.evaluate(f"{SHOWN}.map(s => s.dataset.id).join(' ')").split(" ")
    assert ids == sorted(ids)
    assert len(ids) == 24
    choose(tab, "sort", "best")
    ranks = tab.evaluate(f"{SHOWN}.map(s => s.dataset.rank).join(' ')").split(" ")
    assert [int(rank) for rank in ranks] == list(range(24, 0, -1))
    choose(tab, "finding", "Cardiomegaly")
    named = f"{SHOWN}.every(s => (s.dataset.added + '|' + s.dataset.missed).split('|').includes('Cardiomegaly'))"
    assert tab.evaluate(named) is True
    assert 0 < tab.evaluate(f"{SHOWN}.length") < 24
    tab.evaluate(f"{FORM}.reset()")
    tab.evaluate("new Promise(done => setTimeout(done, 50))")
    assert tab.evaluate(f"{SHOWN}.length") == 24
    choose(tab, "text", "window.hacked SCRIPT")
    assert 0 < tab.evaluate(f"{SHOWN}.length") < 24
    choose(tab, "text", "no such words")
    assert tab.evaluate(f"{SHOWN}.length") == 0


def test_without_script_the_page_is_complete_and_shows_no_dead_controls(tab: Page, finished: Path) -> None:
    tab.open(finished / "report.html", width=1280, script=False)
    assert tab.evaluate("[...document.forms].every(f => getComputedStyle(f).display === 'none')") is True
    assert tab.evaluate("document.querySelectorAll('.sample:not([hidden])').length") == 24 * 6


def test_the_keyboard_reaches_the_content_the_filters_and_the_samples(tab: Page, finished: Path) -> None:
    tab.open(finished / "report.html", width=1280)
    tab.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    tab.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "content"
    visited = []
    for _ in range(40):
        tab.press("Tab")
        visited.append(tab.evaluate("document.activeElement.name || document.activeElement.tagName"))
        if visited[-1] == "SUMMARY" and tab.evaluate("!!document.activeElement.closest('.sample')"):
            break
    assert visited[-1] == "SUMMARY"
    assert [name for name in visited if name in ("text", "show", "finding", "sort")] == [
        "text",
        "show",
        "finding",
        "sort",
    ]
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.evaluate(outline) == "solid"
    was = tab.evaluate("document.activeElement.parentElement.open")
    tab.press("Enter")
    assert tab.evaluate("document.activeElement.parentElement.open") is not was


def test_a_link_from_the_error_list_opens_the_sample(tab: Page, finished: Path) -> None:
    tab.open(finished / "report.html", width=1280)
    link = "document.querySelector('section[aria-labelledby=errors] a')"
    tab.evaluate(f"document.querySelector({link}.hash).open = false")
    tab.evaluate(f"{link}.click()")
    tab.evaluate("new Promise(done => setTimeout(done, 50))")
    assert tab.evaluate(f"document.querySelector({link}.hash).open") is True


def test_printing_opens_every_fold(tab: Page, finished: Path) -> None:
    tab.open(finished / "report.html", width=1280)
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate("document.querySelectorAll('details:not([open])').length") > 0
