"""Texts and tables on the page, of models that an operator fitted."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from .conftest import opened, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a classifier of texts and one of rows, beside the usual models."""
    skops = pytest.importorskip("skops.io")
    from sklearn.datasets import load_iris
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    folder = tmp_path_factory.mktemp("operator")
    rows, labels = load_iris(as_frame=True, return_X_y=True)
    rows.to_csv(folder / "flowers.csv", index=False)
    skops.dump(LogisticRegression(max_iter=500).fit(rows, labels), folder / "flowers.skops")
    texts = ["good film", "bad film", "good plot", "bad plot"]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    skops.dump(model.fit(texts, ["bad", "good", "bad", "good"][::-1]), folder / "films.skops")
    table = {"name": "flowers.skops", "kind": "table", "rows": "flowers.csv", "title": "Flowers"}
    served = [table, {"name": "films.skops", "kind": "text", "title": "Films"}]
    lines = [
        "[[models]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in model.items())
        for model in served
    ]
    (folder / "models.toml").write_text("\n".join(lines))
    with serving("--config", str(folder / "models.toml")) as address:
        yield address


@pytest.fixture
def page(browser: Browser, fitted: str) -> Iterator[Page]:
    with opened(browser, fitted) as found:
        yield found


def test_words_of_a_typed_sentence_are_coloured(page: Page) -> None:
    page.click("#input-text")
    page.fill("#text", "a good film with a bad plot")
    words = page.locator(".card .words > span")
    expect(words).to_have_count(7)
    page.fill("#text", "good film")
    expect(words).to_have_count(2)
    expect(page.locator("#explained")).to_have_text("Explained: good")
    colours = words.evaluate_all("all => all.map(one => one.style.backgroundColor)")
    red, _, blue = map(int, re.findall(r"\d+", colours[0]))
    assert red > blue, colours
    page.fill("#text", "bad film")
    expect(page.locator("#explained")).to_have_text("Explained: bad")


def test_columns_of_a_row_are_bars_and_values_can_be_changed(page: Page) -> None:
    page.click("#input-table")
    bars = page.locator(".card .columns li")
    expect(bars).to_have_count(4)
    expect(page.locator("#explained")).to_have_text("Explained: 0")
    page.get_by_label("petal length (cm)").fill("6.5")
    page.get_by_label("petal length (cm)").press("Enter")
    expect(page.locator("#explained")).to_have_text("Explained: 2")
    expect(bars.first).to_contain_text("petal length")
    page.select_option("#row", "0")
    expect(page.locator("#explained")).to_have_text("Explained: 0")


def test_what_a_column_cannot_hold_is_said(page: Page) -> None:
    page.click("#input-table")
    field = page.get_by_label("petal length (cm)")
    field.fill("wide")
    field.press("Enter")
    expect(page.locator(".left .problem")).to_contain_text("petal length (cm) is a number")
    field.fill("1.5")
    field.press("Enter")
    expect(page.locator(".left .problem")).to_have_text("")


@pytest.mark.parametrize(
    ("kind", "what", "names"),
    [
        ("text", "words", ["warm", "film,", "slow."]),
        ("table", "columns", ["sepal length (cm)", "petal width (cm)"]),
    ],
)
def test_texts_and_tables_are_taken_away(
    page: Page, tmp_path: Path, kind: str, what: str, names: list[str]
) -> None:
    page.click(f"#input-{kind}")
    page.click("#deeper-take")

    def downloaded(form: str) -> bytes:
        with page.expect_download() as waiting:
            page.click(f".take button:text-is('{form}')")
        waiting.value.save_as(tmp_path / form)
        return (tmp_path / form).read_bytes()

    assert json.loads(downloaded("JSON"))["answer"]["relevance"]["kind"] == what
    drawing = ElementTree.fromstring(downloaded("SVG"))
    assert {*names} <= {text.text for text in drawing.findall(".//{*}text")}
    assert Image.open(io.BytesIO(downloaded("PNG"))).width == 2 * int(drawing.attrib["width"])
    expect(page.locator(".snippet").first).to_contain_text("import rootpoint as rp")


def test_texts_and_tables_are_looked_into_and_challenged(page: Page) -> None:
    for kind in ("text", "table"):
        page.click(f"#input-{kind}")
        page.click("#deeper-inside")
        expect(page.locator(".balance li").first).to_be_visible()
        page.click("#deeper-challenge")
        page.click("#flip")
        expect(page.locator("#flip-state")).to_have_text("Complete.")
        expect(page.locator(".chart polyline")).to_have_count(1)


def test_nothing_keeps_out_who_cannot_see_or_use_a_mouse(page: Page) -> None:
    axe = Axe()
    for _ in ("light", "dark"):
        for kind in ("digits", "image", "text", "table"):
            page.click(f"#input-{kind}")
            page.click("#deeper-inside")
            expect(page.locator(".balance li").first).to_be_visible()
            assert axe.run(page).response["violations"] == []
        for deeper in ("challenge", "take"):
            page.click(f"#deeper-{deeper}")
            assert axe.run(page).response["violations"] == []
        page.click("#theme")


def test_the_reference_of_the_api_is_for_everybody_too(page: Page) -> None:
    page.click("text=API")
    expect(page.locator("h2").first).to_be_visible()
    assert Axe().run(page).response["violations"] == []
