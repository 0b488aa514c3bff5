"""Activation maximization: the input for which a class's score is the highest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.inputs import Model, check, check_scores
from rootpoint.models import ImageModel
from rootpoint.perturbation.frozen import frozen
from rootpoint.progress import progress
from rootpoint.prototypes.parametrizations import Code, Fourier, Parametrization, Pixels
from rootpoint.prototypes.regularizers import L2, TotalVariation, likeness
from rootpoint.prototypes.result import Prototype
from rootpoint.prototypes.transformations import Transformation
from rootpoint.target import scores

if TYPE_CHECKING:
    from rootpoint.target import Target

PerImage = Callable[[Tensor], Tensor]  # inputs (N, …) to one number each, (N,)
PHOTOS: dict[str, Any] = {
    "parametrization": Fourier(),
    "transformation": Transformation(jitter=16, scale=0.8, rotation=15),
    "regularizers": (TotalVariation(1e-4), L2(1e-5)),
}  # chosen by eye on the default network
AT_ONCE = 8  # images in a batch, unless one class has more


def prototype(
    model: Model | ImageModel,
    target: Target,
    *,
    start: Tensor | None = None,
    count: int = 1,
    objective: Literal["logit", "log-probability"] = "logit",
    parametrization: Parametrization | None = None,
    regularizers: Sequence[PerImage] | None = None,
    expert: PerImage | None = None,
    transformation: Transformation | None = None,
    diversity: float = 0.0,
    at: str | None = None,
    box: tuple[Tensor | float, Tensor | float] | None = None,
    steps: int = 256,
    rate: float = 0.05,
    seed: int = 0,
) -> Prototype:
    """What the model takes for a class: x* = argmax_x f(x) + log p(x) − Σ regularizers(x).

    model            a torch model, or an image model of `rootpoint.models`, for which start, box
                     and, if no parametrization is given, also that (`Fourier`), regularizers and
                     movements have defaults that suit photos
    target           a class, by index (or by name for an image model), a list of them, or a
                     function from the model's output to one score per sample
    start            the input where the search starts, without a batch dimension; only its shape
                     matters to `Fourier`, and a `Code` needs none
    count            prototypes per class, which differ by their first noise and by `diversity`
    objective        f: the class's "logit", or its "log-probability" (softmax over the outputs)
    parametrization  what is searched: `Pixels` (default), `Fourier` or a generator's `Code`
    regularizers     functions as `L2`, `TotalVariation`, `AlphaNorm`
    expert           a density log p(x), as `fit_density` makes one, or a function of x
    transformation   random movements that the prototype must bear
    diversity        the weight of the likeness of prototypes of one class (see `likeness`)
    at               the module whose features tell how alike they are; by default a middle one
    box              the lowest and highest value that the input may have
    steps, rate      of Adam's ascent; the rate falls linearly to zero
    seed             of noise and movements, which are the same for every class

    The model stays as it was. Gradients that are not finite are skipped and noted.
    Raises InputError for arguments that do not fit, UnsupportedModelError for a model in training
    mode or without gradients. Cost: `steps` forwards and backwards per prototype.
    Source: Simonyan, Vedaldi, Zisserman 2013, arXiv:1312.6034; Montavon, Samek, Müller 2018,
    Digital Signal Processing 73:1; Olah, Mordvintsev, Schubert 2017, Distill.
    """
    settings = {k: v for k, v in locals().items() if k not in ("model", "target")}
    classes = None
    if isinstance(model, ImageModel):
        size, classes = (len(model.low), model.size, model.size), model.classes
        target = _resolved(model, target)
        start = model.preprocessing.fed(0.5).expand(size) if start is None else start
        box = (model.low, model.high) if box is None else box
        if parametrization is None:
            parametrization = PHOTOS["parametrization"]
            transformation = PHOTOS["transformation"] if transformation is None else transformation
            regularizers = PHOTOS["regularizers"] if regularizers is None else regularizers
        model = model.module
    targets = _targets(target)
    search = _Search(
        model,
        _first(start, parametrization, model),
        count,
        objective,
        parametrization or Pixels(),
        tuple(regularizers or ()),
        expert,
        transformation or Transformation(),
        diversity,
        at,
        box and (torch.as_tensor(box[0]), torch.as_tensor(box[1])),
        steps,
        rate,
        seed,
    )
    found = list(search.run(targets))
    images, score, probability, history, notes = zip(*found, strict=True)
    names = [_name(t, classes) for t in targets for _ in range(count)]
    return Prototype(
        torch.cat(images),
        [t for t in targets for _ in range(count)],
        tuple(names),
        torch.cat(score),
        None if probability[0] is None else torch.cat(probability),
        torch.cat(history, 1),
        settings,
        tuple(dict.fromkeys(note for some in notes for note in some)),
        search.box,
    )


Found = tuple[Tensor, Tensor, "Tensor | None", Tensor, list[str]]


@dataclass(frozen=True, eq=False)
class _Search:
    """The arguments of `prototype`, checked, for a model that takes tensors."""

    model: Model
    start: Tensor
    count: int
    objective: str
    parametrization: Parametrization
    regularizers: tuple[PerImage, ...]
    expert: PerImage | None
    transformation: Transformation
    diversity: float
    at: str | None
    box: tuple[Tensor, Tensor] | None
    steps: int
    rate: float
    seed: int

    def __post_init__(self) -> None:
        for name, value in (("count", self.count), ("steps", self.steps)):
            if value < 1:
                raise InputError(f"{name}={value}: at least 1 is needed")
        if not self.rate > 0:
            raise InputError(f"rate={self.rate} must be positive")
        if self.objective not in ("logit", "log-probability"):
            raise InputError(f"objective={self.objective!r} is not 'logit' or 'log-probability'")
        if self.box is not None and not bool((self.box[0] < self.box[1]).all()):
            raise InputError("the box is empty: its first value must be lower than its second")
        if self.diversity and self.count == 1:
            raise InputError("diversity needs several prototypes of a class: give count=")
        if isinstance(self.parametrization, Code) and self.transformation.moves:
            raise InputError("a generator's images have no margins: give no transformation")

    @cached_property
    def like(self) -> Tensor:
        """Where the search starts, with the margins of the movements."""
        return self.transformation.widened(self.start)

    def run(self, targets: list[Any]) -> Iterator[Found]:
        """The prototypes, a batch of classes after the other."""
        check(self.model, self.like[None])
        model = frozen(self.model, self.start[None])
        together = max(1, AT_ONCE // self.count)
        with progress(self.steps * self.count * len(targets), "Searching prototypes") as advance:
            for i in range(0, len(targets), together):
                each = [t for t in targets[i : i + together] for _ in range(self.count)]
                target = each[0] if callable(each[0]) else each
                yield self._maximize(model, target, len(each), advance)

    def _maximize(self, model: Model, target: Any, size: int, advance: Any) -> Found:
        generator = torch.Generator().manual_seed(self.seed)
        like = self.like
        values = self.parametrization.start(like, self.count, generator)
        if self.count > 1 and bool((values[1:] == values[:1]).all()):
            raise InputError(
                f"{self.count} prototypes would be the same: give noise= to start with"
            )
        values = values.repeat(size // self.count, *[1] * (values.dim() - 1)).requires_grad_()
        optimizer = torch.optim.Adam([values], self.rate)
        history, skipped, moved = [], 0, False
        with torch.enable_grad(), _features(model, self) as features:
            for step in range(self.steps):
                optimizer.param_groups[0]["lr"] = self.rate * (1 - step / self.steps)
                objective = self._objective(model, target, values, like, generator, features)
                values.grad, bad = _ascent(objective, values)
                skipped, moved = skipped + bad, moved or bool(values.grad.any())
                history.append(objective.detach())
                optimizer.step()
                with torch.no_grad():
                    values.copy_(self.parametrization.project(values, step, self.box))
                advance(size)
        with torch.no_grad():
            images = self._images(values, like).detach()
            score, probability = _reached(self.model, images, target)
        return images, score, probability, torch.stack(history), _notes(skipped, moved)

    def _images(self, values: Tensor, like: Tensor) -> Tensor:
        return self.transformation.middle(self.parametrization.inputs(values, like, self.box))

    def _objective(
        self,
        model: Model,
        target: Any,
        values: Tensor,
        like: Tensor,
        generator: torch.Generator,
        features: list[Tensor],
    ) -> Tensor:
        """What each image is worth at this step, (N,)."""
        wide = self.parametrization.inputs(values, like, self.box)
        output = model(self.transformation(wide, generator))
        if self.objective == "log-probability":
            output = _log_softmax(output, target)
        worth = scores(output, target, len(wide))[0] - self.parametrization.penalty(values)
        images = self.transformation.middle(wide)
        for regularizer in self.regularizers:
            worth = worth - regularizer(images)
        if self.expert is not None:
            worth = worth + self.expert(images)
        if self.diversity:
            worth = worth - self.diversity * likeness(features.pop(), self.count)
        return worth


def _ascent(objective: Tensor, values: Tensor) -> tuple[Tensor, int]:
    """The gradient to descend, without the images where it is not finite, and their number."""
    if not objective.requires_grad:
        raise UnsupportedModelError(
            "no gradient reaches the input: the model must be differentiable and not run under "
            "torch.no_grad()"
        )
    (gradient,) = torch.autograd.grad(-objective.sum(), values)
    finite = gradient.flatten(1).isfinite().all(1)
    kept = torch.where(finite.reshape(-1, *[1] * (gradient.dim() - 1)), gradient, 0.0)
    return kept, int((~finite).sum())


def _reached(model: Model, images: Tensor, target: Any) -> tuple[Tensor, Tensor | None]:
    """The model's own score and probability of each image."""
    output = model(images)
    score = scores(output, target, len(images))[0]
    check_scores(score)
    if callable(target) or output.dim() < 2:
        return score, None
    return score, scores(output.softmax(1), target, len(images))[0]


