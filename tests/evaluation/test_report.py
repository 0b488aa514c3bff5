"""The report: one whole file, which says what was found and loads nothing."""

from __future__ import annotations

import re
from base64 import b64decode
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.evaluation.charts import Line, chart, round_values, signed
from rootpoint.evaluation.findings import finding
from rootpoint.evaluation.metric import Curves, metric
from rootpoint.evaluation.report import leading, report, short
from rootpoint.evaluation.reproducing import script
from rootpoint.evaluation.result import Evaluation, Result

VOID = {"meta", "img", "wbr", "br"}
METRIC = "aopc(steps=2)"


class Page(HTMLParser):
    """The elements and the text of a page; fails if a tag is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def made(
    values: dict[str, Any], text: str = METRIC, curves: Curves | None = None, **changed: Any
) -> Evaluation:
    """An evaluation by one metric."""
    kept = {} if curves is None else {text: curves}
    results = {
        name: Result({text: np.array(one, dtype=np.float64)}, kept, 0.1, count=len(one))
        for name, one in values.items()
    }
    given: dict[str, Any] = {"failures": {}, "configuration": {"model": "Net"}, **changed}
    return Evaluation(metrics={text: metric(text)}, results=results, **given)


def said(evaluation: Evaluation, text: str = METRIC) -> str:
    return Page(finding(evaluation, text)).text.replace("\xa0", " ")


def yours(model: Any, inputs: Any, targets: Any) -> Any:
    return inputs.abs()


def broken(model: Any, inputs: Any, targets: Any) -> Any:
    raise InputError("explains <nothing>")


METRICS = ["abpc(steps=3)", "conservation", "parameter-randomization(layers=2)"]


@pytest.fixture(scope="module")
def found() -> Evaluation:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 8 * 10, 3),
    ).eval()  # fmt: skip
    methods = ["lrp(composite='epsilon')", "gradient", "random", yours, broken]
    return rp.evaluate(model, torch.randn(5, 3, 12, 14), methods, METRICS)


@pytest.fixture(scope="module")
def html(found: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "found.html"
    return found.save(path).read_text(encoding="utf-8")


def test_every_tag_is_closed_and_every_method_and_metric_is_there(
    html: str, found: Evaluation
) -> None:
    page = Page(html)
    for name in (*found.methods, *found.metrics):
        assert page.text.count(name) >= 3


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<iframe", text)
    assert all(
        (image["src"] or "").startswith("data:image/jpeg;base64,")
        for image in Page(html).all("img")
    )


def test_the_policy_allows_this_style_and_nothing_else(html: str) -> None:
    policy = Page(html).all("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    style, allowed = (
        re.search(pattern, text, re.DOTALL)
        for pattern, text in ((r"<style>(.*)</style>", html), (r"'sha256-([^']+)'", policy))
    )
    assert style is not None
    assert allowed is not None
    assert sha256(style[1].encode()).digest() == b64decode(allowed[1])
    assert not re.search(r"<[^>]*\sstyle=", html)


def test_examples_show_each_input_and_each_map_at_one_size(html: str) -> None:
    images = Page(html).all("img")
    assert len(images) == 4 * (1 + 4)
    for image in images:
        picture = Image.open(BytesIO(b64decode((image["src"] or "").split(",")[1])))
        assert picture.size == (224, 192)
        assert image["alt"]


def test_there_is_a_chart_for_each_kind_of_curve(html: str) -> None:
    charts = [svg for svg in Page(html).all("svg") if svg.get("class") == "chart"]
    titles = [svg["aria-label"] for svg in charts]
    drawn = ["abpc(steps=3): morf", "abpc(steps=3): lerf"]
    assert titles == [*drawn, "parameter-randomization(layers=2): similarity"]
    assert html.count("<polyline") == html.count("<polygon") == 3 * 4


def test_failures_are_shown_with_their_messages(html: str) -> None:
    assert "InputError: explains <nothing>" in Page(html).text
    assert "explains <nothing>" not in html


def test_the_configuration_and_the_versions_are_shown(html: str, found: Evaluation) -> None:
    text = Page(html).text
    for key in ("rootpoint", "torch", "numpy", "python"):
        assert str(found.configuration[key]) in text
    assert found.configuration["methods"]["gradient"] in text


def test_the_report_of_a_loaded_evaluation_lacks_only_the_examples(
    found: Evaluation, html: str, tmp_path: Path
) -> None:
    again = report(Evaluation.load(found.save(tmp_path / "found.json")))
    sections = re.compile(r"<section>\n<h2>Examples</h2>.*?</section>\n", re.DOTALL)
    assert again == sections.sub("", html)


def test_texts_and_tables_are_reported_without_pictures() -> None:
    def words(texts: Any) -> Any:
        return torch.tensor([[float(len(t)), float(t.count("a"))] for t in texts])

    def counted(model: Any, texts: Any, targets: Any) -> Any:
        return [torch.arange(len(t.split()), dtype=torch.float32) for t in texts]

    texts = ["a banana <b>", "one two three"]
    of_texts = rp.evaluate(words, texts, {"counted": counted}, ["abpc(steps=2)"])
    of_table = rp.evaluate(nn.Linear(4, 2).eval(), torch.randn(3, 4), "gradient", ["abpc(steps=2)"])
    for evaluation in (of_texts, of_table):
        page = Page(report(evaluation))
        assert not page.all("img")
        assert "Examples" not in page.text


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_only_images_of_one_or_three_channels_become_pictures(channels: int) -> None:
    evaluation = made({"lrp": [1.0]})
    given = torch.full((channels, 2, 3), 7.0)
    evaluation.results["lrp"].examples.append((given, torch.ones(1, 2, 3)))
    assert len(Page(report(evaluation)).all("img")) == (2 if channels in (1, 3) else 0)


# -- sentences ------------------------------------------------------------------------------------


def test_a_clear_winner_is_named_with_its_difference_to_the_next() -> None:
    values = np.arange(20) / 10
    text = said(made({"poor": values - 5, "good": values + 1, "next": values}))
    assert "aopc: good is best, with a mean of 1.95 [" in text
    assert "The next is next, at a paired difference of 1 [1, 1], p = 0.0001." in text
    assert text.endswith("The interval excludes zero.")


def test_where_lower_is_better_the_lowest_wins() -> None:
    text = said(made({"a": [2.0] * 9, "b": [1.0] * 9}, "conservation"), "conservation")
    assert "b is best, with a mean of 1" in text
    assert "paired difference of −1 [−1, −1]" in text


def test_methods_that_samples_do_not_tell_apart_are_said_to_be_so() -> None:
    text = said(made({"a": [1.0, -1.0, 0.5, -0.4], "b": [0.0] * 4}))
    assert text.endswith("The interval includes zero: these samples do not tell the two apart.")


def test_few_samples_prove_nothing_whatever_the_interval() -> None:
    two = said(made({"a": [2.0, 2.5], "b": [0.0, 0.1]}))
    assert two.endswith("The interval excludes zero, but p is too large to tell the two apart.")
    assert said(made({"a": [2.0], "b": [0.0]})).endswith("One sample says nothing of others.")
    assert "With only 2 samples the intervals" in report(made({"a": [2.0, 2.5]}))
    assert "the intervals are too narrow" not in report(made({"a": np.arange(20.0)}))


def test_equal_methods_are_equal() -> None:
    assert said(made({"a": [1.0, 2.0], "b": [1.0, 2.0]})).endswith("b, is exactly as good.")


def test_values_that_are_no_numbers_are_reported_as_such() -> None:
    nan, inf = np.nan, np.inf
    assert said(made({"a": [nan, nan]})) == "aopc: not defined for any sample."
    assert said(made({"a": [1.0, nan], "b": [nan, nan]})).endswith(
        "a has a mean of 1 [1, 1]; no other method has a value to compare it with."
    )
    assert "is not defined" in said(made({"a": [1.0, nan], "b": [nan, 0.5]}))
    above = said(made({"a": [inf, 1.0], "b": [0.0, 0.0]}))
    assert "mean of ∞ [1, ∞]" in above
    assert "p =" not in above
    text = Page(report(made({"a": [1.0, nan], "b": [nan, nan], "c": [inf, -inf]}))).text
    assert "1 of 2 samples" in text
    assert "nan" not in text


# -- curves ---------------------------------------------------------------------------------------


def test_of_many_methods_the_best_eight_are_drawn_and_the_report_says_so() -> None:
    curves = Curves([0.0, 1.0], "x", "y", {"morf": np.eye(2)})
    evaluation = made({f"m{k}": [float(k), float(k)] for k in range(10)}, curves=curves)
    assert leading(evaluation) == [f"m{k}" for k in range(2, 10)]
    html = report(evaluation)
    assert html.count("<polyline") == 8
    assert "Of 10 methods, the 8 with the best mean rank" in html
    assert all(f"m{k}" in html for k in range(10))


def test_curves_without_numbers_are_left_out() -> None:
    curves = Curves([0.0, 1.0], "x", "y", {"morf": np.full((2, 2), np.nan)})
    html = report(made({"a": [1.0, 2.0]}, curves=curves))
    assert "<polyline" not in html
    assert "Curves" not in html


def drawn(x: Any, mean: Any, extent: tuple[float, float] = (0.0, 1.0)) -> str:
    y = np.array(mean, dtype=np.float64)
    lines = [Line(f"line {k}", k, y, y, y) for k in range(3)]
    text = chart(x, lines, title="<t>", x_label="<x>", y_label="<y>", extent=extent)
    Page(text)
    return text


def test_a_chart_draws_means_at_their_heights() -> None:
    points = re.findall(r'polyline class="curve c0" points="([^"]*)"', drawn([0, 1], [0.0, 1.0]))
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in points[0].split())
    assert x0 < x1
    assert (y0, y1) == pytest.approx((200.0, 10.0 + 190 * 0.05 / 1.05), abs=0.1)


def test_names_are_marks_below_the_axis_and_ten_of_them_at_most() -> None:
    names = [f"features.{k}.convolution" for k in range(25)]
    text = drawn(names, np.linspace(0, 1, 25))
    marks = re.findall(r"rotate\(-40[^>]*>([^<]*)<", text)
    assert len(marks) == 9
    assert all(len(mark) <= 18 for mark in marks)
    assert "rotate(-40" not in drawn(["a", "b"], [0, 1])


def test_points_that_are_no_numbers_are_left_out() -> None:
    text = drawn([0, 1, 2], [0.5, np.nan, 0.7])
    assert "nan" not in text
    assert text.count("<circle") == 3 * 2


def test_powers_of_ten_get_a_logarithmic_axis() -> None:
    assert ">1000<" in drawn([1, 10, 100, 1000], [0, 0, 1, 1])
    assert ">1e+06<" in drawn([0, 1], [1.0, 1e6], (1.0, 1e6))


@pytest.mark.parametrize("mean", [[0.0], [0.3, 0.3], [-1.0, -1.0], [1e-12, 2e-12]])
def test_flat_and_single_points_are_drawn(mean: list[float]) -> None:
    text = drawn(list(range(len(mean))), mean, (min(mean), max(mean)))
    assert "nan" not in text
    assert "inf" not in text


def test_labels_do_not_cover_each_other() -> None:
    text = drawn([0, 1], [0.0, 0.0])
    heights = [float(y) for y in re.findall(r'class="label[^>]* y="([0-9.]+)"', text)]
    assert np.diff(sorted(heights)) == pytest.approx([14.0, 14.0], abs=0.11)
    assert max(heights) <= 204.1


def test_ticks_are_round_values_within_the_axis() -> None:
    assert round_values(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert round_values(-3.0, 11.0) == [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_numbers_are_written_for_people() -> None:
    given = [0.0, -0.0, -1.5, 1234.5, np.inf, -np.inf, np.nan]
    assert [signed(value) for value in given] == ["0", "0", "−1.5", "1234", "∞", "−∞", "–"]


def test_labels_are_short_as_long_as_they_differ() -> None:
    assert short(["lrp", "lrp(composite='epsilon')", "my (own"]) == [
        "lrp",
        "lrp epsilon",
        "my (own",
    ]
    assert short(["m(a=1)", "m(b=1)"]) == ["m(a=1)", "m(b=1)"]


# -- how to do it again ---------------------------------------------------------------------------


def test_the_script_names_what_can_be_named_and_is_python(found: Evaluation) -> None:
    text = script(found)
    compile(text, "script", "exec")
    assert "'gradient': 'gradient'," in text
    assert "'yours': " in text
    assert f"{METRICS[0]!r}," in text
    named = made(
        {"gradient": [1.0]}, configuration={"methods": {"gradient": repr(rp.method("gradient"))}}
    )
    assert "    [\n        'gradient',\n    ],\n" in script(named)
