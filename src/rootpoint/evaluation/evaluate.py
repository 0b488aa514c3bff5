"""Judge explanations: every candidate by every metric on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rootpoint.errors import InputError
from rootpoint.evaluation.candidates import Explainer, Judged, candidates
from rootpoint.evaluation.measurements import Measurements
from rootpoint.evaluation.metric import NEEDS, Case, Metric
from rootpoint.evaluation.metric import metric as by_name
from rootpoint.evaluation.result import Evaluation, configuration, fingerprint
from rootpoint.inputs import Model, batches, call, check_scores
from rootpoint.perturbation.frozen import frozen
from rootpoint.progress import progress
from rootpoint.scoring import FROZEN, as_tensor, decide, decided, fitting, in_batches
from rootpoint.target import Target
from rootpoint.target import scores as scores_of

METRICS = ("abpc(steps=25, per_step=4, repetitions=1)", "conservation", "random-logit")


def evaluate(
    model: Model,
    data: Any,
    methods: Judged | Sequence[Judged] | Mapping[str, Judged] = "lrp",
    metrics: str | Metric | Sequence[str | Metric] = METRICS,
    *,
    target: Target = "predicted",
    masks: Tensor | None = None,
    batch: int = 32,
    seed: int = 0,
    compile: bool = False,
    checkpoint: str | Path | None = None,
) -> Evaluation:
    """How good explanations are: the value of each metric, for each method and sample.

    data      the samples: a tensor or array (N, …), an iterable of batches, or a list of texts
    methods   candidates: names ("lrp(composite='epsilon')"), Methods, or functions
              (model, inputs, targets) → relevance (B, …); a mapping sets their names
    metrics   names ("aopc(region=16)") or Metrics; see `rootpoint.metrics()`
    target    as in `explain`, resolved once for all candidates; or one per sample, N of them
    masks     bool, true where the decision depends on the sample: (N, H, W), (N, 1, H, W) or like
              the data; `rootpoint.evaluation.boxes` makes them from boxes
    batch     how many inputs the model is given at once, at most: it bounds the memory
    seed      of everything random; the same seed gives the same values, whatever the batch
    compile   score with a copy compiled by torch.compile: some seconds at first, then about twice
              as fast on a processor; the model must take and give one tensor
    checkpoint  a file of what was measured, method by method, from which an interrupted evaluation
              goes on; it is refused for other samples, metrics or seeds
    A candidate that fails is named in `Evaluation.failures` with its error, and the others are
    judged all the same. Raises what the candidates raise if all of them fail, InputError for data,
    masks or names that cannot be used.
    Cost: that of each metric, see its docstring; what several metrics share is computed once.
    """
    judged, chosen = candidates(methods), chosen_metrics(metrics, model, masks)
    samples = list(cases(model, data, target, masks, batch, seed, compile))
    about = {"metrics": [str(m) for m in chosen], "seed": seed, **fingerprint(samples)}
    measured = Measurements(model, checkpoint, about)
    results = measured("samples", judged, samples, chosen, "Evaluating")
    if not results:
        raise measured.error()
    return Evaluation(
        metrics={str(metric): metric for metric in chosen},
        results=results,
        failures=dict(measured.failures),
        configuration=configuration(model, judged, samples, seed),
    )


def chosen_metrics(
    metrics: str | Metric | Sequence[str | Metric], model: Model, masks: Tensor | None
) -> list[Metric]:
    """The metrics, once each. Raises InputError if one needs what is not there."""
    given = [metrics] if isinstance(metrics, str | Metric) else metrics
    chosen = list(dict.fromkeys(by_name(m) if isinstance(m, str) else m for m in given))
    if not chosen:
        raise InputError("there is no metric to evaluate by; see rootpoint.metrics()")
    lacking = {"masks"} if masks is None else set()
    lacking |= set() if isinstance(model, nn.Module) else {"module"}
    for metric in chosen:
        for need in lacking & set(metric.needs):
            raise InputError(f"{metric.name} needs {NEEDS[need]}")
    return chosen


def cases(
    model: Model,
    data: Any,
    target: Target,
    masks: Tensor | None,
    batch: int,
    seed: int,
    compile: bool,
) -> Iterator[Case]:
    """The samples in batches, their targets resolved: cases that lack a candidate's relevance."""
    if batch < 1:
        raise InputError(f"batch={batch!r}: give the model at least one input at once")
    start, scoring = 0, None
    for inputs in _chunks(data, batch):
        stop = start + len(inputs)
        chosen = target
        if not (callable(target) or isinstance(target, int | str | tuple)):
            chosen = target[start:stop]
        if isinstance(inputs, list):
            decision = decided(model, inputs, [chosen], len(inputs))[0]
        else:
            decision = decide(model, inputs, [chosen])[0]
        scoring = scoring or _scoring(model, inputs, batch, compile)
        yield Case(
            model=model,
            inputs=inputs,
            target=decision.target,
            score=decision.score,
            relevance=None,
            explainer=Explainer(_nobody, model),
            baseline_score=None,
            numbers=range(start, stop),
            seed=seed,
            masks=None if masks is None else as_masks(masks[start:stop], inputs),
            scores=partial(scoring, decision.target),
        )
        start = stop
    if start == 0:
        raise InputError("there is no sample to evaluate on")
    for name, given in (("targets", target), ("masks", masks)):
        if isinstance(given, list | Tensor) and len(given) != start:
            raise InputError(f"{len(given)} {name} for {start} samples: give one for each")


