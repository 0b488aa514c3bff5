"""`neuralize` itself: what it knows, what it refuses, and how its networks read tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.svm import SVC, SVR, OneClassSVM

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.neuralize import NETWORKS, choose, network

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
NAMES = ["age", "income", "height"]
FRAME = pd.DataFrame(X, columns=NAMES)


def machine(table: Any = X) -> Any:
    return SVR(gamma=0.3).fit(table, X[:, 0] - X[:, 1] ** 2)


@pytest.mark.parametrize("what", [SVC, "svm.skops", None, X, torch.nn.Linear(3, 1)])
def test_what_is_no_estimator_is_refused(what: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="no estimator of scikit-learn"):
        rp.neuralize(what)


def test_an_unknown_estimator_is_refused_and_the_known_ones_named() -> None:
    class Oracle:
        def get_params(self) -> dict[str, Any]:
            return {}

    with pytest.raises(
        UnsupportedModelError, match=r"Oracle cannot be .* supported: .*OneClassSVM.*'shapley'"
    ):
        rp.neuralize(Oracle())


def test_classes_of_ones_own_are_known_by_what_they_derive_from() -> None:
    class Mine(SVR):
        pass

    model = Mine(gamma=0.3).fit(X, X[:, 0])
    np.testing.assert_allclose(rp.neuralize(model)(torch.from_numpy(X)), model.predict(X))


def test_a_network_can_be_registered_for_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "Constant", None)  # which is taken back after the test

    class Constant(SVR):
        pass

    @network("Constant")
    def constant(estimator: Any, *, twice: bool = False) -> Any:
        made = torch.nn.Linear(3, 2 if twice else 1)
        return made.train()

    model = Constant().fit(X, X[:, 0])
    assert rp.neuralize(model, twice=True).out_features == 2
    assert not rp.neuralize(model).training


@pytest.mark.parametrize("kind", [SVC, SVR, OneClassSVM])
def test_an_estimator_that_was_not_fitted_is_an_error(kind: Any) -> None:
    with pytest.raises(InputError, match=f"{kind.__name__} is not fitted: call fit first"):
        rp.neuralize(kind())


def test_an_unknown_option_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"SVR has no option 'alpha'; its options: none"):
        rp.neuralize(machine(), alpha="unit")
    with pytest.raises(InputError, match=r"no option 'beta'; its options: alpha, rooted"):
        rp.neuralize(OneClassSVM().fit(X), beta=1)


def test_a_bad_choice_is_an_error_that_names_the_good_ones() -> None:
    with pytest.raises(InputError, match=r"alpha='much': choose 'unit' or 'raw' or 'boundary'"):
        rp.neuralize(OneClassSVM().fit(X), alpha="much")
    assert choose("alpha", "raw", ("unit", "raw")) == "raw"


def test_another_number_of_columns_is_an_error() -> None:
    with pytest.raises(InputError, match=r"has 2 columns, but the model was fitted to 3"):
        rp.explain(rp.neuralize(machine()), X[:, :2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_and_infinite_values_are_errors(value: float) -> None:
    table = X.copy()
    table[3, 1] = value
    for given in (table, pd.DataFrame(table, columns=NAMES), torch.from_numpy(table)):
        with pytest.raises(InputError, match=r"NaN|infinity|finite"):
            rp.explain(rp.neuralize(machine()), given)


@pytest.mark.parametrize("table", [[["a", "b", "c"]], X[0], np.zeros((0, 3))])
def test_what_is_no_table_of_numbers_is_an_error(table: Any) -> None:
    with pytest.raises(InputError):
        rp.explain(rp.neuralize(machine()), table)


def test_arrays_frames_tensors_lists_and_sparse_tables_are_read_alike() -> None:
    model = rp.neuralize(machine())
    expected = rp.explain(model, X).relevance
    for table in (FRAME, torch.from_numpy(X), X.tolist(), sparse.csr_matrix(X)):
        torch.testing.assert_close(rp.explain(model, table).relevance, expected)


def test_columns_of_a_data_frame_are_found_by_name_and_others_get_nothing() -> None:
    model = rp.neuralize(machine(FRAME))
    assert model.names == tuple(NAMES)
    expected = rp.explain(model, FRAME).relevance
    given = FRAME.assign(comment=1.0)[["comment", "height", "age", "income"]]
    found = rp.explain(model, given)
    torch.testing.assert_close(found.relevance[:, [2, 3, 1]], expected)
    assert not found.relevance[:, 0].any()
    assert found.inputs is given


def test_a_missing_column_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match="income"):
        rp.explain(rp.neuralize(machine(FRAME)), FRAME[["age", "height"]])


def test_networks_stay_in_eval_mode_and_double_precision() -> None:
    found = rp.neuralize(machine()).train()
    assert not found.training
    assert all(b.dtype in (torch.float64, torch.int64) for b in found.buffers())
