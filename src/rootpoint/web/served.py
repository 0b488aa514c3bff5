"""The models as they are served, in the process that owns them: requests in, answers out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import perf_counter
from typing import Any

from rootpoint.errors import InputError, RootpointError, UnknownNameError, UnsupportedModelError
from rootpoint.explanation import Explanation
from rootpoint.method import BoundMethod, Method, method, methods
from rootpoint.models import ImageModel, load_estimator
from rootpoint.models import load as load_image
from rootpoint.web.budgets import check_windows
from rootpoint.web.config import BACKGROUND, Config, ModelConfig
from rootpoint.web.factories import text_model
from rootpoint.web.requests import (
    Answer,
    ErrorAnswer,
    Request,
    RowInput,
    TextInput,
    method_of,
)
from rootpoint.web.seen import Seen, check_kind, seen_picture

KEPT = 16  # bound methods: each may keep modified weights
BATCHED = frozenset(
    {
        *("lrp", "deep-taylor", "deconvnet", "guided-backprop", "excitation-backprop"),
        *("contribution-propagation", "gradient", "gradient-times-input", "sensitivity"),
        *("deeplift", "grad-cam", "edges"),
    }
)
"""Methods of few passes, for which samples explained together are as explained one by one."""

UNFIT = {
    *(TypeError, ValueError, IndexError, KeyError),
    *(ZeroDivisionError, OverflowError, RuntimeError, RecursionError),
}
"""What torch and Python raise where parameters of a visitor do not fit the model."""


@dataclass(eq=False)
class Served:
    """One model.

    model      what is explained: a network, or an estimator for methods that need one
    classes    names of the outputs, if they have any
    image      of pictures: how they are fed
    tokenizer  of texts, unless the model reads them itself
    frame      of tables: the rows to choose from
    """

    config: ModelConfig
    model: Any
    classes: tuple[str, ...] | None = None
    image: ImageModel | None = None
    tokenizer: Any = None
    estimator: Any = None
    frame: Any = None
    _bound: dict[Any, BoundMethod] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.config.kind

    @cached_property
    def runs(self) -> list[str]:
        """The names of the methods that can run on this kind of model."""
        if self.kind == "table" and self.model is None:
            return ["tree-shapley"]
        out = {"estimator", "data", "graph"}
        out |= set() if self.image is not None else {"images", "layer"}
        found = [name for name, one in methods().items() if not out & set(one.needs)]
        if self.image is not None and not _ends_in_maps(self):
            found.remove("cam")
        if self.tokenizer is not None:
            found = [name for name in found if name in ("lrp", "gradient-times-input")]
        return found

    def seen(self, request: Request) -> Seen:
        """What the model is fed."""
        check_kind(request, self.kind)
        if self.image is not None:
            return seen_picture(request, self.image, self.kind)
        if isinstance(request.input, TextInput):
            text = request.input.text
            if self.tokenizer is None:
                return Seen([text])
            return Seen(self.tokenizer(text, return_tensors="pt", truncation=True))
        assert isinstance(request.input, RowInput)
        return Seen(self._row(request.input.values))

    def bound(self, request: Request) -> BoundMethod:
        """The request's method with this model, kept for requests of the same."""
        key = request.method, str(sorted(request.parameters.items())), str(request.rules)
        if key in self._bound:
            self._bound[key] = found = self._bound.pop(key)  # the last to be forgotten
            return found
        with _fitting(request):
            found = self._method(request)
        self._bound[key] = found
        if len(self._bound) > KEPT:
            del self._bound[next(iter(self._bound))]
        return found

    def target(self, request: Request) -> Any:
        """What is explained, checked against the classes."""
        wanted = request.target
        count = None if self.classes is None else len(self.classes)
        for index in wanted if isinstance(wanted, list) else [wanted]:
            if count is not None and isinstance(index, int) and index >= count:
                raise InputError(f"there is no class {index}: {request.model} has 0 to {count - 1}")
        if isinstance(wanted, list):
            from rootpoint.target import contrast

            return contrast(wanted[0], wanted[1])
        return wanted

    def label(self, index: int) -> str:
        return self.classes[index] if self.classes else f"class {index}"

    def _method(self, request: Request) -> BoundMethod:
        chosen = method_of(request)
        if chosen.name not in self.runs:
            raise InputError(f"{chosen.name} cannot explain {request.model}: {_few(self.runs)} can")
        if self.image is not None:
            check_windows(chosen, self.image.size)
        if request.rules:
            chosen = self.with_rules(chosen, request)
        if chosen.name == "tree-shapley":
            return chosen.fit(self.estimator, self.frame.iloc[:BACKGROUND]).bind(self.estimator)
        return chosen.bind(self.model)

    def with_rules(self, chosen: Any, request: Request) -> Method:
        """LRP by its composite, but for the rules that the visitor gave to single modules."""
        from rootpoint.propagation.composites import Where
        from rootpoint.propagation.rules import read

        chosen = chosen.chosen(self.model)
        composite = chosen.rules()
        known = dict(self.model.named_modules())
        for module, rule in request.rules.items():
            if module not in known:
                raise UnknownNameError("module", module, known)
            composite = composite.override(Where(module=module), read(rule))
        return replace(chosen, composite=composite)

    def _row(self, values: Sequence[Any]) -> Any:
        import pandas as pd

        names = list(self.frame.columns)
        if len(values) != len(names):
            raise InputError(f"{len(values)} values for {len(names)} columns: {_few(names)}")
        try:
            return pd.DataFrame([values], columns=names).astype(self.frame.dtypes)
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"the row does not fit the columns: {error}") from error


