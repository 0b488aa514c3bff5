"""Rootpoint answers *why did the model say that?* for a single decision of a model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import rootpoint.methods as _methods  # noqa: F401  (sets `methods`, set for good below)
import rootpoint.neuralize as _neuralize  # noqa: F401  (likewise)
from rootpoint.method import BoundMethod, Method, explain, method, methods
from rootpoint.neuralize.neuralize import neuralize

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rootpoint import adapters, evaluation
    from rootpoint.additive.boosting import global_terms, purify
    from rootpoint.additive.population import Population, fit_population, speculate
    from rootpoint.errors import RootpointError, UnsupportedOperationError
    from rootpoint.evaluation.evaluate import evaluate
    from rootpoint.evaluation.metric import Metric, metric, metrics
    from rootpoint.evaluation.result import Evaluation
    from rootpoint.evaluation.selection import Selection, select
    from rootpoint.evaluation.statistics import Difference, Estimate
    from rootpoint.explanation import Balance, Explanation, Passes
    from rootpoint.methods.additive import EBM, Evidence
    from rootpoint.methods.backprop import (
        ContributionPropagation,
        DeconvNet,
        ExcitationBackprop,
        GuidedBackprop,
    )
    from rootpoint.methods.baselines import Edges, Random
    from rootpoint.methods.cam import CAM, GradCAM, GuidedGradCAM
    from rootpoint.methods.deeplift import DeepLift
    from rootpoint.methods.explanation_vector import ExplanationVector
    from rootpoint.methods.gradient import (
        DataSensitivity,
        Gradient,
        GradientTimesInput,
        Sensitivity,
        data_sensitivity,
    )
    from rootpoint.methods.integrated_gradients import IntegratedGradients
    from rootpoint.methods.lrp import LRP, DeepTaylor
    from rootpoint.methods.mask import MeaningfulPerturbation
    from rootpoint.methods.occlusion import Occlusion
    from rootpoint.methods.pattern import PatternAttribution, PatternNet
    from rootpoint.methods.prediction_difference import PredictionDifference
    from rootpoint.methods.shapley import Shapley
    from rootpoint.methods.smoothgrad import SmoothGrad
    from rootpoint.methods.surrogate import LIME
    from rootpoint.methods.taylor import Taylor
    from rootpoint.methods.tree_shapley import TreeShapley
    from rootpoint.methods.walks import GNNLRP
    from rootpoint.neuralize.gaussian_process import GaussianProcess
    from rootpoint.neuralize.parzen import Parzen, fit_parzen
    from rootpoint.perturbation.patch_gaussian import PatchGaussian, fit_patch_gaussian
    from rootpoint.perturbation.reference_images import ReferenceImages, fit_reference_images
    from rootpoint.propagation import composites, inspect, rules
    from rootpoint.propagation.composites import Composite, Where
    from rootpoint.propagation.patterns import Patterns, fit_patterns
    from rootpoint.propagation.rules import Rule, rule
    from rootpoint.propagation.signals import activation_patterns, signal_quality
    from rootpoint.prototypes import (
        GaussianMixture,
        Generator,
        Prototype,
        fit_density,
        fit_generator,
        prototype,
    )
    from rootpoint.similarity import Similarity, explain_similarity
    from rootpoint.target import contrast, next_token

_WHERE = {
    "Balance": "explanation",
    "CAM": "methods.cam",
    "Composite": "propagation.composites",
    "ContributionPropagation": "methods.backprop",
    "DataSensitivity": "methods.gradient",
    "DeconvNet": "methods.backprop",
    "DeepLift": "methods.deeplift",
    "DeepTaylor": "methods.lrp",
    "Difference": "evaluation.statistics",
    "EBM": "methods.additive",
    "Edges": "methods.baselines",
    "Estimate": "evaluation.statistics",
    "Evaluation": "evaluation.result",
    "Evidence": "methods.additive",
    "ExcitationBackprop": "methods.backprop",
    "Explanation": "explanation",
    "ExplanationVector": "methods.explanation_vector",
    "GaussianMixture": "prototypes",
    "GaussianProcess": "neuralize.gaussian_process",
    "Generator": "prototypes",
    "GNNLRP": "methods.walks",
    "GradCAM": "methods.cam",
    "Gradient": "methods.gradient",
    "GradientTimesInput": "methods.gradient",
    "GuidedBackprop": "methods.backprop",
    "GuidedGradCAM": "methods.cam",
    "IntegratedGradients": "methods.integrated_gradients",
    "LIME": "methods.surrogate",
    "LRP": "methods.lrp",
    "MeaningfulPerturbation": "methods.mask",
    "Metric": "evaluation.metric",
    "Occlusion": "methods.occlusion",
    "Parzen": "neuralize.parzen",
    "Passes": "explanation",
    "PatchGaussian": "perturbation.patch_gaussian",
    "PatternAttribution": "methods.pattern",
    "PatternNet": "methods.pattern",
    "Patterns": "propagation.patterns",
    "Population": "additive.population",
    "PredictionDifference": "methods.prediction_difference",
    "Prototype": "prototypes",
    "Random": "methods.baselines",
    "ReferenceImages": "perturbation.reference_images",
    "RootpointError": "errors",
    "Rule": "propagation.rules",
    "Selection": "evaluation.selection",
    "Sensitivity": "methods.gradient",
    "Shapley": "methods.shapley",
    "Similarity": "similarity",
    "SmoothGrad": "methods.smoothgrad",
    "Taylor": "methods.taylor",
    "TreeShapley": "methods.tree_shapley",
    "UnsupportedOperationError": "errors",
    "Where": "propagation.composites",
    "activation_patterns": "propagation.signals",
    "adapters": "",
    "composites": "propagation",
    "contrast": "target",
    "data_sensitivity": "methods.gradient",
    "evaluate": "evaluation.evaluate",
    "evaluation": "",
    "explain_similarity": "similarity",
    "fit_density": "prototypes",
    "fit_generator": "prototypes",
    "fit_parzen": "neuralize.parzen",
    "fit_patch_gaussian": "perturbation.patch_gaussian",
    "fit_patterns": "propagation.patterns",
    "fit_population": "additive.population",
    "fit_reference_images": "perturbation.reference_images",
    "global_terms": "additive.boosting",
    "inspect": "propagation",
    "metric": "evaluation.metric",
    "metrics": "evaluation.metric",
    "next_token": "target",
    "prototype": "prototypes",
    "purify": "additive.boosting",
    "rule": "propagation.rules",
    "rules": "propagation",
    "select": "evaluation.selection",
    "signal_quality": "propagation.signals",
    "speculate": "additive.population",
}
"""The module of each public name, imported when first used: `import rootpoint` is instant."""

__all__ = [
    "CAM",
    "EBM",
    "GNNLRP",
    "LIME",
    "LRP",
    "Balance",
    "BoundMethod",
    "Composite",
    "ContributionPropagation",
    "DataSensitivity",
    "DeconvNet",
    "DeepLift",
    "DeepTaylor",
    "Difference",
    "Edges",
    "Estimate",
    "Evaluation",
    "Evidence",
    "ExcitationBackprop",
    "Explanation",
    "ExplanationVector",
    "GaussianMixture",
    "GaussianProcess",
    "Generator",
    "GradCAM",
    "Gradient",
    "GradientTimesInput",
    "GuidedBackprop",
    "GuidedGradCAM",
    "IntegratedGradients",
    "MeaningfulPerturbation",
    "Method",
    "Metric",
    "Occlusion",
    "Parzen",
    "Passes",
    "PatchGaussian",
    "PatternAttribution",
    "PatternNet",
    "Patterns",
    "Population",
    "PredictionDifference",
    "Prototype",
    "Random",
    "ReferenceImages",
    "RootpointError",
    "Rule",
    "Selection",
    "Sensitivity",
    "Shapley",
    "Similarity",
    "SmoothGrad",
    "Taylor",
    "TreeShapley",
    "UnsupportedOperationError",
    "Where",
    "activation_patterns",
    "adapters",
    "composites",
    "contrast",
    "data_sensitivity",
    "evaluate",
    "evaluation",
    "explain",
    "explain_similarity",
    "fit_density",
    "fit_generator",
    "fit_parzen",
    "fit_patch_gaussian",
    "fit_patterns",
    "fit_population",
    "fit_reference_images",
    "global_terms",
    "inspect",
    "method",
    "methods",
    "metric",
    "metrics",
    "neuralize",
    "next_token",
    "prototype",
    "purify",
    "rule",
    "rules",
    "select",
    "signal_quality",
    "speculate",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    where = f"rootpoint.{_WHERE[name]}".rstrip(".")
    value = getattr(import_module(where), name, None) if _WHERE[name] else None
    if value is None:
        value = import_module(f"{where}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
