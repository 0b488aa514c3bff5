"""Transformers as layers: each computes what its own `transform` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import decomposition, feature_selection, impute, preprocessing, random_projection
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import FeatureUnion, Pipeline

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.neuralize import neuralize
from rootpoint.neuralize.reading import read
from rootpoint.neuralize.transformers import Monomials, layer_of

with pytest.raises(UnsupportedModelError):  # imports all layers
    neuralize(LinearRegression)

SCALERS: dict[str, Any] = {
    "standard": lambda: preprocessing.StandardScaler(),
    "not centred": lambda: preprocessing.StandardScaler(with_mean=False),
    "not scaled": lambda: preprocessing.StandardScaler(with_std=False),
    "range": lambda: preprocessing.MinMaxScaler((-1, 2)),
    "clipped": lambda: preprocessing.MinMaxScaler(clip=True),
    "greatest": lambda: preprocessing.MaxAbsScaler(),
    "robust": lambda: preprocessing.RobustScaler(),
    "robust, not centred": lambda: preprocessing.RobustScaler(with_centering=False),
    "robust, not scaled": lambda: preprocessing.RobustScaler(with_scaling=False),
    "yeo-johnson": lambda: preprocessing.PowerTransformer(),
    "yeo-johnson alone": lambda: preprocessing.PowerTransformer(standardize=False),
    "quantiles": lambda: preprocessing.QuantileTransformer(n_quantiles=15),
    "normal quantiles": lambda: preprocessing.QuantileTransformer(
        n_quantiles=15, output_distribution="normal"
    ),
    "binary": lambda: preprocessing.Binarizer(threshold=0.3),
    "nothing": lambda: preprocessing.FunctionTransformer(),
    "bins": lambda: preprocessing.KBinsDiscretizer(4, encode="ordinal"),
    "filled": lambda: impute.SimpleImputer(),
}
OTHERS: dict[str, Any] = {
    "l1": lambda: preprocessing.Normalizer("l1"),
    "l2": lambda: preprocessing.Normalizer("l2"),
    "max": lambda: preprocessing.Normalizer("max"),
    "one column a bin": lambda: preprocessing.KBinsDiscretizer(3, encode="onehot-dense"),
    "best": lambda: feature_selection.SelectKBest(k=2),
    "varying": lambda: feature_selection.VarianceThreshold(0.1),
    "pca": lambda: decomposition.PCA(3),
    "whitened": lambda: decomposition.PCA(3, whiten=True),
    "incremental": lambda: decomposition.IncrementalPCA(2),
    "svd": lambda: decomposition.TruncatedSVD(2),
    "ica": lambda: decomposition.FastICA(3, whiten="unit-variance", tol=0.1, max_iter=1000),
    "random": lambda: random_projection.GaussianRandomProjection(3, random_state=0),
    "sparse random": lambda: random_projection.SparseRandomProjection(3, random_state=0),
    "discriminant": lambda: LinearDiscriminantAnalysis(),
    "polynomial": lambda: preprocessing.PolynomialFeatures(3),
    "interactions": lambda: preprocessing.PolynomialFeatures(
        2, interaction_only=True, include_bias=False
    ),
    "union": lambda: FeatureUnion(
        [("pca", decomposition.PCA(2)), ("same", "passthrough"), ("none", "drop")],
        transformer_weights={"pca": 0.5},
    ),
    "steps": lambda: Pipeline(
        [("scale", preprocessing.StandardScaler()), ("no", None), ("pca", decomposition.PCA(2))]
    ),
}


def table(seed: int, rows: int = 40) -> Any:
    """Four columns of different kinds, with ties."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)) * [1, 10, 0.1, 2] + [0, 5, 0, -3]
    x[:, 3] = x[:, 3].round()
    return x


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", [*SCALERS, *OTHERS])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_every_layer_computes_its_transform(name: str, seed: int) -> None:
    x, y = table(seed), np.arange(40) % 3
    step = (SCALERS | OTHERS)[name]().fit(x, y)
    near = np.concatenate([table(seed + 1, 10), x[:5]])
    layer = layer_of(step)
    found = layer(read(layer, near)).numpy()
    own = step.transform(near)
    own = own.toarray() if hasattr(own, "toarray") else own
    assert np.abs(found - own).max() <= 1e-10 * max(1, np.abs(own).max())


@pytest.mark.parametrize("name", SCALERS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_columns_keep_their_relevance_through_scalers(name: str) -> None:
    x = table(3)
    step = SCALERS[name]().fit(x)
    last = LinearRegression(fit_intercept=False).fit(step.transform(x), x[:, 0] + x[:, 1])
    network = neuralize(Pipeline([("scale", step), ("last", last)]))
    found = rp.explain(network, x[:5])
    contributions = torch.from_numpy(step.transform(x[:5]) * last.coef_)
    torch.testing.assert_close(found.relevance, contributions, rtol=1e-10, atol=1e-12)


def test_box_cox_takes_positive_values_only() -> None:
    x = np.exp(table(0)[:, [0, 2]])
    step = preprocessing.PowerTransformer("box-cox").fit(x)
    layer = layer_of(step)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).numpy(), step.transform(x), atol=1e-10)
    with pytest.raises(InputError, match="positive values only"):
        layer(-torch.from_numpy(x))


def test_factors_of_a_monomial_share_equally() -> None:
    """x₁² x₂ with relevance 18 gives 12 to x₁ and 6 to x₂; the constant absorbs its own."""
    layer = Monomials(np.array([[0, 0], [2, 1]])).eval()
    model = torch.nn.Sequential(layer).double().eval()
    from rootpoint.neuralize.network import kernel_composite

    x = torch.tensor([[3.0, 2.0]]).double()
    found = rp.explain(model, x, 1, method="lrp", composite=kernel_composite())
    torch.testing.assert_close(found.relevance, torch.tensor([[12.0, 6.0]]).double())
    found = rp.explain(model, x, 0, method="lrp", composite=kernel_composite())
    assert not found.relevance.any()
    assert found.balance.absorbed == {"constant": 1.0}


def test_rows_of_zeros_stay_when_normalized() -> None:
    x = np.zeros((2, 3))
    step = preprocessing.Normalizer().fit(x)
    assert not layer_of(step)(torch.from_numpy(x)).any()


def test_what_has_no_layer_names_those_that_do() -> None:
    step = decomposition.NMF(1).fit(np.ones((3, 2)))
    with pytest.raises(UnsupportedModelError, match=r"NMF cannot be neuralized.*StandardScaler"):
        layer_of(step)
    with pytest.raises(UnsupportedModelError, match="a function of its own"):
        layer_of(preprocessing.FunctionTransformer(np.log1p).fit(np.ones((3, 2))))


def test_imputers_of_other_kinds_are_refused() -> None:
    x = np.array([[1.0, np.nan], [2.0, np.nan], [0.0, np.nan]])
    with pytest.raises(UnsupportedModelError, match="add_indicator"):
        layer_of(impute.SimpleImputer(add_indicator=True).fit(x))
    with pytest.raises(UnsupportedModelError, match="had no value in fitting"):
        layer_of(impute.SimpleImputer().fit(x))
    with pytest.raises(UnsupportedModelError, match="missing_values=nan"):
        layer_of(impute.SimpleImputer(missing_values=0).fit(x[:, :1]))
