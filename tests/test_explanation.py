"""What an explanation holds: relevance and score, the books, pictures and files."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from rootpoint import LRP, Balance, DeepTaylor, Explanation, Gradient, explain
from rootpoint.errors import InputError
from rootpoint.explanation import UNACCOUNTED, Entry


class Network(nn.Module):
    """Convolution with batch-norm, a residual constant, pooling and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(16, 3)
        self.offset = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        y = self.norm(self.conv(x)).relu() + self.offset
        return self.head(self.pool(y).flatten(1))


@pytest.fixture
def model() -> Network:
    model = Network().double().eval()
    nn.init.uniform_(model.norm.bias, 0.5, 1)
    return model


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 6, 6, dtype=torch.float64)


def test_an_explanation_says_what_was_explained(model: Network, x: Tensor) -> None:
    found = LRP(composite="epsilon")(model, x, [0, 2], at=None)
    logits = model(x).detach()
    assert isinstance(found, Explanation)
    assert found.relevance.shape == x.shape
    torch.testing.assert_close(found.prediction, logits, rtol=0, atol=0)
    assert found.output.tolist() == [logits[0, 0], logits[1, 2]]
    assert found.target == [0, 2]
    assert found.inputs is x
    assert found.method == LRP(composite="epsilon")
    assert found.at is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.output = None  # type: ignore[misc,assignment]


# -- the books ---------------------------------------------------------------------------------

COMPOSITES = (
    "epsilon(epsilon=0.1)",
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-alpha2-beta1",
    "epsilon-gamma-box",
    "alpha1-beta0",
    "deep-taylor",
    "gamma-epsilon-zero",
)


@pytest.mark.parametrize("name", COMPOSITES)
def test_score_is_relevance_plus_what_was_absorbed(model: Network, x: Tensor, name: str) -> None:
    found = LRP(composite=name)(model, x, [0, 2])
    balance = found.balance
    assert balance.score == pytest.approx(found.output.sum().item(), rel=1e-12)
    assert balance.relevance == pytest.approx(found.relevance.sum().item(), rel=1e-12)
    total = balance.relevance + sum(balance.absorbed.values())
    assert total == pytest.approx(balance.score, rel=1e-10)
    assert abs(balance.gap) <= 1e-10 * abs(balance.score)
    assert UNACCOUNTED not in balance.absorbed


@pytest.mark.parametrize("name", COMPOSITES)
def test_in_single_precision_the_books_balance_to_1e_5(
    model: Network, x: Tensor, name: str
) -> None:
    balance = LRP(composite=name)(model.float(), x.float(), [0, 2]).balance
    size = max(abs(e.arrived) for e in balance.entries)
    assert abs(balance.gap) <= 1e-5 * size
    assert abs(balance.absorbed.get("rounding", 0)) <= 1e-5 * size
    assert UNACCOUNTED not in balance.absorbed


@pytest.mark.parametrize("name", COMPOSITES)
def test_every_entry_adds_up(model: Network, x: Tensor, name: str) -> None:
    for entry in LRP(composite=name)(model, x, 1).balance.entries:
        assert entry.arrived == pytest.approx(
            entry.passed + sum(entry.absorbed.values()), abs=1e-12
        )


@pytest.mark.parametrize("name", COMPOSITES)
def test_entries_follow_the_path(model: Network, x: Tensor, name: str) -> None:
    """What one operation passes on is what arrives at the one before; views absorb nothing."""
    entries = LRP(composite=name)(model, x, 1).balance.entries
    assert [e.index for e in entries] == sorted(e.index for e in entries)
    operations = [e.operation for e in entries]
    assert operations == ["conv2d + batch_norm", "relu", "add", "max_pool2d", "linear"]
    assert [e.module for e in entries] == ["conv", "", "", "pool", "head"]
    for before, after in pairwise(entries):
        assert after.passed == pytest.approx(before.arrived, rel=1e-10)


def only(balance: Balance, cause: str) -> float:
    """What this cause absorbed, when there is no other."""
    assert set(balance.absorbed) <= {cause, "rounding"}
    return balance.absorbed[cause]


