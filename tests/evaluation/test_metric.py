"""The registry of metrics: names, texts, what each says of itself."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import torch

import rootpoint as rp
from rootpoint.errors import InputError, UnknownNameError
from rootpoint.evaluation import planted
from rootpoint.evaluation.metric import NEEDS, Metric

GROUPS = {"faithfulness", "axioms", "robustness", "localization", "sanity"}


METRICS = {  # other tests define metrics of their own
    name: cls
    for name, cls in rp.metrics().items()
    if cls.__module__.startswith("rootpoint.evaluation.metrics.")
}


@pytest.fixture(params=METRICS)
def cls(request: pytest.FixtureRequest) -> type[Metric]:
    return METRICS[request.param]


def test_every_named_class_is_in_the_list_once() -> None:
    named = []
    waiting = [Metric]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if "name" in one.__dict__ and one.__module__.startswith("rootpoint.evaluation.metrics."):
            named.append(one.name)
    assert len(named) == len(set(named))
    assert set(named) == set(METRICS)


def test_a_metric_says_all_that_the_list_shows(cls: type[Metric]) -> None:
    assert cls.name == cls.name.lower().replace("_", "-").replace(" ", "-")
    assert cls.summary
    assert not cls.summary.endswith(".")
    assert cls.group in GROUPS
    assert cls.better in ("higher", "lower")
    assert cls.best is None or np.isfinite(cls.best)
    assert cls.cost
    assert set(cls.needs) <= set(NEEDS)
    assert all(f.metadata["help"] for f in fields(cls))


def test_a_metric_names_its_source_and_cost(cls: type[Metric]) -> None:
    said = inspect.getdoc(cls) or ""
    assert "Source:" in said
    assert "Cost:" in said


def test_a_metric_is_made_from_its_text(cls: type[Metric]) -> None:
    made = rp.metric(cls.name)
    assert type(made) is cls
    assert str(made) == cls.name
    changed = {f.name: f.default + 1 for f in fields(cls) if type(f.default) is int}
    for one in (made, cls(**changed)):
        again = rp.metric(str(one))
        assert again == one
        assert hash(again) == hash(one)
        assert str(again) == str(one)
    assert not changed or cls(**changed) != made


def test_parameters_come_in_the_text_or_beside_it() -> None:
    assert rp.metric("aopc(region=16)", steps="7") == rp.metric("aopc", region=16, steps=7)
    assert str(rp.metric("aopc", region="16", steps=7)) == "aopc(region=16, steps=7)"


def test_unknown_names_and_parameters_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="no metric is called 'abcp'; did you mean abpc"):
        rp.metric("abcp")
    with pytest.raises(InputError, match="aopc has no parameter 'regions'; its parameters: "):
        rp.metric("aopc(regions=16)")
    with pytest.raises(InputError, match="aopc: region=0 is out of range"):
        rp.metric("aopc", region=0)
    with pytest.raises(InputError, match="metric 'aopc\\(region' cannot be read"):
        rp.metric("aopc(region")


def test_what_is_made_once_is_shared_by_metrics_of_a_case() -> None:
    p = planted.linear(2)
    seen = []

    class Keeping(Metric):
        """Remembers its cases."""

        def measure(self, case):  # type: ignore[no-untyped-def]
            seen.append(case.once("key", lambda: object()))
            seen.append(case.once("key", lambda: object(), common=True))
            return rp.metric("conservation").measure(case)

    keeping = Keeping()
    object.__setattr__(keeping, "name", "keeping")
    other = Keeping()
    object.__setattr__(other, "name", "other")
    rp.evaluate(p.model, p.inputs, {"a": p.truth, "b": p.truth}, [keeping])
    own, common = seen[::2], seen[1::2]
    assert own[0] is not own[1]  # the relevance is another one
    assert common[0] is common[1]


def test_the_list_of_metrics_imports_no_torch() -> None:
    script = (
        "import sys; from rootpoint.evaluation.metric import metrics; metrics();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_random_state_stays_untouched_by_every_metric() -> None:
    p = planted.convolutional(2, 8)
    needs = {"model": {"other": p.model}}
    small = {"steps": 3, "repetitions": 2, "samples": 3, "sizes": 2, "layers": 2}
    for cls in METRICS.values():
        given = {f.name: small[f.name] for f in fields(cls) if f.name in small}
        given |= next((needs[need] for need in cls.needs if need in needs), {})
        state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
        rp.evaluate(p.model, p.inputs, {"truth": p.truth}, cls(**given), masks=p.masks)
        assert torch.equal(state[0], torch.get_rng_state()), cls.name
        assert (state[1] == np.random.get_state()[1]).all(), cls.name  # type: ignore[index]
