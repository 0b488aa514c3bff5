"""Deconvnet, guided backprop, excitation backprop and contribution propagation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from rootpoint import LRP, Composite, Gradient, Where, rules
from rootpoint.errors import InputError
from rootpoint.method import Method, method
from rootpoint.methods.backprop import (
    ContributionPropagation,
    DeconvNet,
    ExcitationBackprop,
    GuidedBackprop,
)


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def two_layers(second: tuple[float, float] = (2.0, -1.0), bias: float = 0.5) -> nn.Sequential:
    """T1: W1 = [[1, −1], [1, 2]] (rows are inputs), b1 = (0, −1), W2 = (2, −1), b2 = 0.5."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    net[0].weight.data = torch.tensor([[1.0, 1.0], [-1.0, 2.0]])
    net[0].bias.data = torch.tensor([0.0, -1.0])
    net[2].weight.data = torch.tensor([second])
    net[2].bias.data = torch.tensor([bias])
    return net


X = torch.tensor([[1.0, 2.0]], dtype=torch.float64)


def values(method: Method, model: nn.Module, x: Tensor = X, at: str | None = None) -> list[float]:
    return method(model, x, at=at).relevance.flatten().tolist()


# -- deconvnet and guided backprop ------------------------------------------------------------


def test_t1() -> None:
    assert values(Gradient(), two_layers()) == [3, 0]
    assert values(GuidedBackprop(), two_layers()) == [2, 2]
    assert values(DeconvNet(), two_layers()) == [2, 2]


def test_an_inactive_unit_tells_the_two_apart() -> None:
    """x = (3, 0.5) leaves the second unit inactive; W2 = (2, 1)."""
    net, x = two_layers((2.0, 1.0)), torch.tensor([[3.0, 0.5]])
    assert values(Gradient(), net, x) == [2, 2]
    assert values(GuidedBackprop(), net, x) == [2, 2]
    assert values(DeconvNet(), net, x) == [1, 4]


@pytest.mark.parametrize("kind", [GuidedBackprop, DeconvNet])
def test_without_relus_it_is_the_gradient(kind: type[Method]) -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Sigmoid())
    net.append(nn.Linear(16, 3)).eval()
    x = torch.randn(3, 2, 6, 6)
    assert kind()(net, x, 1).relevance.equal(Gradient()(net, x, 1).relevance)


class Functional(nn.Module):
    """One ReLU, in place and as a function, where modules would be several."""

    def __init__(self, net: nn.Sequential, how: str) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([net[0], net[2]])
        self.head, self.how, self.relu = net[6], how, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = convolution(x)
            if self.how == "in place":
                x.relu_()
            else:
                x = {"function": F.relu, "method": Tensor.relu, "reused": self.relu}[self.how](x)
        return self.head(F.max_pool2d(x, 2).flatten(1))


def convolutions() -> nn.Sequential:
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 4)).eval()


ALL = [
    GuidedBackprop(),
    DeconvNet(),
    ExcitationBackprop(),
    ExcitationBackprop(contrast=True),
    ContributionPropagation(),
    ContributionPropagation(bias="absorb"),
]


