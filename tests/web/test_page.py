"""The page in a real browser: Debian's Chromium, without a window."""

from __future__ import annotations

import base64
import io
import json
import re
import time
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from .conftest import opened

pytestmark = pytest.mark.slow


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
    give(page, cup.path, "drop", "dataTransfer")
    expect(page.locator(".class").first).to_contain_text("espresso")
    expect(page.locator("#explained")).to_contain_text("espresso")


def test_a_photo_is_pasted_or_uploaded(page: Page) -> None:
    from rootpoint import data

    found = {photo.name: photo.path for photo in data.photos()}
    page.click("#input-image")
    expect(page.locator("#explained")).to_contain_text("cat")
    give(page, found["coffee"], "paste", "clipboardData")
    expect(page.locator("#explained")).to_contain_text("espresso")
    page.set_input_files("#file", str(found["chelsea"]))
    expect(page.locator("#explained")).to_contain_text("cat")


def give(page: Page, path: Path, event: str, how: str) -> None:
    """Drop or paste a file, as the browser tells the page of it."""
    page.evaluate(
        """([data, event, how]) => {
          const given = new DataTransfer();
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          given.items.add(new File([bytes], "given", { type: "image/jpeg" }));
          const more = { [how]: given, bubbles: true, cancelable: true };
          const Kind = event === "drop" ? DragEvent : ClipboardEvent;
          document.querySelector("#photo").dispatchEvent(new Kind(event, more));
        }""",
        [base64.b64encode(path.read_bytes()).decode(), event, how],
    )


def test_a_file_that_is_no_photo_is_said(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    page.click("#input-image")
    page.set_input_files("#file", str(tmp_path / "notes.txt"))
    expect(page.locator("#photo .problem")).to_have_text("Choose a PNG, JPEG or WebP photo.")


def test_how_relevance_is_shown_changes_without_asking_the_server(page: Page) -> None:
    expect(page.locator(".balance li").first).to_be_visible()  # the last that is asked at first
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/api/" in one.url else None)
    for change in (
        lambda: page.select_option("[name=sign]", "for"),
        lambda: page.select_option("[name=map]", "green-pink"),
        lambda: page.fill("[name=threshold]", "0.5"),
        lambda: page.fill("[name=opacity]", "0.4"),
        lambda: page.fill("[name=smoothing]", "3"),
        lambda: page.check("[name=grey]"),
        lambda: page.click("#theme"),
    ):
        before = painted(page)
        change()
        wait_until_repainted(page, before)
    page.select_option("[name=scale]", "shared")
    ends = page.locator(".card .legend span:last-child")
    expect(ends.first).to_have_text(ends.last.inner_text())
    assert asked == []


def test_a_value_is_read_where_the_pointer_is(page: Page) -> None:
    page.locator(".card .heatmap canvas").first.hover(position={"x": 20, "y": 20})
    place = page.locator(".card .place").first
    expect(place).to_have_text(re.compile("row 2, column 2: [+−]?[0-9.]+"))
    page.locator(".card .heatmap canvas").first.press("ArrowDown")
    expect(place).to_contain_text("row 3, column 2")


def test_ink_is_erased(page: Page) -> None:
    draw_one(page)
    expect(page.locator("#explained")).to_have_text("Explained: 1")
    before = shown(page, "score")
    page.get_by_role("button", name="Erase").click()
    box: Any = page.locator("#drawing").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, y, steps=5)
    page.mouse.up()
    wait_until_other(page, "score", before)


def test_the_rule_of_one_layer_is_edited(browser: Browser, server: str) -> None:
    with opened(browser, server, failing=True) as page:
        gap = shown(page, "gap")
        rule = page.get_by_label("Rule of features.0").first
        rule.fill("gamma(gamma=2.0)")
        rule.press("Enter")
        wait_until_other(page, "gap", gap)
        changed = shown(page, "gap")
        rule.fill("no-rule")
        rule.press("Enter")
        expect(page.locator(".card .problem").first).to_contain_text("no-rule")
        page.locator(".card").first.get_by_role("button", name="Reset").click()
        wait_until_other(page, "gap", changed)


