"""Every torch function is classified, and every operation with a rule keeps what rules promise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, get_overridable_functions, resolve_name

import rootpoint as rp
from rootpoint import GradientTimesInput
from rootpoint.explanation import UNACCOUNTED
from rootpoint.propagation import Propagation, composite
from rootpoint.propagation.refusals import NO_RELEVANCE, standing

sys.path.append(str(Path(__file__).parent))  # tests are no package
from records import (
    ARGUMENTS,
    BY_OTHER_NAMES,
    ELSEWHERE,
    OF_OTHER_SHAPES,
    RECORDS,
    Record,
    constant,
    each,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:index_reduce", "ignore:torch.chain_matmul", "ignore:at..frobenius_norm"
)

LRP_0 = "epsilon(epsilon=0.0)"
NAMED = {record.name: record for record in RECORDS}


def name_of(function: Any) -> str:
    attribute = function.__name__ in ("__get__", "__getitem__")
    return resolve_name(function) if attribute else function.__name__


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for listed in get_overridable_functions().values():
        for function in listed:
            yield name_of(function), function


def in_place(name: str) -> bool:
    return name.endswith("_") and not name.endswith("__")


def with_rules() -> set[str]:
    """The names of all functions that relevance passes by a rule."""
    apart = ("refused", "without relevance", "met as another")
    return {name for name, function in functions() if not standing(function).startswith(apart)}


# -- all are classified ----------------------------------------------------------------------------


def test_every_overridable_function_of_the_installed_torch_is_classified() -> None:
    unknown = sorted({name for name, function in functions() if not standing(function)})
    assert not unknown, f"new in torch {torch.__version__}: {', '.join(unknown)}"


def test_every_operation_with_a_rule_has_a_record() -> None:
    left = {name for name in with_rules() if not in_place(name)} - set(NAMED)
    assert left == {*ELSEWHERE.split(), *BY_OTHER_NAMES.split()}


def test_at_least_250_operations_have_a_rule() -> None:
    assert len([name for name in with_rules() if not in_place(name)]) >= 250


def test_results_without_relevance_have_no_gradient() -> None:
    x = torch.rand(3, 3, requires_grad=True) * 1
    groups = ("comparison", "integers", "random", "creation")
    names = {name for group in groups for name in NO_RELEVANCE[group].split()}
    tried = 0
    for name, function in functions():
        if name in names and not in_place(name) and not name.startswith("__i"):
            for args in ((x,), (x, x), (x, 1)):
                try:
                    found = function(*args)
                except (TypeError, RuntimeError, NotImplementedError, IndexError, ValueError):
                    continue
                tried += 1
                results = found if isinstance(found, tuple | list) else (found,)
                assert not any(isinstance(t, Tensor) and t.requires_grad for t in results), name
    assert tried > 100


def test_the_page_of_operations_is_that_of_this_torch() -> None:
    root = Path(__file__).parents[2]
    spec = spec_from_file_location("operations", root / "benchmarks" / "operations.py")
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    written = (root / "docs" / "operations.md").read_text()
    release = torch.__version__.partition("+")[0]
    if f"with torch {release};" in written:
        assert written == script.page()


# -- what holds for all records --------------------------------------------------------------------


def sample(record: Record, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(len(record.name))
    x = torch.rand(2, *record.shape, generator=generator, dtype=torch.float64)
    x = {"real": 4 * x - 2, "positive": 1.2 + 2 * x, "unit": 0.1 + 0.8 * x}[record.domain]
    return x.to(dtype)


def mixed(x: Tensor) -> Tensor:
    """A linear map that keeps values in their domain."""
    logits = torch.arange(x.shape[-1] ** 2, dtype=torch.float64).mul(1.7).sin().mul(3)
    weights = logits.reshape(x.shape[-1], -1).softmax(1).to(x.dtype)
    return torch.nn.functional.linear(x, weights)


def model_of(record: Record, *, first: bool = False) -> Callable[[Tensor], Tensor]:
    """The record's call, with all results in one row per sample; behind a linear map, or first."""

    def model(x: Tensor) -> Tensor:
        result = record.call(x if first else mixed(x))
        results = result if isinstance(result, tuple | list) else (result,)
        return torch.cat([t.reshape(len(x), -1) for t in results], 1)

    return model


def score(output: Tensor) -> Tensor:
    weights = torch.arange(output.shape[1], dtype=torch.float64).cos().add(1.5)
    return (output * weights.to(output.dtype)).sum(1)


def explain(record: Record, x: Tensor, *, first: bool = False) -> rp.Explanation:
    torch.manual_seed(0)
    return rp.explain(model_of(record, first=first), x, score, composite=LRP_0)


everything = pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
of_samples = pytest.mark.parametrize(
    "record", [r for r in RECORDS if r.batched], ids=lambda record: record.name
)
homogeneous = pytest.mark.parametrize(
    "record", [r for r in RECORDS if r.degree], ids=lambda record: record.name
)


