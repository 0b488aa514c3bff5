"""The page in a real browser: Debian's Chromium, without a window."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

expect.set_options(timeout=30_000)  # a busy machine is slow, not wrong

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (on Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    """The page, opened; at the end it must not have complained, nor asked anybody else."""
    yield from _opened(browser, server, 1280, 900)


@pytest.fixture
def phone(browser: Browser, server: str) -> Iterator[Page]:
    yield from _opened(browser, server, 375, 800)


def _opened(browser: Browser, server: str, width: int, height: int) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    complaints: list[str] = []
    strangers: list[str] = []
    page.on(
        "console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    own = server, "data:", "blob:"
    page.on("request", lambda r: None if r.url.startswith(own) else strangers.append(r.url))
    page.goto(server)
    page.wait_for_selector(".heatmap canvas")
    yield page
    context.close()
    assert complaints == []
    assert strangers == []


def draw_one(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()
    box = page.locator("#drawing").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + box["height"] * 0.6, steps=12)
    page.mouse.up()


def painted(page: Page) -> bytes:
    """The pixels of the first card's map."""
    return page.locator(".card .heatmap canvas").first.screenshot()


def shown(page: Page, name: str) -> str:
    """A number of the first card, as it is read."""
    return page.locator(f".card .{name}").first.inner_text()


def wait_until_other(page: Page, name: str, before: str) -> None:
    """Wait until a number of the first card is another than before."""
    number = page.locator(f".card .{name}").first
    expect(number).not_to_have_text(before)


def wait_until_repainted(page: Page, before: bytes) -> None:
    """Wait until the first card's map looks otherwise: it is painted after its numbers are."""
    end = time.monotonic() + 30
    while painted(page) == before:
        assert time.monotonic() < end, "the map is as it was"
        page.wait_for_timeout(50)


def test_a_drawn_digit_is_read_and_its_heatmap_painted(page: Page) -> None:
    before = painted(page)
    draw_one(page)
    expect(page.locator("#explained")).to_have_text("Explained: 1")
    wait_until_repainted(page, before)
    picture = Image.open(io.BytesIO(painted(page))).convert("RGB")
    assert len(picture.getcolors(1 << 20) or ()) > 50


def test_a_dropped_photo_is_named_and_explained(page: Page, tmp_path: Path) -> None:
    from rootpoint import data

    (cup,) = [photo for photo in data.photos() if photo.name == "coffee"]
    page.click("#input-image")
    expect(page.locator("#explained")).to_contain_text("cat")
    page.set_input_files("#file", str(cup.path))
    expect(page.locator(".class").first).to_contain_text("espresso")
    expect(page.locator("#explained")).to_contain_text("espresso")


def test_two_methods_are_compared(page: Page) -> None:
    cards = page.locator(".card")
    count = cards.count()
    page.click(".add")
    expect(cards).to_have_count(count + 1)
    cards.last.locator(".method").select_option("sensitivity")
    expect(cards.last.locator(".score")).to_be_visible()
    assert cards.first.locator(".score").inner_text() == cards.last.locator(".score").inner_text()


def test_a_parameter_changes_the_heatmap(page: Page) -> None:
    gap, before = shown(page, "gap"), painted(page)
    page.locator(".card").first.locator("[name=composite]").select_option("epsilon")
    wait_until_other(page, "gap", gap)
    wait_until_repainted(page, before)


def test_a_class_and_a_contrast_are_chosen_by_click(page: Page) -> None:
    draw_one(page)
    expect(page.locator("#explained")).to_have_text("Explained: 1")
    page.locator(".class").nth(1).click()
    expect(page.locator("#explained")).not_to_have_text("Explained: 1")
    page.locator(".versus").first.click()
    expect(page.locator("#explained")).to_contain_text("rather than")


def test_curves_draw_themselves_to_the_end(page: Page) -> None:
    page.click("#deeper-challenge")
    page.click("#flip")
    expect(page.locator("#flip-state")).to_have_text("Complete.", timeout=20_000)


def test_downloads_are_what_they_say(page: Page, tmp_path: Path) -> None:
    page.click("#deeper-take")

    def downloaded(kind: str) -> bytes:
        with page.expect_download() as waiting:
            page.click(f".take button:text-is('{kind}')")
        path = tmp_path / kind
        waiting.value.save_as(path)
        return path.read_bytes()

    assert Image.open(io.BytesIO(downloaded("PNG"))).width >= 28
    assert downloaded("SVG").lstrip().startswith(b"<svg")
    archive = downloaded("NPZ")
    assert zipfile.ZipFile(io.BytesIO(archive)).testzip() is None
    assert np.load(io.BytesIO(archive))["relevance"].shape[-2:] == (28, 28)
    document = json.loads(downloaded("JSON"))
    assert document["request"]["model"] == "digits"
    assert document["answer"]["relevance"]["height"] == 28


def test_all_is_done_by_keys(page: Page) -> None:
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Enter")
    page.focus("#drawing")
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    for _ in range(18):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#explained")).to_have_text("Explained: 1")
    page.focus("#input-digits")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#explained")).to_contain_text("cat")


def test_a_link_restores_the_view(page: Page) -> None:
    draw_one(page)
    expect(page.locator("#explained")).to_have_text("Explained: 1")
    count = page.locator(".card").count() + 1
    page.click(".add")
    expect(page.locator(".card")).to_have_count(count)
    page.click("#deeper-take")
    link = page.locator(".snippet", has_text="Link to this view").locator("code").inner_text()
    expect(page).to_have_url(link)
    other = page.context.new_page()
    other.goto(link)
    expect(other.locator("#explained")).to_have_text("Explained: 1")
    expect(other.locator(".card")).to_have_count(count)


def test_a_phone_shows_all_in_its_width(phone: Page) -> None:
    for kind, read in (("digits", "Explained: 3"), ("image", "cat")):
        phone.click(f"#input-{kind}")
        expect(phone.locator("#explained")).to_contain_text(read)
        assert phone.evaluate("document.documentElement.scrollWidth") == 375


def test_a_photo_is_erased_by_brush_and_score_responds(page: Page) -> None:
    page.click("#input-image")
    expect(page.locator("#explained")).to_contain_text("cat")
    before = shown(page, "score")
    box: Any = page.locator("#eraser").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 40, box["y"] + 110, steps=10)
    page.mouse.up()
    wait_until_other(page, "score", before)
