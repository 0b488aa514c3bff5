"""Explanations as other libraries expect them: for SHAP's plots and Quantus' metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rootpoint.errors import InputError, MissingExtraError
from rootpoint.explanation import Explanation
from rootpoint.method import Method
from rootpoint.method import method as by_name


def quantus_explain(method: str | Method, **parameters: Any) -> Callable[..., np.ndarray]:
    """A method as the `explain_func` of Quantus' metrics.

    method   a name with its `parameters`, or a Method
    The function takes (model, inputs, targets) as Quantus calls it, arrays and a torch model, and
    returns the relevance as an array like the inputs. `device` moves the inputs; without one they
    follow the model. Other keywords raise InputError: a method's parameters are set on it.
    """
    if isinstance(method, Method) and parameters:
        raise InputError(
            f"parameters {sorted(parameters)} go with a method's name; set them on {method}"
        )
    chosen = method if isinstance(method, Method) else by_name(method, **parameters)

    def explain(
        model: Any, inputs: Any, targets: Any = None, *, device: Any = None, **others: Any
    ) -> np.ndarray:
        if others:
            raise InputError(
                f"explain_func_kwargs {sorted(others)} are not known: set the parameters of "
                f"{chosen.name} on the method given to quantus_explain"
            )
        x = torch.as_tensor(inputs)
        first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
        place = device or (x.device if first is None else first.device)
        x = x.to(place, torch.get_default_dtype() if first is None else first.dtype)
        target = "predicted" if targets is None else torch.as_tensor(targets).reshape(-1)
        return chosen(model, x, target).relevance.detach().cpu().numpy()

    return explain


def to_shap(
    explanation: Explanation, feature_names: Sequence[str] | None, output_names: Any
) -> Any:
    """See `Explanation.to_shap`."""
    try:
        from shap import Explanation as ShapExplanation
    except ImportError as error:
        raise MissingExtraError("to_shap", "shap") from error
    relevance, inputs = explanation.relevance, explanation.inputs
    if isinstance(relevance, tuple | Mapping):
        raise InputError(
            f"SHAP's explanations are of one input, not of {len(relevance)}: explain the others as "
            "constants"
        )
    if isinstance(relevance, list):
        inputs = [np.array(text.split()) for text in inputs]
    elif feature_names is None and hasattr(inputs, "columns"):
        feature_names = [str(column) for column in inputs.columns]
    base, error = explanation.baseline_output, explanation.standard_error
    return ShapExplanation(
        values=_array(relevance),
        base_values=None if base is None else _array(base),
        data=_array(inputs),
        feature_names=None if feature_names is None else list(feature_names),
        output_names=output_names,
        error_std=None if error is None else _array(error),
    )


def _array(values: Any) -> Any:
    """As SHAP holds it: arrays, with the channels of images last."""
    if isinstance(values, list):
        return [_array(value) for value in values]
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return np.moveaxis(array, 1, -1) if array.ndim == 4 else array
