"""`neuralize`: a fitted estimator of scikit-learn as a network that computes the same."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from rootpoint.errors import InputError, UnsupportedModelError

if TYPE_CHECKING:
    from rootpoint.neuralize.network import Network

Maker: TypeAlias = "Callable[..., Network]"

NETWORKS: dict[str, Maker] = {}
"""From the name of an estimator's class, or of one it derives from, to what makes its network."""

REFUSED: dict[str, str] = {}
"""Why classes of some names have no network, and what to neuralize instead."""


def network(*names: str) -> Callable[[Maker], Maker]:
    """Make a function `(estimator, **options) → Network` known for classes of these names."""

    def known(function: Maker) -> Maker:
        NETWORKS.update(dict.fromkeys(names, function))
        return function

    return known


def neuralize(estimator: Any, **options: Any) -> Network:
    """A fitted model that is no network as one that computes the same score, in double precision.

    Then every method explains it; the network recommends its own rules for "lrp". Tables go in as
    they are: `rp.explain(rp.neuralize(svm), data_frame)`.

    estimator   of scikit-learn, fitted; known by the name of its class or of one it derives from;
                or Parzen windows (`fit_parzen`)
    options     see the function registered for the class (docs/neuralize.md)
    Raises UnsupportedModelError for an estimator or kernel that has no network, InputError if it is
    not fitted, or for a bad option.
    """
    room = importlib.import_module("rootpoint.neuralize")
    for module in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"{room.__name__}.{module.name}")
    from rootpoint.fitted import Fitted

    known = hasattr(estimator, "get_params") or isinstance(estimator, Fitted)
    if isinstance(estimator, type) or not known:
        raise unsupported(estimator, "it is no estimator of scikit-learn")
    for cls in type(estimator).__mro__:
        if cls.__name__ in NETWORKS:
            if not isinstance(estimator, Fitted):
                check_fitted(estimator)
            return _made(NETWORKS[cls.__name__], estimator, options).eval()
    raise unsupported(estimator, REFUSED.get(type(estimator).__name__, "it has no network"))


def _made(make: Maker, estimator: Any, options: dict[str, Any]) -> Network:
    code = make.__code__
    offered = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    passed_on = code.co_flags & inspect.CO_VARKEYWORDS
    if (unknown := sorted(set(options) - set(offered))) and not passed_on:
        raise InputError(
            f"the network of {type(estimator).__name__} has no option {unknown[0]!r}; its options: "
            f"{', '.join(offered) or 'none'}"
        )
    return make(estimator, **options)


def check_fitted(estimator: Any) -> None:
    """Raise InputError if an estimator was not fitted, as scikit-learn itself would tell."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise InputError(f"{type(estimator).__name__} is not fitted: call fit first") from error


def names_of(estimator: Any) -> tuple[str, ...] | None:
    """The columns of the data frame that an estimator was fitted to, if it was one."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else tuple(map(str, names))


_FAMILIES = {
    "BaseSGDRegressor": "SGDRegressor",
    "BaseSVC": "SVC and NuSVC",
    "BaseSearchCV": "GridSearchCV and its like",
    "LinearClassifierMixin": "all linear classifiers",
    "LinearModel": "all linear regressors",
    "_GeneralizedLinearRegressor": "generalized linear regressors",
    "_PLS": "partial least squares",
}
"""What base classes are called in messages."""


def unsupported(estimator: Any, problem: str) -> UnsupportedModelError:
    """The error for a model that cannot be neuralized: why not, and what can be."""
    known = sorted((_FAMILIES.get(name, name) for name in NETWORKS), key=str.casefold)
    return UnsupportedModelError(
        f"{type(estimator).__name__} cannot be neuralized: {problem}; supported: "
        f"{', '.join(known)}. Trees and their sums are explained by the method 'tree-shapley', any "
        "function by those that need only scores, such as 'shapley'; or register a network with "
        "rootpoint.neuralize.neuralize.network"
    )


def choose(option: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """An option's value. Raises InputError if it is none of the choices."""
    if value not in choices:
        raise InputError(f"{option}={value!r}: choose {' or '.join(map(repr, choices))}")
    return value