class Met(TorchFunctionMode):
    """Notes the names of all functions that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.add(name_of(function))
        return function(*args, **kwargs or {})


@everything
def test_the_value_is_unchanged_and_every_share_of_it_accounted_for(record: Record) -> None:
    x = sample(record)
    torch.manual_seed(0)
    with Met() as met:
        value = score(model_of(record)(x)).detach()
    assert record.name in met.names
    e = explain(record, x)
    assert torch.equal(e.output, value)
    assert e.relevance.isfinite().all()
    size = 1 + float(value.abs().sum()) + float(e.relevance.abs().sum())
    assert abs(e.balance.gap) < record.rounding * size
    absorbed = {cause for cause, amount in e.balance.absorbed.items() if abs(amount) > 1e-9 * size}
    assert absorbed - {"rounding"} == record.absorbs


@homogeneous
def test_lrp_0_is_gradient_times_input_over_the_degree(record: Record) -> None:
    x = sample(record)
    expected = GradientTimesInput()(model_of(record), x, score).relevance / record.degree
    assert torch.allclose(explain(record, x).relevance, expected, rtol=1e-8, atol=1e-10)


@everything
def test_it_may_be_the_first_that_meets_the_input(record: Record) -> None:
    x = sample(record)
    e = explain(record, x, first=True)
    size = 1 + float(e.output.abs().sum()) + float(e.relevance.abs().sum())
    assert abs(e.balance.gap) < record.rounding * size
    assert UNACCOUNTED not in e.balance.absorbed
    if record.degree and not record.absorbs:
        expected = GradientTimesInput()(model_of(record, first=True), x, score).relevance
        assert torch.allclose(e.relevance, expected / record.degree, rtol=1e-8, atol=1e-10)


@of_samples
def test_a_batch_is_explained_as_its_samples_are(record: Record) -> None:
    x = sample(record)
    alone = torch.cat([explain(record, x[i : i + 1]).relevance for i in range(len(x))])
    assert torch.allclose(explain(record, x).relevance, alone, rtol=1e-8, atol=1e-10)


@everything
def test_single_and_half_precision_give_finite_maps(record: Record) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = sample(record, dtype)
        try:
            e = explain(record, x)
        except (RuntimeError, ValueError):
            assert not has_kernels(record, x)
        else:
            assert e.relevance.dtype == torch.float32
            assert e.relevance.isfinite().all()


def has_kernels(record: Record, x: Tensor) -> bool:
    """Whether torch computes the operation and its gradient in this dtype."""
    try:
        model_of(record)(x.requires_grad_()).sum().backward()
    except (RuntimeError, ValueError):
        return False
    return True


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_a_sparse_matrix_is_as_its_dense_form(layout: str) -> None:
    edges = (torch.arange(16, dtype=torch.float64).reshape(4, 4) % 3 == 0) * constant(4, 4)
    sparse = getattr(edges, layout)()
    dense_form, *others = (
        Record("matmul", each(lambda s: edges @ s)),
        Record("mm", each(lambda s: torch.sparse.mm(sparse, s))),
        Record("matmul", each(lambda s: sparse @ s)),
    )
    expected = explain(dense_form, sample(dense_form))
    for record in others:
        found = explain(record, sample(dense_form))
        assert torch.allclose(found.relevance, expected.relevance, rtol=1e-10)
        assert abs(found.balance.gap) < 1e-10


@pytest.mark.parametrize("scale", ["quotient", "product"])
def test_a_norm_written_by_hand_is_as_the_layer_norm(scale: str) -> None:
    def by_hand(h: Tensor) -> Tensor:
        var, mean = torch.var_mean(h, -1, unbiased=False, keepdim=True)
        about = h - mean
        if scale == "quotient":
            return about / torch.sqrt(var + 1e-5)
        return about * torch.rsqrt(var + 1e-5)

    norm = Record("layer_norm", lambda h: torch.nn.functional.layer_norm(h, (4,)))
    x = sample(norm)
    found = explain(Record("var_mean", by_hand), x)
    assert torch.allclose(found.relevance, explain(norm, x).relevance, rtol=1e-9)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_segments_are_summed_or_selected_from(reduce: str) -> None:
    lengths = torch.tensor([1, 3])
    record = Record("", each(lambda s: torch.segment_reduce(s, reduce, lengths=lengths)))
    x = sample(record)
    expected = GradientTimesInput()(model_of(record), x, score).relevance
    assert torch.allclose(explain(record, x).relevance, expected, rtol=1e-10)


OVERWRITING = sorted(
    name
    for name in with_rules()
    if in_place(name) and name not in NAMED and name not in OF_OTHER_SHAPES.split()
)


@pytest.mark.parametrize("name", OVERWRITING)
def test_in_place_is_as_out_of_place(name: str) -> None:
    base = name[:-1]
    arguments = ARGUMENTS.get(base, lambda s: ())
    record = NAMED[base]
    x = sample(replace(record, shape=(4, 4)))
    found = [
        explain(replace(record, call=each(call)), x)
        for call in (
            lambda s: getattr(s.clone(), name)(*arguments(s)),
            lambda s: getattr(s, base)(*arguments(s)),
        )
    ]
    assert torch.equal(found[0].output, found[1].output)
    assert torch.allclose(found[0].relevance, found[1].relevance, rtol=1e-9, atol=1e-12)


@everything
def test_what_is_known_of_signs_holds(record: Record) -> None:
    x = sample(record)
    for before in (lambda h: h, torch.sigmoid):
        engine = Propagation(composite(LRP_0))
        with torch.enable_grad(), engine:
            h = before(mixed(engine.enter(x)))
            result = record.call(h + 1.2 if record.domain == "positive" else h)
        for value in result if isinstance(result, tuple | list) else (result,):
            facts = engine.facts.get(value)
            assert facts is None or not facts.nonneg or (value >= 0).all()
            assert facts is None or not facts.gate or ((value >= 0) & (value <= 1)).all()
