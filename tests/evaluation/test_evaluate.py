"""`evaluate` as a whole: data, targets, masks, candidates of others, failures, and what stays."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import rootpoint as rp
from rootpoint.errors import InputError, UnknownNameError, UnsupportedModelError
from rootpoint.evaluation import planted
from rootpoint.evaluation.evaluate import METRICS
from rootpoint.evaluation.metric import Case, Measured, Metric
from rootpoint.evaluation.result import Evaluation

ABPC = "abpc(region=4, steps=4, per_step=1, repetitions=2)"
CHEAP = (ABPC, "conservation", "random-logit", "sensitivity-n(repetitions=5, sizes=2)")


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(256, 3),
    ).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(7, 3, 8, 8)


def gradient(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    x = inputs.clone().requires_grad_()
    score = model(x)[torch.arange(len(x)), targets].sum()
    return torch.autograd.grad(score, x)[0]


def refuse(model: Any, inputs: Tensor, targets: Any) -> Tensor:
    raise UnsupportedModelError("not this model")


def assert_same(a: Evaluation, b: Evaluation, tolerance: float = 0.0) -> None:
    assert list(a.metrics) == list(b.metrics)
    assert a.methods == b.methods
    for metric in a.metrics:
        for name in a.methods:
            np.testing.assert_allclose(
                a.values(metric, name), b.values(metric, name), rtol=0, atol=tolerance
            )


@dataclass(frozen=True, eq=False)
class Given(Metric):
    """What a case holds, for a look."""

    name: ClassVar[str] = "given"
    summary: ClassVar[str] = "What is given"
    group: ClassVar[str] = "axioms"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    cost: ClassVar[str] = "none"

    look: Any = None

    def measure(self, case: Case) -> Measured:
        self.look(case)
        return Measured(case.score)


def given(model: Any, data: Any, **options: Any) -> list[Case]:
    """The cases that metrics are given."""
    cases: list[Case] = []
    rp.evaluate(model, data, "random", Given(cases.append), **options)
    return cases


# -- what comes out -------------------------------------------------------------------------------


def test_each_method_has_a_value_of_each_metric_for_each_sample(
    model: nn.Module, images: Tensor
) -> None:
    found = rp.evaluate(model, images, ["lrp", "gradient", gradient, "random"][:2], batch=3)
    assert found.methods == ("lrp", "gradient")
    assert list(found.metrics) == [str(rp.metric(m)) for m in METRICS]
    for method in found.methods:
        for metric in found.metrics:
            assert found.values(metric, method).shape == (7,)
        assert found.results[method].count == 7
        assert found.results[method].seconds > 0
    assert len(list(found.rows())) == 6
    assert dict(found.failures) == {}


def test_a_function_is_a_candidate_like_every_other(model: nn.Module, images: Tensor) -> None:
    found = rp.evaluate(model, images, {"ours": "gradient", "theirs": gradient}, CHEAP)
    for metric in found.metrics:
        ours, theirs = (found.values(metric, name) for name in found.methods)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_arrays_as_shap_returns_them_and_maps_are_candidates(
    model: nn.Module, images: Tensor
) -> None:
    def array(model: Any, inputs: Tensor, targets: Tensor) -> np.ndarray[Any, Any]:
        return gradient(model, inputs, targets).numpy().astype(np.float64)

    def summed(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        return gradient(model, inputs, targets).sum(1)

    found = rp.evaluate(model, images, [gradient, array, summed], (ABPC, "conservation"))
    for metric in found.metrics:
        for name in ("array", "summed"):
            expected = found.values(metric, "gradient")
            np.testing.assert_allclose(found.values(metric, name), expected, rtol=1e-4, atol=1e-5)


def test_captum_is_a_candidate(model: nn.Module, images: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attr = pytest.importorskip("captum.attr")

    def captum(model: Any, inputs: Tensor, targets: Tensor) -> Any:
        return attr.InputXGradient(model).attribute(inputs.clone().requires_grad_(), targets)

    found = rp.evaluate(model, images, [captum, "gradient-times-input"], CHEAP)
    for metric in found.metrics:
        theirs, ours = (found.values(metric, name) for name in found.methods)
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test_what_fails_is_named_and_the_others_are_judged(model: nn.Module, images: Tensor) -> None:
    def bad(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        return inputs * float("nan")

    def wrong(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        return inputs[:, :2]

    found = rp.evaluate(model, images, [refuse, "gradient", bad, wrong], "conservation")
    assert found.methods == ("gradient",)
    assert found.failures["refuse"] == "UnsupportedModelError: not this model"
    assert found.failures["bad"].startswith("InputError: a candidate returned NaN or infinity")
    assert found.failures["wrong"].startswith("InputError: relevance of shape (7, 2, 8, 8)")
    assert_same(found, rp.evaluate(model, images, "gradient", "conservation"))


def test_if_all_fail_the_first_error_is_raised(model: nn.Module, images: Tensor) -> None:
    def late(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        raise InputError("too late")

    with pytest.raises(UnsupportedModelError, match="not this model"):
        rp.evaluate(model, images, [refuse, late], "conservation")


def test_an_error_of_a_function_itself_is_not_hidden(model: nn.Module, images: Tensor) -> None:
    def broken(model: Any, inputs: Tensor, targets: Any) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        rp.evaluate(model, images, ["gradient", broken], "conservation")


# -- what values depend on ------------------------------------------------------------------------


def test_values_do_not_depend_on_the_batch(images: Tensor) -> None:
    p = planted.convolutional(7, 8)
    judged = {"truth": p.truth, "gradient": "gradient", "map": lambda m, x, t: x.abs().sum(1)}
    options: dict[str, Any] = {"target": p.targets, "masks": p.masks}
    metrics = (*CHEAP, "relevance-mass", "max-sensitivity(samples=2)", "infidelity(samples=5)")
    whole = rp.evaluate(p.model, p.inputs, judged, metrics, batch=7, **options)
    for batch in (1, 3):
        parts = rp.evaluate(p.model, p.inputs, judged, metrics, batch=batch, **options)
        assert_same(whole, parts, 1e-12)


def test_the_same_seed_gives_the_same_values(model: nn.Module, images: Tensor) -> None:
    first = rp.evaluate(model, images, ["gradient", "random"], CHEAP, seed=3)
    torch.rand(5)
    assert_same(first, rp.evaluate(model, images, ["gradient", "random"], CHEAP, seed=3))
    other = rp.evaluate(model, images, ["gradient", "random"], CHEAP, seed=4)
    assert not np.array_equal(first.values("abpc", "gradient"), other.values("abpc", "gradient"))


def test_values_do_not_depend_on_the_other_candidates(model: nn.Module, images: Tensor) -> None:
    alone = rp.evaluate(model, images, "gradient", CHEAP)
    among = rp.evaluate(model, images, ["random", "lrp", "gradient"], CHEAP)
    for metric in alone.metrics:
        np.testing.assert_array_equal(
            alone.values(metric, "gradient"), among.values(metric, "gradient")
        )


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_values(model: nn.Module, images: Tensor) -> None:
    plain = rp.evaluate(model, images, "gradient", CHEAP[:2], batch=4)
    fast = rp.evaluate(model, images, "gradient", CHEAP[:2], batch=4, compile=True)
    assert_same(plain, fast, 1e-4)


# -- data, targets and masks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "of",
    [
        lambda x: x.numpy(),
        lambda x: list(x.split(2)),
        lambda x: DataLoader(TensorDataset(x, torch.arange(len(x))), batch_size=4),
    ],
    ids=["array", "batches", "loader"],
)
def test_data_comes_in_many_forms(
    model: nn.Module, images: Tensor, of: Callable[[Tensor], Any]
) -> None:
    expected = rp.evaluate(model, images, "gradient", CHEAP)
    assert_same(expected, rp.evaluate(model, of(images), "gradient", CHEAP), 1e-5)


def test_texts_are_judged_word_by_word() -> None:
    def words(texts: list[str]) -> Tensor:
        good = [sum(w == "good" for w in text.split()) for text in texts]
        bad = [sum(w == "bad" for w in text.split()) for text in texts]
        return torch.tensor([good, bad]).T.float() @ torch.tensor([[2.0, -1.0], [-1.0, 2.0]])

    def truth(model: Any, texts: list[str], targets: Tensor) -> list[Tensor]:
        value = {"good": (2.0, -1.0), "bad": (-1.0, 2.0)}
        return [
            torch.tensor([value.get(w, (0.0, 0.0))[int(t)] for w in text.split()])
            for text, t in zip(texts, targets, strict=True)
        ]

    texts = ["a good film", "bad bad and good in the end", "so good so far"]
    found = rp.evaluate(words, texts, {"truth": truth}, ["conservation", "aopc"], batch=2)
    assert found.values("conservation", "truth").tolist() == [0, 0, 0]
    assert (found.values("aopc", "truth") > 0).all()


def test_targets_are_resolved_once_for_all(model: nn.Module, images: Tensor) -> None:
    output = model(images).detach()
    rows = torch.arange(7)
    per_sample = [0, 1, 2, 0, 1, 2, 0]
    for target, expected in (
        ("predicted", output.amax(1)),
        (2, output[:, 2]),
        (per_sample, output[rows, per_sample]),
        (torch.tensor(per_sample), output[rows, per_sample]),
        (lambda out: out[:, 0] - out[:, 1], output[:, 0] - output[:, 1]),
    ):
        cases = given(model, images, target=target, batch=4)
        assert [len(case.numbers) for case in cases] == [4, 3]
        torch.testing.assert_close(torch.cat([case.score for case in cases]), expected)
        for case in cases:
            again = case.scores(lambda i, j, of=case: of.inputs[i:j], range(len(case.inputs)))
            torch.testing.assert_close(again, case.score)


def test_masks_go_with_their_samples_in_the_shape_of_inputs(
    model: nn.Module, images: Tensor
) -> None:
    masks = torch.rand(7, 8, 8) > 0.5
    for form in (masks, masks[:, None], masks.float(), masks[:, None].long()):
        cases = given(model, images, masks=form, batch=4)
        found = [case.masks for case in cases]
        assert [mask.shape for mask in found if mask is not None] == [(4, 1, 8, 8), (3, 1, 8, 8)]
        assert torch.equal(torch.cat(found), masks[:, None])  # type: ignore[arg-type]
    (case,) = given(model, images, masks=masks[:, None].expand(-1, 3, -1, -1))
    assert case.masks is not None
    assert case.masks.shape == images.shape
    assert given(model, images)[0].masks is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"masks": torch.ones(7, 4, 4)}, r"masks of shape \(7, 1, 4, 4\) do not fit inputs"),
        ({"masks": torch.full((7, 8, 8), 0.5)}, "masks hold values other than 0 and 1"),
        ({"masks": torch.ones(9, 8, 8)}, "9 masks for 7 samples: give one for each"),
        ({"target": [0] * 9}, "9 targets for 7 samples: give one for each"),
        ({"batch": 0}, "batch=0: give the model at least one input at once"),
        ({"metrics": "iou"}, "iou needs masks or boxes"),
        ({"metrics": []}, "there is no metric to evaluate by"),
        ({"methods": []}, "there is no method to evaluate"),
        ({"methods": ["gradient", "gradient"]}, "two candidates are called 'gradient'"),
        ({"data": []}, "no sample|empty|nothing"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    model: nn.Module, images: Tensor, options: dict[str, Any], words: str
) -> None:
    chosen = {"data": images, "methods": "gradient", "metrics": "conservation", **options}
    with pytest.raises(InputError, match=words):
        rp.evaluate(model, chosen.pop("data"), **chosen)


@pytest.mark.parametrize("name", ["masks", "target"])
def test_fewer_masks_or_targets_than_samples_are_refused(
    model: nn.Module, images: Tensor, name: str
) -> None:
    few = torch.ones(5, 8, 8) if name == "masks" else [0] * 5
    for batch in (4, 32):
        with pytest.raises(InputError, match=r"(5|1) (masks|targets) for|\(1, 1, 8, 8\)"):
            rp.evaluate(model, images, "gradient", "conservation", batch=batch, **{name: few})


def test_unknown_names_are_refused_before_the_model_runs(images: Tensor) -> None:
    def model(x: Tensor) -> Tensor:
        raise AssertionError("was run")

    with pytest.raises(UnknownNameError, match=r"no metric is called 'abcp'"):
        rp.evaluate(model, images, "gradient", "abcp")
    with pytest.raises(UnknownNameError, match="no method is called 'gradiend'"):
        rp.evaluate(model, images, ["gradiend"], "conservation")
    with pytest.raises(InputError, match=r"cosine-convergence needs an nn\.Module"):
        rp.evaluate(model, images, "gradient", "cosine-convergence")


# -- what stays as it was -------------------------------------------------------------------------


def test_the_model_comes_back_untouched(model: nn.Module, images: Tensor) -> None:
    next(model.parameters()).requires_grad_(False)
    model[5].weight.grad = torch.ones_like(model[5].weight)  # type: ignore[index]
    model[2].register_forward_hook(lambda *_: None)  # type: ignore[index]
    state = deepcopy(model.state_dict())
    flags = [p.requires_grad for p in model.parameters()]
    hooks = [dict(m._forward_hooks) for m in model.modules()]
    before, random = images.clone(), torch.get_rng_state()
    metrics = (*CHEAP, "parameter-randomization(layers=2)", "cosine-convergence(layers=2)")
    rp.evaluate(model, images, ["lrp", "gradient", gradient, "random"][1:2], metrics)
    assert torch.equal(random, torch.get_rng_state())
    assert torch.equal(before, images)
    assert not images.requires_grad
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert [p.requires_grad for p in model.parameters()] == flags
    assert [dict(m._forward_hooks) for m in model.modules()] == hooks
    assert not any(m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert not any(m.training for m in model.modules())
    assert torch.equal(model[5].weight.grad, torch.ones_like(model[5].weight))  # type: ignore
    assert model[0].weight.grad is None  # type: ignore[index]


def test_float64_stays_float64(model: nn.Module, images: Tensor) -> None:
    (case,) = given(model.double(), images.double())
    assert case.score.dtype == case.relevance.dtype == torch.float64
