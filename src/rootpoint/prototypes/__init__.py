"""Prototypes: inputs that maximize a class, by pixels, spectrum or a generator's code."""

from rootpoint.prototypes.density import GaussianMixture, fit_density
from rootpoint.prototypes.generators import Generator, fit_generator
from rootpoint.prototypes.maximize import prototype
from rootpoint.prototypes.parametrizations import (
    Code,
    Fourier,
    Parametrization,
    Pixels,
    colour_root,
)
from rootpoint.prototypes.regularizers import L2, AlphaNorm, TotalVariation
from rootpoint.prototypes.result import Prototype
from rootpoint.prototypes.transformations import Transformation

__all__ = [
    "L2",
    "AlphaNorm",
    "Code",
    "Fourier",
    "GaussianMixture",
    "Generator",
    "Parametrization",
    "Pixels",
    "Prototype",
    "TotalVariation",
    "Transformation",
    "colour_root",
    "fit_density",
    "fit_generator",
    "prototype",
]
