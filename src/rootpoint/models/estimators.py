"""Fitted estimators of scikit-learn from files, without running code that a file could hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rootpoint.errors import InputError, MissingExtraError

SKOPS = ".skops"
PICKLES = (".pkl", ".pickle", ".joblib")
TRUSTED = frozenset(
    f"rootpoint.neuralize.kernels.{name}"
    for name in ("Gaussian", "Laplace", "CityBlockLaplace", "Student")
)


def is_estimator(name: str) -> bool:
    """Whether a model's name is that of a file which `load_estimator` reads."""
    return name.lower().endswith((SKOPS, *PICKLES))


def load_estimator(path: str | Path, trust: Collection[str] = (), unpickle: bool = False) -> Any:
    """The fitted estimator in a file that skops or, if allowed, pickle or joblib wrote.

    path      FILE.skops: `skops.io.dump(estimator, "FILE.skops")`; or .pkl, .pickle, .joblib
    trust     further types that a skops file may hold, beyond those that skops trusts and
              Rootpoint's own kernels: "sklearn.tree._tree.Tree"
    unpickle  read a pickle, which runs whatever code it holds: only from whom you trust
    Warns once if another version of scikit-learn wrote it. Raises InputError if the file is
    missing, damaged, holds other types or no estimator, or is a pickle that was not allowed;
    MissingExtraError without skops or scikit-learn.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {path} to load a model from")
    suffix = path.suffix.lower()
    if suffix == SKOPS:
        estimator = _quietly(path, lambda: _from_skops(path, trust))
    elif suffix not in PICKLES:
        raise InputError(f"{path} is none of {', '.join((SKOPS, *PICKLES))}: save it by skops.io")
    elif not unpickle:
        raise InputError(
            f"{path} is a pickle, and reading a pickle runs the code in it: save the model by "
            "skops.io.dump instead, or allow it with --unpickle (unpickle=True) if you trust it"
        )
    else:
        estimator = _quietly(path, lambda: _from_pickle(path))
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        raise InputError(
            f"{path} holds a {type(estimator).__name__}, not an estimator of scikit-learn"
        )
    return estimator


def _from_skops(path: Path, trust: Collection[str]) -> Any:
    try:
        from skops import io
    except ImportError as error:
        raise MissingExtraError("reading .skops files", "tables") from error
    try:
        unknown = io.get_untrusted_types(file=path)
        refused = [name for name in unknown if name not in {*TRUSTED, *trust}]
        if not refused:
            return io.load(path, trusted=unknown)
    except Exception as error:  # a damaged file raises almost anything
        raise _unreadable(path, error) from error
    options = " ".join(f"--trust {name}" for name in refused)
    raise InputError(
        f"{path} holds types that skops does not trust: {', '.join(refused)}; if you trust who "
        f"wrote the file, add {options} (trust={refused!r})"
    )


def _from_pickle(path: Path) -> Any:
    try:
        import joblib
    except ImportError as error:
        raise MissingExtraError("reading pickled estimators", "sklearn") from error
    try:
        return joblib.load(path)
    except Exception as error:  # likewise
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    """What went wrong; a module that the file needs and this Python lacks is named."""
    if isinstance(error, ModuleNotFoundError):
        return InputError(f"{path} needs the module {error.name!r}: install it and load it again")
    return InputError(
        f"{path} cannot be read ({type(error).__name__}: {error}): save the model again"
    )


def _quietly(path: Path, load: Callable[[], Any]) -> Any:
    """What is loaded; scikit-learn's warning for each part of another version comes as one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = load()
    versions = {str(v) for w in caught if (v := getattr(w.message, "original_sklearn_version", ""))}
    if versions:
        from sklearn import __version__

        warnings.warn(
            f"{path} was written by scikit-learn {', '.join(sorted(versions))}, and this is "
            f"{__version__}: scores may differ; fit and save the model again to be sure",
            stacklevel=3,
        )
    return estimator