def test_what_is_being_typed_stays_while_the_page_is_drawn_anew(page: Page) -> None:
    rule = page.get_by_label("Rule of features.0").first
    rule.press_sequentially("gamm")
    page.evaluate("document.getElementById('theme').click()")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    rule.press_sequentially("a(gamma=2.0)")
    expect(rule).to_have_value("gamma(gamma=2.0)")
    rule.press("Enter")
    expect(page.locator(".parameters", has_text="1 edited rule")).to_be_visible()


def test_layers_are_scrubbed_through(page: Page) -> None:
    name = page.locator("#layer")
    expect(name).to_be_visible()
    first = name.get_attribute("aria-valuetext")
    map_of_layer = page.locator(".inside .heatmap > canvas")
    before = map_of_layer.screenshot()
    name.fill("0")
    expect(name).not_to_have_attribute("aria-valuetext", first or "")
    assert map_of_layer.screenshot() != before


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

    drawing = ElementTree.fromstring(downloaded("SVG"))
    assert "Why 3?" in "".join(drawing.itertext())
    assert len(drawing.findall(".//{*}svg/{*}rect")) == 28 * 28
    sharp = Image.open(io.BytesIO(downloaded("PNG")))
    assert sharp.size == (2 * int(drawing.attrib["width"]), 2 * int(drawing.attrib["height"]))
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


def link_of(page: Page) -> str:
    """The link that the page gives away."""
    page.click("#deeper-take")
    return page.locator(".snippet", has_text="Link to this view").locator("code").inner_text()


def open_view(page: Page, view: Any) -> Page:
    """The page as a link to a view opens it."""
    opened = page.context.new_page()
    opened.on("pageerror", lambda error: pytest.fail(str(error)))
    packed = base64.urlsafe_b64encode(json.dumps(view).encode()).decode().rstrip("=")
    opened.goto(f"{page.url.partition('#')[0]}#view={packed}")
    return opened


def test_a_link_restores_the_view(page: Page) -> None:
    draw_one(page)
    expect(page.locator("#explained")).to_have_text("Explained: 1")
    count = page.locator(".card").count() + 1
    page.click(".add")
    expect(page.locator(".card")).to_have_count(count)
    link = link_of(page)
    expect(page).to_have_url(link)
    other = page.context.new_page()
    other.goto(link)
    expect(other.locator("#explained")).to_have_text("Explained: 1")
    expect(other.locator(".card")).to_have_count(count)


NONSENSE: list[Any] = [
    [],
    {"kind": "sound"},
    {"kind": "digits", "strokes": [3]},
    {"kind": "digits", "strokes": [{"points": "no"}]},
    {"kind": "digits", "cards": {"method": "lrp"}},
    {"kind": "digits", "cards": [{"method": "lrp", "parameters": {}, "rules": None}]},
    {"kind": "digits", "look": {"map": "none"}},
    {"kind": "image", "target": {"class": 3}},
    {"kind": "image", "erased": [1e12]},
    {"kind": "image", "input": "chelsea"},
]


def test_a_link_that_says_nonsense_opens_the_usual_view(page: Page) -> None:
    for view in NONSENSE:
        other = open_view(page, view)
        expect(other.locator("#explained"), str(view)).to_have_text("Explained: 3")
        other.close()


def test_a_link_with_a_method_that_is_none_opens_with_one_that_is(page: Page) -> None:
    view = {"kind": "digits", "cards": [{"method": "tarot", "parameters": {}, "rules": {}}]}
    other = open_view(page, view)
    expect(other.locator("#explained")).to_have_text("Explained: 3")
    expect(other.locator(".method").first).to_have_value("lrp")


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
    expect(page.locator(".card[aria-busy=true]")).to_have_count(0)
    other = page.context.new_page()
    other.goto(link_of(page))
    expect(other.locator(".card .score").first).to_have_text(shown(page, "score"))