def _notes(skipped: int, moved: bool) -> list[str]:
    notes = [f"{skipped} gradients were not finite and were skipped"] if skipped else []
    if not moved:
        notes.append("the gradient was zero at every step: the search has not moved")
    return notes


def _log_softmax(output: Any, target: Any) -> Tensor:
    if callable(target) or not isinstance(output, Tensor) or output.dim() < 2:
        raise InputError("a log-probability needs class scores (N, classes) and a class as target")
    return output.log_softmax(1)


@contextmanager
def _features(model: Model, search: _Search) -> Iterator[list[Tensor]]:
    """A list that receives the features of each forward, if diversity is wanted."""
    features: list[Tensor] = []
    if not search.diversity:
        yield features
        return
    if not isinstance(model, nn.Module):
        raise InputError("diversity compares the features of a module: the model is a function")
    name = search.at if search.at is not None else _middle(model, search.start[None])
    if name not in dict(model.named_modules()):
        raise InputError(f"the model has no module {name!r} for at=")

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.dim() < 3:
            raise InputError(f"{name} gives no features (N, C, positions) to compare: choose at=")
        features.append(output)

    handle = model.get_submodule(name).register_forward_hook(keep)
    try:
        yield features
    finally:
        handle.remove()


def _middle(model: nn.Module, inputs: Tensor) -> str:
    """The module in the middle of those whose output has spatial extent."""
    names = {module: name for name, module in model.named_modules() if not list(module.children())}
    spatial: list[str] = []

    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[-1] > 1:
            spatial.append(names[module])

    handles = [module.register_forward_hook(hook) for module in names]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not spatial:
        raise InputError("no module has features with spatial extent: name one by at=")
    return spatial[len(spatial) // 2]


def _targets(target: Any) -> list[Any]:
    if hasattr(target, "tolist"):
        target = target.tolist()
    targets = list(target) if isinstance(target, list) else [target]
    if not targets:
        raise InputError("there is no class to search a prototype of")
    for one in targets:
        if isinstance(one, str):
            raise InputError(f"target {one!r}: a prototype needs a class, by its index")
        if callable(one) and len(targets) > 1:
            raise InputError("a function can only be the one target: search once for each")
    return targets


def _resolved(model: ImageModel, target: Any) -> Any:
    """Class names as indices; "predicted" stays and is refused with the others."""
    if isinstance(target, list):
        return [_resolved(model, one) for one in target]
    return model.target(target) if isinstance(target, str) else target


def _first(start: Tensor | None, parametrization: Any, model: Any) -> Tensor:
    """Where the search starts; for a code, an image of the generator."""
    if start is None and isinstance(parametrization, Code):
        with torch.no_grad():
            return parametrization.generator(torch.zeros(1, parametrization.size))[0]
    if start is None:
        raise InputError("give as start= the input where the search starts, such as torch.zeros(…)")
    return start.detach()


def _name(target: Any, classes: tuple[str, ...] | None) -> str:
    if callable(target):
        return getattr(target, "__name__", "target")
    return classes[target] if classes and isinstance(target, int) else f"class {target}"