@pytest.mark.parametrize("how", ["function", "method", "in place", "reused"])
@pytest.mark.parametrize("method", ALL, ids=repr)
def test_functions_and_reused_modules_are_as_modules(method: Method, how: str) -> None:
    net, x = convolutions(), torch.rand(2, 3, 8, 8)
    found = method(Functional(net, how).eval(), x, [0, 3]).relevance
    assert torch.allclose(found, method(net, x, [0, 3]).relevance, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", ALL, ids=repr)
def test_a_batch_is_as_its_samples_and_several_targets_as_each(method: Method) -> None:
    net, x = convolutions(), torch.rand(3, 3, 8, 8)
    bound = method.bind(net)
    together = bound(x, [0, 1, 2])
    for i in range(3):
        alone = bound(x[i : i + 1], i)
        assert torch.allclose(together.relevance[i], alone.relevance[0], rtol=1e-10, atol=1e-14)
        assert together.output[i].item() == pytest.approx(alone.output.item())
    for i, one in enumerate(bound.each(x, [0, 1, 2])):
        assert torch.allclose(one.relevance, bound(x, i).relevance, rtol=1e-10, atol=1e-14)
        assert one.target == [i] * 3


def test_what_the_explanations_say_of_themselves() -> None:
    net, x = convolutions(), torch.rand(2, 3, 8, 8)
    for kind in ("guided-backprop", "deconvnet"):
        explanation = method(kind)(net, x)
        assert explanation.baseline_output is None
        assert str(explanation.passes) == ("1 forward, 1 backward")
        with pytest.raises(InputError, match="keeps no books"):
            _ = explanation.balance
        assert explanation.output.equal(net(x).max(1).values)


def test_inner_modules_are_explained_too() -> None:
    assert values(GuidedBackprop(), two_layers(), at="1") == [2, -1]
    assert values(GuidedBackprop(), two_layers(), at="0") == [2, 0]
    assert values(ExcitationBackprop(), two_layers(), at="1") == [1, 0]


# -- excitation backprop ----------------------------------------------------------------------


def test_t1_of_excitation_backprop() -> None:
    """Hidden (1, 0); input (1/3, 2/3)."""
    explanation = ExcitationBackprop()(two_layers(), X)
    assert explanation.relevance.flatten().tolist() == pytest.approx([1 / 3, 2 / 3])
    assert explanation.details["probability"].item() == pytest.approx(1)
    assert explanation.output.item() == 4.5
    assert explanation.target == [0]
    assert explanation.baseline_output is None


def test_t1_of_its_contrastive_form() -> None:
    """Hidden (1, −1), input (1/3, −1/3), cut (1/3, 0); cut at hidden it would be as without."""
    method = ExcitationBackprop(contrast=True)
    net = two_layers()
    assert values(LRP(composite=method.rules()), net, at="1") == pytest.approx([4.5, -4.5])
    explanation = method(net, X)
    assert explanation.relevance.flatten().tolist() == pytest.approx([1 / 3, 0])
    assert explanation.details["probability"].item() == pytest.approx(0)
    assert values(method, net, at="1") == pytest.approx([1, 0])


def test_images_are_cut_by_the_sum_over_their_channels() -> None:
    net, x = convolutions(), torch.rand(2, 3, 8, 8)
    method = ExcitationBackprop(contrast=True)
    whole = LRP(composite=method.rules())(net, x, 1)
    signed = whole.relevance / whole.output[:, None, None, None]
    found = method(net, x, 1).relevance.sum(1)
    assert torch.allclose(found, signed.sum(1).clamp(min=0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bias", [-3.9, -40.0, 0.0])
def test_the_start_is_one_whatever_the_score(bias: float) -> None:
    """The bias changes the score's size and sign, and no probability."""
    assert values(ExcitationBackprop(), two_layers(bias=bias)) == pytest.approx([1 / 3, 2 / 3])


def test_a_score_of_zero_is_an_error() -> None:
    with pytest.raises(InputError, match=r"sample 1 is exactly 0.*choose another target"):
        ExcitationBackprop()(
            nn.Sequential(two_layers(), nn.ReLU()).eval(), torch.tensor([[1.0, 2.0], [-9.0, 0.0]])
        )


@given(st.integers(0, 10_000))
def test_probability_is_nowhere_negative_and_never_more_than_one(seed: int) -> None:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    explanation = ExcitationBackprop()(net.double().eval(), torch.rand(2, 4).double(), [0, 2])
    assert (explanation.relevance >= 0).all()
    assert (explanation.details["probability"] <= 1 + 1e-12).all()


@given(st.integers(0, 10_000))
def test_probability_is_one_where_every_unit_is_excited(seed: int) -> None:
    """With positive weights and inputs nothing ends anywhere."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double().eval()
    for p in net.parameters():
        p.data.abs_()
    explanation = ExcitationBackprop()(net, torch.rand(2, 4).double() + 0.1, [0, 2])
    assert torch.allclose(explanation.details["probability"], torch.ones(2).double())


def test_the_books_say_where_probability_ends() -> None:
    net, x = convolutions(), torch.rand(2, 3, 8, 8)
    explanation = ExcitationBackprop()(net, x)
    balance = explanation.balance
    assert balance.score == pytest.approx(2)
    assert abs(balance.gap) < 1e-9
    assert balance.relevance == pytest.approx(explanation.details["probability"].sum().item())


def test_residual_branches_share_by_their_positive_parts() -> None:
    class Residual(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, :1] + x[:, 1:]).relu()

    assert values(ExcitationBackprop(), Residual().eval(), torch.tensor([[3.0, 1.0]])) == (
        pytest.approx([0.75, 0.25])
    )
    assert values(ExcitationBackprop(), Residual().eval(), torch.tensor([[3.0, -1.0]])) == [1, 0]


# -- contribution propagation -----------------------------------------------------------------


def test_a_sum_of_two_and_four_passes_six_on_as_two_and_four() -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1, keepdim=True)

    assert values(ContributionPropagation(), Sum().eval(), torch.tensor([[2.0, 4.0]])) == [2, 4]
    linear = nn.Linear(2, 1, bias=False).eval()
    linear.weight.data = torch.tensor([[1.0, 2.0]])
    assert values(ContributionPropagation(), linear, torch.tensor([[2.0, 2.0]])) == [2, 4]


def test_without_spreading_it_is_lrp_0_with_winners() -> None:
    net, x = convolutions(), torch.randn(2, 3, 8, 8)
    zero = LRP(composite=Composite(((Where(kind="linear"), rules.zero()),)))(net, x).relevance
    found = ContributionPropagation(bias="absorb")(net, x)
    assert torch.allclose(found.relevance, zero, rtol=1e-12, atol=1e-14)
    assert abs(found.balance.gap) < 1e-9
    assert found.baseline_output is not None
    assert not found.baseline_output.any()


def test_t1_of_contribution_propagation() -> None:
    """Hidden contributions (6, −2), each with 0.25 of the bias; the first layer's bias absorbs."""
    net = two_layers()
    assert values(ContributionPropagation(), net, at="1") == pytest.approx([6.25, -1.75])
    first = [6.25 * 1 / 3 + 1.75 / 2, 6.25 * 2 / 3 - 1.75 * 4 / 2]
    explanation = ContributionPropagation()(net, X)
    assert explanation.relevance.flatten().tolist() == pytest.approx(first)
    assert explanation.balance.absorbed == pytest.approx({"bias": 4.5 - sum(first)})
    assert values(ContributionPropagation(bias="absorb"), net) == pytest.approx([3, 0])


def test_without_lower_biases_contributions_sum_to_the_score() -> None:
    net = convolutions()
    for layer in (net[0], net[2]):
        layer.bias.data.zero_()  # type: ignore[operator]
    explanation = ContributionPropagation()(net, torch.rand(3, 3, 8, 8))
    assert explanation.completeness_gap is not None
    assert explanation.completeness_gap.abs().max() < 1e-10


def test_parameters_are_named_on_the_command_line() -> None:
    assert method("excitation-backprop", contrast="true") == ExcitationBackprop(contrast=True)
    with pytest.raises(InputError, match="choose one of spread, absorb"):
        method("contribution-propagation", bias="none")
