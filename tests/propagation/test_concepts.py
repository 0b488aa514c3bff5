"""Relevance at several modules at once, and only through some concepts (CRP)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rootpoint as rp
from rootpoint.errors import InputError

pytestmark = pytest.mark.usefixtures("double")

EXACT = "epsilon(epsilon=0)"


class Two(nn.Module):
    """Two convolutions and a head."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Conv2d(2, 4, 3, bias=bias)
        self.norm = nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 3, 3, bias=bias)
        self.head = nn.Linear(3, 2, bias=bias)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.norm(self.one(x)))
        return self.head(torch.relu(self.two(x)).mean((2, 3)))


def images() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 2, 7, 7)


def explained(**options: Any) -> Any:
    composite = options.pop("composite", EXACT)
    return rp.explain(Two(), images(), 1, composite=composite, **options)


def test_the_closed_form() -> None:
    """3 x₁ = 2 (x₁ + x₂) + (x₁ − 2 x₂): by hidden unit (2, 2) and (1, −2) times x."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    model.eval()
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([[1.0, 1.0], [1.0, -2.0]])
        model[2].weight[:] = torch.tensor([[2.0, 1.0]])
    x = torch.tensor([[1.0, 0.25]])
    parts = [
        rp.explain(model, x, 0, composite=EXACT, through={"0": [unit]}).relevance
        for unit in range(2)
    ]
    torch.testing.assert_close(parts[0], torch.tensor([[2.0, 0.5]]))
    torch.testing.assert_close(parts[1], torch.tensor([[1.0, -0.5]]))


@pytest.mark.parametrize("composite", [EXACT, "epsilon-plus", "epsilon-gamma-box(low=-3,high=3)"])
@pytest.mark.parametrize("path", ["one", "norm", "two"])
def test_concepts_add_up(path: str, composite: str) -> None:
    count = 3 if path == "two" else 4
    parts = [explained(through={path: [c]}, composite=composite).relevance for c in range(count)]
    whole = explained(through={path: range(count)}, composite=composite).relevance
    torch.testing.assert_close(sum(parts), whole)
    if path != "one":  # a restriction in between keeps the batch-norm from being folded
        torch.testing.assert_close(whole, explained(composite=composite).relevance)


def test_a_concepts_relevance_is_what_arrives_at_its_channel() -> None:
    """Without biases: what passes channel 2 of `two` is the relevance of that channel."""
    model, x = Two(bias=False), images()
    at = rp.explain(model, x, 1, composite=EXACT, at="two").relevance
    through = rp.explain(model, x, 1, composite=EXACT, through={"two": [2]}, at="norm").relevance
    torch.testing.assert_close(through.sum((1, 2, 3)), at[:, 2].sum((1, 2)))


def test_of_several_modules_relevance_passes_all() -> None:
    both = explained(through={"norm": [1], "two": [0, 2]}).relevance
    each = [explained(through={"norm": [1], "two": [c]}).relevance for c in (0, 2)]
    torch.testing.assert_close(both, each[0] + each[1])
    assert each[0].any()
    assert each[1].any()
    assert not torch.allclose(each[0], explained(through={"norm": [1]}).relevance)


def test_a_mask_selects_any_part_of_an_output() -> None:
    channel = torch.zeros(3, 1, 1)
    channel[2] = 1
    found = explained(through={"two": channel}).relevance
    torch.testing.assert_close(found, explained(through={"two": [2]}).relevance)
    left = torch.zeros(5)
    left[:1] = 1
    assert not explained(through={"norm": left}).relevance[..., 4:].any()


def test_the_books_name_what_other_concepts_took() -> None:
    balance = explained(through="norm:1 two:0,2").balance
    assert abs(balance.gap) < 1e-12
    assert balance.absorbed["other concepts"] != 0


def test_several_modules_in_one_pass_equal_each_alone() -> None:
    found = explained(at=["norm", "two"])
    assert list(found.relevance) == ["norm", "two"]
    assert found.passes == rp.explain(Two(), images(), 1).passes
    torch.testing.assert_close(found.relevance["two"], explained(at="two").relevance)
    torch.testing.assert_close(found.relevance["norm"], explained(at="norm").relevance)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"through": {"three": [0]}}, "three.*known: one, norm, two, head"),
        ({"through": {"two": [3]}}, "3 channels"),
        ({"through": {"two": torch.ones(2, 1, 1)}}, "broadcast"),
        ({"through": "two=1"}, "two:1|layer4:17,203"),
        ({"through": "two:1", "compile": True}, "compile"),
        ({"at": ["two", "three"]}, "three"),
        ({"at": ["two"], "method": "smoothgrad"}, "one module"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], match: str) -> None:
    own = {} if options.get("method") else {"composite": EXACT}
    with pytest.raises(InputError, match=match):
        rp.explain(Two(), images(), 1, **options, **own)