@dataclass(frozen=True, eq=False)
class Explained:
    """One request explained: a sample of an explanation, that may be of several."""

    request: Request
    served: Served
    seen: Seen
    explanation: Explanation
    sample: int
    seconds: float


def load(config: Config) -> dict[str, Served]:
    """The models, by name, in eval mode. Raises what loading them raises."""
    return {model.name: load_one(model) for model in config.models}


def load_one(config: ModelConfig) -> Served:
    """One model. Raises UnsupportedModelError, InputError or MissingExtraError as loading does."""
    if config.kind in ("digits", "image"):
        image = load_image(config.source)
        return Served(config, image.module, image.classes, image)
    if config.kind == "text" and ".py:" in config.name:
        model, tokenizer, classes = text_model(config.source)
        return Served(config, model, classes, tokenizer=tokenizer)
    from rootpoint.neuralize.neuralize import neuralize

    estimator = load_estimator(config.source, config.trust)
    try:
        network = neuralize(estimator)
    except UnsupportedModelError:
        if config.kind == "text":
            raise
        network = None
    outputs = network.outputs if network is not None else getattr(estimator, "classes_", ("score",))
    classes, frame = tuple(map(str, outputs)), None
    if config.table is not None:
        from rootpoint.data.tables import read_table

        table, names = read_table(config.table), getattr(estimator, "feature_names_in_", None)
        if names is not None and (missing := [n for n in names if n not in table.columns]):
            raise InputError(f"{config.rows} has no column {missing[0]!r}")
        frame = table if names is None else table.loc[:, list(names)]
    return Served(config, network, classes, estimator=estimator, frame=frame)


def answer(models: dict[str, Served], payloads: Sequence[Request]) -> list[Answer | ErrorAnswer]:
    """The answer to each request. Requests that are `alike` are computed as one batch.

    Each equals what `rootpoint.explain` gives for it alone; what is wrong with one is its own.
    """
    from rootpoint.web.answering import answered

    return [
        one if isinstance(one, ErrorAnswer) else answered(one) for one in explain(models, payloads)
    ]


