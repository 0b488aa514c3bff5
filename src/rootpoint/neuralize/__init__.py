"""Models that are no networks, as functions that autograd goes through."""

from rootpoint.neuralize.gaussian_process import GaussianProcess
from rootpoint.neuralize.parzen import Parzen, fit_parzen

__all__ = ["GaussianProcess", "Parzen", "fit_parzen"]
