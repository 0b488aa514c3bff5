import re
from base64 import b64decode
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from rootpoint.visualize import explained, page


@pytest.fixture(scope="module")
def html():
    values = np.random.default_rng(0).normal(size=(3, 32, 32))
    photo = Image.new("RGB", (32, 32), "green")
    sheets = [
        explained(
            photo,
            values,
            title="<cat> & co.png",
            facts=["score 3.2"],
            scores=[("cat", 3.2), ("dog", -1)],
        ),
        explained(photo, values, title="second.png"),
    ]
    return page(sheets, title="Why <so>?")


def elements(html, name):
    found = []

    class Collector(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag == name:
                found.append(dict(attrs))

    Collector().feed(html)
    return found


def test_nothing_is_loaded_from_anywhere(html):
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//|@import|url\(", text)
    assert not elements(html, "script") + elements(html, "link") + elements(html, "iframe")
    sources = [image["src"] for image in elements(html, "img")]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_the_policy_allows_this_style_and_nothing_else(html):
    policy = elements(html, "meta")[1]["content"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    style = re.search(r"<style>(.*)</style>", html, re.DOTALL)[1]
    allowed = b64decode(re.search(r"'sha256-([^']+)'", policy)[1])
    assert sha256(style.encode()).digest() == allowed
    assert "style=" not in html


def test_every_image_is_whole_and_described(html):
    images = elements(html, "img")
    assert len(images) == 2 * (4 + 1)  # panels and the colour bar
    for image in images:
        opened = Image.open(BytesIO(b64decode(image["src"].split(",", 1)[1])))
        opened.load()
        assert opened.size == (int(image["width"]), int(image["height"]))
        assert len(image["alt"]) > 20


def test_text_is_escaped(html):
    assert "<h1>Why &lt;so&gt;?</h1>" in html
    assert "<h2>&lt;cat&gt; &amp; co.png</h2>" in html


def test_scores_are_listed_with_bars_only_where_given(html):
    assert html.count("<table>") == 1
    assert [bar["width"] for bar in elements(html, "rect")] == ["100.0", "0.0"]


def test_small_screens_and_dark_rooms_are_thought_of(html):
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html
