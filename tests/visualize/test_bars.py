import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

import rootpoint as rp
from rootpoint.errors import InputError
from rootpoint.visualize import bars
from rootpoint.visualize.bars import SHOWN, broken, top
from rootpoint.visualize.colors import colorize
from rootpoint.visualize.drawing import font

RED, BLUE = (tuple(int(c) for c in colorize(np.array(side * 0.7))) for side in (1, -1))


def painted(picture, colour):
    """The lengths of the lines of pixels of one colour, and their left and right ends."""
    found = (np.asarray(picture) == colour).all(-1)
    lines = [np.flatnonzero(line) for line in found if line.any()]
    return [(len(line), int(line[0]), int(line[-1])) for line in lines]


def test_the_largest_come_first_and_the_others_are_summed():
    relevance = np.linspace(-1, 0.9, 20)
    found = top([f"c{i}" for i in range(20)], range(20), relevance)
    assert len(found) == SHOWN + 1
    sizes = [abs(bar.relevance) for bar in found[:-1]]
    assert sizes == sorted(sizes, reverse=True)
    assert found[0].name == "c0"
    assert found[-1].name == "8 other columns"
    assert sum(bar.relevance for bar in found) == pytest.approx(relevance.sum(), abs=1e-12)


def test_one_column_too_many_is_shown_itself():
    found = top([str(i) for i in range(SHOWN + 1)], range(SHOWN + 1), np.ones(SHOWN + 1))
    assert [bar.others for bar in found] == [False] * (SHOWN + 1)


def test_bars_are_as_long_as_their_relevance_and_start_at_one_zero():
    picture = bars(["a", "b", "c"], [1, 2, 3], torch.tensor([2.0, -1.0, 1.0]))
    red, blue = painted(picture, RED), painted(picture, BLUE)
    assert max(red)[0] == pytest.approx(2 * max(blue)[0], abs=2)
    assert min(red)[0] == pytest.approx(max(blue)[0], abs=2)
    assert len({left for _, left, _ in red}) == 1
    assert blue[0][2] in (red[0][1] - 1, red[0][1])


def test_units_do_not_change_the_bars():
    names, relevance = ["a", "b"], np.array([0.5, -0.25])
    one, other = (painted(bars(names, [1, 2], k * relevance), RED) for k in (1, 1e-9))
    assert one == other


def test_no_relevance_is_no_bar():
    picture = bars(["a", "b"], [1, 2], np.zeros(2))
    assert painted(picture, RED) == painted(picture, BLUE) == []


@pytest.mark.parametrize("text", ["x" * 300, "two words " * 40, "_", "naïve 日本 " * 30])
def test_long_text_is_broken_and_never_cut(text):
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    lines = broken(text, font(24), 300)
    assert all(pen.textlength(line, font=font(24)) <= 300 for line in lines)
    kept, given = ("".join("".join(t).split()) for t in (lines, text))
    assert len(kept) == len(given)
    long = bars([text], [text], [1.0], title=text, facts=[text, "b"])
    assert long.height > bars(["x"], ["x"], [1.0], title="x", facts=["b"]).height or text == "_"
    border = np.asarray(long)[:, -40:]
    assert (border == 255).all()


@pytest.mark.parametrize(
    ("names", "relevance", "message"),
    [
        (["a"], [1.0, 2.0], "do not go"),
        (["a", "b"], [[1.0, 2.0]], "do not go"),
        ([], [], "do not go"),
        (["a"], [np.nan], "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(names, relevance, message):
    with pytest.raises(InputError, match=message):
        bars(names, names, np.array(relevance))


@pytest.mark.parametrize(
    "table", [np.ones((3, 2)), pd.DataFrame({"age": [1.0] * 3, "b": [2.0] * 3})]
)
def test_an_explained_table_is_plotted_with_its_names(table):
    from sklearn.svm import OneClassSVM

    svm = OneClassSVM(gamma=0.5).fit(np.random.default_rng(0).normal(size=(9, 2)))
    explanation = rp.explain(rp.neuralize(svm), table)
    names = list(table.columns) if hasattr(table, "columns") else ["0", "1"]
    assert explanation.plot(sample=1).tobytes() == explanation.plot(names=names, sample=1).tobytes()


def test_a_tensor_on_its_way_through_autograd_is_plotted():
    explanation = rp.explain(nn.Linear(3, 2).eval(), torch.randn(2, 3, requires_grad=True))
    assert explanation.plot().width > 600