def explain(
    models: dict[str, Served], requests: Sequence[Request]
) -> list[Explained | ErrorAnswer]:
    """The explanation of each request, or what is wrong with it."""
    found: dict[int, Explained | ErrorAnswer] = {}
    groups: dict[Any, list[tuple[int, Seen, Any]]] = {}
    for i, request in enumerate(requests):
        try:
            served = served_by(models, request)
            served.bound(request)
            seen, target = served.seen(request), served.target(request)
        except RootpointError as error:
            found[i] = failure(error)
            continue
        together = served.image is not None and request.method in BATCHED
        groups.setdefault(request.alike if together else i, []).append((i, seen, target))
    for members in groups.values():
        indices = [i for i, _, _ in members]
        chosen = [requests[i] for i in indices]
        served = models[chosen[0].model]
        given = [(seen, target) for _, seen, target in members]
        found.update(zip(indices, _explained(served, chosen, given), strict=True))
    return [found[i] for i in range(len(requests))]


def explain_one(models: dict[str, Served], request: Request) -> Explained:
    """As `explain`, for one request; raises what is wrong with it."""
    served = served_by(models, request)
    return _together(served, [request], [(served.seen(request), served.target(request))])[0]


def served_by(models: dict[str, Served], request: Request) -> Served:
    if request.model not in models:
        raise UnknownNameError("model", request.model, models)
    return models[request.model]


def failure(error: RootpointError) -> ErrorAnswer:
    """An error as it is sent: kind "unknown", "input" or "model"."""
    unknown, wrong = isinstance(error, UnknownNameError), isinstance(error, InputError)
    return ErrorAnswer(
        kind="unknown" if unknown else "input" if wrong else "model", message=str(error)
    )


def _explained(
    served: Served, requests: Sequence[Request], given: Sequence[tuple[Seen, Any]]
) -> list[Explained | ErrorAnswer]:
    """Requests as one batch; one by one if the batch fails, so that each has its own error."""
    try:
        return list(_together(served, requests, given))
    except RootpointError as error:
        if len(requests) == 1:
            return [failure(error)]
    pairs = zip(requests, given, strict=True)
    return [one for request, each in pairs for one in _explained(served, [request], [each])]


def _together(
    served: Served, requests: Sequence[Request], given: Sequence[tuple[Seen, Any]]
) -> list[Explained]:
    import torch

    bound = served.bound(requests[0])
    started = perf_counter()
    inputs, target = given[0][0].inputs, given[0][1]
    if len(given) > 1:
        inputs = torch.cat([seen.inputs for seen, _ in given])
        target = _targets(served, inputs, [target for _, target in given])
    with _fitting(requests[0]):
        explanation = bound(inputs, target)
    seconds = perf_counter() - started
    return [
        Explained(request, served, seen, explanation, i, seconds)
        for i, (request, (seen, _)) in enumerate(zip(requests, given, strict=True))
    ]


def _targets(served: Served, inputs: Any, targets: Sequence[Any]) -> Any:
    """The target of a batch: the one of all, or a class for each sample."""
    if all(target == targets[0] for target in targets):
        return targets[0]
    import torch

    if "predicted" not in targets:
        return list(targets)
    with torch.no_grad():
        best = served.model(inputs).argmax(1).tolist()
    return [b if t == "predicted" else t for b, t in zip(best, targets, strict=True)]


@contextmanager
def _fitting(request: Request) -> Iterator[None]:
    """Raise InputError for what Python and torch say of parameters that fit no model."""
    try:
        yield
    except Exception as error:
        if type(error) not in UNFIT or not (request.parameters or request.rules):
            raise
        raise InputError(f"{request.method} cannot be computed so: {error}") from error


def _ends_in_maps(served: Served) -> bool:
    """Whether the method cam can run: it needs a network that ends in a global average."""
    assert served.image is not None
    size = served.image.size
    try:
        method("cam")(served.model, served.image.high.expand(-1, size, size)[None], 0)
    except RootpointError:
        return False
    return True


def _few(names: Sequence[Any]) -> str:
    listed = ", ".join(map(str, names[:12]))
    return f"{listed}, …" if len(names) > 12 else listed