def test_a_bias_absorbs_its_share() -> None:
    layer = nn.Linear(3, 2).double().eval()
    x = torch.randn(4, 3, dtype=torch.float64)
    balance = LRP(composite="epsilon(epsilon=0.0)")(layer, x, 1).balance
    assert only(balance, "bias") == pytest.approx(4 * layer.bias[1].item())


def test_a_stabilizer_absorbs_its_share() -> None:
    layer = nn.Linear(3, 2, bias=False).double().eval()
    x = torch.randn(4, 3, dtype=torch.float64)
    z = layer(x)[:, 0].detach()
    balance = LRP(composite="epsilon(epsilon=0.5)")(layer, x, 0).balance
    assert only(balance, "stabilizer") == pytest.approx((z * 0.5 / (z.abs() + 0.5)).sum().item())


def test_a_constant_operand_absorbs_its_share() -> None:
    w = torch.randn(3, 2, dtype=torch.float64)
    x = torch.randn(4, 3, dtype=torch.float64)
    balance = LRP(composite="epsilon(epsilon=0.0)")(lambda x: x @ w + 3, x, 0).balance
    assert only(balance, "constant") == pytest.approx(12)


def test_padding_with_a_value_absorbs_its_share() -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    w = torch.ones(3, 3, dtype=torch.float64)

    def model(x: Tensor) -> Tensor:
        return nn.functional.pad(x @ w, (0, 1), value=2.0).sum(1)

    balance = LRP(composite="epsilon(epsilon=0.0)")(model, x).balance
    assert only(balance, "constant") == pytest.approx(8)


def test_a_rule_that_multiplies_relevance_is_named() -> None:
    """α2β1 where no contribution is negative: R doubles, and the rule accounts for it."""
    layer = nn.Conv1d(3, 2, 1, bias=False).double().eval()
    with torch.no_grad():
        layer.weight.abs_()
    x = torch.rand(4, 3, 1, dtype=torch.float64)
    found = LRP(composite="epsilon-alpha2-beta1")(layer, x, (0, 0))
    score = found.output.sum().item()
    assert found.relevance.sum().item() == pytest.approx(2 * score)
    assert only(found.balance, "rule") == pytest.approx(-score)


def test_books_are_kept_only_when_asked_for(model: Network, x: Tensor) -> None:
    found = LRP()(model, x)
    assert model.runs == 1
    first = found.balance
    assert model.runs == 2
    assert found.balance is first
    assert model.runs == 2


def test_books_of_one_explanation_are_its_own_targets(model: Network, x: Tensor) -> None:
    for found in LRP().bind(model).each(x, [0, 2, lambda y: y[:, 0] - y[:, 1]]):
        assert found.balance.score == pytest.approx(found.output.sum().item())


def test_books_of_several_inputs() -> None:
    w = torch.randn(3, 2, dtype=torch.float64)
    a, b = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    for inputs in ((a, b), {"b": b, "a": a}):
        balance = LRP()(lambda a, b: (a @ w).relu() * 2 + b @ w, inputs, 0).balance
        assert abs(balance.gap) <= 1e-10 * max(1, abs(balance.score))
        assert UNACCOUNTED not in balance.absorbed


def test_a_gradient_keeps_no_books(model: Network, x: Tensor) -> None:
    with pytest.raises(InputError, match="gradient keeps no books; methods that pass on"):
        _ = Gradient()(model, x).balance
    assert DeepTaylor()(model, x).balance.entries


def test_books_are_plain_data(model: Network, x: Tensor) -> None:
    balance = LRP(composite="epsilon-plus")(model, x).balance
    data = json.loads(json.dumps(balance.to_dict()))
    assert data["score"] == balance.score
    assert data["relevance"] == balance.relevance
    assert data["absorbed"] == balance.absorbed
    assert data["gap"] == balance.gap
    assert len(data["entries"]) == len(balance.entries)
    assert data["entries"][0]["operation"] == "conv2d + batch_norm"
    assert data["entries"][0]["rule"] == "z-plus(bias='ignore', epsilon=0.0)"


