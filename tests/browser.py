"""A real Chromium before the console: pages to click through, pictures of them, and what axe finds wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent
CHROMIUM = "/usr/bin/chromium"
AXE = ROOT / ".tools/npm/node_modules/axe-core/axe.min.js"
PICTURES = ROOT / "bench/out/screens"  # for the eye and for the documentation; not kept in the repository
PICTURES_ARE_THERE = """Promise.all([...document.images].filter(
    one => !one.complete && (one.loading !== "lazy" || one.getBoundingClientRect().top < innerHeight)
).map(one => new Promise(done => { one.onload = one.onerror = done })))"""
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SIZES = {"desk": (1280, 900), "wall": (1920, 1080), "phone": (390, 844)}

NARROW = (320, 640)
MOST_STOPS = 60
# a stop that lies in itself (the parts of a date) has its ring around the whole; None when the page is left again
_FOCUS = """() => {
    const one = document.activeElement;
    if (!one || one === document.body || one.dataset.passed) return null;
    if (one.type !== "date") one.dataset.passed = "yes";
    const box = one.getBoundingClientRect(), style = getComputedStyle(one);
    const middle = document.elementFromPoint(box.x + Math.min(box.width, innerWidth) / 2, box.y + box.height / 2);
    return {
        name: one.getAttribute("aria-label") || one.innerText || one.id || one.name,
        ring: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 1,
        seen: box.width > 0 && middle !== null && (one.contains(middle) || middle.contains(one)),
    };
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    if not Path(CHROMIUM).is_file():
        pytest.skip("Chromium is not installed: bench/system_packages.sh test")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def tab(browser: Browser, url: str, *, size: str = "desk", dark: bool = False) -> Page:
    """A page of a browser of its own, with nobody signed in; whatever a script of it complains of fails the test."""
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=url,
        color_scheme="dark" if dark else "light",
        viewport={"width": width, "height": height},
        bypass_csp=False,
    )
    page = context.new_page()
    page.on("pageerror", _fail)
    return page


def sign_in(page: Page, name: str, password: str) -> None:
    """Through the form, as a person does."""
    page.goto("/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def picture(page: Page, name: str) -> None:
    """Keep what is on the screen as `NAME.png`, its pictures with it."""
    page.evaluate(PICTURES_ARE_THERE)
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def sideways(page: Page) -> list[str]:
    """At which of the widths of WCAG 2.2, 1.4.10 (320) and of a desk at 200 % the page as it is scrolls sideways."""
    size = page.viewport_size
    assert size is not None
    found = []
    for width in NARROW:
        page.set_viewport_size({"width": width, "height": size["height"]})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"it scrolls sideways at {width} px")
    page.set_viewport_size(size)
    return found


def lost_focus(page: Page) -> list[str]:
    """Where somebody who turns the page with the Tab key alone does not see where they are, from the first stop on."""
    found, stops = [], 0
    while stops < MOST_STOPS:
        page.keyboard.press("Tab")
        stop: dict[str, Any] | None = page.evaluate(_FOCUS)
        if stop is None:
            break
        if not stops and stop["name"] != "Skip to content":
            found.append("the first stop does not lead past the head of the page")
        if not (stop["ring"] and stop["seen"]):
            found.append(f"the focus is not to be seen on {stop['name']!r}")
        stops += 1
    return found or ([] if stops else ["the Tab key leads nowhere"])


def faults(page: Page) -> list[str]:
    """What axe finds wrong with the page as it is shown, by the rules of WCAG 2.2 AA."""
    # given by the debugger and not as a script of the page, which its policy would forbid
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("tags => axe.run(document, {runOnly: tags})", WCAG)
    return [f"{one['id']}: {one['help']}: {node['html'][:160]}" for one in found["violations"] for node in one["nodes"]]


def _fail(error: Exception) -> None:
    raise AssertionError(f"a script of the page failed: {error}")
