"""Pipelines: exact to the last step's own score, conserved down to the raw columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC, OneClassSVM

import rootpoint as rp
from rootpoint.errors import InputError, UnsupportedModelError
from rootpoint.neuralize.neuralize import neuralize
from rootpoint.neuralize.projections import ProjectedDistances

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6)) * [1, 5, 0.2, 1, 3, 1] + [0, 100, 0, 2, -5, 0]
Y = (X[:, 0] + 0.2 * (X[:, 1] - 100) > 0).astype(int)


ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def people(seed: int, rows: int = 60) -> pd.DataFrame:
    """A mixed table with missing values."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(40, 10, rows)),
            "town": rng.choice(["Bonn", "Kiel", "Ulm"], rows),
            "income": rng.lognormal(3, 1, rows),
            "note": rng.choice(["x", "y"], rows),
            "size": rng.choice(np.array(["S", "M", np.nan], dtype=object), rows),
        }
    )


def mixed(last: Any, **encoder: Any) -> Any:
    """A pipeline on the mixed table: the column "note" is dropped."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(drop="first"),
    )
    parts = [
        ("numbers", numbers, ["age", "income"]),
        ("town", OneHotEncoder(**encoder), ["town"]),
        ("size", words, ["size"]),
    ]
    pipe = make_pipeline(ColumnTransformer(parts), last)
    table = people(0)
    return pipe.fit(table, (table["income"] > 20).astype(int))


def score(pipe: Any, x: Any) -> Any:
    """The estimator's own, as the network has it: two classes as (−s, s), −log f of outliers."""
    last = pipe[-1]
    if isinstance(last, MLPClassifier):
        logs = pipe.predict_log_proba(x)
        s = logs[:, 1] - logs[:, 0]
        return np.stack([-s, s], 1)
    if isinstance(last, OneClassSVM):
        return -np.log(pipe.score_samples(x) / last.dual_coef_.sum())
    if isinstance(last, LogisticRegression | SVC):
        s = pipe.decision_function(x)
        return np.stack([-s, s], 1)
    return pipe.predict(x)


LASTS: dict[str, Any] = {
    "logistic": LogisticRegression,
    "ridge": Ridge,
    "one-class": lambda: OneClassSVM(nu=0.3, gamma=0.05),
    "svc": lambda: SVC(gamma=0.1),
    "linear svc": lambda: SVC(kernel="linear"),
    "perceptron": lambda: MLPClassifier((4,), max_iter=5, random_state=0),
}