def test_books_print_as_a_table() -> None:
    entries = (
        Entry(0, "conv2d", "features.0", "zero()", 4.0, 3.0, {"bias": 1.0}),
        Entry(1, "linear", "head", "zero()", 5.0, 4.0, {"bias": 0.75, UNACCOUNTED: 0.25}),
    )
    balance = Balance(score=5.0, relevance=3.0, entries=entries)
    assert balance.absorbed == {"bias": 1.75, UNACCOUNTED: 0.25}
    assert balance.gap == pytest.approx(0.25)
    lines = str(balance).splitlines()
    assert lines[0].split() == ["#", "operation", "module", "arrived", "passed"]
    assert lines[1].split() == ["0", "conv2d", "features.0", "4", "3", "bias", "+1"]
    assert lines[2].split()[-2:] == ["unaccounted", "+0.25"]
    assert lines[3].startswith("score 5 = relevance 3 + absorbed (")
    assert lines[3].endswith("unaccounted 0.25")


def test_an_empty_book_prints() -> None:
    assert "relevance 2" in str(Balance(score=2.0, relevance=2.0, entries=()))


# -- pictures and files ------------------------------------------------------------------------


@pytest.fixture
def image(model: Network) -> Explanation:
    return explain(model, torch.randn(2, 3, 6, 6, dtype=torch.float64), [0, 1])


def test_a_heatmap_of_one_sample(image: Explanation) -> None:
    first, second = image.plot(), image.plot(sample=1)
    assert isinstance(first, Image.Image)
    assert first.mode == "RGB"
    assert first.tobytes() != second.tobytes()


def test_relevance_laid_over_a_photo(image: Explanation) -> None:
    photo = Image.new("RGB", (6, 6), (10, 200, 30))
    assert image.plot(photo).tobytes() != image.plot().tobytes()


def test_maps_without_channels_can_be_plotted() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    assert isinstance(explain(model, torch.randn(1, 4, 4)).plot(), Image.Image)


def test_a_row_of_a_table_is_plotted_as_bars() -> None:
    flat = explain(nn.Linear(4, 2).eval(), torch.randn(2, 4))
    named = flat.plot(names=["age", "height", "a much longer name", "weight"])
    assert named.tobytes() != flat.plot(sample=1).tobytes()
    assert named.width > flat.plot().width


def test_what_is_no_image_and_no_table_cannot_be_plotted(x: Tensor) -> None:
    line = explain(lambda a: a.flatten(1), torch.randn(2, 1, 1, 1, 3), 0)
    with pytest.raises(InputError, match=r"only images and tables.* is \(2, 1, 1, 1, 3\)"):
        line.plot()
    several = explain(lambda a, b: (a + b).flatten(1), (x, x), 0)
    with pytest.raises(InputError, match="this relevance is tuple"):
        several.plot()


def test_a_picture_is_saved(image: Explanation, tmp_path: Path) -> None:
    path = image.save(tmp_path / "why.png", sample=1)
    assert path == tmp_path / "why.png"
    with Image.open(path) as saved:
        assert saved.convert("RGB").tobytes() == image.plot(sample=1).tobytes()


def test_numbers_are_saved(image: Explanation, tmp_path: Path) -> None:
    path = image.save(str(tmp_path / "why.npz"))
    with np.load(path) as saved:
        assert set(saved) == {"relevance", "output"}
        np.testing.assert_allclose(saved["relevance"], image.relevance.numpy(), rtol=1e-6)
        np.testing.assert_allclose(saved["output"], image.output.numpy(), rtol=1e-6)


def test_numbers_of_several_inputs_are_saved(tmp_path: Path) -> None:
    a, b = torch.randn(2, 3), torch.randn(2, 3)

    def model(a: Tensor, b: Tensor) -> Tensor:
        return a + b

    with np.load(explain(model, (a, b), 0).save(tmp_path / "tuple.npz")) as saved:
        assert set(saved) == {"relevance_0", "relevance_1", "output"}
    with np.load(explain(model, {"a": a, "b": b}, 0).save(tmp_path / "named.npz")) as saved:
        assert set(saved) == {"a", "b", "output"}


@pytest.mark.parametrize("name", ["why.jpg", "why", "why.txt"])
def test_other_files_are_refused(image: Explanation, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"cannot write {name}: use .png .*\.npz"):
        image.save(tmp_path / name)
    assert not list(tmp_path.iterdir())
