"""What every attribution method returns: the relevance, the explained score, and the books."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rootpoint.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from rootpoint.method import Method
    from rootpoint.target import Target


UNACCOUNTED = "unaccounted"
"""The cause named where relevance vanished and nothing may absorb it: an error of the library."""


class Passes(NamedTuple):
    """How often the model ran forward, and how often a gradient went back through it."""

    forward: int
    backward: int = 0

    def __str__(self) -> str:
        return f"{self.forward} forward" + (f", {self.backward} backward" * bool(self.backward))


@dataclass(frozen=True)
class Entry:
    """One line of the books: the relevance that reached one operation, and where it went.

    `arrived` = `passed` + the sum of `absorbed` (by cause: bias, stabilizer, constant, …), summed
    over the batch.
    """

    index: int
    operation: str
    module: str
    rule: str
    arrived: float
    passed: float
    absorbed: Mapping[str, float]


@dataclass(frozen=True)
class Balance:
    """Where every unit of the explained score went: score = Σ relevance at the inputs + Σ absorbed.

    `gap` is what the books cannot account for; anything but rounding is an error of the library.
    """

    score: float
    relevance: float
    entries: tuple[Entry, ...]

    @property
    def absorbed(self) -> dict[str, float]:
        """The absorbed relevance by cause, over all operations."""
        total: dict[str, float] = {}
        for entry in self.entries:
            for cause, amount in entry.absorbed.items():
                total[cause] = total.get(cause, 0.0) + amount
        return total

    @property
    def gap(self) -> float:
        known = (a for e in self.entries for cause, a in e.absorbed.items() if cause != UNACCOUNTED)
        return self.score - self.relevance - sum(known)

    def to_dict(self) -> dict[str, Any]:
        """The books as plain numbers, strings and lists, ready for JSON."""
        return {**asdict(self), "absorbed": self.absorbed, "gap": self.gap}

    def __str__(self) -> str:
        width = max([len(e.module) for e in self.entries] + [6])
        name = max([len(e.operation) for e in self.entries] + [9])
        lines = [
            f"{'#':>4}  {'operation':<{name}}  {'module':<{width}}  {'arrived':>12}  {'passed':>12}"
        ]
        for e in self.entries:
            causes = "  ".join(f"{cause} {amount:+.4g}" for cause, amount in e.absorbed.items())
            lines.append(
                f"{e.index:>4}  {e.operation:<{name}}  {e.module:<{width}}  "
                f"{e.arrived:>12.5g}  {e.passed:>12.5g}  {causes}".rstrip()
            )
        total = ", ".join(f"{cause} {amount:.6g}" for cause, amount in self.absorbed.items())
        lines.append(
            f"score {self.score:.6g} = relevance {self.relevance:.6g} + absorbed ({total or '0'})"
            f" + unaccounted {self.gap:.2g}"
        )
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Explanation:
    """The answer to *why did the model say that?*

    relevance   like the input (a tuple or mapping if the model takes several); for `at=`, like that
                module's output, for several modules a mapping: the signed share of the score that
                each value carries
    output      the explained score of each sample, shape (B,); a logit unless the model says else
    target      what was explained: per sample a class index or an index tuple, or the function
    prediction  the model's whole output, detached
    inputs      what was explained, as given
    passes      forward and backward passes of the model that each sample took
    baseline_output  the score where the explanation puts zero, shape (B,): Σ relevance should be
                output − baseline_output; None if the method promises no sum
    standard_error  of the relevance, like it, where it was estimated by sampling
    details     what else the method found, by name
    notes       what a reader of this explanation should know of how it came about
    """

    relevance: Any
    output: Tensor
    target: Target
    prediction: Any
    inputs: Any
    method: Method
    at: str | Sequence[str] | None = None
    passes: Passes | None = None
    baseline_output: Tensor | None = None
    standard_error: Any = None
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    account: Callable[[], Balance] | None = field(default=None, repr=False)

    @property
    def completeness_gap(self) -> Tensor | None:
        """output − baseline_output − Σ relevance of each sample, (B,); None if no sum is promised.

        What numerical integration, sampling, biases or stabilizers left out. Of graphs, whose nodes
        are no samples, of all together, (1,).
        """
        if self.baseline_output is None:
            return None
        from rootpoint.inputs import tensors

        batch = len(self.output)
        if isinstance(self.relevance, list):  # of texts: one tensor for the words of each
            total = self.output.new_tensor([float(r.sum()) for r in self.relevance])
        elif any(len(r) != batch for r in tensors(self.relevance)):
            total = sum(r.sum() for r in tensors(self.relevance))
            return (self.output - self.baseline_output).sum()[None] - total
        else:
            total = sum(r.reshape(batch, -1).sum(1) for r in tensors(self.relevance))
        return self.output - self.baseline_output - total

    @cached_property
    def balance(self) -> Balance:
        """The books of this explanation, computed when first asked for: one more run of the model.

        Raises InputError if the method does not propagate relevance and so keeps no books.
        """
        if self.account is None:
            raise InputError(
                f"{self.method.name} keeps no books; methods that pass on relevance, as lrp, do"
            )
        return self.account()

    def to_shap(
        self, *, feature_names: Sequence[str] | None = None, output_names: Any = None
    ) -> Any:
        """This explanation as a `shap.Explanation`, which the plots of SHAP take.

        values        the relevance; of images (B, C, H, W) with the channels last, of texts a list
        base_values   the baseline output (B,): where bars begin; None if no sum is promised
        data          the inputs, in the same form; of texts their words
        feature_names  of the columns; those of a data frame that was explained, if left out
        Raises InputError for several inputs, MissingExtraError without SHAP.
        """
        from rootpoint.adapters import to_shap

        return to_shap(self, feature_names, output_names)

    def plot(
        self,
        photo: Image | None = None,
        *,
        sample: int = 0,
        names: Any = None,
    ) -> Image:
        """The relevance of one sample as a heatmap, or laid over `photo` (PIL image) if given; of a
        row of a table as bars; of a text as its words, coloured.

        names   of a table's columns; those of a data frame, or numbers, if left out. Of a text the
                tokens as words, or its tokenizer; not needed if the inputs are a tokenizer's own
                (`explain(model, tokenizer(text))`)
        Raises InputError if the relevance is not that of one image, table or text: (B, C, H, W),
        (B, H, W) or (B, D).
        """
        from rootpoint import visualize

        if (ids := self._ids) is not None:
            return visualize.sentence(self, ids, sample, names)
        shape = getattr(self.relevance, "shape", ())
        if len(shape) == 2:
            return visualize.row(self, sample, names)
        if len(shape) not in (3, 4):
            raise InputError(
                "only images and tables can be plotted, (B, C, H, W), (B, H, W) or (B, D); this "
                f"relevance is {tuple(shape) or type(self.relevance).__name__}"
            )
        relevance = self.relevance[sample]
        return (
            visualize.heatmap(relevance) if photo is None else visualize.overlay(photo, relevance)
        )

    @property
    def _ids(self) -> str | None:
        """The input whose integers were explained: its name in a mapping, "" if it is the only."""
        from rootpoint.inputs import holds_ids, is_explained

        if isinstance(self.inputs, Mapping) and isinstance(self.relevance, Mapping):
            given = (n for n in self.relevance if not is_explained(self.inputs[n]))
            return next(given, None)
        single = hasattr(self.inputs, "is_floating_point") and self.at is None
        return "" if single and holds_ids(self.inputs) else None

    def save(self, path: str | Path, *, sample: int = 0) -> Path:
        """Write the picture of one sample (`.png`) or the numbers of all of them (`.npz`).

        Raises InputError for any other suffix.
        """
        path = Path(path)
        if path.suffix == ".png":
            self.plot(sample=sample).save(path)
        elif path.suffix == ".npz":
            import numpy as np

            tensors = (
                self.relevance
                if isinstance(self.relevance, Mapping)
                else {"relevance": self.relevance}
            )
            if isinstance(self.relevance, tuple | list):
                tensors = {f"relevance_{i}": r for i, r in enumerate(self.relevance)}
            arrays = {name: r.detach().float().cpu().numpy() for name, r in tensors.items()}
            np.savez_compressed(path, output=self.output.detach().float().cpu().numpy(), **arrays)
        else:
            raise InputError(
                f"cannot write {path.name}: use .png for the picture, .npz for numbers"
            )
        return path


def joined(parts: Sequence[Explanation], inputs: Any) -> Explanation:
    """The explanations of some samples each as one of all; `inputs` are those of all."""
    import torch

    first = parts[0]
    if len(parts) == 1:
        return first

    def all_of(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], list):
            return [v for value in values for v in value]
        return torch.cat(values) if isinstance(values[0], torch.Tensor) else values[0]

    names = ("relevance", "output", "target", "prediction", "baseline_output", "standard_error")
    whole = {name: all_of(name) for name in names}
    books = None if first.account is None else lambda: _added([part.balance for part in parts])
    return replace(first, inputs=inputs, account=books, **whole)


def _added(books: Sequence[Balance]) -> Balance:
    """The books of some samples each as those of all."""
    entries: dict[tuple[int, str], Entry] = {}
    for entry in (entry for book in books for entry in book.entries):
        key = entry.index, entry.operation
        so_far = entries.get(key, replace(entry, arrived=0.0, passed=0.0, absorbed={}))
        causes = {*so_far.absorbed, *entry.absorbed}
        absorbed = {c: so_far.absorbed.get(c, 0.0) + entry.absorbed.get(c, 0.0) for c in causes}
        arrived, passed = so_far.arrived + entry.arrived, so_far.passed + entry.passed
        entries[key] = replace(so_far, arrived=arrived, passed=passed, absorbed=absorbed)
    score, relevance = (sum(getattr(b, name) for b in books) for name in ("score", "relevance"))
    return Balance(score, relevance, tuple(entries[key] for key in sorted(entries)))