def checked(pipe: Any, x: Any, **options: Any) -> Any:
    """The explanation, after scores were compared and the books were checked."""
    network = neuralize(pipe, **options)
    found = rp.explain(network, x)
    own = score(pipe, x)
    np.testing.assert_allclose(found.prediction.numpy(), own, rtol=1e-10, atol=1e-10)
    assert found.relevance.shape == (len(x), x.shape[1])
    total = float(found.output.sum())
    size = max(1.0, float(found.relevance.abs().sum()), abs(total))
    kept = float(found.relevance.sum()) + sum(found.balance.absorbed.values())
    assert abs(total - kept) <= 1e-10 * size
    assert abs(found.balance.gap) <= 1e-10 * size
    assert "unaccounted" not in found.balance.absorbed
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("last", LASTS)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1000))
def test_mixed_tables_are_explained_exactly_at_their_columns(last: str, seed: int) -> None:
    pipe = mixed(LASTS[last]())
    table = people(seed, 7)
    found = checked(pipe, table)
    assert not found.relevance[:, 3].any()  # dropped
    row = rp.explain(neuralize(pipe), table.iloc[2:3])
    torch.testing.assert_close(row.relevance, found.relevance[2:3], rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("last", LASTS)
@pytest.mark.parametrize("step", [PCA(3), PCA(3, whiten=True), TruncatedSVD(4), SelectKBest(k=3)])
def test_pipelines_of_numbers_are_explained_exactly(last: str, step: Any) -> None:
    pipe = make_pipeline(StandardScaler(), "passthrough", make_pipeline(step, None), LASTS[last]())
    checked(pipe.fit(X, Y), X[:9])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "step",
    [
        PolynomialFeatures(2, include_bias=False),
        FeatureUnion([("pca", PCA(2)), ("bins", KBinsDiscretizer(3, encode="onehot-dense"))]),
        ColumnTransformer([("bins", KBinsDiscretizer(3), [1]), ("pca", PCA(2), slice(2, 5))]),
        ColumnTransformer(
            [
                (
                    "ordinal",
                    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                    [5],
                )
            ],
            remainder="passthrough",
            transformer_weights={"codes": 0.1},
        ),
        ColumnTransformer([("none", "drop", [0]), ("rest", StandardScaler(), np.arange(6) > 2)]),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_steps_side_by_side_are_exact_also_behind_others(step: Any) -> None:
    checked(make_pipeline(StandardScaler(), step, Ridge()).fit(X, Y), X[:9])
    checked(make_pipeline(step, Ridge()).fit(X, Y), X[:9])


def test_a_linear_pipeline_gives_each_column_its_weight_times_value() -> None:
    """LinearRegression behind a scaler: R_i = w_i (x_i − mean_i) / deviation_i."""
    pipe = make_pipeline(StandardScaler(), LinearRegression()).fit(X, X[:, 0] - X[:, 4])
    expected = torch.from_numpy(pipe[:-1].transform(X[:4]) * pipe[-1].coef_)
    torch.testing.assert_close(rp.explain(neuralize(pipe), X[:4]).relevance, expected)


def test_categories_sum_to_their_column() -> None:
    """One-hot: the column gets the weight of the category that is there."""
    table = pd.DataFrame({"town": ["Bonn", "Kiel", "Ulm", "Kiel"], "n": [1.0, 2.0, 3.0, 5.0]})
    hot = ColumnTransformer([("town", OneHotEncoder(), ["town"])], remainder="passthrough")
    pipe = make_pipeline(hot, Ridge()).fit(table, [1.0, 2.0, 2.5, 4.0])
    found = rp.explain(neuralize(pipe), table)
    weights = torch.tensor(pipe[-1].coef_)
    expected = torch.stack([weights[[0, 1, 2, 1]], weights[3] * torch.tensor(table["n"])], 1)
    torch.testing.assert_close(found.relevance, expected)


def test_distances_behind_a_projection_are_shared_by_eulers_theorem() -> None:
    """One centre u in one component c: R_i = (x − u′)_i c_i (c·(x − u′)), worked by hand."""
    layer = ProjectedDistances(
        torch.zeros(2).double(), torch.tensor([[0.6, 0.8]]).double(), _distances([[1.0]])
    ).eval()
    x = torch.tensor([[3.0, 2.0]]).double()  # c·x = 3.4; u′ = (0.6, 0.8): 2.4 of 2.4² = 5.76
    found = rp.explain(layer, x, 0, composite=_composite())
    expected = torch.tensor([[2.4 * 0.6 * 2.4, 1.2 * 0.8 * 2.4]]).double()
    torch.testing.assert_close(found.output, torch.tensor([5.76]).double())
    torch.testing.assert_close(found.relevance, expected)


def test_a_component_of_zero_does_not_explode() -> None:
    """Where x has no part in a component the z-rule would divide by zero; distances do not."""
    pipe = make_pipeline(PCA(2), OneClassSVM(nu=0.5, gamma=0.01)).fit(X)
    at = pipe[0].inverse_transform([[1e-9, 1.0], [0.0, 0.0]])
    found = checked(pipe, at)
    assert isinstance(neuralize(pipe).distances, ProjectedDistances)
    assert float(found.relevance.abs().sum(1).max()) < 20 * float(found.output.max())


def test_a_sample_on_a_point_shares_its_relevance() -> None:
    pipe = make_pipeline(PCA(2), OneClassSVM(nu=0.1, gamma=0.5)).fit(X[:5])
    checked(pipe, X[:5])


@pytest.mark.parametrize("last", [KMeans(3, random_state=0), NearestCentroid(priors=[0.3, 0.7])])
def test_clusterings_behind_a_projection_decide_as_the_pipeline(last: Any) -> None:
    pipe = make_pipeline(PCA(3), last).fit(X, Y)
    network = neuralize(pipe)
    found = rp.explain(network, X)
    if not isinstance(last, KMeans):
        s = pipe.predict_log_proba(X)
        torch.testing.assert_close(found.prediction[:, 1], torch.from_numpy(s[:, 1] - s[:, 0]))
    assert (found.prediction.argmax(1).numpy() == pipe.predict(X)).all()
    assert found.relevance.shape == X.shape


def test_options_go_to_the_last_step() -> None:
    pipe = make_pipeline(StandardScaler(), OneClassSVM(nu=0.5, gamma=0.1)).fit(X)
    assert "rooted=True" in str(neuralize(pipe, rooted=True).rootpoint_composite)
    with pytest.raises(InputError, match="no option 'colour'"):
        neuralize(pipe, colour=1)


def test_pipelines_within_pipelines_read_the_table_at_any_depth() -> None:
    inner = mixed(Ridge())
    outer = make_pipeline("passthrough", inner)
    table = people(3, 5)
    torch.testing.assert_close(
        rp.explain(neuralize(outer), table).relevance, rp.explain(neuralize(inner), table).relevance
    )


def test_names_are_kept_and_columns_found_by_them() -> None:
    pipe = mixed(Ridge())
    network = neuralize(pipe)
    assert network.names == ("age", "town", "income", "note", "size")
    table = people(1, 4)
    shuffled = table[["size", "income", "note", "town", "age"]].assign(more=1)
    found = rp.explain(network, shuffled).relevance
    assert not found[:, 5].any()
    expected = rp.explain(network, table).relevance
    torch.testing.assert_close(found[:, [4, 3, 1, 2, 0]], expected)


def test_an_unknown_category_is_an_error_unless_it_is_to_be_ignored() -> None:
    table = people(1, 3)
    table.loc[1, "town"] = "Rom"
    with pytest.raises(InputError, match=r"row 1, column 'town': the category 'Rom'"):
        rp.explain(neuralize(mixed(Ridge())), table)
    checked(mixed(Ridge(), handle_unknown="ignore"), table)


def test_a_missing_column_and_a_missing_value_are_errors() -> None:
    network = neuralize(mixed(Ridge()))
    with pytest.raises(InputError, match="no column 'town'"):
        rp.explain(network, people(0, 3).drop(columns="town"))
    table = people(0, 3)
    table.loc[0, "income"] = np.nan
    rp.explain(network, table)  # imputed
    plain = neuralize(make_pipeline(StandardScaler(), Ridge()).fit(X, Y))
    with pytest.raises(InputError, match="NaN"):
        rp.explain(plain, np.full((2, 6), np.nan))
    with pytest.raises(InputError, match="5 columns, but the model was fitted to 6"):
        rp.explain(plain, X[:, :5])


def test_sparse_tables_are_read_as_dense_ones() -> None:
    network = neuralize(make_pipeline(TruncatedSVD(3), Ridge()).fit(X, Y))
    dense, thin = (rp.explain(network, x).relevance for x in (X[:4], sparse.csr_matrix(X[:4])))
    torch.testing.assert_close(dense, thin)


def test_missing_categories_have_codes_of_their_own() -> None:
    table = pd.DataFrame({"size": np.array(["S", np.nan, "M", "S"], dtype=object)})
    encoder = OrdinalEncoder(encoded_missing_value=-2)
    checked(make_pipeline(encoder, LinearRegression()).fit(table, [1.0, 5.0, 2.0, 1.0]), table)
    with pytest.raises(UnsupportedModelError, match="makes NaN of missing"):
        neuralize(_pair(OrdinalEncoder().fit(table)))


def test_what_a_pipeline_cannot_explain_says_why() -> None:
    words = pd.DataFrame({"town": ["a", "b", "a", "b"]})
    for encoder in (OneHotEncoder(min_frequency=2), OrdinalEncoder(max_categories=1)):
        with pytest.raises(UnsupportedModelError, match="joins infrequent categories"):
            neuralize(_pair(encoder.fit(words)))
    with pytest.raises(UnsupportedModelError, match="decides nothing"):
        neuralize(make_pipeline(StandardScaler(), "passthrough").fit(X))
    dropped = ColumnTransformer([("none", "drop", ["town"])]).fit(words)
    with pytest.raises(UnsupportedModelError, match="drops all columns"):
        neuralize(_pair(dropped))


def _pair(step: Any) -> Any:
    """A fitted step before a fitted model."""
    return make_pipeline(step, Ridge().fit(X[:, :1], Y))


def _distances(points: Any) -> Any:
    from rootpoint.neuralize.kernels import Distances

    return Distances(points)


def _composite() -> Any:
    from rootpoint.neuralize.network import kernel_composite

    return kernel_composite()


def test_a_column_of_texts_beside_numbers_gets_the_relevance_of_its_words() -> None:
    texts = ["free money", "meeting notes", "free offer", "the notes"] * 3
    table = pd.DataFrame({"body": texts, "age": np.arange(12.0)})
    transformers = [("t", TfidfVectorizer(), "body"), ("n", StandardScaler(), ["age"])]
    pipe = make_pipeline(ColumnTransformer(transformers), LogisticRegression(fit_intercept=False))
    pipe.fit(table, [1, 0] * 6)
    found = rp.explain(rp.neuralize(pipe), table, 1)
    np.testing.assert_allclose(found.output, pipe.decision_function(table), atol=1e-12)
    assert found.relevance.shape == (12, 2)
    made = pipe[:-1].transform(table) * pipe[-1].coef_
    words = np.asarray(made)[:, :-1].sum(1)
    np.testing.assert_allclose(found.relevance[:, 0], words, atol=1e-12)
