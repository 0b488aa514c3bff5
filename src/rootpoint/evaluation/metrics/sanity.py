"""Sanity checks: does an explanation depend on what the model has learnt, and on its decision?

They are necessary, not sufficient: noise drawn anew each time passes them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rootpoint.errors import InputError
from rootpoint.evaluation.metric import Case, Curves, Measured, Metric, parameter

if TYPE_CHECKING:
    from torch import Tensor, nn

SIMILARITIES = ("spearman", "signed-spearman", "ssim", "hog", "cosine")


@dataclass(frozen=True, eq=False)
class Sanity(Metric):
    """What the metrics share that compare two maps of the same sample: how they are compared.

    similarity   "spearman": rank correlation of |R|; "signed-spearman": of R; "ssim": structural
                 similarity, "hog": Pearson correlation of histograms of oriented gradients, both of
                 |R| as an image; "cosine": a·b / ‖a‖‖b‖ of all values

    Channels of images are added up, their absolute values for |R|; see
    `rootpoint.evaluation.similarity`. 1 is as if nothing had changed, 0 what unrelated maps give
    (SSIM and HOG-Pearson of noise are above it). NaN where a map is constant, as it is if a random
    score has no slope, and where the candidate refuses to explain it. Raises InputError if ssim or
    hog is asked for other than images, MissingExtraError for hog without scikit-image.
    """

    group: ClassVar[str] = "sanity"
    better: ClassVar[Literal["higher", "lower"]] = "lower"

    similarity: str = parameter("spearman", "of the two maps", choices=SIMILARITIES)

    def _alike(self, a: Any, b: Any) -> Tensor:
        from rootpoint.evaluation.similarity import similarity

        return similarity(self.similarity, a, b)


@dataclass(frozen=True, eq=False)
class ParameterRandomization(Sanity):
    """1/L Σ_l s(R(f), R(f_l)): is the map still the same when layers of the model are drawn anew?

    layers   at most so many: modules with parameters in the order in which they run, the top one
             first; if there are more, neighbours in one block are drawn together
    order    "cascading": in f_l the layers 1 … l are drawn anew; "independent": layer l alone;
             "full": all layers, in one model, L = 1, which takes L times fewer explanations

    Layers are drawn by their own `reset_parameters`, which also sets the running statistics of
    batch-norms to mean 0 and variance 1, else as normal noise of each parameter's own mean and
    deviation. All samples meet the same draws. In deep networks these may let activations vanish,
    below the ε of methods that have one. The mean leaves out layers where s is NaN; the curve has
    them all. Methods that were fitted keep what they learnt of the true model.
    See `Sanity` for s and NaN. Cost: an explanation for each layer, all kept at once.
    Source: Adebayo et al. 2018, NeurIPS, arXiv:1810.03292.
    """

    name: ClassVar[str] = "parameter-randomization"
    summary: ClassVar[str] = "Similarity of the map to those of models with layers drawn anew"
    cost: ClassVar[str] = "layers explanations (full: 1)"
    needs: ClassVar[tuple[str, ...]] = ("module",)

    order: str = parameter(
        "cascading",
        "which layers are drawn anew together",
        choices=("cascading", "independent", "full"),
    )
    layers: int = parameter(10, "at most; neighbours are drawn together if there are more", low=1)

    def measure(self, case: Case) -> Measured:
        import torch

        key = ("randomized", self.order, self.layers)
        names, maps = case.once(key, lambda: self._maps(case))
        lines = torch.stack([self._alike(case.relevance, other) for other in maps], 1)
        curves = Curves(names, f"drawn anew, {self.order}", self.similarity, {"similarity": lines})
        return Measured(lines.nanmean(1), None if self.order == "full" else curves)

    def _maps(self, case: Case) -> tuple[list[str], list[Any]]:
        from rootpoint.evaluation.randomized import explained, layers, randomized

        model: nn.Module = case.model  # type: ignore[assignment]  # see `needs`
        chosen = layers(model, case.inputs, self.layers)
        copies = randomized(model, chosen, self.order, case.seed)
        maps = [explained(case, case.target, copy) for copy in copies]
        return [layer.name for layer in chosen], maps


@dataclass(frozen=True, eq=False)
class LabelRandomization(Sanity):
    """s(R(f), R(f')): is the map still the same for a model trained on labels that say nothing?

    other   f', of the same architecture as f, trained on the same samples with their labels
            permuted; it is explained for the same targets

    See `Sanity` for s and NaN. Raises InputError without `other`. Cost: 1 explanation.
    Source: Adebayo et al. 2018, NeurIPS, arXiv:1810.03292.
    """

    name: ClassVar[str] = "label-randomization"
    summary: ClassVar[str] = "Similarity of the map to that of a model trained on random labels"
    cost: ClassVar[str] = "1 explanation"
    needs: ClassVar[tuple[str, ...]] = ("model",)

    other: Any = parameter(None, "a model like it, trained on random labels")

    def measure(self, case: Case) -> Measured:
        if not callable(self.other):
            raise InputError(
                f"label-randomization: other={self.other!r} is no model: give one of the same "
                "architecture that was trained on random labels"
            )
        from rootpoint.evaluation.randomized import explained

        changed = explained(case, case.target, self.other)
        return Measured(self._alike(case.relevance, changed))


@dataclass(frozen=True, eq=False)
class RandomLogit(Sanity):
    """s(R(f_c), R(f_c')): is the map of class c still the same for another class c', at random?

    c' is drawn from the classes other than the target, by the sample's number. See `Sanity` for s
    and NaN. Raises InputError if the target is no class of a model that returns (B, classes).
    Cost: 1 explanation. Source: Sixt, Granz, Landgraf 2020, ICML, arXiv:1912.09818.
    """

    name: ClassVar[str] = "random-logit"
    summary: ClassVar[str] = "Similarity of the map to that of another class, at random"
    cost: ClassVar[str] = "1 explanation"

    def measure(self, case: Case) -> Measured:
        changed = case.once("random-logit", lambda: self._map(case))
        return Measured(self._alike(case.relevance, changed))

    def _map(self, case: Case) -> Any:
        import torch

        from rootpoint.evaluation.orders import generator
        from rootpoint.evaluation.randomized import LOGITS, explained

        targets, count = _classes(case)
        others: list[int] = []
        for number, target in zip(case.numbers, targets, strict=True):
            source = generator(case.seed, LOGITS, number, 0)
            step = int(torch.randint(1, count, (1,), generator=source))
            others.append((target + step) % count)
        return explained(case, others, case.model)


def _classes(case: Case) -> tuple[list[int], int]:
    """The class of each sample that is explained, and how many there are."""
    from rootpoint.scoring import decided

    output = decided(case.model, case.inputs[:1], [lambda _: case.score[:1]], 1)[0].prediction
    shape = getattr(output, "shape", ())
    targets = (
        [t for t in case.target if isinstance(t, int)] if isinstance(case.target, list) else []
    )
    if len(targets) != len(case.numbers) or len(shape) != 2 or shape[1] < 2:
        raise InputError(
            "random-logit takes the class of another score: it needs class indices as target and "
            f"a model that returns (B, classes), not {tuple(shape) or type(output).__name__}"
        )
    return targets, shape[1]


@dataclass(frozen=True, eq=False)
class CosineConvergence(Metric):
    """|cos(R(v₁), R(v₂))|: do maps of random relevance v₁ and v₂ at the model's output converge?

    R(v) is the map of Σ v·h, of relevance v ⊙ h at the activation h of a layer, v of standard
    normal noise. 1: whatever the upper layers say, the map is the same up to its sign and size, as
    of methods that multiply non-negative matrices; for unrelated maps it is about √(2 / πn) of n
    values. The value is from the output; the curve starts from each layer, the top one first, at
    most `layers` of them as in parameter-randomization.

    over     "map": all values of the map, so that relevance has to forget where it was, too, which
             it does less the lower it starts; "positions": the channels at each position, the
             median over positions, as published. That is NaN for maps of one channel, 1 for maps
             whose channels are alike (CAM, the flat rule), and high for all maps of RGB
    at       the inner module whose maps are compared, for methods that explain such; the published
             curve goes over these: from one layer, to each below

    NaN where a map is zero, and on the curve from below the layer that a method explains (CAM), or
    where it refuses the score. Raises InputError if the model returns no tensor, and for `at` if
    the candidate cannot. Cost: 2 explanations, and 2 for each layer.
    Source: Sixt, Granz, Landgraf 2020, ICML, arXiv:1912.09818.
    """

    name: ClassVar[str] = "cosine-convergence"
    summary: ClassVar[str] = "Whether maps forget which relevance they start from at the top"
    group: ClassVar[str] = "sanity"
    better: ClassVar[Literal["higher", "lower"]] = "lower"
    cost: ClassVar[str] = "2 explanations, and 2 for each layer"
    needs: ClassVar[tuple[str, ...]] = ("module",)

    over: str = parameter("map", "what the cosine is taken of", choices=("map", "positions"))
    layers: int = parameter(10, "on the curve, at most; 0: none, the value alone", low=0)
    at: str | None = parameter(None, "the inner module whose maps are compared; None: the input")

    def measure(self, case: Case) -> Measured:
        from rootpoint.evaluation.convergence import convergence

        names, found = convergence(case, self.layers, self.over, self.at)
        curves = Curves(names, "relevance starts at", "|cosine|", {"convergence": found})
        return Measured(found[:, 0], curves if self.layers else None)
