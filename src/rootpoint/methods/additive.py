"""Additive models, whose terms are the explanation: evidence, and explainable boosting machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rootpoint.explanation import Explanation, Passes
from rootpoint.method import At, Method, parameter

if TYPE_CHECKING:
    from torch import Tensor

    from rootpoint.additive.population import Population
    from rootpoint.additive.sums import Share, Sums
    from rootpoint.target import Target


@dataclass(frozen=True, eq=False)
class Evidence(Method):
    """R_j = e_j(x_j) − mean_n e_j(x_nj), of a decision by f(x) = e_0 + Σ_j e_j(x_j).

    The model is a fitted scikit-learn estimator, the input a table (B, D): tensor, array or data
    frame. Naive Bayes: e_j = log P(x_j | c) / P(x_j | not c), e_0 the log prior odds. Linear models
    (logistic regression, linear SVM, regression, and pipelines of scalers and one of them):
    e_j = w_j x_j. Of two classes, the score of class 1 is the log-odds (or the signed distance)
    and that of class 0 its negative; of more, it is the joint log-likelihood log P(x, c), or the
    class's decision function. Generalized linear regression: the score is the link of the mean.

    population   whose mean evidence is the zero, from `fit(estimator, data)` (or its file); the
                 baseline output is e_0 + Σ_j mean_n e_j, the mean score of the population.
                 None: the evidence itself, relative to e_0

    details: "evidence", e_j(x_j), (B, D); with a population "rank", the fraction of the population
    with less evidence in a feature, (B, D). Relevance is double precision and sums to the score.
    Raises UnsupportedModelError for other models, InputError where a likelihood is zero.
    Cost: one call of the estimator, with which the sum is compared.
    Source: Poulin et al. 2006, IAAI.
    """

    name: ClassVar[str] = "evidence"
    summary: ClassVar[str] = "Each feature's evidence for a class, relative to a population"
    cost: ClassVar[str] = "1 forward"
    axioms: ClassVar[tuple[str, ...]] = ("complete",)
    needs: ClassVar[tuple[str, ...]] = ("estimator",)

    population: Population | str | None = parameter(
        None, "whose mean evidence is zero: fitted, or its file; None: the evidence itself"
    )

    def fit(self, model: Any, data: Any) -> Self:
        from rootpoint.additive.population import fit_population

        return replace(self, population=fit_population(model, data))

    def run(
        self, model: Any, inputs: Any, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.additive.estimators import sums
        from rootpoint.additive.population import Population

        self.inputs_only(at)
        found = sums(model, inputs)
        population = None if self.population is None else Population.of(self, self.population)
        if population is not None:
            population.check(found.parts, found.base)
        return [
            self._explanation(found, found.share(target), population, inputs) for target in targets
        ]

    def _explanation(
        self, found: Sums, share: Share, population: Population | None, inputs: Any
    ) -> Explanation:
        relevance, baseline, details = share.parts, share.base, {"evidence": share.parts}
        if population is not None:
            mean = population.mean[:, share.target].T
            relevance, baseline = share.parts - mean, share.base + mean.sum(1)
            details["rank"] = population.rank(share.parts, share.target)
        return _explained(self, found, share, inputs, relevance, baseline, details)


@dataclass(frozen=True, eq=False)
class EBM(Method):
    """R_j = Σ_{terms u ∋ j} f_u(x_u) / |u|, of f(x) = β_0 + Σ_j f_j(x_j) + Σ_{ij} f_ij(x_i, x_j).

    The model is a fitted ExplainableBoostingClassifier or -Regressor of the library interpret, the
    input a table (B, D) as it takes: tensor, array or data frame, missing values and words
    included. The score is on the scale of the link: the log-odds of class 1 (of class 0 its
    negative), the logit of one of several classes, the predicted value or its link. The baseline
    output is β_0.

    purified   subtract from each interaction its weighted mean along each of its features and add
               it to that feature's own term, so that there is one way to write f: see `purify`.
               False: the terms as the model stores them, which are what interpret shows

    details: "names", "terms" (the features of each) and "values", f_u(x_u), (B, terms): exactly
    the score with β_0. A missing value has a bin of its own and a category that fitting did not
    see another; a term is 0 in a bin that fitting did not fill, but that pure terms may share what
    is zero in sum. `global_terms` shows the terms of the whole model.
    Cost: one call of the model. Source: Lou et al. 2013, KDD; Caruana et al. 2015, KDD; purified:
    Lengerich et al. 2020, AISTATS, arXiv 1911.04974.
    """

    name: ClassVar[str] = "ebm"
    summary: ClassVar[str] = "The terms of an explainable boosting machine (GA²M)"
    cost: ClassVar[str] = "1 forward"
    axioms: ClassVar[tuple[str, ...]] = ("complete",)
    needs: ClassVar[tuple[str, ...]] = ("estimator",)

    purified: bool = parameter(True, "move from interactions to single features what these explain")

    def prepare(self, model: Any) -> Any:
        from rootpoint.additive.boosting import checked, with_pure_terms

        return with_pure_terms(model) if self.purified else checked(model)

    def run(
        self, model: Any, inputs: Any, targets: Sequence[Target], at: At, prepared: Any
    ) -> list[Explanation]:
        from rootpoint.additive.boosting import sums

        self.inputs_only(at)
        terms = [tuple(term) for term in prepared.term_features_]
        found = sums(prepared, inputs)
        portions = found.parts.new_zeros(len(terms), prepared.n_features_in_)
        for portion, term in zip(portions, terms, strict=True):
            portion[list(term)] = 1 / len(term)
        explained = []
        for target in targets:
            share = found.share(target)
            relevance = share.parts @ portions
            details = {"names": list(prepared.term_names_), "terms": terms, "values": share.parts}
            explained.append(_explained(self, found, share, inputs, relevance, share.base, details))
        return explained


def _explained(
    method: Method,
    found: Sums,
    share: Share,
    inputs: Any,
    relevance: Tensor,
    baseline: Tensor,
    details: dict[str, Any],
) -> Explanation:
    return Explanation(
        relevance=relevance,
        output=share.score,
        target=share.target,
        prediction=found.scores,
        inputs=inputs,
        method=method,
        passes=Passes(1),
        baseline_output=baseline,
        details=details,
    )
