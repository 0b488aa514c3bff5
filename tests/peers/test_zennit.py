"""The same maps as Zennit's, where its canonizers apply, layer by layer the same rule.

Compared are whole maps, by the norm of their difference relative to Zennit's. What Zennit computes
otherwise, and how it is told to compute the same:

- It keeps the bias in the denominators of z⁺, αβ and γ: our `bias="absorb"`. Its
  `zero_params="bias"` is our `bias="ignore"`.
- In w² it squares the bias too and leaves it its share, so that w² does not conserve. The formula
  has no bias in it: here it is `zero_params="bias"`.
- Its canonizer makes a batch-norm the identity but for its ε, which then divides by √(1 + 1e-5) in
  every layer: scores change in the fifth digit, maps by up to 9 %, as they amplify that where
  branches cancel. Here ε is next to zero in the network itself; ours folds it in.
- It adds a stabilizer of 1e-6 to every denominator, also where it leaks for nothing: in sums,
  average pooling, zᴮ, w² and flat. There it is set next to zero, as we have none.
- It starts from the relevance given at the output, which here is the score, as with us.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rootpoint import LRP, Composite, Where, rules

torchvision = pytest.importorskip("torchvision")
composites = pytest.importorskip("zennit.composites")
canonizers = pytest.importorskip("zennit.torchvision")
layers = pytest.importorskip("zennit.layer")
types = pytest.importorskip("zennit.types")
theirs = pytest.importorskip("zennit.rules")

BOUND = 1e-6  # 1e-8 or less is found
TINY = 1e-15
LOW, HIGH = -2.5, 2.75  # Zennit holds them in float32
SIZE = 48

CANONIZERS: dict[str, Callable[[], Any]] = {
    "vgg": canonizers.VGGCanonizer,
    "resnet": canonizers.ResNetCanonizer,
}
FIRST = {"vgg": "features.0", "resnet": "conv1"}

# What convolutions get, and the first of them if that differs, from each library.
RULES: dict[str, tuple[rules.Rule, Any]] = {
    "epsilon": (rules.epsilon(), theirs.Epsilon()),
    "large epsilon": (rules.epsilon(epsilon=0.1), theirs.Epsilon(epsilon=0.1)),
    "gamma": (rules.gamma(epsilon=1e-6), theirs.Gamma()),
    "gamma without bias": (
        rules.gamma(epsilon=1e-6, bias="ignore"),
        theirs.Gamma(zero_params="bias"),
    ),
    "z-plus": (rules.z_plus(epsilon=1e-6, bias="absorb"), theirs.ZPlus()),
    "z-plus without bias": (rules.z_plus(epsilon=1e-6), theirs.ZPlus(zero_params="bias")),
    "alpha2-beta1": (rules.alpha_beta(epsilon=1e-6, bias="absorb"), theirs.AlphaBeta()),
    "alpha2-beta1 without bias": (
        rules.alpha_beta(epsilon=1e-6),
        theirs.AlphaBeta(zero_params="bias"),
    ),
    "w-square": (rules.w_square(), theirs.WSquare(stabilizer=TINY, zero_params="bias")),
    "flat": (rules.flat(), theirs.Flat(stabilizer=TINY)),
}
FIRST_RULES: dict[str, tuple[rules.Rule, Any]] = {
    "box": (rules.box(low=LOW, high=HIGH), theirs.ZBox(LOW, HIGH, stabilizer=TINY)),
    "w-square": RULES["w-square"],
    "flat": RULES["flat"],
}
NETWORKS = [
    "vgg11",
    "resnet18",
    pytest.param("vgg16", marks=pytest.mark.slow),
    pytest.param("resnet50", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[str, nn.Module, Tensor]:
    """A family's name, a random member of it with calibrated batch-norm, and two inputs."""
    torch.manual_seed(0)
    name: str = request.param
    model = torchvision.models.get_model(name, weights=None, num_classes=10).double().eval()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = None
        norm.reset_running_stats()
        norm.eps = TINY
    with torch.no_grad():
        model(torch.randn(8, 3, SIZE, SIZE, dtype=torch.float64))
        for module in model.modules():
            if getattr(module, "bias", None) is not None and not module.bias.any():
                nn.init.normal_(module.bias, std=0.05)
    family = "vgg" if name.startswith("vgg") else "resnet"
    x = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64).clamp(LOW, HIGH)
    return family, model.eval(), x


def by_zennit(family: str, model: nn.Module, x: Tensor, rule: Any, first: Any) -> Tensor:
    """Zennit's map with `rule` on convolutions, `first` on the first one, ε on dense layers."""
    by_layer = composites.LayerMapComposite(
        [
            (types.Convolution, rule),
            (nn.Linear, theirs.Epsilon()),
            (types.Activation, theirs.Pass()),
            ((types.AvgPool, layers.Sum), theirs.Norm(stabilizer=TINY)),
        ],
        canonizers=[CANONIZERS[family]()],
    )
    parts = [by_layer]
    if first is not None:
        parts.insert(0, composites.NameMapComposite([((FIRST[family],), first)]))
    return zennit_map(composites.MixedComposite(parts), model, x)


def zennit_map(composite: Any, model: nn.Module, x: Tensor) -> Tensor:
    """From the score of each sample's first class."""
    x = x.clone().requires_grad_()
    with composite.context(model) as modified:
        scores = modified(x)
        relevance = torch.zeros_like(scores)
        relevance[:, 0] = scores.detach()[:, 0]
        return torch.autograd.grad(scores, x, relevance)[0]


def by_us(model: nn.Module, x: Tensor, rule: rules.Rule, first: rules.Rule | None) -> Tensor:
    entries = (
        *(() if first is None else ((Where(first=True), first),)),
        (Where(kind="convolution"), rule),
        (Where(kind="dense"), rules.epsilon()),
    )
    return LRP(composite=Composite(entries))(model, x, 0).relevance


def difference(found: Tensor, expected: Tensor) -> float:
    assert expected.isfinite().all()
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_one_rule_on_all_convolutions(network: Any, rule: tuple[rules.Rule, Any]) -> None:
    family, model, x = network
    ours, their = rule
    expected = by_zennit(family, model, x, their, None)
    assert difference(by_us(model, x, ours, None), expected) <= BOUND


@pytest.mark.parametrize("first", FIRST_RULES.values(), ids=FIRST_RULES.keys())
def test_another_rule_on_pixels(network: Any, first: tuple[rules.Rule, Any]) -> None:
    family, model, x = network
    (our_rule, their_rule), (our_first, their_first) = RULES["gamma"], first
    expected = by_zennit(family, model, x, their_rule, their_first)
    assert difference(by_us(model, x, our_rule, our_first), expected) <= BOUND


PRESETS = {
    "epsilon-plus(bias='absorb')": composites.EpsilonPlus,
    "epsilon-plus-flat(bias='absorb')": composites.EpsilonPlusFlat,
    "epsilon-alpha2-beta1(bias='absorb')": composites.EpsilonAlpha2Beta1,
    "epsilon-alpha2-beta1-flat(bias='absorb')": composites.EpsilonAlpha2Beta1Flat,
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_what_they_are_called_there(network: Any, name: str) -> None:
    """Up to its stabilizers, which presets of ours do without: to 1e-4."""
    family, model, x = network
    composite = PRESETS[name](canonizers=[CANONIZERS[family]()])
    expected = zennit_map(composite, model, x)
    assert difference(LRP(composite=name)(model, x, 0).relevance, expected) <= 1e-4
