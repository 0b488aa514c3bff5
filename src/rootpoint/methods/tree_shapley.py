"""Tree Shapley values: what each column of a table adds to the score of a sum of trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class TreeShapley(Method):
    """φ_j = mean_n φ_j(x, b_n): Shapley values of the game v(S) = f(x_S, b_S̄), for each row b_n of
    a background, of a tree or a sum of trees f; exactly.

    Columns that are not in the coalition S have the values of a background row: the features are
    *set*, not observed ("interventional"). So Σ_j R_j = f(x) − mean_n f(b_n), and a column that no
    tree asks for has no relevance. Computed by shap's TreeExplainer.

    The model is a fitted estimator, the input a table (B, D): tensor, array, or data frame, whose
    columns are taken by name; NaN where the model takes missing values. The score f:
    decision trees, random forests, extra trees   the probability of a class; the prediction
    gradient boosting (also by histograms), XGBoost, LightGBM   the sum of the trees: log-odds of
      two classes (−s, s), the logit of one of several, the prediction (its logarithm for counts)
    isolation forest   log₂ of the anomaly score, (B,): the higher, the more anomalous

    background   whose mean score is the baseline, from `fit(estimator, data)`: a table of at most
                 1,000 rows (or the file of one that was fitted). 100 to 200 rows do

    Exact up to shap's weights, which are of single precision: about 1e-7 of the score;
    `completeness_gap` is what is left. Probabilities of boosted trees are not offered: for them
    shap rescales the shares of the log-odds, which are no Shapley values.
    Raises UnsupportedModelError for other models, and if Σ R or the trees as shap reads them differ
    from the model's own scores by 1e-6 of them; InputError for tables that do not fit;
    MissingExtraError without shap.
    Cost: B · N · the nodes of all trees that x or b_n reaches; no forwards but B + N.
    Source: Lundberg et al. 2020, Nature Machine Intelligence 2:56.
    """

    name: ClassVar[str] = "tree-shapley"
    summary: ClassVar[str] = "Exact Shapley values of trees, forests and boosted trees"
    cost: ClassVar[str] = "1 forward, background × trees"
    axioms: ClassVar[tuple[str, ...]] = ("complete", "implementation-invariant")
    needs: ClassVar[tuple[str, ...]] = ("estimator", "data")

    background: Any = parameter(None, "rows that stand for what is not known: a table, or its file")

    def fit(self, model: Any, data: Any) -> Self:
        from rootpoint.additive.trees import fit_background

        return replace(self, background=fit_background(model, data))

    def run(
        self, model: Any, inputs: Any, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.additive.sums import given_columns
        from rootpoint.additive.trees import Background, fit_background, names, sums

        self.inputs_only(at)
        background = self.background
        if background is None or isinstance(background, str | Background):
            background = Background.of(self, background)
        else:
            background = fit_background(model, background)
        own, found = sums(model, inputs, background)
        scores = [own.share(target) for target in targets]
        return [
            Explanation(
                relevance=given_columns(found.share(s.target).parts, inputs, names(model)),
                output=s.score,
                target=s.target,
                prediction=own.scores,
                inputs=inputs,
                method=self,
                passes=Passes(1),
                baseline_output=s.base,
            )
            for s in scores
        ]