def _nobody(model: Model, inputs: Any, target: Target) -> Any:
    raise AssertionError("these samples have no candidate yet")


def _chunks(data: Any, batch: int) -> Iterator[Any]:
    if isinstance(data, list) and data and isinstance(data[0], str):
        yield from (data[i : i + batch] for i in range(0, len(data), batch))
        return
    for inputs in batches(data, batch):
        yield from inputs.split(batch)


def as_masks(masks: Tensor, inputs: Any) -> Tensor:
    """Masks as booleans of the inputs' number of dimensions, each of their size or 1.

    Raises InputError for other shapes, and for values between 0 and 1.
    """
    if not isinstance(inputs, Tensor):
        raise InputError(
            "masks are those of images and other tensors, not of texts: leave them out"
        )
    if masks.dim() == inputs.dim() - 1:
        masks = masks[:, None]
    fits = masks.dim() == inputs.dim() and all(
        m in (1, i) for m, i in zip(masks.shape[1:], inputs.shape[1:], strict=True)
    )
    if not fits:
        raise InputError(
            f"masks of shape {tuple(masks.shape)} do not fit inputs of shape "
            f"{tuple(inputs.shape)}: give (N, H, W), (N, 1, H, W) or one value for each input"
        )
    if masks.dtype != torch.bool and not bool(((masks == 0) | (masks == 1)).all()):
        raise InputError("masks hold values other than 0 and 1: compare them with a threshold")
    return masks.bool().to(inputs.device)


def _of(target: Target, samples: Sequence[int]) -> Target:
    """The resolved target of these samples."""
    if callable(target):
        return target
    assert isinstance(target, list)
    return [target[i] for i in samples]


def _scoring(model: Model, inputs: Any, batch: int, compile: bool) -> _Scoring:
    one = inputs[0]
    size = min(batch, fitting(one)) if isinstance(one, Tensor) else batch
    fast = frozen(model, inputs)
    return _Scoring(compiled(fast, size) if compile else fast, size, hasattr(fast, FROZEN))


def compiled(model: Model, size: int) -> Callable[[Tensor], Tensor]:
    """The model as one graph for batches of `size`; smaller ones are filled up."""
    graph = torch.compile(model, dynamic=False, options={"freezing": True})

    def run(inputs: Tensor) -> Tensor:
        count = len(inputs)
        if count < size:
            inputs = torch.cat([inputs, inputs[-1:].expand(size - count, *inputs.shape[1:])])
        return graph(inputs)[:count]

    return run


@dataclass(frozen=True, eq=False)
class _Scoring:
    """f of perturbed inputs, `size` at once and without gradients, by a fast copy of the model.

    alone   nobody else has this copy, so that it may keep what is made in inference mode
    """

    model: Model
    size: int
    alone: bool

    def __call__(
        self,
        target: Target,
        make: Callable[[int, int], Any],
        samples: Sequence[int],
        view: Callable[[Any], Any] | None = None,
    ) -> Tensor:
        """The scores (count,) of what `make(start, stop)` gives for 0 ≤ start < stop ≤ count.

        samples   the position in the batch of the sample that each perturbed input comes from
        view      of the output, from which scores are read: its probabilities, for example
        """

        def evaluate(start: int, stop: int) -> Tensor:
            chosen = _of(target, samples[start:stop])
            with self._without_gradients():
                output = as_tensor(call(self.model, make(start, stop)))
                output = output if view is None else view(output)
                score, _ = scores_of(output, chosen, stop - start)
            check_scores(score)
            return score

        with progress(len(samples), "Scoring") as advance:
            return torch.cat(list(in_batches(evaluate, len(samples), self.size, advance)))

    def _without_gradients(self) -> AbstractContextManager[Any]:
        return torch.inference_mode() if self.alone else torch.no_grad()
